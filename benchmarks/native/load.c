// A load generator for Socket.IO servers: opens the connections, runs the traffic for a while, and prints what it measured
// as one JSON object. One thread and epoll; see options.c for the command line and ../README.md for what it is used for.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "client.h"
#include "options.h"
#include "process.h"
#include "traffic.h"
#include "util.h"

#define CONNECT_PATIENCE_US 120000000 // for all connections together
#define STALL_US 10000000             // a closed loop in which nothing arrives for so long has failed
#define AGAIN_US 1000000              // after which a connection that was reset is opened again
#define LINGER_US 200000
#define LARGE 4096                    // bytes of a text that the ring's buffers would cut too often
#define SETTLE_US 300000              // longer than TCP holds an acknowledgement back
#define DRAIN_US 2000000              // the time after the last arrival for which late messages are waited for

static Options options;
static Client *clients;

static void wait_us(int64_t time) {
    for (int64_t end = now_us() + time; now_us() < end;) loop_turn(10);
}

// ---- connecting

static struct {
    int opened, ready, joined, resets;
    Client **again; // in a ring: those whose connection was reset, to be opened again in this order
    int64_t *again_at;
    long again_first, again_last;
    double seconds, own_cpu, rss_kib;
    Histogram times;
} connecting;

static void open_next(void) {
    if (connecting.opened == options.clients + options.idle) return;
    Client *c = &clients[connecting.opened++];
    c->index = (int)(c - clients);
    // In blocks, so that the members of one room are on one server where rooms are to be kept apart.
    int block = (int)((long)c->index * options.port_count / (options.clients + options.idle));
    c->port = options.ports[block];
    c->polling = options.polling;
    if (options.hop) c->hop = options.ports[(block + 1) % options.port_count];
    client_open(c);
}

static void on_ready(Client *client) {
    connecting.ready++;
    histogram_add(&connecting.times, now_us() - client->opened_at);
    open_next();
}

// A server that has no room for so many new connections at once resets some. Theirs is the delay of the official client.
static void on_reset(Client *client) {
    long place = connecting.again_last++ % (options.clients + options.idle);
    connecting.again[place] = client;
    connecting.again_at[place] = now_us() + AGAIN_US;
    connecting.resets++;
}

static void open_again(void) {
    int64_t now = now_us();
    while (connecting.again_first < connecting.again_last) {
        long place = connecting.again_first % (options.clients + options.idle);
        if (connecting.again_at[place] > now) return;
        connecting.again_first++;
        client_open(connecting.again[place]);
    }
}

static void connect_all(void) {
    connecting.again = make((size_t)(options.clients + options.idle), sizeof *connecting.again);
    connecting.again_at = make((size_t)(options.clients + options.idle), sizeof *connecting.again_at);
    double rss = processes_rss(&options.servers), cpu = own_cpu();
    int64_t start = now_us();
    for (int i = 0; i < options.handshakes; i++) open_next();
    int wanted = options.clients + options.idle;
    while (connecting.ready < wanted) {
        loop_turn(20);
        open_again();
        if (now_us() - start > CONNECT_PATIENCE_US) die("%d of %d clients connected in time", connecting.ready, wanted);
    }
    connecting.seconds = (double)(now_us() - start) / 1e6;
    connecting.own_cpu = own_cpu() - cpu;
    wait_us((int64_t)(options.hold * 1e6));
    connecting.rss_kib = processes_rss(&options.servers) - rss;
}

// ---- rooms

// Room r has the clients r*K ... r*K+K-1, counted round and round; so the m-th room of client i is (i + m*N) / K.
static long next_room(const Client *c) {
    long room = (c->index + (long)c->joins * options.clients) / options.members;
    return room < options.rooms ? room : -1;
}

static void join_next(Client *client) {
    long room = next_room(client);
    if (room < 0) {
        connecting.joined++;
        return;
    }
    char space[128], *packet = space + 32;
    int n = snprintf(packet, sizeof space - 32, "42%d[\"join\",\"room-%ld\"]", client->joins, room);
    client_send(client, packet, (size_t)n);
}

static void on_joined(Client *client, uint32_t id, const char *packet, size_t n) {
    (void)id, (void)packet, (void)n;
    client->joins++;
    join_next(client);
}

static void join_all(void) {
    listener.ack = on_joined;
    for (int i = 0; i < options.clients; i++) join_next(&clients[i]);
    int64_t start = now_us();
    while (connecting.joined < options.clients) {
        loop_turn(100);
        if (now_us() - start > CONNECT_PATIENCE_US) die("%d of %d clients joined in time", connecting.joined, options.clients);
    }
    // A connection that has answered at once, here by joining the next room, acknowledges late, within the other side's
    // writes and at its expense, until an acknowledgement was once overdue. A pause makes one overdue on each of them:
    // else a room would cost more only because its members had joined another before.
    wait_us(SETTLE_US);
    listener.ack = traffic_ack;
}

// ---- measuring

typedef struct {
    int64_t at;
    double own_cpu, server_cpu[MAX_PIDS], server_user_cpu;
    uint64_t sent, received, reads;
} Reading;

