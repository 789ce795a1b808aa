/* Meeting at rank 0's address. See join.h. */
#include "harness/launch/join.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "harness/error.h"
#include "harness/timeline.h"

/* What a rank says first, and the answer. Fixed sizes: nothing of a stranger's is believed. */
typedef struct {
    char magic[8]; /* "apbench1", without a NUL */
    int32_t rank, size;
    char cookie[LAUNCH_COOKIE];
} hello;

typedef struct {
    char magic[8];
    char refusal[248]; /* "": welcome */
} answer;

static const char magic[8] = {'a', 'p', 'b', 'e', 'n', 'c', 'h', '1'};
enum { WAITING = 64 };             /* connections that have not yet said all of their hello */
static const double hello_seconds = 5; /* for that */

static int fail_to(const char *what, const launch *l)
{
    return fail("control socket: %s %s:%d: %s", what, l->address, l->port, strerror(errno));
}

/* ---- Rank 0 ---- */

static int open_listener(const launch *l)
{
    if (l->listener >= 0) {
        fcntl(l->listener, F_SETFD, FD_CLOEXEC);
        return l->listener;
    }
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool loopback = !strncmp(l->address, "127.", 4) || !strcmp(l->address, "localhost");
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons((uint16_t)l->port)};
    here.sin_addr.s_addr = htonl(loopback ? INADDR_LOOPBACK : INADDR_ANY);
    if (fd >= 0)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (fd >= 0 && !bind(fd, (struct sockaddr *)&here, sizeof here) && !listen(fd, SOMAXCONN))
        return fd;
    if (errno == EADDRINUSE)
        fail("control socket: port %d of %s is in use: set APBENCH_RENDEZVOUS=%s:PORT to a free one "
             "for all ranks", l->port, l->address, l->address);
    else
        fail_to("listening at", l);
    if (fd >= 0)
        close(fd);
    return -1;
}

/* A connection that has not said all of its hello. */
typedef struct {
    int fd;
    size_t got;
    double since;
    hello said;
} visitor;

static void send_answer(int fd, const char *refusal)
{
    answer a = {0};
    memcpy(a.magic, magic, sizeof magic);
    snprintf(a.refusal, sizeof a.refusal, "%s", refusal);
    if (send(fd, &a, sizeof a, MSG_NOSIGNAL) < 0)
        return; /* it is gone, which will show later */
}

/* The whole hello is there: the visitor is a rank, or is turned away. True when it is a new rank. */
static bool admit(const launch *l, visitor *v, int *sockets)
{
    char why[200] = "";
    if (memcmp(v->said.magic, magic, sizeof magic) ||
        memcmp(v->said.cookie, l->cookie, LAUNCH_COOKIE)) {
        close(v->fd); /* a stranger */
        return false;
    }
    if (v->said.size != l->size)
        snprintf(why, sizeof why, "this launch has %d ranks, not %d", l->size, v->said.size);
    else if (v->said.rank < 1 || v->said.rank >= l->size)
        snprintf(why, sizeof why, "there is no rank %d among %d", v->said.rank, l->size);
    else if (sockets[v->said.rank] >= 0)
        snprintf(why, sizeof why, "rank %d is here already", v->said.rank);
    if (*why) {
        send_answer(v->fd, why);
        close(v->fd);
        return false;
    }
    sockets[v->said.rank] = v->fd;
    return true;
}

/* Reads on; true when this visitor is done with, and *joined when it has become a rank. */
static bool hear(const launch *l, visitor *v, int *sockets, bool *joined)
{
    ssize_t got = recv(v->fd, (char *)&v->said + v->got, sizeof v->said - v->got, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        if (monotonic_seconds() - v->since < hello_seconds)
            return false;
        got = 0;
    }
    if (got <= 0) {
        close(v->fd);
        return true;
    }
    v->got += (size_t)got;
    if (v->got < sizeof v->said)
        return false;
    *joined = admit(l, v, sockets);
    return true;
}

static int fail_missing(const launch *l, const int *sockets, double seconds)
{
    char missing[256] = "";
    int count = 0;
    for (int rank = 1; rank < l->size; rank++) {
        size_t used = strlen(missing);
        if (sockets[rank] < 0 && count++ < 16)
            snprintf(missing + used, sizeof missing - used, " %d", rank);
    }
    return fail("of the %d ranks, %d have not come to %s:%d within %.0f s:%s%s", l->size, count,
                l->address, l->port, seconds, missing, count > 16 ? " ..." : "");
}

