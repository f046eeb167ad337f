// TLS for a connection, by OpenSSL where the program was built with it (WITH_TLS). Certificates are not looked at: the servers'
// are self-made. One cipher for every server, so that all of them pay the same for a byte.
#ifndef TLS_H
#define TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

typedef struct ssl_st Tls;

#define TLS_RECORD_MAX 16384

// Ends the program where it was built without TLS.
void tls_init(void);
Tls *tls_open(int fd);
void tls_close(Tls *tls);
// As recv() and send() on a socket that does not block: bytes, 0 at the end of the stream, or -errno. Both shake hands first.
ssize_t tls_read(Tls *tls, char *data, size_t n);
ssize_t tls_write(Tls *tls, const char *data, size_t n);
// After a write that took less than all: it waits for what the peer has to say, not for the socket to take bytes.
bool tls_waits_for_peer(const Tls *tls);

#endif
