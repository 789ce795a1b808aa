/* Framing and queues of control sockets. See message.h. */
#include "harness/launch/message.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "harness/error.h"

enum { MAGIC = 0x31425041 }; /* "APB1" */
/* More than any prompt. A header that wants more is not believed. */
#define MOST_BYTES ((uint64_t)1 << 32)

message *message_new(message_kind kind, size_t bytes)
{
    message *m = realloc_or_die(NULL, sizeof *m + bytes, 1);
    *m = (message){.kind = kind, .users = 1, .bytes = bytes};
    return m;
}

message *message_copy(message_kind kind, const void *body, size_t bytes)
{
    message *m = message_new(kind, bytes);
    if (bytes)
        memcpy(m->body, body, bytes);
    return m;
}

void message_drop(message *m)
{
    if (m && --m->users == 0)
        free(m);
}

void connection_open(connection *c, int fd)
{
    *c = (connection){.fd = fd};
    int on = 1;
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

void connection_close(connection *c)
{
    if (c->fd >= 0)
        close(c->fd);
    for (int i = 0; i < c->queued; i++)
        message_drop(c->queue[i]);
    free(c->queue);
    message_drop(c->in);
    *c = (connection){.fd = -1};
}

void connection_queue(connection *c, message *m)
{
    if (c->fd < 0)
        return;
    if (c->queued == c->queue_room) {
        c->queue_room = 2 * c->queue_room + 4;
        c->queue = realloc_or_die(c->queue, (size_t)c->queue_room, sizeof *c->queue);
    }
    m->users++;
    c->queue[c->queued++] = m;
}

int connection_write(connection *c)
{
    while (c->queued && c->fd >= 0) {
        message *m = c->queue[0];
        message_header header = {MAGIC, (uint32_t)m->kind, m->bytes};
        size_t at = c->out_done;
        const char *from = at < sizeof header ? (const char *)&header + at
                                              : m->body + (at - sizeof header);
        size_t left = at < sizeof header ? sizeof header - at : m->bytes - (at - sizeof header);
        ssize_t sent = left ? send(c->fd, from, left, MSG_NOSIGNAL) : 0;
        if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return 0;
        if (sent < 0 && errno != EINTR)
            return -1;
        c->out_done += sent > 0 ? (size_t)sent : 0;
        if (c->out_done == sizeof header + m->bytes) {
            c->out_done = 0;
            memmove(c->queue, c->queue + 1, (size_t)--c->queued * sizeof *c->queue);
            message_drop(m);
        }
    }
    return 0;
}

static int check_header(const message_header *h)
{
    if (h->magic != MAGIC || h->kind == 0 || h->kind >= MESSAGE_KINDS || h->bytes > MOST_BYTES)
        return fail("sent what is no message of this program (%08x %08x %llu)", h->magic, h->kind,
                    (unsigned long long)h->bytes);
    return 0;
}

int connection_read(connection *c, message **in)
{
    while (c->fd >= 0) {
        size_t head = sizeof c->in_header;
        bool in_body = c->in_got >= head;
        if (in_body && c->in_got == head + c->in->bytes) {
            *in = c->in;
            c->in = NULL;
            c->in_got = 0;
            return 1;
        }
        char *to = in_body ? c->in->body + (c->in_got - head) : (char *)&c->in_header + c->in_got;
        size_t left = in_body ? c->in->bytes - (c->in_got - head) : head - c->in_got;
        ssize_t got = recv(c->fd, to, left, 0);
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return 0;
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return fail("died");
        c->in_got += (size_t)got;
        if (!in_body && c->in_got == head) {
            if (check_header(&c->in_header))
                return -1;
            c->in = message_new((message_kind)c->in_header.kind, (size_t)c->in_header.bytes);
        }
    }
    return fail("is closed");
}
