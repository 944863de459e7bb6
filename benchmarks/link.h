/* link.h: one non-blocking connection with its two buffers, plain or TLS, on one epoll. Knows no protocol. */
#pragma once
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#ifndef NO_TLS
#include <openssl/err.h>
#include <openssl/ssl.h>
#else
typedef void SSL;
typedef void SSL_CTX;
#endif

typedef struct {
    char *bytes;
    size_t start, end, room; /* what waits stands in bytes[start..end) */
} Buffer;

typedef struct {
    int fd;
    bool wants_write;
    SSL *tls;
    Buffer in, out;
} Link;

static int poller;
static SSL_CTX *tls_context;

static inline void fail(const char *what) {
    perror(what);
    exit(2);
}

/* Room for n more bytes at the end: moves what is there to the front first, and grows by doubling. */
static inline void make_room(Buffer *b, size_t n) {
    if (b->end + n <= b->room) return;
    if (b->start) memmove(b->bytes, b->bytes + b->start, b->end - b->start);
    b->end -= b->start;
    b->start = 0;
    size_t room = b->room ? b->room : 4096;
    while (room < b->end + n) room *= 2;
    if (room == b->room) return;
    b->bytes = realloc(b->bytes, b->room = room);
    if (!b->bytes) fail("realloc");
}

static inline void append(Buffer *b, const void *bytes, size_t n) {
    make_room(b, n);
    memcpy(b->bytes + b->end, bytes, n);
    b->end += n;
}

static inline void poll_for(Link *l, void *owner, int action, bool write) {
    struct epoll_event e = {.events = EPOLLIN | (write ? EPOLLOUT : 0), .data.ptr = owner};
    if (epoll_ctl(poller, action, l->fd, &e)) fail("epoll_ctl");
    l->wants_write = write;
}

static inline void open_tls(void) {
#ifndef NO_TLS
    tls_context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_mode(tls_context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
#else
    fprintf(stderr, "this driver was built without TLS: install libssl-dev\n");
    exit(2);
#endif
}

/* Connects to 127.0.0.1, with the TLS handshake where open_tls() was called. `owner` comes back from epoll. */
static inline void connect_link(Link *l, int port, void *owner) {
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1;
    l->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (l->fd < 0) fail("socket");
    if (connect(l->fd, (struct sockaddr *)&to, sizeof to)) fail("connect");
    setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
#ifndef NO_TLS
    if (tls_context) {
        l->tls = SSL_new(tls_context);
        SSL_set_fd(l->tls, l->fd);
        if (SSL_connect(l->tls) != 1) {
            ERR_print_errors_fp(stderr);
            exit(2);
        }
    }
#endif
    fcntl(l->fd, F_SETFL, O_NONBLOCK);
    poll_for(l, owner, EPOLL_CTL_ADD, false);
}

/* The kernel's or TLS's answer as one convention: > 0 bytes, 0 end of stream, -1 try later. */
static inline ssize_t transfer(Link *l, char *bytes, size_t n, bool write) {
#ifndef NO_TLS
    if (l->tls) {
        int k = write ? SSL_write(l->tls, bytes, (int)n) : SSL_read(l->tls, bytes, (int)n);
        if (k > 0) return k;
        int why = SSL_get_error(l->tls, k);
        return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? -1 : 0;
    }
#endif
    ssize_t k = write ? send(l->fd, bytes, n, MSG_NOSIGNAL) : recv(l->fd, bytes, n, 0);
    if (k < 0 && errno != EAGAIN) return 0;
    return k;
}

static inline void flush_link(Link *l, void *owner) {
    Buffer *b = &l->out;
    while (b->start < b->end) {
        ssize_t n = transfer(l, b->bytes + b->start, b->end - b->start, true);
        if (n == 0) {
            fprintf(stderr, "the server closed a connection\n");
            exit(4);
        }
        if (n < 0) {
            if (!l->wants_write) poll_for(l, owner, EPOLL_CTL_MOD, true);
            return;
        }
        b->start += (size_t)n;
    }
    b->start = b->end = 0;
    if (l->wants_write) poll_for(l, owner, EPOLL_CTL_MOD, false);
}

/* Reads what has come, once; false at the end of the stream. A record of TLS may wait inside OpenSSL, where
 * epoll does not see it, so TLS reads until nothing is left. */
static inline bool fill_link(Link *l, size_t chunk) {
    for (;;) {
        make_room(&l->in, chunk);
        ssize_t n = transfer(l, l->in.bytes + l->in.end, l->in.room - l->in.end, false);
        if (n == 0) return false;
        if (n < 0) return true;
        l->in.end += (size_t)n;
        if (!l->tls) return true;
    }
}
