#include "frames.h"

#include <string.h>

void frame_mask(char *payload, size_t length, uint32_t mask) {
    uint64_t wide = (uint64_t)mask << 32 | mask;
    size_t i = 0;
    for (; i + 8 <= length; i += 8) {
        uint64_t v;
        memcpy(&v, payload + i, 8);
        v ^= wide;
        memcpy(payload + i, &v, 8);
    }
    for (; i < length; i++) payload[i] ^= (char)(mask >> 8 * (i & 3));
}
