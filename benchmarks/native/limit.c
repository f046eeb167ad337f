// The floor: the benchmark's server in C, with nothing that a real server needs. It has one room, no heartbeat, no bounds and
// no errors; it shows what the kernel alone costs, and so how much of a server's time is the server's own.
//
//     limit PORT message    one write per client and message
//     limit PORT turn       one write per client and turn of the loop
//
// A third argument is the size of its buffers, for texts that do not fit into 8 KiB.
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "frames.h"
#include "util.h"

#define INPUT_SIZE 8192
#define INPUT_MAX 65536
#define PACKET_MAX (INPUT_MAX + 128)
#define BLOB_MAX (8 << 20)
#define EVENTS 512

typedef struct {
    int fd, place; // where it stands in `members`; -1: not in the room
    bool upgraded;
    size_t size;
    char input[]; // input_size of them
} Peer;

static Peer **members;
static int member_count, member_capacity;
static char *blob; // what this turn says to the room
static size_t blob_size;
static bool by_turn;
static size_t input_size = INPUT_SIZE;
static char name[16];

static void send_all(int fd, const char *data, size_t n) {
    while (n) {
        ssize_t sent = send(fd, data, n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno != EAGAIN) return; // its reader will notice
        if (sent < 0) poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, -1);
        if (sent > 0) data += sent, n -= (size_t)sent;
    }
}

static size_t write_frame(char *out, const char *packet, size_t n) {
    size_t size = frame_header(out, 1, n, 0);
    memcpy(out + size, packet, n);
    return size + n;
}

static void send_packet(const Peer *p, const char *packet, size_t n) {
    char frame[PACKET_MAX + FRAME_HEADER_MAX];
    send_all(p->fd, frame, write_frame(frame, packet, n));
}

static void tell_room(void) {
    for (int i = 0; i < member_count; i++) send_all(members[i]->fd, blob, blob_size);
    blob_size = 0;
}

static void enter(Peer *p) {
    if (member_count == member_capacity) {
        member_capacity = member_capacity * 2 + 64;
        members = grow(members, (size_t)member_capacity * sizeof *members);
    }
    p->place = member_count;
    members[member_count++] = p;
    static const char reply[] = "40{\"sid\":\"x\"}";
    send_packet(p, reply, sizeof reply - 1);
}

static void leave(Peer *p) {
    if (p->place >= 0) {
        members[p->place] = members[--member_count];
        members[p->place]->place = p->place;
    }
    close(p->fd);
    free(p);
}

// 42["chat","<text>"] becomes 42["chat-message","<name>: <text>"] to the room.
static void on_chat(const char *packet, size_t n) {
    const char *text = (const char *)memchr(packet, ',', n) + 2;
    size_t rest = n - (size_t)(text - packet);
    char out[PACKET_MAX];
    int head = snprintf(out, 128, "42[\"chat-message\",\"%s: ", name);
    memcpy(out + head, text, rest);
    blob_size += write_frame(blob + blob_size, out, (size_t)head + rest);
    if (!by_turn || blob_size > BLOB_MAX - PACKET_MAX - FRAME_HEADER_MAX) tell_room();
}

// 42<id>["echo","<text>"] becomes 43<id>["<text>"].
static void on_echo(const Peer *p, const char *packet, size_t n) {
    size_t id = (size_t)((const char *)memchr(packet, '[', n) - packet);
    const char *text = (const char *)memchr(packet, ',', n) + 1;
    size_t rest = n - (size_t)(text - packet);
    char out[PACKET_MAX];
    memcpy(out, packet, id);
    out[1] = '3';
    out[id] = '[';
    memcpy(out + id + 1, text, rest);
    send_packet(p, out, id + 1 + rest);
}

static void on_packet(Peer *p, const char *packet, size_t n) {
    if (n < 2 || packet[0] != '4') return;
    if (packet[1] == '0')
        enter(p);
    else if (packet[1] == '2' && packet[2] == '[')
        on_chat(packet, n);
    else if (packet[1] == '2')
        on_echo(p, packet, n);
}

static size_t take_frames(Peer *p) {
    size_t at = 0;
    Frame f;
    while (frame_read(p->input + at, p->size - at, &f) && p->size - at >= f.header + 4 + f.length) {
        char *payload = p->input + at + f.header + 4;
        uint32_t mask;
        memcpy(&mask, payload - 4, 4);
        frame_mask(payload, f.length, mask);
        on_packet(p, payload, f.length);
        at += f.header + 4 + f.length;
    }
    return at;
}

// The load generator always sends the same key, so the answer is always the same too.
static size_t take_upgrade(Peer *p) {
    char *end = memmem(p->input, p->size, "\r\n\r\n", 4);
    if (!end) return 0;
    static const char answer[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                                 "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    static const char open[] = "0{\"sid\":\"x\",\"upgrades\":[],\"pingInterval\":25000,\"pingTimeout\":20000,"
                               "\"maxPayload\":1000000}";
    send_all(p->fd, answer, sizeof answer - 1);
    send_packet(p, open, sizeof open - 1);
    p->upgraded = true;
    return (size_t)(end + 4 - p->input);
}

// Returns false when the peer is gone.
static bool read_peer(Peer *p) {
    ssize_t got = recv(p->fd, p->input + p->size, input_size - p->size, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) return true;
    if (got <= 0) return false;
    p->size += (size_t)got;
    size_t used = p->upgraded ? take_frames(p) : take_upgrade(p);
    p->size -= used;
    memmove(p->input, p->input + used, p->size);
    return p->size < input_size;
}

static int listen_on(int port) {
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 4096)) die("cannot listen on port %d", port);
    return fd;
}

static void accept_peer(int epoll_fd, int listener) {
    int fd = accept(listener, NULL, NULL), on = 1;
    if (fd < 0) return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    Peer *p = make(1, sizeof *p + input_size);
    p->fd = fd;
    p->place = -1;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = p};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

int main(int argc, char **argv) {
    if (argc < 3) die("usage: limit PORT message|turn [BYTES]");
    if (argc > 3) input_size = (size_t)atoi(argv[3]);
    if (input_size < 1024 || input_size > INPUT_MAX) die("buffers of 1,024 to %d bytes", INPUT_MAX);
    by_turn = !strcmp(argv[2], "turn");
    snprintf(name, sizeof name, "%s", argv[1]);
    blob = make(1, BLOB_MAX);
    struct rlimit files = {0};
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    int listener = listen_on(atoi(argv[1])), epoll_fd = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        struct epoll_event events[EVENTS];
        int count = epoll_wait(epoll_fd, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            Peer *p = events[i].data.ptr;
            if (!p)
                accept_peer(epoll_fd, listener);
            else if (!read_peer(p))
                leave(p);
        }
        if (blob_size) tell_room();
    }
}
