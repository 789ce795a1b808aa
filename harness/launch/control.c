/* The calls over the control sockets, and the thread that owns the sockets. See control.h. */
#include "harness/launch/control.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "harness/comm.h"
#include "harness/error.h"
#include "harness/launch/join.h"
#include "harness/launch/state.h"
#include "harness/timeline.h"

control_state control = {.size = 1, .lock = PTHREAD_MUTEX_INITIALIZER,
                         .came = PTHREAD_COND_INITIALIZER, .wake = -1};

void control_wake(void)
{
    uint64_t one = 1;
    if (write(control.wake, &one, sizeof one) < 0)
        return; /* it is full: the thread wakes anyway */
}

void control_deliver(message *m)
{
    if (control.inbox_count == control.inbox_room) {
        control.inbox_room = 2 * control.inbox_room + 4;
        control.inbox = realloc_or_die(control.inbox, (size_t)control.inbox_room,
                                       sizeof *control.inbox);
    }
    control.inbox[control.inbox_count++] = m;
    pthread_cond_signal(&control.came);
}

/* ---- The thread ---- */

static bool take_place(peer *p, const message *m)
{
    if (m->bytes != sizeof p->where)
        return false;
    memcpy(&p->where, m->body, sizeof p->where);
    p->where.cell[PLACE_CELL - 1] = 0;
    return true;
}

/* Takes the message over. */
static void take_message(peer *p, message *m)
{
    bool understood = true;
    switch (m->kind) {
    case MESSAGE_BEAT:
        understood = take_place(p, m);
        break;
    case MESSAGE_BYE:
        p->bye = true;
        break;
    case MESSAGE_TELL:
        understood = m->bytes && !m->body[m->bytes - 1];
        if (understood)
            ending_say(m->body);
        break;
    case MESSAGE_END:
        if (!control.leader)
            ending_leave(NULL);
        understood = m->bytes && !m->body[m->bytes - 1];
        if (understood)
            ending_lead(m->body);
        break;
    case MESSAGE_SHARE:
        understood = !control.leader;
        break;
    default:
        break;
    }
    if (!understood) {
        fail("sent a message that makes no sense (kind %d, %zu bytes)", m->kind, m->bytes);
        message_drop(m);
        ending_lost(p);
        return;
    }
    bool call = m->kind == MESSAGE_REDUCE || m->kind == MESSAGE_GATHER || m->kind == MESSAGE_AGREE;
    if (call && control.leader)
        hub_contribute(p->rank, m);
    else if (call || m->kind == MESSAGE_SHARE)
        control_deliver(m);
    else
        message_drop(m);
}

static void read_peer(peer *p)
{
    message *m;
    int got;
    while (p->link.fd >= 0 && (got = connection_read(&p->link, &m)) != 0) {
        if (got < 0) {
            ending_lost(p);
            return;
        }
        p->heard = monotonic_seconds();
        take_message(p, m);
    }
}

/* Tells the others where this process is. */
static void beat(double now)
{
    if (now - control.beat_at < BEAT_SECONDS)
        return;
    /* A process that was stopped has heard nothing meanwhile, and that is nobody's fault. */
    if (control.beat_at > 0 && now - control.beat_at > 10 * BEAT_SECONDS)
        for (int i = 0; i < control.peer_count; i++)
            control.peers[i].heard = now;
    control.beat_at = now;
    run_place here = comm_place_now();
    message *m = message_copy(MESSAGE_BEAT, &here, sizeof here);
    for (int i = 0; i < control.peer_count; i++)
        if (control.peers[i].link.queued < 4) /* one that reads nothing gets no pile of beats */
            connection_queue(&control.peers[i].link, m);
    message_drop(m);
}

/* Nothing is left to do: the leader has heard a farewell from all, another has sent its own. */
static bool over(void)
{
    if (!control.closing)
        return false;
    for (int i = 0; i < control.peer_count; i++) {
        const peer *p = &control.peers[i];
        if (p->link.fd >= 0 && (control.leader ? !p->bye : p->link.queued > 0))
            return false;
    }
    return true;
}

