// Reads from many sockets with one system call: Linux's io_uring, as far as that needs it.
#ifndef RING_H
#define RING_H

#include <stdbool.h>
#include <stddef.h>

#define RING_READS 64

// False: the kernel gives no ring.
bool ring_init(void);

// Read at most `size` bytes from each of `count` sockets (at most RING_READS) into the buffer of the same number. Waits for
// nothing: each result is what recv(MSG_DONTWAIT) would have given, an error as its negative number.
void ring_receive(int count, const int *fds, char *const *buffers, size_t size, int *results);

#endif