static Reading take_reading(void) {
    Reading r = {.at = now_us(), .own_cpu = own_cpu(), .sent = traffic.sent, .received = traffic.received, .reads = loop.reads};
    for (int i = 0; i < options.servers.count; i++) {
        r.server_cpu[i] = process_cpu(options.servers.pids[i]);
        r.server_user_cpu += process_user_cpu(options.servers.pids[i]);
    }
    return r;
}

// Run until `end`; in an open loop publish what becomes due.
static void run_until(int64_t start, int64_t end) {
    uint64_t received = traffic.received;
    int64_t last_arrival = now_us(), now;
    while ((now = now_us()) < end) {
        if (options.rate > 0) traffic_publish_due(start);
        loop_turn(100);
        if (traffic.received != received) received = traffic.received, last_arrival = now;
        if (now - last_arrival > STALL_US && options.rate == 0) die("no message arrived for %d s", STALL_US / 1000000);
    }
}

static void drain(void) {
    traffic.stopped = true;
    uint64_t received = traffic.received;
    int64_t last_arrival = now_us();
    while (traffic.order.unique < traffic.expected && now_us() - last_arrival < DRAIN_US) {
        loop_turn(50);
        if (traffic.received != received) received = traffic.received, last_arrival = now_us();
    }
    wait_us(LINGER_US); // everything may be there, and second copies still on their way
}

static void measure(Reading *first, Reading *last) {
    int64_t start = now_us();
    if (options.rate == 0) traffic_start();
    run_until(start, start + (int64_t)(options.warmup * 1e6));
    traffic.measuring = true;
    *first = take_reading();
    run_until(start, start + (int64_t)((options.warmup + options.seconds) * 1e6));
    *last = take_reading();
    traffic.measuring = false;
    drain();
}

// ---- reporting

static void print_latency(const char *name, const Histogram *h) {
    printf("\"%s\":{\"p50\":%.3f,\"p90\":%.3f,\"p99\":%.3f,\"max\":%.3f,\"samples\":%lu},", name, histogram_quantile_ms(h, .5),
           histogram_quantile_ms(h, .9), histogram_quantile_ms(h, .99), (double)h->max / 1000, (unsigned long)h->total);
}

static void print_connecting(void) {
    printf("\"mode\":\"%s\",\"transport\":\"%s\",\"clients\":%d,", options.mode_name, options.polling ? "polling" : "websocket",
           options.clients);
    int opened = options.clients + options.idle;
    printf("\"idle\":%d,\"tls\":%d,\"connects_per_s\":%.1f,\"connect_load_cpu\":%.3f,\"resets\":%d,", options.idle, options.tls, opened / connecting.seconds,
           connecting.own_cpu / connecting.seconds, connecting.resets);
    print_latency("connect_ms", &connecting.times);
    printf("\"rss_kib_per_connection\":%.2f,", connecting.rss_kib / opened);
}

static void print_traffic(const Reading *a, const Reading *b) {
    double seconds = (double)(b->at - a->at) / 1e6, server_cpu = 0;
    uint64_t received = b->received - a->received, reads = b->reads - a->reads;
    printf("\"publishers\":%d,\"window\":%d,\"rate\":%.1f,\"payload\":%d,", options.publishers, options.rate > 0 ? 0 : options.window,
           options.rate, options.payload);
    printf("\"seconds\":%.3f,\"sent_per_s\":%.1f,\"received_per_s\":%.1f,\"frames_per_read\":%.2f,", seconds,
           (double)(b->sent - a->sent) / seconds, (double)received / seconds, reads ? (double)received / (double)reads : 0);
    printf("\"server_cpus\":[");
    for (int i = 0; i < options.servers.count; i++) {
        double used = b->server_cpu[i] - a->server_cpu[i];
        server_cpu += used;
        printf("%s%.3f", i ? "," : "", used / seconds);
    }
    printf("],\"server_cpu\":%.3f,\"server_user_cpu\":%.3f,\"load_cpu\":%.3f,", server_cpu / seconds,
           (b->server_user_cpu - a->server_user_cpu) / seconds, (b->own_cpu - a->own_cpu) / seconds);
    print_latency("latency_ms", &traffic.latency);
    print_latency("send_lag_ms", &traffic.send_lag);
    printf("\"expected\":%lu,\"lost\":%lu,\"duplicates\":%lu,\"reordered\":%lu,\"misdelivered\":%lu", (unsigned long)traffic.expected,
           (unsigned long)(traffic.expected - traffic.order.unique), (unsigned long)traffic.order.duplicates,
           (unsigned long)traffic.order.reordered, (unsigned long)traffic.misdelivered);
}

// ----

static void raise_open_files_limit(void) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

int main(int argc, char **argv) {
    options = options_parse(argc, argv);
    raise_open_files_limit();
    loop_init(options.tls, options.payload >= LARGE);
    if (options.msgpack) client_speak_msgpack();
    clients = make((size_t)(options.clients + options.idle), sizeof *clients);
    traffic_init(&options, clients);
    listener = (Listener){on_ready, on_reset, traffic_event, traffic_ack};
    connect_all();
    printf("{");
    print_connecting();
    if (options.mode != CONNECT) {
        Reading first, last;
        if (options.mode == ROOMS) join_all();
        measure(&first, &last);
        print_traffic(&first, &last);
    } else {
        printf("\"load_cpu\":%.3f", connecting.own_cpu / connecting.seconds);
    }
    printf("}\n");
    return 0;
}
