// One Socket.IO client: Engine.IO v4 and Socket.IO v5 over WebSocket or long-polling, namespace "/".
#ifndef CLIENT_H
#define CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "connection.h"

#define SID_MAX 128

typedef struct {
    Connection line; // the WebSocket, or the polls
    Connection post; // long-polling: what the client sends
    int index, port;
    int hop; // long-polling: the port for all requests but the first, 0 for the same one
    bool polling, ready;
    int64_t opened_at; // microseconds
    uint32_t sequence; // of the last message published, or the id of the last acked emit
    int joins;         // rooms joined so far
    bool awaits_bytes; // the attachment of an event or ack has not come yet
    uint32_t ack_id;   // the one that it belongs to, 0: an event
    // Long-polling only.
    char sid[SID_MAX];
    char *queue; // packets that wait for the POST under way
    size_t queue_size;
    bool post_under_way;
} Client;

// What a client tells. `packet` is a whole Engine.IO packet, such as 42["event",...] or 437[...]; an event's arguments in
// msgpack; or, of an event with bytes, those alone.
typedef struct {
    void (*ready)(Client *client);
    void (*reset)(Client *client); // before it was ready: open it again later
    void (*event)(Client *client, const char *packet, size_t n);
    void (*ack)(Client *client, uint32_t id, const char *packet, size_t n);
} Listener;

extern Listener listener;

// Which wire all clients speak. Before the first one is opened.
void client_speak_msgpack(void);

// Connect; listener.ready() follows. Needs index, port and polling.
void client_open(Client *client);
// Send one Engine.IO packet. It must have FRAME_HEADER_MAX writable bytes in front of it, and is changed (masked).
void client_send(Client *client, char *packet, size_t n);
// Send an event whose packet names one attachment, and that, as two frames in one write. Both are changed, and `bytes` has
// room for both headers and the packet in front of it.
void client_send_bytes(Client *client, char *packet, size_t n, char *bytes, size_t size);

#endif
