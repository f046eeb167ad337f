#include "traffic.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frames.h"
#include "msgpack.h"
#include "stamp.h"
#include "util.h"

#define HEAD_MAX 128
// One latency in so many is kept in a closed loop, where there are millions. A prime, so that it meets every client in turn.
#define SAMPLE_STRIDE 17

Traffic traffic;
static const Options *options;
static Client *clients;
// The text is written in place; its head, whose length varies, goes right-aligned before it, and the frame before that. Before
// bytes there is room for both frames, and their packet is written elsewhere.
static char *message, *text;
static size_t tail; // of a packet behind the text
static int until_sample;

void traffic_init(const Options *o, Client *all) {
    options = o;
    clients = all;
    message = make(1, 2 * FRAME_HEADER_MAX + HEAD_MAX + (size_t)o->payload + 2);
    text = message + 2 * FRAME_HEADER_MAX + HEAD_MAX;
    tail = o->msgpack || o->binary ? 0 : 2;
    // A client hears every publisher in `fanout`, and one at most in `rooms` and `echo`.
    order_init(&traffic.order, o->clients, o->mode == FANOUT ? o->publishers : 1);
}

static Client *client_of(int publisher) {
    switch (options->mode) {
    case ROOMS: return &clients[publisher * options->members];
    case ECHO: return &clients[publisher];
    default: return &clients[(long)publisher * options->clients / options->publishers];
    }
}

static int listeners_of_a_message(void) {
    return options->mode == FANOUT ? options->clients : options->mode == ROOMS ? options->members : 1;
}

static const char *event_name(void) { return options->mode == ECHO ? options->event : options->binary ? "bytes" : "chat"; }

static int write_head(char *out, int publisher, uint32_t sequence) {
    if (options->msgpack)
        return (int)msgpack_write_head(out, event_name(), options->mode == ECHO ? sequence : 0, (size_t)options->payload);
    char id[16] = "";
    if (options->mode == ECHO) snprintf(id, sizeof id, "%u", sequence);
    if (options->mode == ROOMS) return snprintf(out, HEAD_MAX, "42[\"say\",\"room-%d\",\"", publisher);
    if (options->binary)
        return snprintf(out, HEAD_MAX, "451-%s[\"%s\",{\"_placeholder\":true,\"num\":0}]", id, event_name());
    return snprintf(out, HEAD_MAX, "42%s[\"%s\",\"", id, event_name());
}

static void publish(int publisher, int64_t time_us) {
    Client *client = client_of(publisher);
    uint32_t sequence = ++client->sequence;
    char space[FRAME_HEADER_MAX + HEAD_MAX], *head = space + FRAME_HEADER_MAX;
    size_t head_size = (size_t)write_head(head, publisher, sequence);
    size_t size = (size_t)options->payload;
    memset(text + STAMP_SIZE, 'x', size - STAMP_SIZE); // masking has overwritten the last one
    stamp_write(text, (uint32_t)publisher, sequence, time_us);
    traffic.sent++;
    traffic.expected += (uint64_t)listeners_of_a_message();
    if (options->binary) {
        client_send_bytes(client, head, head_size, text, size);
        return;
    }
    memcpy(text - head_size, head, head_size);
    memcpy(text + size, "\"]", tail);
    client_send(client, text - head_size, head_size + size + tail);
}

void traffic_start(void) {
    for (int w = 0; w < options->window; w++)
        for (int p = 0; p < options->publishers; p++) publish(p, now_us());
}

// A message's time is when it was due, not when it went out: a server that holds us up must not thereby hide its delay.
void traffic_publish_due(int64_t started_us) {
    double interval = 1e6 / options->rate;
    int64_t now = now_us(), due;
    while ((due = started_us + (int64_t)((double)traffic.sent * interval)) <= now) {
        if (traffic.measuring) histogram_add(&traffic.send_lag, now - due);
        publish((int)(traffic.sent % (uint64_t)options->publishers), due);
    }
    loop_wake_at(due);
}

static inline bool should_sample(void) {
    if (!traffic.measuring || (until_sample-- > 0 && options->rate == 0)) return false;
    until_sample = SAMPLE_STRIDE - 1;
    return true;
}

// `at` is the stamp of a text that `client` got.
static inline void take_text(Client *client, const char *at, int column, uint32_t publisher) {
    uint64_t duplicates = traffic.order.duplicates;
    order_seen(&traffic.order, client->index, column, stamp_sequence(at));
    traffic.received++;
    if (should_sample()) histogram_add(&traffic.latency, loop.read_at - stamp_time(at));
    bool again = options->rate == 0 && !traffic.stopped && client == client_of((int)publisher);
    if (again && traffic.order.duplicates == duplicates) publish((int)publisher, now_us());
}

#define OFFSET_MAX 40

// The text stands at the end of a packet: ..."<text>"] with one bracket, whatever the server put before it. A server that
// lets clients come back to what they missed puts an offset behind it: ..."<text>","<offset>"]. In msgpack it is the end of the
// arguments, and bytes are all there is.
static inline const char *stamp_in(const char *packet, size_t n) {
    if (n < (size_t)options->payload + tail) return NULL;
    if (!tail) return packet + n - options->payload;
    if (packet[n - 1] != ']') return NULL;
    const char *quote = options->payload > OFFSET_MAX ? memrchr(packet + n - 2 - OFFSET_MAX, '"', OFFSET_MAX) : NULL;
    return (quote && quote[-1] == ',' ? quote - 2 : packet + n - 2) - options->payload;
}

void traffic_event(Client *client, const char *packet, size_t n) {
    const char *at = stamp_in(packet, n);
    if (!at || options->mode == ECHO) return; // an event of the server's own
    uint32_t publisher = stamp_publisher(at);
    if (publisher >= (uint32_t)options->publishers) die("an unknown publisher in: %.*s", (int)n, packet);
    if (options->mode == FANOUT) {
        take_text(client, at, (int)publisher, publisher);
    } else if (client->index / options->members == (int)publisher) {
        take_text(client, at, 0, publisher);
    } else {
        traffic.misdelivered++;
    }
}

void traffic_ack(Client *client, uint32_t id, const char *packet, size_t n) {
    const char *at = stamp_in(packet, n);
    if (!at || options->mode != ECHO) die("unexpected ack: %.*s", (int)(n < 80 ? n : 80), packet);
    bool right = stamp_publisher(at) == (uint32_t)client->index && stamp_sequence(at) == id;
    if (!right) {
        traffic.misdelivered++;
        return;
    }
    take_text(client, at, 0, (uint32_t)client->index);
}