int join_lead(const launch *l, double seconds, int *sockets)
{
    for (int rank = 0; rank < l->size; rank++)
        sockets[rank] = -1;
    int listener = open_listener(l);
    if (listener < 0)
        return -1;
    double until = monotonic_seconds() + seconds;
    visitor visitors[WAITING];
    int waiting = 0, missing = l->size - 1;
    while (missing > 0 && monotonic_seconds() < until) {
        struct pollfd polled[WAITING + 1];
        for (int i = 0; i < waiting; i++)
            polled[i] = (struct pollfd){.fd = visitors[i].fd, .events = POLLIN};
        polled[waiting] =
            (struct pollfd){.fd = waiting < WAITING ? listener : -1, .events = POLLIN};
        poll(polled, (nfds_t)waiting + 1, 100);
        if (polled[waiting].revents & POLLIN) {
            int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
            if (fd >= 0)
                visitors[waiting++] = (visitor){.fd = fd, .since = monotonic_seconds()};
        }
        for (int i = waiting - 1; i >= 0; i--) {
            bool joined = false;
            if (hear(l, &visitors[i], sockets, &joined))
                visitors[i] = visitors[--waiting];
            missing -= joined;
        }
    }
    for (int i = 0; i < waiting; i++)
        close(visitors[i].fd);
    close(listener);
    if (missing) {
        fail_missing(l, sockets, seconds);
        for (int rank = 1; rank < l->size; rank++)
            if (sockets[rank] >= 0)
                close(sockets[rank]);
        return -1;
    }
    for (int rank = 1; rank < l->size; rank++)
        send_answer(sockets[rank], "");
    return 0;
}

/* ---- The others ---- */

/* Tries once; the socket, or -1 with errno. */
static int connect_once(const struct addrinfo *addresses)
{
    for (const struct addrinfo *a = addresses; a; a = a->ai_next) {
        int fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
        if (fd >= 0 && !connect(fd, a->ai_addr, a->ai_addrlen))
            return fd;
        int error = errno;
        if (fd >= 0)
            close(fd);
        errno = error;
    }
    return -1;
}

static int introduce(const launch *l, int fd, double until)
{
    hello h = {.rank = l->rank, .size = l->size};
    memcpy(h.magic, magic, sizeof magic);
    memcpy(h.cookie, l->cookie, LAUNCH_COOKIE);
    if (send(fd, &h, sizeof h, MSG_NOSIGNAL) != (ssize_t)sizeof h)
        return fail_to("writing to", l);
    answer a;
    size_t got = 0;
    while (got < sizeof a) {
        double left = until - monotonic_seconds();
        struct pollfd polled = {.fd = fd, .events = POLLIN};
        if (left <= 0)
            return fail("control socket: no welcome from %s:%d: another rank has not come, or "
                        "another program listens there", l->address, l->port);
        if (poll(&polled, 1, (int)(left * 1000) + 1) <= 0)
            continue;
        ssize_t more = recv(fd, (char *)&a + got, sizeof a - got, 0);
        if (more < 0 && errno == EINTR)
            continue;
        if (more <= 0)
            return fail("control socket: %s:%d has closed the connection: rank 0 has ended, or is of "
                        "another launch", l->address, l->port);
        got += (size_t)more;
    }
    if (memcmp(a.magic, magic, sizeof magic) || !memchr(a.refusal, 0, sizeof a.refusal))
        return fail("control socket: what answers at %s:%d is not this program", l->address,
                    l->port);
    return *a.refusal ? fail("control socket: rank %d is refused: %s", l->rank, a.refusal) : 0;
}

int join_follow(const launch *l, double seconds, int *connected)
{
    double until = monotonic_seconds() + seconds;
    char port[16];
    snprintf(port, sizeof port, "%d", l->port);
    struct addrinfo wanted = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *addresses;
    int code = getaddrinfo(l->address, port, &wanted, &addresses);
    if (code)
        return fail("control socket: %s: %s", l->address, gai_strerror(code));
    int fd = connect_once(addresses);
    while (fd < 0 && monotonic_seconds() < until) { /* rank 0 may be late */
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
        fd = connect_once(addresses);
    }
    int result = fd < 0 ? fail_to("connecting to", l) : introduce(l, fd, until);
    freeaddrinfo(addresses);
    if (result < 0) {
        if (fd >= 0)
            close(fd);
        return -1;
    }
    *connected = fd;
    return 0;
}