static void *run_thread(void *unused)
{
    (void)unused;
    struct pollfd *polled = alloc_or_die((size_t)control.peer_count + 1, sizeof *polled);
    pthread_mutex_lock(&control.lock);
    while (!over()) {
        for (int i = 0; i < control.peer_count; i++) {
            connection *link = &control.peers[i].link;
            short events = link->queued ? POLLIN | POLLOUT : POLLIN;
            polled[i] = (struct pollfd){.fd = link->fd, .events = events};
        }
        polled[control.peer_count] = (struct pollfd){.fd = control.wake, .events = POLLIN};
        pthread_mutex_unlock(&control.lock);
        poll(polled, (nfds_t)control.peer_count + 1, 100);
        uint64_t count;
        if ((polled[control.peer_count].revents & POLLIN) &&
            read(control.wake, &count, sizeof count) < 0) {
            /* nothing was there after all */
        }
        pthread_mutex_lock(&control.lock);
        for (int i = 0; i < control.peer_count; i++)
            if (polled[i].revents & (POLLIN | POLLHUP | POLLERR))
                read_peer(&control.peers[i]);
        double now = monotonic_seconds();
        beat(now);
        ending_watch(now);
        for (int i = 0; i < control.peer_count; i++) {
            peer *p = &control.peers[i];
            if (p->link.fd >= 0 && connection_write(&p->link)) {
                read_peer(p); /* what it said before it died comes first */
                fail("died");
                if (p->link.fd >= 0)
                    ending_lost(p);
            }
        }
    }
    control.closed = true;
    pthread_cond_signal(&control.came);
    pthread_mutex_unlock(&control.lock);
    free(polled);
    return NULL;
}

/* ---- Joining and leaving ---- */

int control_open(const launch *l, const control_hooks *hooks)
{
    control.rank = l->rank;
    control.size = l->size;
    control.leader = l->rank == 0;
    control.hooks = hooks ? *hooks : (control_hooks){0};
    if (l->size == 1)
        return 0;
    control.peer_count = control.leader ? l->size : 1;
    int *sockets = alloc_or_die((size_t)control.peer_count, sizeof *sockets);
    int result = control.leader ? join_lead(l, JOIN_SECONDS, sockets)
                                : join_follow(l, JOIN_SECONDS, sockets);
    if (result < 0) {
        free(sockets);
        control.size = 1;
        return -1;
    }
    control.peers = alloc_or_die((size_t)control.peer_count, sizeof *control.peers);
    for (int i = 0; i < control.peer_count; i++) {
        control.peers[i] = (peer){.link.fd = -1, .rank = i, .heard = monotonic_seconds(),
                                  .where.layer = -1};
        if (sockets[i] >= 0)
            connection_open(&control.peers[i].link, sockets[i]);
    }
    free(sockets);
    control.pending = alloc_or_die((size_t)l->size, sizeof *control.pending);
    control.wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (control.wake < 0 || pthread_create(&control.thread, NULL, run_thread, NULL))
        return fail("control socket: its thread cannot be started: %s", strerror(errno));
    control.open = true;
    return 0;
}

void control_close(void)
{
    if (!control.open)
        return;
    pthread_mutex_lock(&control.lock);
    control.closing = true;
    control.closing_at = monotonic_seconds();
    if (!control.leader) {
        message *bye = message_copy(MESSAGE_BYE, NULL, 0);
        connection_queue(&control.peers[0].link, bye);
        message_drop(bye);
    }
    control_wake();
    while (!control.closed)
        pthread_cond_wait(&control.came, &control.lock);
    control.open = false;
    pthread_mutex_unlock(&control.lock);
    pthread_join(control.thread, NULL);
    for (int i = 0; i < control.peer_count; i++)
        connection_close(&control.peers[i].link);
    for (int i = 0; i < control.inbox_count; i++)
        message_drop(control.inbox[i]);
    close(control.wake);
    free(control.inbox);
    free(control.peers);
    free(control.pending);
    control.peers = NULL;
    control.peer_count = control.inbox_count = control.inbox_room = 0;
    control.inbox = NULL;
    control.closing = control.closed = false;
    control.size = 1;
}

/* ---- Calls ---- */

/* Lock held. */
static message *take_from_inbox(message_kind kind)
{
    while (!control.inbox_count)
        pthread_cond_wait(&control.came, &control.lock);
    message *m = control.inbox[0];
    memmove(control.inbox, control.inbox + 1, (size_t)--control.inbox_count * sizeof m);
    if (m->kind == (int)kind)
        return m;
    fail("control socket: message %d came where %d was expected: the processes of this launch do not "
         "do the same", m->kind, kind);
    message_drop(m);
    return NULL;
}

