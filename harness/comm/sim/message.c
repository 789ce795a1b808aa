/* Messages between two virtual hosts: a side waits in a list until its other side is posted. */
#include "harness/comm/sim/sim.h"
#include "harness/error.h"

#include <stdlib.h>

/* Posts one side of a message: moves it when the other side is there, else leaves it. */
static int post_half(sim_run *run, half side)
{
    half **link = &run->halves[side.source];
    while (*link && ((*link)->target != side.target || (*link)->is_send == side.is_send))
        link = &(*link)->next;
    half *other = *link;
    if (!other) {
        half *left = alloc_or_die(1, sizeof *left);
        *left = side;
        *link = left; /* the list's end */
        return 0;
    }
    const half *send = side.is_send ? &side : other, *recv = side.is_send ? other : &side;
    if (send->bytes != recv->bytes)
        return fail("send_recv: host %d sends %zu bytes to host %d, which receives %zu",
                    send->source, send->bytes, send->target, recv->bytes);
    sim_copy(run, recv->recv, send->send, send->bytes);
    sim_moved(run, send->source, send->handle);
    sim_moved(run, recv->target, recv->handle);
    *link = other->next;
    free(other);
    return 0;
}

int sim_send_recv(comm *c, int to, const void *send, size_t send_bytes, int from,
                         void *recv, size_t recv_bytes)
{
    sim_host *host = sim_host_of(c);
    if (sim_enter(host, "send_recv") < 0 ||
        check_peer(c, "send_recv", "the receiver", to, true) < 0 ||
        check_peer(c, "send_recv", "the sender", from, true) < 0)
        return -1;
    operation *op = sim_add_operation(host, TRANSFER_SEND_RECV, (to >= 0) + (from >= 0));
    op->to = to;
    op->from = from;
    int handle = op->handle, result = 0;
    timeline_entry *entry = post_send_recv(c, handle, to, send_bytes, from);
    if (to >= 0)
        result = post_half(host->run, (half){.is_send = true, .source = c->rank, .target = to,
                                             .send = send, .bytes = send_bytes, .handle = handle});
    if (from >= 0 && result == 0)
        result = post_half(host->run, (half){.source = from, .target = c->rank, .recv = recv,
                                             .bytes = recv_bytes, .handle = handle});
    timeline_resume(c->time, entry);
    return result < 0 ? -1 : handle;
}
