// One non-blocking TCP connection to 127.0.0.1 and the loop that drives all of them. Knows bytes, no protocol.
#ifndef CONNECTION_H
#define CONNECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tls.h"

typedef struct Connection Connection;

struct Connection {
    int fd;   // -1: not open
    Tls *tls; // NULL: plain
    void *owner;
    // Takes what arrived and returns how many bytes it used; the rest comes again, with more behind it.
    size_t (*consume)(Connection *c, char *data, size_t n);
    // The peer closed. NULL: that ends the program.
    void (*closed)(Connection *c);
    // The peer reset it. NULL: that ends the program.
    void (*reset)(Connection *c);
    char *rest; // bytes not used yet
    size_t rest_size;
    char *out; // bytes that the socket did not take yet
    size_t out_size, out_capacity;
    bool waits_to_write;
};

// What the loop has done since the last loop_reset_counters().
typedef struct {
    uint64_t reads;
    int64_t read_at; // the time of the read whose bytes are being consumed, microseconds
} LoopCounters;

extern LoopCounters loop;

// `large`: messages of many KiB are expected, and read with a call for each socket into a buffer that holds them whole.
void loop_init(bool tls, bool large);
// Wait at most `timeout_ms` (-1: without limit) and handle what is ready.
void loop_turn(int timeout_ms);
// Have loop_turn() return at this time (microseconds of CLOCK_MONOTONIC), more exactly than milliseconds allow.
void loop_wake_at(int64_t time_us);

// Open; `number` chooses the local address, since one address has ports for some 28,000 connections only.
void connection_open(Connection *c, int port, int number);
void connection_write(Connection *c, const char *data, size_t n);
void connection_close(Connection *c);

#endif