/* Contributes and waits for the answer: its payload [bytes] into `out`. */
static int call_leader(message_kind kind, contribution head, const void *payload, size_t bytes,
                       void *out, size_t out_bytes)
{
    message *m = message_new(kind, sizeof head + bytes);
    memcpy(m->body, &head, sizeof head);
    if (bytes)
        memcpy(m->body + sizeof head, payload, bytes);
    pthread_mutex_lock(&control.lock);
    if (control.leader) {
        hub_contribute(0, m);
    } else {
        connection_queue(&control.peers[0].link, m);
        message_drop(m);
    }
    control_wake();
    message *answer = take_from_inbox(kind);
    pthread_mutex_unlock(&control.lock);
    if (!answer)
        return -1;
    int result = 0;
    size_t got = answer->bytes < sizeof head ? 0 : answer->bytes - sizeof head;
    const char *text = answer->body + sizeof head;
    if (answer->bytes < sizeof head)
        result = fail("control socket: an answer of %zu bytes", answer->bytes);
    else if (((contribution *)answer->body)->status)
        result = fail("%s", got && !text[got - 1] ? text : "an answer without a sentence");
    else if (out && got != out_bytes)
        result = fail("control socket: an answer of %zu bytes instead of %zu", got, out_bytes);
    else if (out && got)
        memcpy(out, text, got);
    message_drop(answer);
    return result;
}

int control_share(void *data, size_t bytes)
{
    if (control.size == 1)
        return 0;
    pthread_mutex_lock(&control.lock);
    message *m = control.leader ? message_copy(MESSAGE_SHARE, data, bytes)
                                : take_from_inbox(MESSAGE_SHARE);
    int result = m ? 0 : -1;
    if (control.leader) {
        for (int rank = 1; rank < control.size; rank++)
            connection_queue(&control.peers[rank].link, m);
        control_wake();
    } else if (m && m->bytes != bytes) {
        result = fail("control socket: the leader shares %zu bytes where %zu are expected",
                      m->bytes, bytes);
    } else if (m && bytes) {
        memcpy(data, m->body, bytes);
    }
    message_drop(m);
    pthread_mutex_unlock(&control.lock);
    return result;
}

int control_gather(const void *own, void *all, size_t bytes)
{
    if (control.size == 1) {
        memcpy(all, own, bytes);
        return 0;
    }
    return call_leader(MESSAGE_GATHER, (contribution){0}, own, bytes, all,
                       (size_t)control.size * bytes);
}

int control_reduce_max(int group, double *values, int count)
{
    if (group == 1)
        return 0;
    contribution head = {.group = group, .count = count};
    size_t bytes = (size_t)count * sizeof *values;
    int result = call_leader(MESSAGE_REDUCE, head, values, bytes, values, bytes);
    control.consequence |= result < 0;
    return result;
}

int control_agree(int status)
{
    if (control.size == 1)
        return status ? fail_within("host 0") : 0;
    const char *text = status ? fail_text() : "";
    contribution head = {.status = !status             ? 0
                                   : control.consequence ? CONSEQUENCE
                                                         : OWN_FAILURE};
    control.consequence = false;
    return call_leader(MESSAGE_AGREE, head, text, strlen(text) + 1, NULL, 0);
}

void control_run(int group, double since, double deadline)
{
    pthread_mutex_lock(&control.lock);
    control.group = group;
    control.since = since;
    control.deadline = deadline;
    pthread_mutex_unlock(&control.lock);
}

/* Lock held: what this process ends with. A sentence that has been agreed upon names who failed. */
static void name_end(const char *sentence)
{
    free(control.end_sentence);
    control.end_sentence = comm_agreed(sentence)
                               ? copy_text(sentence)
                               : format_text("host %d: %s", control.rank, sentence);
}

_Noreturn void control_end(const char *sentence)
{
    if (!control.open) {
        if (sentence)
            fprintf(stderr, "apbench: host %d: %s\n", control.rank, sentence);
        exit(1);
    }
    pthread_mutex_lock(&control.lock);
    if (!control.end_asked) {
        control.end_asked = true;
        if (sentence)
            name_end(sentence);
    }
    control_wake();
    pthread_mutex_unlock(&control.lock);
    for (;;)
        pause(); /* the thread ends the process */
}

bool control_tell(const char *sentence)
{
    if (!control.open)
        return false;
    pthread_mutex_lock(&control.lock);
    if (control.leader) {
        ending_say(sentence); /* lock held: once it counts as said, another's end may end this process */
    } else {
        name_end(sentence); /* kept: the leader may end before it has said it */
        message *m = message_copy(MESSAGE_TELL, control.end_sentence,
                                  strlen(control.end_sentence) + 1);
        connection_queue(&control.peers[0].link, m);
        message_drop(m);
        control_wake();
    }
    pthread_mutex_unlock(&control.lock);
    return true;
}
