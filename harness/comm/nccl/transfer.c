/* Transfers of the nccl driver. A start makes the comm stream wait for what the compute stream has
 * queued so far, queues the transfer there and an event behind it; wait() makes the compute stream
 * wait for that event. Neither blocks the CPU, so the GPU sees compute and transfers side by side.
 * The marks around wait() lie on the compute stream: the time between them is what the transfer
 * lacked when its result was wanted, the exposed communication.
 *
 * Transfers of a host run one after another, in the order of their starts, whichever communicator of the
 * group (process.h) they go over: two hosts that exchange messages must do so in one call of send_recv, or
 * send in an order in which both can go on. Sizes that do not match are not found; the run then hangs
 * until its deadline. */
#include "harness/comm/nccl/process.h"

#include "harness/error.h"
#include "kernels/cuda/cuda.h"

#include <stdlib.h>

/* ---- Transfers in flight ---- */

static cudaEvent_t take_event(void)
{
    if (nccl_here.spare_count)
        return nccl_here.spare[--nccl_here.spare_count];
    cudaEvent_t event = NULL;
    cuda_must(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "making an event");
    return event;
}

void nccl_forget_transfer(nccl_transfer *t)
{
    if (nccl_here.spare_count == nccl_here.spare_room) {
        nccl_here.spare_room = 2 * nccl_here.spare_room + 16;
        nccl_here.spare = realloc_or_die(nccl_here.spare, (size_t)nccl_here.spare_room,
                                         sizeof *nccl_here.spare);
    }
    nccl_here.spare[nccl_here.spare_count++] = t->done;
    *t = nccl_here.transfers[--nccl_here.transfer_count];
}

/* The pointer is good until the next transfer. */
static nccl_transfer *new_transfer(transfer_kind kind)
{
    if (nccl_here.transfer_count == nccl_here.transfer_room) {
        nccl_here.transfer_room = 2 * nccl_here.transfer_room + 8;
        nccl_here.transfers = realloc_or_die(nccl_here.transfers,
                                             (size_t)nccl_here.transfer_room,
                                             sizeof *nccl_here.transfers);
    }
    nccl_transfer *t = &nccl_here.transfers[nccl_here.transfer_count++];
    *t = (nccl_transfer){.handle = nccl_here.next_handle++, .kind = kind, .done = take_event()};
    return t;
}

/* The comm stream waits for what has been computed so far. */
static int follow_compute(const comm *c, const char *call)
{
    if (nccl_check_cuda(cudaEventRecord(nccl_here.ready, cuda_of(c->dev)->stream), call))
        return -1;
    return nccl_check_cuda(cudaStreamWaitEvent(nccl_here.stream, nccl_here.ready, 0), call);
}

/* A kernel that stays on every multiprocessor until its work is done (attention on Hopper) would keep a
 * transfer from starting beside it: what is queued while one is under way leaves it room. That is enough
 * for a send_recv. A collective takes as much as it gets and may start late: methods that overlap
 * transfers with attention should use send_recv. */
static void leave_room(const comm *c)
{
    bool under_way = c->size > 1 && nccl_here.transfer_count > 0;
    cuda_of(c->dev)->kept_free = under_way ? NCCL_BLOCKS : 0;
}

/* The start is over: the event behind it, the entry's end. The handle, or -1. */
static int end_start(comm *c, nccl_transfer *t, timeline_entry *entry, int result)
{
    if (result == 0)
        result = nccl_check_cuda(cudaEventRecord(t->done, nccl_here.stream),
                                 transfer_names[t->kind]);
    leave_room(c);
    timeline_resume(c->time, entry);
    return result < 0 ? -1 : t->handle;
}

/* What a host sends to itself goes by the compute stream, beside the transfer and not in front of it;
 * who waits for the transfer comes behind it there. */
static int copy_here(const comm *c, void *to, const void *from, size_t bytes, const char *call)
{
    if (!bytes || to == from)
        return 0;
    return nccl_check_cuda(
        cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, cuda_of(c->dev)->stream), call);
}

int nccl_wait(comm *c, int handle)
{
    nccl_transfer *t = nccl_here.transfers;
    nccl_transfer *end = nccl_here.transfers + nccl_here.transfer_count;
    while (t < end && t->handle != handle)
        t++;
    if (t == end)
        return fail("wait: there is no transfer with handle %d to wait for", handle);
    timeline_entry *entry = timeline_pause(c->time, ENTRY_WAIT, t->kind);
    entry->handle = handle;
    int result = nccl_check_cuda(cudaStreamWaitEvent(cuda_of(c->dev)->stream, t->done, 0), "wait");
    timeline_resume(c->time, entry);
    if (result == 0)
        nccl_forget_transfer(t);
    leave_room(c);
    return result;
}

/* ---- Calls ---- */

int nccl_all_gather(comm *c, const void *send, void *recv, size_t bytes)
{
    nccl_transfer *t = new_transfer(TRANSFER_ALL_GATHER);
    timeline_entry *entry = post_all_gather(c, t->handle, bytes);
    int result = follow_compute(c, "all_gather");
    if (result == 0 && c->size == 1) {
        result = copy_here(c, recv, send, bytes, "all_gather");
    } else if (result == 0 && bytes) {
        nccl_enter();
        result = nccl_check(ncclAllGather(send, recv, bytes, ncclInt8, nccl_here.group[WIDE],
                                          nccl_here.stream), "all_gather");
        nccl_leave();
    }
    return end_start(c, t, entry, result);
}

