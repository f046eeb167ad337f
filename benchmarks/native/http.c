#include "http.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "util.h"

// The value of a header inside [head, end), or NULL. Every header line begins after a CRLF.
static const char *header_value(const char *head, const char *end, const char *name) {
    size_t length = strlen(name);
    for (const char *p = head; p < end;) {
        const char *eol = memmem(p, (size_t)(end - p), "\r\n", 2);
        if (!eol) return NULL;
        const char *line = eol + 2;
        if (line + length + 1 < end && !strncasecmp(line, name, length) && line[length] == ':') {
            const char *value = line + length + 1;
            while (*value == ' ') value++;
            return value;
        }
        p = line;
    }
    return NULL;
}

// Walk over the chunks. With `join` set the pieces are moved together at `body`. Returns the bytes walked, 0 when incomplete.
static size_t walk_chunks(char *body, size_t n, bool join, size_t *length) {
    size_t at = 0, total = 0;
    for (;;) {
        char *eol = memmem(body + at, n - at, "\r\n", 2);
        if (!eol) return 0;
        size_t size = strtoul(body + at, NULL, 16);
        size_t start = (size_t)(eol + 2 - body);
        if (n - start < size + 2) return 0;
        if (join) memmove(body + total, body + start, size);
        total += size;
        at = start + size + 2;
        if (size == 0) {
            *length = total;
            return at;
        }
    }
}

bool http_read(char *data, size_t n, bool bodyless, Response *out) {
    char *end = memmem(data, n, "\r\n\r\n", 4);
    if (!end) return false;
    if (n < 12 || memcmp(data, "HTTP/1.1 ", 9)) die("no HTTP/1.1 response: %.40s", data);
    *out = (Response){.status = atoi(data + 9), .body = end + 4};
    size_t head = (size_t)(end + 4 - data), left = n - head;
    const char *length = header_value(data, end + 2, "content-length");
    const char *coding = header_value(data, end + 2, "transfer-encoding");
    if (bodyless && out->status == 101) {
        out->size = head;
        return true;
    }
    if (coding && !strncasecmp(coding, "chunked", 7)) {
        // First only look, then move: a second call must find the bytes as they came.
        size_t walked = walk_chunks(out->body, left, false, &out->length);
        if (!walked) return false;
        walk_chunks(out->body, left, true, &out->length);
        out->size = head + walked;
        return true;
    }
    if (!length) die("a response with neither length nor chunks");
    out->length = strtoul(length, NULL, 10);
    out->size = head + out->length;
    return left >= out->length;
}
