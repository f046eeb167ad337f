#include "msgpack.h"

#include <string.h>

typedef struct {
    const unsigned char *at, *end;
    bool bad;
} Input;

static uint64_t take_number(Input *in, int width) {
    if (in->end - in->at < width) in->bad = true;
    if (in->bad) return 0;
    uint64_t value = 0;
    while (width--) value = value << 8 | *in->at++;
    return value;
}

static void skip_bytes(Input *in, uint64_t n) {
    if ((uint64_t)(in->end - in->at) < n)
        in->bad = true;
    else
        in->at += n;
}

// Walks over one value with all that it holds: counts what is still to come instead of calling itself.
static void skip_value(Input *in) {
    for (uint64_t left = 1; left && !in->bad; left--) {
        unsigned b = (unsigned)take_number(in, 1);
        if (b < 0x80 || b >= 0xe0 || (b >= 0xc0 && b <= 0xc3)) continue; // small numbers, nil, booleans
        if (b < 0x90) left += 2 * (uint64_t)(b & 15);
        else if (b < 0xa0) left += b & 15;
        else if (b < 0xc0) skip_bytes(in, b & 31);
        else if (b <= 0xc6) skip_bytes(in, take_number(in, 1 << (b - 0xc4)));      // bin
        else if (b <= 0xc9) skip_bytes(in, take_number(in, 1 << (b - 0xc7)) + 1);  // ext
        else if (b <= 0xcb) skip_bytes(in, b == 0xca ? 4 : 8);                     // float
        else if (b <= 0xd3) skip_bytes(in, 1u << ((b - 0xcc) & 3));                // unsigned, signed
        else if (b <= 0xd8) skip_bytes(in, (1u << (b - 0xd4)) + 1);                // fixext
        else if (b <= 0xdb) skip_bytes(in, take_number(in, 1 << (b - 0xd9)));      // str
        else left += take_number(in, b & 1 ? 4 : 2) * (b >= 0xde ? 2 : 1);         // array, map
    }
}

static uint64_t take_unsigned(Input *in) {
    unsigned b = (unsigned)take_number(in, 1);
    if (b < 0x80) return b;
    if (b >= 0xcc && b <= 0xcf) return take_number(in, 1 << (b - 0xcc));
    if (b >= 0xd0 && b <= 0xd3) return take_number(in, 1 << (b - 0xd0));
    in->bad = true;
    return 0;
}

static bool take_key(Input *in, const char **key, size_t *size) {
    unsigned b = (unsigned)take_number(in, 1);
    if (b < 0xa0 || b > 0xbf) return false;
    *key = (const char *)in->at, *size = b & 31;
    skip_bytes(in, *size);
    return !in->bad;
}

bool msgpack_read(const char *data, size_t n, Packet *out) {
    Input in = {(const unsigned char *)data, (const unsigned char *)data + n, false};
    *out = (Packet){.type = -1};
    unsigned b = (unsigned)take_number(&in, 1);
    if (in.bad || (b & 0xf0) != 0x80) return false;
    for (unsigned left = b & 15; left; left--) {
        const char *key;
        size_t size;
        if (!take_key(&in, &key, &size)) return false;
        const unsigned char *value = in.at;
        if (size == 4 && !memcmp(key, "type", 4)) out->type = (int)take_unsigned(&in);
        else if (size == 2 && !memcmp(key, "id", 2)) out->id = (uint32_t)take_unsigned(&in);
        else skip_value(&in);
        if (in.bad) return false;
        if (size == 4 && !memcmp(key, "data", 4)) out->data = (const char *)value, out->data_size = (size_t)(in.at - value);
    }
    return out->type >= 0 && in.at == in.end;
}

static char *put(char *out, const char *bytes, size_t n) {
    memcpy(out, bytes, n);
    return out + n;
}

static char *put_number(char *out, int code, uint64_t value, int width) {
    *out++ = (char)code;
    while (width--) *out++ = (char)(value >> 8 * width);
    return out;
}

size_t msgpack_write_head(char *out, const char *event, uint32_t id, size_t size) {
    char *at = out;
    size_t length = strlen(event);
    *at++ = (char)(id ? 0x84 : 0x83);
    at = put(at, "\xa4type\x02\xa3nsp\xa1/", 12);
    if (id) at = put_number(put(at, "\xa2id", 3), 0xce, id, 4);
    at = put(at, "\xa4" "data\x92", 6);
    *at++ = (char)(0xa0 | length);
    at = put(at, event, length);
    if (size < 256) at = put_number(at, 0xd9, size, 1);
    else if (size < 65536) at = put_number(at, 0xda, size, 2);
    else at = put_number(at, 0xdb, size, 4);
    return (size_t)(at - out);
}
