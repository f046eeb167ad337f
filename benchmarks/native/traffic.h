// Who publishes what and when, and what became of it.
#ifndef TRAFFIC_H
#define TRAFFIC_H

#include <stdint.h>

#include "client.h"
#include "histogram.h"
#include "options.h"
#include "order.h"

typedef struct {
    uint64_t sent, received, expected;
    uint64_t misdelivered; // arrived at a client that is not in the room
    Order order;
    Histogram latency;  // from the moment of sending, or in an open loop from the moment it was due
    Histogram send_lag; // open loop: how late this program was
    bool measuring, stopped;
} Traffic;

extern Traffic traffic;

void traffic_init(const Options *options, Client *clients);
// Closed loop: fill every publisher's window.
void traffic_start(void);
// Open loop: publish what is due by now and set the alarm for the next.
void traffic_publish_due(int64_t started_us);
// To be called for each event and ack that a client gets.
void traffic_event(Client *client, const char *packet, size_t n);
void traffic_ack(Client *client, uint32_t id, const char *packet, size_t n);

#endif
