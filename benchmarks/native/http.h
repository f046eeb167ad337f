// Just enough of HTTP/1.1 to be a client: one response, its status, and its body by length or in chunks.
#ifndef HTTP_H
#define HTTP_H

#include <stdbool.h>
#include <stddef.h>

typedef struct {
    int status;
    char *body; // inside the bytes given; chunks have been moved together
    size_t length;
    size_t size; // bytes that the whole response took
} Response;

// Read one response from the start of `data`. False: it is not complete yet. May move bytes within `data`, but only when it
// answers true. `bodyless`: stop after the headers (an upgrade).
bool http_read(char *data, size_t n, bool bodyless, Response *out);

#endif
