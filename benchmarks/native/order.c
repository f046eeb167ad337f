#include "order.h"

// Beyond this many holes new ones are not remembered: what fills them counts as a duplicate. A run like that has failed
// anyway, and its loss is still counted right.
#define MAX_HOLES 65536

void order_init(Order *o, int clients, int columns) {
    *o = (Order){.columns = columns};
    o->last = make((size_t)clients * columns, sizeof *o->last);
    o->holes = make(MAX_HOLES, sizeof *o->holes);
}

static void add_hole(Order *o, Hole hole) {
    if (hole.from <= hole.to && o->hole_count < MAX_HOLES) o->holes[o->hole_count++] = hole;
}

static Hole *find_hole(Order *o, int client, int column, uint32_t sequence) {
    for (size_t i = 0; i < o->hole_count; i++) {
        Hole *h = &o->holes[i];
        if (h->client == client && h->column == column && h->from <= sequence && sequence <= h->to) return h;
    }
    return NULL;
}

static void fill_hole(Order *o, Hole *h, uint32_t sequence) {
    Hole before = *h, after = *h;
    before.to = sequence - 1;
    after.from = sequence + 1;
    *h = o->holes[--o->hole_count];
    add_hole(o, before);
    add_hole(o, after);
}

void order_trouble(Order *o, int client, int column, uint32_t sequence) {
    uint32_t *last = &o->last[(size_t)client * o->columns + column];
    if (sequence > *last) {
        add_hole(o, (Hole){client, column, *last + 1, sequence - 1});
        *last = sequence;
        o->unique++;
        return;
    }
    Hole *hole = find_hole(o, client, column, sequence);
    if (!hole) {
        o->duplicates++;
        return;
    }
    fill_hole(o, hole, sequence);
    o->unique++;
    o->reordered++;
}
