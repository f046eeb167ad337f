#include "client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frames.h"
#include "http.h"
#include "msgpack.h"
#include "util.h"

enum { TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10 };
#define SEPARATOR '\x1e'

Listener listener;
static bool speaks_msgpack;

void client_speak_msgpack(void) { speaks_msgpack = true; }

static void send_frame(Connection *c, int opcode, char *payload, size_t n);

static void send_literal(Client *client, const char *text) {
    char room[FRAME_HEADER_MAX + 16];
    size_t n = strlen(text);
    memcpy(room + FRAME_HEADER_MAX, text, n);
    if (client->polling)
        client_send(client, room + FRAME_HEADER_MAX, n);
    else
        send_frame(&client->line, TEXT, room + FRAME_HEADER_MAX, n);
}

static void enter_namespace(Client *client) {
    if (!speaks_msgpack) {
        send_literal(client, "40");
        return;
    }
    static const char connect[] = "\x82\xa4type\x00\xa3nsp\xa1/"; // {"type": 0, "nsp": "/"}
    char room[FRAME_HEADER_MAX + sizeof connect];
    memcpy(room + FRAME_HEADER_MAX, connect, sizeof connect - 1);
    client_send(client, room + FRAME_HEADER_MAX, sizeof connect - 1);
}

static void take_ready(Client *client) {
    client->ready = true;
    client->line.reset = NULL;
    listener.ready(client);
}

// ---- packets, the same for both transports

static void take_sid(Client *client, const char *packet, size_t n) {
    static const char key[] = "\"sid\":\"";
    const char *at = memmem(packet, n, key, sizeof key - 1);
    const char *end = at ? memchr(at + sizeof key - 1, '"', n - (size_t)(at + sizeof key - 1 - packet)) : NULL;
    size_t length = end ? (size_t)(end - at) - (sizeof key - 1) : 0;
    if (!length || length >= SID_MAX) die("no session id in: %.*s", (int)n, packet);
    memcpy(client->sid, at + sizeof key - 1, length);
    client->sid[length] = 0;
    if (client->hop) client->port = client->hop;
}

static void take_message(Client *client, const char *packet, size_t n) {
    switch (n > 1 ? packet[1] : 0) {
    case '2': listener.event(client, packet, n); return;
    case '3': listener.ack(client, (uint32_t)strtoul(packet + 2, NULL, 10), packet, n); return;
    case '0': take_ready(client); return;
    case '5':
    case '6': // 451-["event",...] and 461-7[...]: one attachment, then maybe an id
        if (n < 5 || memcmp(packet + 2, "1-", 2)) die("not one attachment in: %.*s", (int)(n < 80 ? n : 80), packet);
        client->awaits_bytes = true;
        client->ack_id = packet[1] == '6' ? (uint32_t)strtoul(packet + 4, NULL, 10) : 0;
        return;
    case '4': die("a server refused a client: %.*s", (int)n, packet);
    case '1': die("a server disconnected a client");
    default: die("unexpected packet: %.*s", (int)(n < 80 ? n : 80), packet);
    }
}

static inline void take_packet(Client *client, const char *packet, size_t n) {
    switch (n ? packet[0] : 0) {
    case '4': take_message(client, packet, n); return;
    case '2': send_literal(client, "3"); return;
    case '0':
        take_sid(client, packet, n);
        enter_namespace(client);
        return;
    case '6': return;
    case '1': die("a server closed a session");
    default: die("unexpected packet: %.*s", (int)(n < 80 ? n : 80), packet);
    }
}

// ---- WebSocket

static void take_msgpack(Client *client, const char *in, size_t n) {
    Packet packet;
    if (!msgpack_read(in, n, &packet)) die("not a packet in msgpack");
    switch (packet.type) {
    case 0: take_ready(client); return;
    case 2: listener.event(client, packet.data, packet.data_size); return;
    case 3: listener.ack(client, packet.id, packet.data, packet.data_size); return;
    default: die("unexpected packet in msgpack, type %d", packet.type);
    }
}

