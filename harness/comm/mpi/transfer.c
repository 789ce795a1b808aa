/* Transfers of the mpi driver: each call starts MPI requests, wait() polls them. See driver.c
 * for why collectives with data go peer to peer and in pieces. */
#include "harness/comm/mpi/process.h"
#include "harness/error.h"

#include <stdlib.h>

enum { TAG_MESSAGE = 1, TAG_GATHER, TAG_EXCHANGE }; /* on a group's communicator */
enum { NO_HANDLE = -1 };

static transfer *new_transfer(transfer_kind kind, int handle)
{
    if (mpi_here.transfer_count == mpi_here.transfer_capacity) {
        mpi_here.transfer_capacity = 2 * mpi_here.transfer_capacity + 8;
        mpi_here.transfers = realloc_or_die(mpi_here.transfers, (size_t)mpi_here.transfer_capacity,
                                        sizeof *mpi_here.transfers);
    }
    transfer *t = &mpi_here.transfers[mpi_here.transfer_count++];
    *t = (transfer){.handle = handle, .kind = kind};
    return t;
}

void mpi_forget_transfer(transfer *t)
{
    free(t->requests);
    free(t->expected);
    free(t->peer);
    *t = mpi_here.transfers[--mpi_here.transfer_count];
}

static MPI_Request *add_request(transfer *t, int peer, int expected)
{
    if (t->count == t->capacity) {
        t->capacity = t->capacity ? 2 * t->capacity : 4;
        t->requests = realloc_or_die(t->requests, (size_t)t->capacity, sizeof *t->requests);
        t->expected = realloc_or_die(t->expected, (size_t)t->capacity, sizeof *t->expected);
        t->peer = realloc_or_die(t->peer, (size_t)t->capacity, sizeof *t->peer);
    }
    t->expected[t->count] = expected;
    t->peer[t->count] = peer;
    t->open++;
    return &t->requests[t->count++];
}

/* A message in pieces; one of no bytes is sent too, so that sizes that differ are found. */
static int start_send(transfer *t, const void *data, size_t bytes, int peer, int tag)
{
    size_t done = 0;
    do {
        int piece = mpi_piece_at(done, bytes);
        int code = MPI_Isend((const char *)data + done, piece, MPI_BYTE, peer, tag, mpi_here.group,
                             add_request(t, peer, -1));
        if (code != MPI_SUCCESS)
            return mpi_fail(transfer_names[t->kind], code);
        done += (size_t)piece;
    } while (done < bytes);
    return 0;
}

static int start_recv(transfer *t, void *data, size_t bytes, int peer, int tag)
{
    size_t done = 0;
    do {
        int piece = mpi_piece_at(done, bytes);
        int code = MPI_Irecv((char *)data + done, piece, MPI_BYTE, peer, tag, mpi_here.group,
                             add_request(t, peer, piece));
        if (code != MPI_SUCCESS)
            return mpi_fail(transfer_names[t->kind], code);
        done += (size_t)piece;
    } while (done < bytes);
    return 0;
}

static int error_class(int code)
{
    int class = code;
    MPI_Error_class(code, &class);
    return class;
}

int mpi_poll_transfer(transfer *t)
{
    for (int i = 0; i < t->count; i++) {
        if (t->requests[i] == MPI_REQUEST_NULL)
            continue;
        int done;
        MPI_Status status;
        int code = MPI_Test(&t->requests[i], &done, &status);
        t->open -= t->requests[i] == MPI_REQUEST_NULL; /* over, well or badly */
        bool longer = code != MPI_SUCCESS && error_class(code) == MPI_ERR_TRUNCATE;
        if (longer || (code == MPI_SUCCESS && done && t->expected[i] >= 0)) {
            int bytes = 0;
            if (!longer)
                MPI_Get_count(&status, MPI_BYTE, &bytes);
            if (longer || bytes != t->expected[i])
                return fail("%s: it receives %d bytes from host %d, which sends %s",
                            transfer_names[t->kind], t->expected[i], t->peer[i],
                            longer ? "more" : "fewer");
        }
        if (code != MPI_SUCCESS)
            return mpi_fail(transfer_names[t->kind], code);
    }
    return 0;
}

/* Polls until the transfer is over. `deadline` and notices are looked at while it is not. */
static int finish(comm *c, transfer *t, const char *call)
{
    double since = monotonic_seconds();
    for (;;) {
        if (mpi_poll_transfer(t) < 0)
            return -1;
        if (t->open == 0)
            return 0;
        mpi_take_notices();
        mpi_complain_if_stuck(since);
        if (check_deadline(c, call) < 0)
            return -1;
        mpi_rest(since, 50000);
    }
}

int mpi_wait(comm *c, int handle)
{
    transfer *t = mpi_here.transfers;
    transfer *end = mpi_here.transfers + mpi_here.transfer_count;
    while (t < end && t->handle != handle)
        t++;
    if (t == end || handle == NO_HANDLE)
        return fail("wait: there is no transfer with handle %d to wait for", handle);
    c->dev->sync(c->dev); /* what was computed before counts as compute */
    timeline_entry *entry = timeline_pause(c->time, ENTRY_WAIT, t->kind);
    entry->handle = handle;
    int result = finish(c, t, transfer_names[t->kind]);
    timeline_resume(c->time, entry);
    if (result == 0)
        mpi_forget_transfer(t);
    return result;
}

/* ---- Calls ---- */

