#include "ring.h"

#include <errno.h>
#include <linux/io_uring.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "util.h"

static int ring_fd;
static struct io_uring_sqe *entries;
static struct io_uring_cqe *completions;
static unsigned position, mask, *tail, *done_head, *done_tail; // every call begins and ends with both queues empty

bool ring_init(void) {
    // One thread submits, and the kernel does not interrupt it on the ring's behalf.
    struct io_uring_params p = {.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN};
    ring_fd = (int)syscall(SYS_io_uring_setup, RING_READS, &p);
    if (ring_fd < 0) return false;
    size_t sent = p.sq_off.array + p.sq_entries * sizeof(unsigned), done = p.cq_off.cqes + p.cq_entries * sizeof *completions;
    int access = PROT_READ | PROT_WRITE, flags = MAP_SHARED | MAP_POPULATE;
    char *queues = mmap(NULL, sent > done ? sent : done, access, flags, ring_fd, IORING_OFF_SQ_RING);
    entries = mmap(NULL, p.sq_entries * sizeof *entries, access, flags, ring_fd, IORING_OFF_SQES);
    if (!(p.features & IORING_FEAT_SINGLE_MMAP) || queues == MAP_FAILED || entries == MAP_FAILED) return false;
    tail = (unsigned *)(queues + p.sq_off.tail);
    done_head = (unsigned *)(queues + p.cq_off.head);
    done_tail = (unsigned *)(queues + p.cq_off.tail);
    completions = (struct io_uring_cqe *)(queues + p.cq_off.cqes);
    mask = p.cq_entries - 1;
    unsigned *order = (unsigned *)(queues + p.sq_off.array);
    for (unsigned i = 0; i < p.sq_entries; i++) order[i] = i;
    return p.sq_entries == RING_READS;
}

void ring_receive(int count, const int *fds, char *const *buffers, size_t size, int *results) {
    for (int i = 0; i < count; i++) {
        struct io_uring_sqe *e = &entries[(position + (unsigned)i) % RING_READS];
        memset(e, 0, sizeof *e);
        e->opcode = IORING_OP_RECV;
        e->fd = fds[i];
        e->addr = (unsigned long)buffers[i];
        e->len = (unsigned)size;
        e->msg_flags = MSG_DONTWAIT;
        e->user_data = (unsigned)i;
    }
    __atomic_store_n(tail, position + (unsigned)count, __ATOMIC_RELEASE);
    long taken = syscall(SYS_io_uring_enter, ring_fd, count, count, IORING_ENTER_GETEVENTS, NULL, 0);
    if (taken != count) die("io_uring_enter: %s", taken < 0 ? strerror(errno) : "not all was taken");
    if (__atomic_load_n(done_tail, __ATOMIC_ACQUIRE) != position + (unsigned)count) die("io_uring_enter: not all was done");
    for (int i = 0; i < count; i++) {
        struct io_uring_cqe *c = &completions[(position + (unsigned)i) & mask];
        results[c->user_data] = c->res;
    }
    position += (unsigned)count;
    __atomic_store_n(done_head, position, __ATOMIC_RELEASE);
}
