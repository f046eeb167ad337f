#include "connection.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "ring.h"
#include "util.h"

#define READ_SIZE (256 * 1024)
#define REST_MAX (1024 * 1024)
#define OUT_MAX (16 * 1024 * 1024)
#define EVENTS 512
// connect() tries the even ports of an address first, some 14,000; beyond them each search is long, and slower than a server.
#define CONNECTIONS_PER_ADDRESS 10000
#define BATCH_FROM 8                  // sockets for which one call for all costs less than one for each
#define BATCH_READ (16 * 1024)

LoopCounters loop;
static int epoll_fd, timer_fd;
// Every connection reads into this one buffer, which therefore stays in the processor's cache; what a connection could not
// use yet waits in its own `rest` and is put in front of the next read.
static char buffer[REST_MAX + READ_SIZE];
static char batch[RING_READS][BATCH_READ + 192]; // and not a power of two apart, which would be the same lines of a cache
static bool uses_tls, has_ring;

void loop_init(bool tls, bool large) {
    uses_tls = tls;
    if (tls) tls_init();
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll_fd < 0 || timer_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, timer_fd, &event)) die("cannot set up epoll");
    has_ring = !tls && !large && ring_init();
}

void loop_wake_at(int64_t time_us) {
    struct itimerspec when = {.it_value = {time_us / 1000000, time_us % 1000000 * 1000}};
    timerfd_settime(timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

static void watch(Connection *c, int operation, bool write) {
    struct epoll_event event = {.events = EPOLLIN | (write ? EPOLLOUT : 0), .data.ptr = c};
    if (epoll_ctl(epoll_fd, operation, c->fd, &event)) die("epoll_ctl: %s", strerror(errno));
    c->waits_to_write = write;
}

static void bind_local(int fd, int number) {
    struct sockaddr_in local = {.sin_family = AF_INET};
    local.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 0x100 + (uint32_t)(number / CONNECTIONS_PER_ADDRESS));
    int on = 1;
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&local, sizeof local)) die("bind: %s", strerror(errno));
}

void connection_open(Connection *c, int port, int number) {
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) die("socket: %s (see ulimit -n)", strerror(errno));
    int on = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    bind_local(c->fd, number);
    struct sockaddr_in peer = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    peer.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(c->fd, (struct sockaddr *)&peer, sizeof peer) && errno != EINPROGRESS)
        die("cannot connect to port %d: %s", port, strerror(errno));
    if (uses_tls) c->tls = tls_open(c->fd);
    watch(c, EPOLL_CTL_ADD, false);
}

void connection_close(Connection *c) {
    if (c->tls) tls_close(c->tls);
    if (c->fd >= 0) close(c->fd);
    c->tls = NULL;
    free(c->rest);
    free(c->out);
    c->fd = -1;
    c->rest = c->out = NULL;
    c->rest_size = c->out_size = c->out_capacity = 0;
    c->waits_to_write = false;
}

// Bytes wait: for the socket to take more, or in TLS for what the peer has to say first.
static void watch_for_room(Connection *c) {
    bool write = !c->tls || !tls_waits_for_peer(c->tls);
    if (c->waits_to_write != write) watch(c, EPOLL_CTL_MOD, write);
}

// As much as the socket takes now, or -errno.
static ssize_t try_to_write(Connection *c, const char *data, size_t n) {
    if (c->tls) return tls_write(c->tls, data, n);
    ssize_t sent = send(c->fd, data, n, MSG_NOSIGNAL);
    return sent < 0 ? -errno : sent;
}

static bool was_reset(const Connection *c, ssize_t result) {
    return c->reset && (result == -ECONNRESET || result == -EPIPE);
}

static void write_failed(Connection *c, ssize_t result) {
    if (!was_reset(c, result)) die("send: %s", strerror((int)-result));
    c->reset(c);
}

static void keep_for_later(Connection *c, const char *data, size_t n) {
    if (c->out_size + n > OUT_MAX) die("a server stopped reading: %d MiB wait for one connection", OUT_MAX >> 20);
    if (c->out_size + n > c->out_capacity) {
        c->out_capacity = (c->out_size + n) * 2;
        c->out = grow(c->out, c->out_capacity);
    }
    memcpy(c->out + c->out_size, data, n);
    c->out_size += n;
    watch_for_room(c);
}

// A full socket buffer must not be waited for: the server may itself be waiting for us to read.
void connection_write(Connection *c, const char *data, size_t n) {
    if (!c->out_size) {
        ssize_t sent = try_to_write(c, data, n);
        if (sent == (ssize_t)n) return;
        if (sent < 0 && sent != -EAGAIN && sent != -ENOTCONN) {
            write_failed(c, sent);
            return;
        }
        if (sent > 0) data += sent, n -= (size_t)sent;
    }
    keep_for_later(c, data, n);
}

