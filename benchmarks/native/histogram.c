#include "histogram.h"

// Values below SUB_BUCKETS have a bucket each; above, every power of two is cut into SUB_BUCKETS equal parts.
static int bucket_of(int64_t us) {
    if (us < SUB_BUCKETS) return us < 0 ? 0 : (int)us;
    int octave = 63 - __builtin_clzll((uint64_t)us) - 4;
    int bucket = octave * SUB_BUCKETS + (int)((us >> (octave - 1)) - SUB_BUCKETS);
    return bucket < OCTAVES * SUB_BUCKETS ? bucket : OCTAVES * SUB_BUCKETS - 1;
}

static double middle_of(int bucket) {
    if (bucket < SUB_BUCKETS) return bucket;
    int octave = bucket / SUB_BUCKETS;
    double width = (double)(1ll << (octave - 1));
    return (bucket % SUB_BUCKETS + SUB_BUCKETS) * width + width / 2;
}

void histogram_add(Histogram *h, int64_t us) {
    h->counts[bucket_of(us)]++;
    h->total++;
    if (us > h->max) h->max = us;
}

double histogram_quantile_ms(const Histogram *h, double share) {
    if (!h->total) return 0;
    uint64_t wanted = (uint64_t)(share * (double)(h->total - 1)) + 1, seen = 0;
    for (int b = 0; b < OCTAVES * SUB_BUCKETS; b++) {
        seen += h->counts[b];
        if (seen < wanted) continue;
        double us = middle_of(b);
        return (us > (double)h->max ? (double)h->max : us) / 1000;
    }
    return (double)h->max / 1000;
}
