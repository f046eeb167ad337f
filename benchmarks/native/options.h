// The command line of `load`.
#ifndef OPTIONS_H
#define OPTIONS_H

#include <stdbool.h>

#include "process.h"

#define MAX_PORTS 64

typedef enum { FANOUT, ROOMS, ECHO, CONNECT } Mode;

typedef struct {
    Mode mode;
    const char *mode_name;
    int ports[MAX_PORTS];
    int port_count;
    int clients, idle, publishers, window, payload, rooms, members, handshakes;
    double seconds, warmup, hold, rate; // seconds; messages per second in all, 0: closed loop
    const char *event; // echo: what is emitted
    bool polling, hop, tls, msgpack, binary;
    Processes servers;
} Options;

Options options_parse(int argc, char **argv);

#endif
