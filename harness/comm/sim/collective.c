/* Collective calls of virtual hosts. The first host that comes settles what the call is, the
 * last one moves the data for all. */
#include "harness/comm/sim/sim.h"
#include "harness/error.h"

#include <stdlib.h>
#include <string.h>

const char *sim_collective_name(int kind)
{
    return kind == COLLECTIVE_REDUCE ? "reduce_max" : transfer_names[kind];
}

/* The collective that this host's next call belongs to, made when the host is the first. NULL
 * with a sentence when the host calls something else than the first one did. Counts nothing yet. */
static collective *join(sim_host *host, int kind, size_t bytes, int root)
{
    sim_run *run = host->run;
    int index = host->collective_calls - run->collectives_done;
    if (index == run->collective_count) {
        if (run->collective_count == run->collective_capacity) {
            run->collective_capacity = run->collective_capacity ? 2 * run->collective_capacity : 8;
            run->collectives = realloc_or_die(run->collectives, (size_t)run->collective_capacity,
                                              sizeof *run->collectives);
        }
        collective *fresh = &run->collectives[run->collective_count++];
        *fresh = (collective){.kind = kind, .bytes = bytes, .root = root,
                              .first_host = host->comm.rank};
        fresh->of = alloc_or_die((size_t)run->hosts, sizeof *fresh->of);
    }
    collective *call = &run->collectives[index];
    if (call->kind != kind) {
        fail("its collective call %d is %s, but that of host %d is %s", host->collective_calls,
             sim_collective_name(kind), call->first_host, sim_collective_name(call->kind));
        return NULL;
    }
    if (call->bytes != bytes) {
        fail("%s (collective call %d) of %zu bytes, but host %d has %zu bytes there",
             sim_collective_name(kind), host->collective_calls, bytes, call->first_host,
             call->bytes);
        return NULL;
    }
    if (call->root != root) {
        fail("broadcast (collective call %d) from host %d, but host %d has it from host %d",
             host->collective_calls, root, call->first_host, call->root);
        return NULL;
    }
    return call;
}

static void move_all_gather(sim_run *run, const collective *call)
{
    for (int to = 0; to < run->hosts; to++)
        for (int from = 0; from < run->hosts; from++)
            sim_copy(run, (char *)call->of[to].recv + (size_t)from * call->bytes,
                               call->of[from].send, call->bytes);
}

static void move_all_to_all(sim_run *run, const collective *call)
{
    size_t hosts = (size_t)run->hosts;
    for (size_t to = 0; to < hosts; to++) {
        const contribution *target = &call->of[to];
        for (size_t from = 0; from < hosts; from++) {
            const contribution *source = &call->of[from];
            sim_copy(run, (char *)target->recv + target->parts[2 * hosts + from],
                               (const char *)source->send + source->parts[to],
                               source->parts[hosts + to]);
        }
    }
}

static void reduce(sim_run *run, const collective *call)
{
    double *best = call->of[0].values;
    for (int rank = 1; rank < run->hosts; rank++)
        for (int i = 0; i < call->of[0].value_count; i++)
            if (call->of[rank].values[i] > best[i])
                best[i] = call->of[rank].values[i];
    for (int rank = 1; rank < run->hosts; rank++)
        memcpy(call->of[rank].values, best,
               (size_t)call->of[0].value_count * sizeof *best);
}

void sim_free_collective(sim_run *run, collective *call)
{
    for (int rank = 0; rank < run->hosts; rank++)
        free(call->of[rank].parts);
    free(call->of);
}

/* Counts this host in; the last one moves the data and ends the call for all. Since hosts join in
 * order, a complete call is always the oldest. */
static void contribute(sim_host *host, collective *call, contribution part)
{
    sim_run *run = host->run;
    part.here = true;
    call->of[host->comm.rank] = part;
    host->collective_calls++;
    if (++call->arrived < run->hosts)
        return;
    switch (call->kind) {
    case TRANSFER_ALL_GATHER:
        move_all_gather(run, call);
        break;
    case TRANSFER_ALL_TO_ALL:
        move_all_to_all(run, call);
        break;
    case TRANSFER_BROADCAST:
        for (int to = 0; to < run->hosts; to++)
            sim_copy(run, call->of[to].recv, call->of[call->root].recv, call->bytes);
        break;
    case COLLECTIVE_REDUCE:
        reduce(run, call);
        break;
    }
    for (int rank = 0; rank < run->hosts; rank++) {
        if (call->kind == COLLECTIVE_REDUCE)
            sim_wake_if_waiting(&run->host[rank], REDUCING);
        else
            sim_moved(run, rank, call->of[rank].handle);
    }
    sim_free_collective(run, call);
    run->collectives_done++;
    run->collective_count--;
    memmove(run->collectives, run->collectives + 1,
            (size_t)run->collective_count * sizeof *run->collectives);
}

