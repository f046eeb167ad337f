// Small helpers that every file here uses: time, memory, and one way to fail.
#ifndef UTIL_H
#define UTIL_H

#include <stddef.h>
#include <stdint.h>

#define LIKELY(x) __builtin_expect(!!(x), 1)

// Microseconds of CLOCK_MONOTONIC.
int64_t now_us(void);

// Print one line to stderr and exit with code 1. A measurement that went wrong has no result.
_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));

// calloc and realloc that end the program when there is no memory.
void *make(size_t count, size_t size);
void *grow(void *old, size_t size);

#endif
