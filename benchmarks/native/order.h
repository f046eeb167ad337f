// Has each client got each message once, and in the order in which its publisher sent them?
//
// One number per client and publisher is enough while all is well; numbers that were skipped are remembered as holes, so
// that a late message (a reordering) can be told from a second copy (a duplicate).
#ifndef ORDER_H
#define ORDER_H

#include <stddef.h>
#include <stdint.h>

#include "util.h"

typedef struct {
    int client, column;
    uint32_t from, to;
} Hole;

typedef struct {
    uint32_t *last; // [client][column]
    int columns;
    uint64_t unique, duplicates, reordered;
    Hole *holes;
    size_t hole_count;
} Order;

void order_init(Order *o, int clients, int columns);
void order_trouble(Order *o, int client, int column, uint32_t sequence);

// A message arrived. Sequences begin at 1.
static inline void order_seen(Order *o, int client, int column, uint32_t sequence) {
    uint32_t *last = &o->last[(size_t)client * o->columns + column];
    if (LIKELY(sequence == *last + 1)) {
        *last = sequence;
        o->unique++;
        return;
    }
    order_trouble(o, client, column, sequence);
}

#endif
