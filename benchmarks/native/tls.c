#include "tls.h"

#include <errno.h>

#include "util.h"

#ifdef WITH_TLS
#include <openssl/err.h>
#include <openssl/ssl.h>

static SSL_CTX *context;

void tls_init(void) {
    context = SSL_CTX_new(TLS_client_method());
    if (!context || !SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) ||
        !SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256"))
        die("cannot set up TLS");
    // What waits in our own buffer may have moved, or grown, when a write is tried again.
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
}

Tls *tls_open(int fd) {
    SSL *tls = SSL_new(context);
    if (!tls || !SSL_set_fd(tls, fd)) die("cannot set up TLS for a connection");
    SSL_set_connect_state(tls);
    return tls;
}

void tls_close(Tls *tls) { SSL_free(tls); }

static ssize_t failed(Tls *tls, int result) {
    int saved = errno;
    switch (SSL_get_error(tls, result)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE: return -EAGAIN;
    case SSL_ERROR_ZERO_RETURN: return 0;
    case SSL_ERROR_SYSCALL: return saved ? -saved : 0;
    default: die("TLS: %s", ERR_reason_error_string(ERR_get_error()));
    }
}

ssize_t tls_read(Tls *tls, char *data, size_t n) {
    errno = 0;
    int got = SSL_read(tls, data, (int)n);
    return got > 0 ? got : failed(tls, got);
}

ssize_t tls_write(Tls *tls, const char *data, size_t n) {
    size_t done = 0;
    int sent = 1;
    while (done < n) { // a record with each call
        errno = 0;
        sent = SSL_write(tls, data + done, (int)(n - done));
        if (sent <= 0) break;
        done += (size_t)sent;
    }
    return done ? (ssize_t)done : failed(tls, sent);
}

bool tls_waits_for_peer(const Tls *tls) { return SSL_want_read(tls); }

#else

void tls_init(void) { die("built without TLS: its headers are missing (Debian: libssl-dev)"); }
Tls *tls_open(int fd) { (void)fd; return NULL; }
void tls_close(Tls *tls) { (void)tls; }
ssize_t tls_read(Tls *tls, char *data, size_t n) { (void)tls, (void)data, (void)n; return -EIO; }
ssize_t tls_write(Tls *tls, const char *data, size_t n) { (void)tls, (void)data, (void)n; return -EIO; }
bool tls_waits_for_peer(const Tls *tls) { (void)tls; return false; }

#endif