int mpi_all_gather(comm *c, const void *send, void *recv, size_t bytes)
{
    c->dev->sync(c->dev);
    transfer *t = new_transfer(TRANSFER_ALL_GATHER, mpi_here.next_handle++);
    timeline_entry *entry = post_all_gather(c, t->handle, bytes);
    char *own = (char *)recv + (size_t)c->rank * bytes;
    if (send != own && bytes)
        c->dev->copy(c->dev, own, send, bytes);
    int result = 0;
    for (int distance = 1; distance < c->size && result == 0; distance++) {
        int from = (c->rank - distance + c->size) % c->size, to = (c->rank + distance) % c->size;
        result = start_recv(t, (char *)recv + (size_t)from * bytes, bytes, from, TAG_GATHER);
        if (result == 0)
            result = start_send(t, send, bytes, to, TAG_GATHER);
    }
    timeline_resume(c->time, entry);
    return result < 0 ? -1 : t->handle;
}

int mpi_all_to_all(comm *c, const void *send, const size_t *send_at,
                          const size_t *send_bytes, void *recv, const size_t *recv_at,
                          const size_t *recv_bytes)
{
    if (send_bytes[c->rank] != recv_bytes[c->rank])
        return fail("all_to_all: it sends itself %zu bytes but receives %zu from itself",
                    send_bytes[c->rank], recv_bytes[c->rank]);
    c->dev->sync(c->dev);
    transfer *t = new_transfer(TRANSFER_ALL_TO_ALL, mpi_here.next_handle++);
    timeline_entry *entry = post_all_to_all(c, t->handle, send_bytes);
    if (send_bytes[c->rank])
        c->dev->copy(c->dev, (char *)recv + recv_at[c->rank],
                     (const char *)send + send_at[c->rank], send_bytes[c->rank]);
    int result = 0;
    for (int distance = 1; distance < c->size && result == 0; distance++) {
        int from = (c->rank - distance + c->size) % c->size, to = (c->rank + distance) % c->size;
        result = start_recv(t, (char *)recv + recv_at[from], recv_bytes[from], from, TAG_EXCHANGE);
        if (result == 0)
            result = start_send(t, (const char *)send + send_at[to], send_bytes[to], to,
                                TAG_EXCHANGE);
    }
    timeline_resume(c->time, entry);
    return result < 0 ? -1 : t->handle;
}

int mpi_send_recv(comm *c, int to, const void *send, size_t send_bytes, int from,
                         void *recv, size_t recv_bytes)
{
    if (check_peer(c, "send_recv", "the receiver", to, true) < 0 ||
        check_peer(c, "send_recv", "the sender", from, true) < 0)
        return -1;
    c->dev->sync(c->dev);
    transfer *t = new_transfer(TRANSFER_SEND_RECV, mpi_here.next_handle++);
    timeline_entry *entry = post_send_recv(c, t->handle, to, send_bytes, from);
    int result = from < 0 ? 0 : start_recv(t, recv, recv_bytes, from, TAG_MESSAGE);
    if (to >= 0 && result == 0)
        result = start_send(t, send, send_bytes, to, TAG_MESSAGE);
    timeline_resume(c->time, entry);
    return result < 0 ? -1 : t->handle;
}

int mpi_broadcast(comm *c, void *data, size_t bytes, int root)
{
    if (check_peer(c, "broadcast", "the root", root, false) < 0)
        return -1;
    c->dev->sync(c->dev);
    transfer *t = new_transfer(TRANSFER_BROADCAST, mpi_here.next_handle++);
    timeline_entry *entry = post_broadcast(c, t->handle, bytes, root);
    int code = MPI_SUCCESS;
    for (size_t done = 0; done < bytes && code == MPI_SUCCESS;) {
        int piece = mpi_piece_at(done, bytes);
        code = MPI_Ibcast((char *)data + done, piece, MPI_BYTE, root, mpi_here.group,
                          add_request(t, root, -1));
        done += (size_t)piece;
    }
    timeline_resume(c->time, entry);
    return code == MPI_SUCCESS ? t->handle : mpi_fail("broadcast", code);
}

int mpi_barrier(comm *c)
{
    c->dev->sync(c->dev);
    transfer *t = new_transfer(TRANSFER_BARRIER, mpi_here.next_handle++);
    timeline_entry *entry = post_barrier(c, t->handle);
    int code = MPI_Ibarrier(mpi_here.group, add_request(t, -1, -1));
    timeline_resume(c->time, entry);
    return code == MPI_SUCCESS ? t->handle : mpi_fail("barrier", code);
}

int mpi_reduce_max(comm *c, double *values, int count)
{
    c->dev->sync(c->dev);
    timeline_entry *entry = timeline_pause(c->time, ENTRY_PAUSE, 0);
    transfer *t = new_transfer(TRANSFER_BARRIER, NO_HANDLE); /* no POST entry, so no number */
    int code = MPI_Iallreduce(MPI_IN_PLACE, values, count, MPI_DOUBLE, MPI_MAX, mpi_here.group,
                              add_request(t, -1, -1));
    int result = code == MPI_SUCCESS ? finish(c, t, "reduce_max") : mpi_fail("reduce_max", code);
    timeline_resume(c->time, entry);
    if (result == 0)
        mpi_forget_transfer(t);
    return result;
}

int mpi_replicated(comm *c, int (*work)(void *), void *argument, void *out, size_t bytes)
{
    (void)c, (void)out, (void)bytes;
    return work(argument);
}
