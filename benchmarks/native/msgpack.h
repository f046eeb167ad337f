// Socket.IO packets as socket.io-msgpack-parser writes them: a map with type, nsp, data and maybe id, in any order.
#ifndef MSGPACK_H
#define MSGPACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    int type;
    uint32_t id;      // 0 where there is none
    const char *data; // encoded; NULL where there is none
    size_t data_size;
} Packet;

// Read a packet. False: it is none.
bool msgpack_read(const char *in, size_t n, Packet *out);
// Write all of an event's packet but its only argument, a text of `size` bytes, which must follow. Returns the bytes written,
// MSGPACK_HEAD_MAX at most. Without an `id` nobody acknowledges.
size_t msgpack_write_head(char *out, const char *event, uint32_t id, size_t size);

#define MSGPACK_EVENT_MAX 31
#define MSGPACK_HEAD_MAX (40 + MSGPACK_EVENT_MAX)

#endif