/* Within a group of NCCL calls; nothing for no bytes, on both sides. */
static ncclResult_t send_to(int peer, const void *data, size_t bytes, int width)
{
    return bytes ? ncclSend(data, bytes, ncclInt8, peer, nccl_here.group[width], nccl_here.stream)
                 : ncclSuccess;
}

static ncclResult_t receive_from(int peer, void *data, size_t bytes, int width)
{
    return bytes ? ncclRecv(data, bytes, ncclInt8, peer, nccl_here.group[width], nccl_here.stream)
                 : ncclSuccess;
}

/* What a host sends itself is a part like the others: NCCL copies it in the same kernel. */
int nccl_all_to_all(comm *c, const void *send, const size_t *send_at, const size_t *send_bytes,
                    void *recv, const size_t *recv_at, const size_t *recv_bytes)
{
    int own = c->rank;
    if (send_bytes[own] != recv_bytes[own])
        return fail("all_to_all: it sends itself %zu bytes but receives %zu from itself",
                    send_bytes[own], recv_bytes[own]);
    nccl_transfer *t = new_transfer(TRANSFER_ALL_TO_ALL);
    timeline_entry *entry = post_all_to_all(c, t->handle, send_bytes);
    int result = follow_compute(c, "all_to_all");
    if (result == 0 && c->size == 1) {
        result = copy_here(c, (char *)recv + recv_at[own], (const char *)send + send_at[own],
                           send_bytes[own], "all_to_all");
    } else if (result == 0) {
        nccl_enter();
        ncclResult_t code = ncclGroupStart();
        for (int distance = 0; distance < c->size && code == ncclSuccess; distance++) {
            int from = (own - distance + c->size) % c->size, to = (own + distance) % c->size;
            code = send_to(to, (const char *)send + send_at[to], send_bytes[to], WIDE);
            if (code == ncclSuccess)
                code = receive_from(from, (char *)recv + recv_at[from], recv_bytes[from], WIDE);
        }
        ncclResult_t ended = ncclGroupEnd();
        result = nccl_check(code == ncclSuccess ? ended : code, "all_to_all");
        nccl_leave();
    }
    return end_start(c, t, entry, result);
}

int nccl_send_recv(comm *c, int to, const void *send, size_t send_bytes, int from, void *recv,
                   size_t recv_bytes)
{
    if (check_peer(c, "send_recv", "the receiver", to, true) < 0 ||
        check_peer(c, "send_recv", "the sender", from, true) < 0)
        return -1;
    bool to_itself = to == c->rank;
    if (to_itself != (from == c->rank) || (to_itself && send_bytes != recv_bytes))
        return fail("send_recv: what a host sends to itself it must receive in the same call");
    nccl_transfer *t = new_transfer(TRANSFER_SEND_RECV);
    timeline_entry *entry = post_send_recv(c, t->handle, to, send_bytes, from);
    int result = follow_compute(c, "send_recv");
    if (result == 0 && to_itself) {
        result = copy_here(c, recv, send, send_bytes, "send_recv");
    } else if (result == 0 && c->size > 1) {
        nccl_enter();
        ncclResult_t code = ncclGroupStart();
        if (code == ncclSuccess && to >= 0)
            code = send_to(to, send, send_bytes, NARROW);
        if (code == ncclSuccess && from >= 0)
            code = receive_from(from, recv, recv_bytes, NARROW);
        ncclResult_t ended = ncclGroupEnd();
        result = nccl_check(code == ncclSuccess ? ended : code, "send_recv");
        nccl_leave();
    }
    return end_start(c, t, entry, result);
}

int nccl_broadcast(comm *c, void *data, size_t bytes, int root)
{
    if (check_peer(c, "broadcast", "the root", root, false) < 0)
        return -1;
    nccl_transfer *t = new_transfer(TRANSFER_BROADCAST);
    timeline_entry *entry = post_broadcast(c, t->handle, bytes, root);
    int result = follow_compute(c, "broadcast");
    if (result == 0 && c->size > 1 && bytes) {
        nccl_enter();
        result = nccl_check(ncclBroadcast(data, data, bytes, ncclInt8, root, nccl_here.group[WIDE],
                                          nccl_here.stream), "broadcast");
        nccl_leave();
    }
    return end_start(c, t, entry, result);
}

/* On the device, so that it orders the hosts' compute streams and not their CPUs. */
int nccl_barrier(comm *c)
{
    nccl_transfer *t = new_transfer(TRANSFER_BARRIER);
    timeline_entry *entry = post_barrier(c, t->handle);
    int result = follow_compute(c, "barrier");
    if (result == 0 && c->size > 1) {
        nccl_enter();
        result = nccl_check(ncclAllReduce(nccl_here.token, nccl_here.token, 1, ncclInt32, ncclMax,
                                          nccl_here.group[WIDE], nccl_here.stream), "barrier");
        nccl_leave();
    }
    return end_start(c, t, entry, result);
}

/* Over the control socket: host memory, no work of the device is waited for. */
int nccl_reduce_max(comm *c, double *values, int count)
{
    timeline_entry *entry = timeline_pause(c->time, ENTRY_PAUSE, 0);
    int result = control_reduce_max(c->size, values, count);
    timeline_resume(c->time, entry);
    return result;
}

int nccl_replicated(comm *c, int (*work)(void *), void *argument, void *out, size_t bytes)
{
    (void)c, (void)out, (void)bytes;
    return work(argument);
}
