// Latencies in microseconds, kept in buckets of about 3 % width, so that any number of them takes the same memory.
#ifndef HISTOGRAM_H
#define HISTOGRAM_H

#include <stdint.h>

#define SUB_BUCKETS 32
#define OCTAVES 40

typedef struct {
    uint64_t counts[OCTAVES * SUB_BUCKETS];
    uint64_t total;
    int64_t max;
} Histogram;

void histogram_add(Histogram *h, int64_t us);
// The value below which `share` (0 to 1) of the samples lie; 0 where there are none.
double histogram_quantile_ms(const Histogram *h, double share);

#endif
