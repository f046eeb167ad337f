// WebSocket frames as far as a load needs them: whole frames without extensions.
#ifndef FRAMES_H
#define FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAME_HEADER_MAX 14

typedef struct {
    int opcode;
    bool final, masked;
    size_t header, length; // the mask, where there is one, lies between the header and the payload
} Frame;

// Read a frame's header. False: the bytes do not hold the whole header yet.
static inline bool frame_read(const char *data, size_t n, Frame *f) {
    const unsigned char *b = (const unsigned char *)data;
    if (n < 2) return false;
    *f = (Frame){.opcode = b[0] & 15, .final = b[0] >> 7, .masked = b[1] >> 7, .header = 2, .length = b[1] & 127};
    if (f->length < 126) return true;
    int wide = f->length == 126 ? 2 : 8;
    if (n < (size_t)(2 + wide)) return false;
    f->length = 0;
    for (int i = 0; i < wide; i++) f->length = f->length << 8 | b[2 + i];
    f->header += wide;
    return true;
}

// Write the header of a final frame; returns its size. `mask_bit` is 0x80 for a client, 0 for a server.
static inline size_t frame_header(char *out, int opcode, size_t length, int mask_bit) {
    out[0] = (char)(0x80 | opcode);
    if (length < 126) {
        out[1] = (char)(mask_bit | length);
        return 2;
    }
    int wide = length < 65536 ? 2 : 8;
    out[1] = (char)(mask_bit | (wide == 2 ? 126 : 127));
    for (int i = 0; i < wide; i++) out[2 + i] = (char)(length >> 8 * (wide - 1 - i));
    return 2 + wide;
}

// XOR `length` bytes with the four bytes of `mask`.
void frame_mask(char *payload, size_t length, uint32_t mask);

#endif