static void write_waiting(Connection *c) {
    ssize_t sent = try_to_write(c, c->out, c->out_size);
    if (sent < 0 && sent != -EAGAIN) {
        write_failed(c, sent);
        return;
    }
    if (sent > 0) {
        c->out_size -= (size_t)sent;
        memmove(c->out, c->out + sent, c->out_size);
    }
    if (c->out_size)
        watch_for_room(c);
    else if (c->waits_to_write)
        watch(c, EPOLL_CTL_MOD, false);
}

static void keep_rest(Connection *c, const char *data, size_t n) {
    if (n > REST_MAX) die("a message is larger than %d KiB", REST_MAX >> 10);
    if (n > c->rest_size) c->rest = grow(c->rest, n);
    memcpy(c->rest, data, n);
    c->rest_size = n;
}

// `data` has `before` bytes that were not used yet, and behind them what recv() gave as `got`.
static void take(Connection *c, char *data, size_t before, ssize_t got) {
    if (was_reset(c, got)) {
        c->reset(c);
        return;
    }
    if (got <= 0) {
        if (!c->closed) die("a server closed a connection: %s", got ? strerror((int)-got) : "end of stream");
        c->closed(c);
        return;
    }
    loop.reads++;
    size_t n = before + (size_t)got, used = c->consume(c, data, n);
    if (c->fd < 0) return; // closed by its consumer
    if (used < n)
        keep_rest(c, data + used, n - used);
    else if (before)
        free(c->rest), c->rest = NULL, c->rest_size = 0;
}

static void read_one(Connection *c) {
    size_t before = c->rest_size;
    if (before) memcpy(buffer, c->rest, before);
    ssize_t got = recv(c->fd, buffer + before, READ_SIZE, 0);
    if (got < 0 && errno == EAGAIN) return;
    loop.read_at = now_us();
    take(c, buffer, before, got < 0 ? -errno : got);
}

// A socket has a part of a record, or many of them: read until there is none, since the rest would not wake us again.
static void read_tls(Connection *c) {
    for (bool more = true; more && c->fd >= 0;) {
        size_t before = c->rest_size, got = 0;
        ssize_t n = 0;
        while (got + TLS_RECORD_MAX <= READ_SIZE && (n = tls_read(c->tls, buffer + before + got, READ_SIZE - got)) > 0) got += (size_t)n;
        more = n > 0;
        if (got) {
            if (before) memcpy(buffer, c->rest, before);
            loop.read_at = now_us();
            take(c, buffer, before, (ssize_t)got);
        }
        if (c->fd >= 0 && n <= 0 && n != -EAGAIN) take(c, buffer, 0, n);
    }
    if (c->fd >= 0 && c->out_size) write_waiting(c); // what it waited for may have come
}

// At most RING_READS of them. What does not fit into a buffer comes with the next turn.
static void read_batch(Connection **connections, int count) {
    int fds[RING_READS], results[RING_READS];
    char *buffers[RING_READS];
    for (int i = 0; i < count; i++) fds[i] = connections[i]->fd, buffers[i] = batch[i];
    ring_receive(count, fds, buffers, BATCH_READ, results);
    loop.read_at = now_us();
    for (int i = 0; i < count; i++) {
        Connection *c = connections[i];
        size_t before = c->rest_size;
        if (fds[i] < 0 || c->fd != fds[i] || results[i] == -EAGAIN) continue; // closed, maybe by what another one was told
        if (before && results[i] > 0) {
            memcpy(buffer, c->rest, before);
            memcpy(buffer + before, batch[i], (size_t)results[i]);
        }
        take(c, before ? buffer : batch[i], before, results[i]);
    }
}

static void read_all(Connection **connections, int count) {
    if (!has_ring || count < BATCH_FROM)
        for (int i = 0; i < count; i++) {
            if (connections[i]->fd >= 0) (uses_tls ? read_tls : read_one)(connections[i]);
        }
    else
        for (int i = 0; i < count; i += RING_READS) read_batch(connections + i, count - i < RING_READS ? count - i : RING_READS);
}

void loop_turn(int timeout_ms) {
    struct epoll_event events[EVENTS];
    Connection *readable[EVENTS];
    int count = epoll_wait(epoll_fd, events, EVENTS, timeout_ms), readables = 0;
    for (int i = 0; i < count; i++) {
        Connection *c = events[i].data.ptr;
        if (!c) { // the timer: reading it is what disarms it
            uint64_t ticks;
            if (read(timer_fd, &ticks, sizeof ticks) < 0 && errno != EAGAIN) die("timer: %s", strerror(errno));
            continue;
        }
        if (c->fd >= 0 && events[i].events & EPOLLOUT && c->out_size) write_waiting(c);
        if (events[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP)) readable[readables++] = c;
    }
    read_all(readable, readables);
}