static void take_bytes(Client *client, const char *bytes, size_t n) {
    if (speaks_msgpack) {
        take_msgpack(client, bytes, n);
        return;
    }
    if (!client->awaits_bytes) die("bytes that no packet has named");
    client->awaits_bytes = false;
    if (client->ack_id)
        listener.ack(client, client->ack_id, bytes, n);
    else
        listener.event(client, bytes, n);
}

// Every frame has a mask of its own, as the protocol wants it; where it comes from does not matter here.
static uint32_t next_mask(void) {
    static uint32_t x = 2463534242u;
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return x;
}

// Puts the header before the payload, masks that, and returns where the frame begins. It ends where the payload does.
static char *make_frame(int opcode, char *payload, size_t n) {
    char header[FRAME_HEADER_MAX];
    size_t size = frame_header(header, opcode, n, 0x80);
    uint32_t mask = next_mask();
    memcpy(header + size, &mask, 4);
    frame_mask(payload, n, mask);
    char *start = payload - size - 4;
    memcpy(start, header, size + 4);
    return start;
}

static void send_frame(Connection *c, int opcode, char *payload, size_t n) {
    char *start = make_frame(opcode, payload, n);
    connection_write(c, start, (size_t)(payload + n - start));
}

static void take_control(Client *client, const Frame *f, const char *payload) {
    char room[FRAME_HEADER_MAX + 125];
    switch (f->opcode) {
    case PING:
        memcpy(room + FRAME_HEADER_MAX, payload, f->length);
        send_frame(&client->line, PONG, room + FRAME_HEADER_MAX, f->length);
        return;
    case PONG: return;
    case CLOSE: die("a server closed a WebSocket with code %d",
                    f->length < 2 ? 1005 : (unsigned char)payload[0] << 8 | (unsigned char)payload[1]);
    default: die("unexpected WebSocket frame, opcode %d%s", f->opcode, f->final ? "" : ", fragmented");
    }
}

static size_t consume_frames(Connection *c, char *data, size_t n) {
    Client *client = c->owner;
    size_t at = 0;
    Frame f;
    while (frame_read(data + at, n - at, &f) && n - at >= f.header + f.length) {
        char *payload = data + at + f.header;
        if (f.masked) die("a server sent a masked frame");
        if (LIKELY(f.opcode == TEXT && f.final))
            take_packet(client, payload, f.length);
        else if (LIKELY(f.opcode == BINARY && f.final))
            take_bytes(client, payload, f.length);
        else
            take_control(client, &f, payload);
        at += f.header + f.length;
    }
    return at;
}

static size_t consume_upgrade(Connection *c, char *data, size_t n) {
    Response response;
    if (!http_read(data, n, true, &response)) return 0;
    if (response.status != 101) die("a server refused the WebSocket: %.*s", (int)(n < 200 ? n : 200), data);
    c->consume = consume_frames;
    return response.size + consume_frames(c, data + response.size, n - response.size);
}

// ---- long-polling: one connection for the polls, another for what is sent, as browsers do it

static size_t consume_poll(Connection *c, char *data, size_t n);

static void send_poll(Client *client) {
    if (*client->sid && client->hop) {
        client->hop = 0;
        connection_close(&client->line);
        client->line = (Connection){.owner = client, .consume = consume_poll};
        connection_open(&client->line, client->port, client->index);
    }
    char request[256 + SID_MAX];
    int n = snprintf(request, sizeof request,
                     "GET /socket.io/?EIO=4&transport=polling%s%s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAccept: */*\r\n\r\n",
                     *client->sid ? "&sid=" : "", client->sid, client->port);
    connection_write(&client->line, request, (size_t)n);
}

static size_t consume_post(Connection *c, char *data, size_t n);
static void post_closed(Connection *c);

