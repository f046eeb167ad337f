#include "options.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "msgpack.h"
#include "stamp.h"
#include "util.h"

static const char usage[] =
    "usage: load --mode fanout|rooms|echo|connect --ports P[,P...] [options]\n"
    "  --transport websocket|polling   (websocket)\n"
    "  --hop 1          polling: each client's requests but the first go to the port behind its own\n"
    "  --tls 1          over TLS, without a look at the certificate\n"
    "  --parser json|msgpack   (json)\n"
    "  --binary 1       an event's argument is bytes, not text\n"
    "  --event NAME     echo: the event that is emitted (echo)\n"
    "  --clients N      connections, spread over the ports in blocks (100)\n"
    "  --idle N         echo and connect: further connections that say nothing (0)\n"
    "  --publishers P   fanout: clients that publish; rooms: rooms that are published to (1)\n"
    "  --window W       messages that each publisher keeps in flight (1)\n"
    "  --rate R         open loop: messages per second of all publishers together, instead of a window\n"
    "  --rooms R        rooms: how many there are; client i is in rooms i/K, (i+N)/K, ... below R\n"
    "  --members K      rooms: clients in each room (10)\n"
    "  --payload BYTES  length of each text, at least 32 (64)\n"
    "  --seconds S      measured time (3), after --warmup S (0.5)\n"
    "  --hold S         wait between connecting and measuring memory (0.5)\n"
    "  --handshakes H   connections that are being opened at one time (64)\n"
    "  --pids P[,P...]  the servers' processes, for processor time and memory\n";

static int number(const char *name, const char *text, long low, long high) {
    char *end;
    long value = strtol(text, &end, 10);
    if (*end || end == text || value < low || value > high) die("--%s must be %ld to %ld, not %s", name, low, high, text);
    return (int)value;
}

static double decimal(const char *name, const char *text) {
    char *end;
    double value = strtod(text, &end);
    if (*end || end == text || !(value >= 0 && value <= 1e9)) die("--%s must be a number, not %s", name, text);
    return value;
}

static void parse_ports(Options *o, const char *text) {
    for (char *port = strtok(strdup(text), ","); port; port = strtok(NULL, ",")) {
        if (o->port_count == MAX_PORTS) die("more than %d ports", MAX_PORTS);
        o->ports[o->port_count++] = number("ports", port, 1, 65535);
    }
}

static void parse_mode(Options *o, const char *text) {
    static const char *names[] = {"fanout", "rooms", "echo", "connect"};
    for (int i = 0; i < 4; i++)
        if (!strcmp(text, names[i])) {
            o->mode = (Mode)i;
            o->mode_name = names[i];
            return;
        }
    die("unknown mode: %s", text);
}

static void check(Options *o) {
    if (!o->mode_name || !o->port_count) {
        fputs(usage, stderr);
        exit(2);
    }
    if (strlen(o->event) > MSGPACK_EVENT_MAX) die("--event is longer than %d bytes", MSGPACK_EVENT_MAX);
    if (o->mode == ECHO) o->publishers = o->clients;
    if (o->idle && o->mode != ECHO && o->mode != CONNECT) die("idle connections would be in the rooms");
    if ((o->msgpack || o->binary) && (o->mode == ROOMS || o->polling)) die("rooms and long-polling are measured with JSON only");
    if (o->msgpack && o->binary) die("msgpack has no binary events of another kind");
    if (o->publishers > o->clients) die("more publishers than clients");
    if (o->mode != ROOMS) return;
    if (o->rooms < o->publishers) o->rooms = o->publishers;
    if ((long)o->publishers * o->members > o->clients) die("the rooms that are published to must not overlap: too few clients");
}

Options options_parse(int argc, char **argv) {
    static const struct option known[] = {
        {"mode", 1, 0, 'm'},    {"ports", 1, 0, 'p'},   {"transport", 1, 0, 't'}, {"clients", 1, 0, 'n'},
        {"publishers", 1, 0, 'P'}, {"window", 1, 0, 'w'}, {"rate", 1, 0, 'r'},      {"rooms", 1, 0, 'R'},
        {"members", 1, 0, 'k'}, {"payload", 1, 0, 'b'}, {"seconds", 1, 0, 's'},   {"warmup", 1, 0, 'u'},
        {"hold", 1, 0, 'h'},    {"handshakes", 1, 0, 'H'}, {"pids", 1, 0, 'i'},
        {"hop", 1, 0, 'o'},     {"tls", 1, 0, 'T'},  {"parser", 1, 0, 'f'},  {"binary", 1, 0, 'B'},
        {"event", 1, 0, 'e'},   {"idle", 1, 0, 'I'}, {0}};
    Options o = {.event = "echo", .clients = 100, .publishers = 1, .window = 1, .payload = 64, .members = 10, .handshakes = 64,
                 .seconds = 3, .warmup = 0.5, .hold = 0.5};
    for (int c; (c = getopt_long(argc, argv, "", known, NULL)) != -1;) switch (c) {
        case 'm': parse_mode(&o, optarg); break;
        case 'p': parse_ports(&o, optarg); break;
        case 't': o.polling = !strcmp(optarg, "polling"); break;
        case 'o': o.hop = number("hop", optarg, 0, 1); break;
        case 'T': o.tls = number("tls", optarg, 0, 1); break;
        case 'f': o.msgpack = !strcmp(optarg, "msgpack"); break;
        case 'B': o.binary = number("binary", optarg, 0, 1); break;
        case 'e': o.event = optarg; break;
        case 'I': o.idle = number("idle", optarg, 0, 100000); break;
        case 'n': o.clients = number("clients", optarg, 1, 100000); break;
        case 'P': o.publishers = number("publishers", optarg, 1, 100000); break;
        case 'w': o.window = number("window", optarg, 1, 10000); break;
        case 'r': o.rate = decimal("rate", optarg); break;
        case 'R': o.rooms = number("rooms", optarg, 1, 1000000); break;
        case 'k': o.members = number("members", optarg, 1, 100000); break;
        case 'b': o.payload = number("payload", optarg, STAMP_SIZE, 500000); break;
        case 's': o.seconds = decimal("seconds", optarg); break;
        case 'u': o.warmup = decimal("warmup", optarg); break;
        case 'h': o.hold = decimal("hold", optarg); break;
        case 'H': o.handshakes = number("handshakes", optarg, 1, 10000); break;
        case 'i': o.servers = processes_parse(optarg); break;
        default: fputs(usage, stderr); exit(2);
        }
    check(&o);
    return o;
}