int sim_all_gather(comm *c, const void *send, void *recv, size_t bytes)
{
    sim_host *host = sim_host_of(c);
    if (sim_enter(host, "all_gather") < 0)
        return -1;
    collective *call = join(host, TRANSFER_ALL_GATHER, bytes, 0);
    if (!call)
        return -1;
    int handle = sim_add_operation(host, TRANSFER_ALL_GATHER, 1)->handle;
    timeline_entry *entry = post_all_gather(c, handle, bytes);
    contribute(host, call, (contribution){.handle = handle, .send = send, .recv = recv});
    timeline_resume(c->time, entry);
    return handle;
}

/* Sizes that this host and those who came before disagree about. */
static int check_parts(const sim_host *host, const collective *call, const size_t *send_bytes,
                       const size_t *recv_bytes)
{
    int rank = host->comm.rank, hosts = host->run->hosts;
    if (send_bytes[rank] != recv_bytes[rank])
        return fail("all_to_all: it sends itself %zu bytes but receives %zu from itself",
                    send_bytes[rank], recv_bytes[rank]);
    for (int peer = 0; peer < hosts; peer++) {
        if (!call->of[peer].here)
            continue;
        const size_t *parts = call->of[peer].parts;
        size_t sends = parts[hosts + rank], receives = parts[3 * hosts + rank];
        if (sends != recv_bytes[peer])
            return fail("all_to_all: it receives %zu bytes from host %d, which sends %zu",
                        recv_bytes[peer], peer, sends);
        if (receives != send_bytes[peer])
            return fail("all_to_all: it sends %zu bytes to host %d, which receives %zu",
                        send_bytes[peer], peer, receives);
    }
    return 0;
}

int sim_all_to_all(comm *c, const void *send, const size_t *send_at,
                          const size_t *send_bytes, void *recv, const size_t *recv_at,
                          const size_t *recv_bytes)
{
    sim_host *host = sim_host_of(c);
    if (sim_enter(host, "all_to_all") < 0)
        return -1;
    collective *call = join(host, TRANSFER_ALL_TO_ALL, 0, 0);
    if (!call || check_parts(host, call, send_bytes, recv_bytes) < 0)
        return -1;
    size_t hosts = (size_t)c->size;
    size_t *parts = alloc_or_die(4 * hosts, sizeof *parts);
    memcpy(parts, send_at, hosts * sizeof *parts);
    memcpy(parts + hosts, send_bytes, hosts * sizeof *parts);
    memcpy(parts + 2 * hosts, recv_at, hosts * sizeof *parts);
    memcpy(parts + 3 * hosts, recv_bytes, hosts * sizeof *parts);
    int handle = sim_add_operation(host, TRANSFER_ALL_TO_ALL, 1)->handle;
    timeline_entry *entry = post_all_to_all(c, handle, send_bytes);
    contribute(host, call,
               (contribution){.handle = handle, .send = send, .recv = recv, .parts = parts});
    timeline_resume(c->time, entry);
    return handle;
}

int sim_broadcast(comm *c, void *data, size_t bytes, int root)
{
    sim_host *host = sim_host_of(c);
    if (sim_enter(host, "broadcast") < 0 || check_peer(c, "broadcast", "the root", root, false) < 0)
        return -1;
    collective *call = join(host, TRANSFER_BROADCAST, bytes, root);
    if (!call)
        return -1;
    int handle = sim_add_operation(host, TRANSFER_BROADCAST, 1)->handle;
    timeline_entry *entry = post_broadcast(c, handle, bytes, root);
    contribute(host, call, (contribution){.handle = handle, .recv = data});
    timeline_resume(c->time, entry);
    return handle;
}

int sim_barrier(comm *c)
{
    sim_host *host = sim_host_of(c);
    if (sim_enter(host, "barrier") < 0)
        return -1;
    collective *call = join(host, TRANSFER_BARRIER, 0, 0);
    if (!call)
        return -1;
    int handle = sim_add_operation(host, TRANSFER_BARRIER, 1)->handle;
    timeline_entry *entry = post_barrier(c, handle);
    contribute(host, call, (contribution){.handle = handle});
    timeline_resume(c->time, entry);
    return handle;
}

int sim_reduce_max(comm *c, double *values, int count)
{
    sim_host *host = sim_host_of(c);
    if (sim_enter(host, "reduce_max") < 0)
        return -1;
    collective *call = join(host, COLLECTIVE_REDUCE, (size_t)count * sizeof *values, 0);
    if (!call)
        return -1;
    timeline_entry *entry = timeline_pause(c->time, ENTRY_PAUSE, 0);
    bool last = call->arrived + 1 == c->size;
    contribute(host, call, (contribution){.values = values, .value_count = count});
    int result = last ? 0 : sim_park(host, REDUCING, "reduce_max");
    timeline_resume(c->time, entry);
    return result;
}