static void send_post(Client *client) {
    if (client->post.fd < 0) {
        client->post = (Connection){.owner = client, .consume = consume_post, .closed = post_closed};
        connection_open(&client->post, client->port, client->index);
    }
    char head[256 + SID_MAX];
    int n = snprintf(head, sizeof head,
                     "POST /socket.io/?EIO=4&transport=polling&sid=%s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAccept: */*\r\n"
                     "Content-Type: text/plain;charset=UTF-8\r\nContent-Length: %zu\r\n\r\n",
                     client->sid, client->port, client->queue_size);
    // Head and body go in one write; two would let the server see half a request.
    client->queue = grow(client->queue, client->queue_size + (size_t)n);
    memmove(client->queue + n, client->queue, client->queue_size);
    memcpy(client->queue, head, (size_t)n);
    connection_write(&client->post, client->queue, client->queue_size + (size_t)n);
    client->queue_size = 0;
    client->post_under_way = true;
}

static void queue_packet(Client *client, const char *packet, size_t n) {
    client->queue = grow(client->queue, client->queue_size + n + 1);
    if (client->queue_size) client->queue[client->queue_size++] = SEPARATOR;
    memcpy(client->queue + client->queue_size, packet, n);
    client->queue_size += n;
    if (!client->post_under_way) send_post(client);
}

static size_t consume_post(Connection *c, char *data, size_t n) {
    Client *client = c->owner;
    Response response;
    if (!http_read(data, n, false, &response)) return 0;
    if (response.status != 200)
        die("a POST was answered with status %d: %.*s", response.status, (int)response.length, response.body);
    client->post_under_way = false;
    if (client->queue_size) send_post(client);
    return response.size;
}

// A server may close a connection that idles between two requests; the next POST opens another.
static void post_closed(Connection *c) {
    Client *client = c->owner;
    if (client->post_under_way) die("a server closed a connection with a POST under way");
    connection_close(c);
}

static size_t consume_poll(Connection *c, char *data, size_t n) {
    Client *client = c->owner;
    Response response;
    if (!http_read(data, n, false, &response)) return 0;
    if (response.status != 200)
        die("a poll was answered with status %d: %.*s", response.status, (int)response.length, response.body);
    for (char *p = response.body, *end = p + response.length; p < end;) {
        char *next = memchr(p, SEPARATOR, (size_t)(end - p));
        if (!next) next = end;
        take_packet(client, p, (size_t)(next - p));
        p = next + 1;
    }
    send_poll(client);
    return response.size;
}

// ---- both

void client_send(Client *client, char *packet, size_t n) {
    if (client->polling)
        queue_packet(client, packet, n);
    else
        send_frame(&client->line, speaks_msgpack ? BINARY : TEXT, packet, n);
}

void client_send_bytes(Client *client, char *packet, size_t n, char *bytes, size_t size) {
    char *first = make_frame(TEXT, packet, n), *second = make_frame(BINARY, bytes, size);
    size_t length = (size_t)(packet + n - first);
    // The attachment is the long one: the packet's frame is put before it.
    memcpy(second - length, first, length);
    connection_write(&client->line, second - length, length + (size_t)(bytes + size - second));
}

static void line_reset(Connection *c) {
    connection_close(c);
    listener.reset(c->owner);
}

void client_open(Client *client) {
    if (!client->opened_at) client->opened_at = now_us();
    client->line = (Connection){.owner = client, .consume = client->polling ? consume_poll : consume_upgrade};
    if (!client->polling) client->line.reset = line_reset;
    client->post.fd = -1;
    connection_open(&client->line, client->port, client->index);
    if (client->polling) {
        send_poll(client);
        return;
    }
    char request[256];
    int n = snprintf(request, sizeof request,
                     "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\n"
                     "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                     "Sec-WebSocket-Version: 13\r\n\r\n",
                     client->port);
    connection_write(&client->line, request, (size_t)n);
}
