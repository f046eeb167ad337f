// What a message's text begins with: who sent it, its number, and when.
//
//     PPPPPPPP SSSSSSSS TTTTTTTTTTTTTTTT      (without the spaces) publisher, sequence, microseconds
//
// Decimal digits of fixed width are plain text for every server, and eight of them are read with three multiplications.
#ifndef STAMP_H
#define STAMP_H

#include <stdint.h>
#include <string.h>

#define STAMP_SIZE 32

static inline void digits_write(char *out, uint64_t value, int width) {
    for (int i = width - 1; i >= 0; i--) {
        out[i] = (char)('0' + value % 10);
        value /= 10;
    }
}

// Eight ASCII digits as a number. The first digit is the lowest byte of a little-endian load, so each step adds
// neighbours with the right weight: pairs, then fours, then eight.
static inline uint32_t digits_read8(const char *in) {
    uint64_t v;
    memcpy(&v, in, 8);
    v = (v & 0x0F0F0F0F0F0F0F0Full) * 2561 >> 8;
    v = (v & 0x00FF00FF00FF00FFull) * 6553601 >> 16;
    return (uint32_t)((v & 0x0000FFFF0000FFFFull) * 42949672960001ull >> 32);
}

static inline void stamp_write(char *out, uint32_t publisher, uint32_t sequence, int64_t time_us) {
    digits_write(out, publisher, 8);
    digits_write(out + 8, sequence, 8);
    digits_write(out + 16, (uint64_t)time_us, 16);
}

static inline uint32_t stamp_publisher(const char *in) { return digits_read8(in); }
static inline uint32_t stamp_sequence(const char *in) { return digits_read8(in + 8); }
static inline int64_t stamp_time(const char *in) {
    return (int64_t)digits_read8(in + 16) * 100000000 + digits_read8(in + 24);
}

#endif
