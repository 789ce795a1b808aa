/* sim: H virtual hosts in one process on one device. Each host is a coroutine that keeps the turn
 * through starts of transfers and gives it up only in wait() and reduce_max(), so the order in which
 * hosts run never affects results. Data move when everybody who takes part has posted, as device
 * copies between the `before` and `after` marks of a timeline entry, where no host's time runs; what
 * the transfer would have cost on real links is computed afterwards from the timelines (replay.h).
 * Nothing here waits for the device: copies queue on its one stream behind the work that made the
 * data. */
#include "harness/comm/calls.h"
#include "harness/comm/coroutine.h"
#include "harness/error.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* reduce_max matches like a collective but is no transfer. */
enum { COLLECTIVE_REDUCE = TRANSFER_BARRIER + 1 };

typedef struct sim_run sim_run;

/* A transfer that a host has started and not yet waited for. */
typedef struct {
    int handle;
    transfer_kind kind;
    int pending;    /* halves (send_recv: up to 2) or the whole (1) that have not moved yet */
    int call;       /* its number among the host's collective calls */
    int to, from;   /* send_recv */
} operation;

typedef struct {
    comm comm; /* comm.state points back here */
    sim_run *run;
    coroutine *coroutine;
    int result;
    operation *operations;
    int operation_count, operation_capacity;
    int next_handle;
    int collective_calls, replicated_calls; /* made so far */
    int waiting_for;                        /* handle, or REDUCING, or NOTHING */
} sim_host;
enum { NOTHING = -1, REDUCING = -2 };

/* What one host brings to a collective call. */
typedef struct {
    bool here;
    int handle;
    const void *send;
    void *recv;
    size_t *parts; /* all_to_all: [4][hosts] send_at, send_bytes, recv_at, recv_bytes */
    double *values;
    int value_count;
} contribution;

typedef struct {
    int kind; /* transfer_kind or COLLECTIVE_REDUCE */
    size_t bytes;
    int root;
    int first_host; /* who posted first, and so settled kind, bytes and root */
    int arrived;
    contribution *of;
} collective;

/* One side of a message whose other side has not been posted. */
typedef struct half half;
struct half {
    bool is_send;
    int source, target;
    const void *send;
    void *recv;
    size_t bytes;
    int handle;
    half *next;
};

/* The result of replicated work, kept until every host has taken it. The host that ran the work may
 * overwrite its `out` before the last host comes, so the result lies in a buffer of its own: one
 * device copy more, of a few rows of activations. */
typedef struct {
    int host, entry_begin, entry_end;
    device_mark from, until;
    uint64_t flops;
    size_t bytes;
    int taken;
    int buffer;
} replicated_result;

typedef struct {
    void *memory;
    size_t bytes;
    bool used;
} side_buffer;

struct sim_run {
    int hosts;
    device *dev;
    int (*body)(comm *, void *);
    void *argument;
    sim_host *host;
    int *ready; /* ring of hosts that may take the turn, each at most once */
    int ready_first, ready_count;

    collective *collectives; /* those that some host has posted, oldest first */
    int collective_count, collective_capacity, collectives_done;
    half **halves; /* [hosts] by source, oldest first */

    replicated_result *results; /* those that some host has yet to take, oldest first */
    int result_count, result_capacity, results_done;
    side_buffer *buffers;
    int buffer_count;
    bool in_work; /* replicated work is running: no calls */

    bool failed;
    char *sentence; /* of the first failure, with the host in front */
};

static sim_host *host_of(comm *c)
{
    return c->state;
}

/* ---- Failing, parking and waking ---- */

static void make_ready(sim_run *run, int rank)
{
    run->ready[(run->ready_first + run->ready_count++) % run->hosts] = rank;
}

/* Keeps the first failure's sentence; parked hosts are woken to find out. */
static void run_failed(sim_run *run, char *sentence)
{
    if (run->failed) {
        free(sentence);
        return;
    }
    run->failed = true;
    run->sentence = sentence;
    for (int rank = 0; rank < run->hosts; rank++) {
        sim_host *host = &run->host[rank];
        if (host->waiting_for != NOTHING) {
            host->waiting_for = NOTHING;
            make_ready(run, rank);
        }
    }
}

/* Every call starts here: refuses calls from replicated work and after another host's failure. */
static int enter(sim_host *host, const char *call)
{
    if (host->run->failed)
        return fail("%s: another host has failed", call);
    if (host->run->in_work)
        return fail("%s was called from replicated work, which may not use the links", call);
    return 0;
}

/* Gives the turn up until `what` (a handle or REDUCING) is done. */
static int park(sim_host *host, int what, const char *call)
{
    host->waiting_for = what;
    coroutine_yield(host->coroutine);
    host->waiting_for = NOTHING;
    return host->run->failed ? fail("%s: another host has failed", call) : 0;
}

static void wake_if_waiting(sim_host *host, int what)
{
    if (host->waiting_for == what) {
        host->waiting_for = NOTHING;
        make_ready(host->run, host->comm.rank);
    }
}

static operation *find_operation(sim_host *host, int handle)
{
    for (int i = 0; i < host->operation_count; i++)
        if (host->operations[i].handle == handle)
            return &host->operations[i];
    return NULL;
}

static operation *add_operation(sim_host *host, transfer_kind kind, int pending)
{
    if (host->operation_count == host->operation_capacity) {
        host->operation_capacity = host->operation_capacity ? 2 * host->operation_capacity : 8;
        host->operations = realloc_or_die(host->operations, (size_t)host->operation_capacity,
                                          sizeof *host->operations);
    }
    operation *op = &host->operations[host->operation_count++];
    *op = (operation){.handle = host->next_handle++, .kind = kind, .pending = pending,
                      .call = host->collective_calls, .to = -1, .from = -1};
    return op;
}

/* A half, or the whole, of a host's transfer has moved. */
static void moved(sim_run *run, int rank, int handle)
{
    sim_host *host = &run->host[rank];
    operation *op = find_operation(host, handle);
    if (--op->pending == 0)
        wake_if_waiting(host, handle);
}

static void copy_bytes_between(sim_run *run, void *to, const void *from, size_t bytes)
{
    if (bytes && to != from)
        run->dev->copy(run->dev, to, from, bytes);
}

/* ---- Collectives ---- */

static const char *collective_name(int kind)
{
    return kind == COLLECTIVE_REDUCE ? "reduce_max" : transfer_names[kind];
}

/* The collective that this host's next call belongs to, made when the host is the first. NULL with a
 * sentence when the host calls something else than the first one did. Counts nothing yet. */
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
             collective_name(kind), call->first_host, collective_name(call->kind));
        return NULL;
    }
    if (call->bytes != bytes) {
        fail("%s (collective call %d) of %zu bytes, but host %d has %zu bytes there",
             collective_name(kind), host->collective_calls, bytes, call->first_host, call->bytes);
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
            copy_bytes_between(run, (char *)call->of[to].recv + (size_t)from * call->bytes,
                               call->of[from].send, call->bytes);
}

static void move_all_to_all(sim_run *run, const collective *call)
{
    size_t hosts = (size_t)run->hosts;
    for (size_t to = 0; to < hosts; to++) {
        const contribution *target = &call->of[to];
        for (size_t from = 0; from < hosts; from++) {
            const contribution *source = &call->of[from];
            copy_bytes_between(run, (char *)target->recv + target->parts[2 * hosts + from],
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

static void free_collective(sim_run *run, collective *call)
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
            copy_bytes_between(run, call->of[to].recv, call->of[call->root].recv, call->bytes);
        break;
    case COLLECTIVE_REDUCE:
        reduce(run, call);
        break;
    }
    for (int rank = 0; rank < run->hosts; rank++) {
        if (call->kind == COLLECTIVE_REDUCE)
            wake_if_waiting(&run->host[rank], REDUCING);
        else
            moved(run, rank, call->of[rank].handle);
    }
    free_collective(run, call);
    run->collectives_done++;
    run->collective_count--;
    memmove(run->collectives, run->collectives + 1,
            (size_t)run->collective_count * sizeof *run->collectives);
}

static int sim_all_gather(comm *c, const void *send, void *recv, size_t bytes)
{
    sim_host *host = host_of(c);
    if (enter(host, "all_gather") < 0)
        return -1;
    collective *call = join(host, TRANSFER_ALL_GATHER, bytes, 0);
    if (!call)
        return -1;
    int handle = add_operation(host, TRANSFER_ALL_GATHER, 1)->handle;
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

static int sim_all_to_all(comm *c, const void *send, const size_t *send_at,
                          const size_t *send_bytes, void *recv, const size_t *recv_at,
                          const size_t *recv_bytes)
{
    sim_host *host = host_of(c);
    if (enter(host, "all_to_all") < 0)
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
    int handle = add_operation(host, TRANSFER_ALL_TO_ALL, 1)->handle;
    timeline_entry *entry = post_all_to_all(c, handle, send_bytes);
    contribute(host, call,
               (contribution){.handle = handle, .send = send, .recv = recv, .parts = parts});
    timeline_resume(c->time, entry);
    return handle;
}

static int sim_broadcast(comm *c, void *data, size_t bytes, int root)
{
    sim_host *host = host_of(c);
    if (enter(host, "broadcast") < 0 || check_peer(c, "broadcast", "the root", root, false) < 0)
        return -1;
    collective *call = join(host, TRANSFER_BROADCAST, bytes, root);
    if (!call)
        return -1;
    int handle = add_operation(host, TRANSFER_BROADCAST, 1)->handle;
    timeline_entry *entry = post_broadcast(c, handle, bytes, root);
    contribute(host, call, (contribution){.handle = handle, .recv = data});
    timeline_resume(c->time, entry);
    return handle;
}

static int sim_barrier(comm *c)
{
    sim_host *host = host_of(c);
    if (enter(host, "barrier") < 0)
        return -1;
    collective *call = join(host, TRANSFER_BARRIER, 0, 0);
    if (!call)
        return -1;
    int handle = add_operation(host, TRANSFER_BARRIER, 1)->handle;
    timeline_entry *entry = post_barrier(c, handle);
    contribute(host, call, (contribution){.handle = handle});
    timeline_resume(c->time, entry);
    return handle;
}

static int sim_reduce_max(comm *c, double *values, int count)
{
    sim_host *host = host_of(c);
    if (enter(host, "reduce_max") < 0)
        return -1;
    collective *call = join(host, COLLECTIVE_REDUCE, (size_t)count * sizeof *values, 0);
    if (!call)
        return -1;
    timeline_entry *entry = timeline_pause(c->time, ENTRY_PAUSE, 0);
    bool last = call->arrived + 1 == c->size;
    contribute(host, call, (contribution){.values = values, .value_count = count});
    int result = last ? 0 : park(host, REDUCING, "reduce_max");
    timeline_resume(c->time, entry);
    return result;
}

/* ---- Messages between two hosts ---- */

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
    copy_bytes_between(run, recv->recv, send->send, send->bytes);
    moved(run, send->source, send->handle);
    moved(run, recv->target, recv->handle);
    *link = other->next;
    free(other);
    return 0;
}

static int sim_send_recv(comm *c, int to, const void *send, size_t send_bytes, int from,
                         void *recv, size_t recv_bytes)
{
    sim_host *host = host_of(c);
    if (enter(host, "send_recv") < 0 ||
        check_peer(c, "send_recv", "the receiver", to, true) < 0 ||
        check_peer(c, "send_recv", "the sender", from, true) < 0)
        return -1;
    operation *op = add_operation(host, TRANSFER_SEND_RECV, (to >= 0) + (from >= 0));
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

static int sim_wait(comm *c, int handle)
{
    sim_host *host = host_of(c);
    if (enter(host, "wait") < 0)
        return -1;
    operation *op = find_operation(host, handle);
    if (!op)
        return fail("wait: there is no transfer with handle %d to wait for", handle);
    transfer_kind kind = op->kind;
    if (check_deadline(c, transfer_names[kind]) < 0)
        return -1;
    timeline_entry *entry = timeline_pause(c->time, ENTRY_WAIT, kind);
    entry->handle = handle;
    int result = op->pending ? park(host, handle, transfer_names[kind]) : 0;
    timeline_resume(c->time, entry);
    if (result < 0)
        return -1;
    op = find_operation(host, handle);
    *op = host->operations[--host->operation_count];
    return 0;
}

/* ---- Replicated work ---- */

/* A device buffer of at least `bytes` that nobody uses; -1 with a sentence when there is no room. */
static int take_buffer(sim_run *run, size_t bytes)
{
    for (int i = 0; i < run->buffer_count; i++) {
        if (!run->buffers[i].used && run->buffers[i].bytes >= bytes) {
            run->buffers[i].used = true;
            return i;
        }
    }
    void *memory = run->dev->alloc(run->dev, bytes ? bytes : 1);
    if (!memory)
        return fail("replicated: the device has no room for %zu bytes of results", bytes);
    run->buffers = realloc_or_die(run->buffers, (size_t)run->buffer_count + 1,
                                  sizeof *run->buffers);
    run->buffers[run->buffer_count] = (side_buffer){memory, bytes, true};
    return run->buffer_count++;
}

static int run_work(sim_host *host, int (*work)(void *), void *argument, const void *out,
                    size_t bytes)
{
    sim_run *run = host->run;
    comm *c = &host->comm;
    replicated_result made = {.host = c->rank, .bytes = bytes, .taken = 1,
                              .entry_begin = c->time->count};
    made.from = run->dev->mark(run->dev);
    made.flops = timeline_flops(c->time);
    run->in_work = true;
    int result = work(argument);
    run->in_work = false;
    if (result < 0)
        return -1;
    made.entry_end = c->time->count;
    timeline_entry *entry = timeline_pause(c->time, ENTRY_PAUSE, 0);
    made.until = entry->before;
    made.flops = c->time->flops - made.flops;
    made.buffer = take_buffer(run, bytes);
    if (made.buffer < 0)
        return -1;
    copy_bytes_between(run, run->buffers[made.buffer].memory, out, bytes);
    timeline_resume(c->time, entry);
    if (run->result_count == run->result_capacity) {
        run->result_capacity = run->result_capacity ? 2 * run->result_capacity : 8;
        run->results = realloc_or_die(run->results, (size_t)run->result_capacity,
                                      sizeof *run->results);
    }
    run->results[run->result_count++] = made;
    return 0;
}

static int sim_replicated(comm *c, int (*work)(void *), void *argument, void *out, size_t bytes)
{
    sim_host *host = host_of(c);
    sim_run *run = host->run;
    if (enter(host, "replicated") < 0)
        return -1;
    if (c->size == 1)
        return work(argument);
    int index = host->replicated_calls - run->results_done;
    if (index == run->result_count) {
        if (run_work(host, work, argument, out, bytes) < 0)
            return -1;
        host->replicated_calls++;
        return 0;
    }
    replicated_result *made = &run->results[index];
    if (made->bytes != bytes)
        return fail("replicated: call %d has a result of %zu bytes, but host %d made %zu there",
                    host->replicated_calls, bytes, made->host, made->bytes);
    timeline_entry *entry = timeline_pause(c->time, ENTRY_REPLICATED, 0);
    entry->from = made->host;
    entry->source_begin = made->entry_begin;
    entry->source_end = made->entry_end;
    entry->from_mark = made->from;
    entry->until_mark = made->until;
    copy_bytes_between(run, out, run->buffers[made->buffer].memory, bytes);
    timeline_resume(c->time, entry);
    c->time->flops += made->flops;
    host->replicated_calls++;
    if (++made->taken == run->hosts) { /* hosts take in order, so this is the oldest */
        run->buffers[made->buffer].used = false;
        run->results_done++;
        run->result_count--;
        memmove(run->results, run->results + 1, (size_t)run->result_count * sizeof *run->results);
    }
    return 0;
}

/* ---- Runs ---- */

static void host_body(void *argument)
{
    sim_host *host = argument;
    sim_run *run = host->run;
    host->comm.time->flops_at = run->dev->flops; /* what was counted before is not this host's */
    host->result = run->body(&host->comm, run->argument);
    if (run->failed)
        return;
    if (host->result < 0)
        run_failed(run, format_text("host %d: %s", host->comm.rank, fail_text()));
    else if (host->operation_count)
        run_failed(run, format_text("host %d: returned without waiting for its %s (handle %d)",
                                    host->comm.rank, transfer_names[host->operations[0].kind],
                                    host->operations[0].handle));
}

/* Nobody can go on, though some have not returned: says who waits for whom. */
static char *describe_deadlock(sim_run *run)
{
    int rank = 0;
    while (run->host[rank].waiting_for == NOTHING)
        rank++;
    sim_host *host = &run->host[rank];
    operation *op = host->waiting_for == REDUCING ? NULL : find_operation(host, host->waiting_for);
    if (op && op->kind == TRANSFER_SEND_RECV) {
        for (int source = 0; source < run->hosts; source++)
            for (half *side = run->halves[source]; side; side = side->next)
                if (side->handle == op->handle && (side->is_send ? source : side->target) == rank)
                    return format_text("host %d: send_recv waits for ever: host %d has not posted "
                                       "the %s", rank, side->is_send ? side->target : source,
                                       side->is_send ? "receive" : "send");
    }
    int number = op ? op->call : host->collective_calls - 1;
    collective *call = &run->collectives[number - run->collectives_done];
    int missing = 0;
    while (call->of[missing].here)
        missing++;
    return format_text("host %d: %s (collective call %d) waits for ever: host %d %s", rank,
                       collective_name(call->kind), number, missing,
                       coroutine_ended(run->host[missing].coroutine)
                           ? "has returned without it" : "waits for something else");
}

static void schedule(sim_run *run)
{
    for (int rank = 0; rank < run->hosts; rank++)
        make_ready(run, rank);
    for (int turn = 0;; turn++) {
        if (run->ready_count == 0) {
            bool parked = false;
            for (int rank = 0; rank < run->hosts && !parked; rank++)
                parked = run->host[rank].waiting_for != NOTHING;
            if (!parked)
                return;
            run_failed(run, describe_deadlock(run));
        }
        int rank = run->ready[run->ready_first];
        run->ready_first = (run->ready_first + 1) % run->hosts;
        run->ready_count--;
        if (run->failed && turn < run->hosts)
            continue; /* the first turns go round all hosts: this one need not begin any more */
        coroutine_resume(run->host[rank].coroutine);
    }
}

static void free_run(sim_run *run)
{
    for (int rank = 0; rank < run->hosts; rank++) {
        coroutine_free(run->host[rank].coroutine);
        free(run->host[rank].operations);
        for (half *side = run->halves[rank], *next; side; side = next) {
            next = side->next;
            free(side);
        }
    }
    for (int i = 0; i < run->collective_count; i++)
        free_collective(run, &run->collectives[i]);
    for (int i = 0; i < run->buffer_count; i++)
        run->dev->free(run->dev, run->buffers[i].memory);
    free(run->buffers);
    free(run->results);
    free(run->collectives);
    free(run->halves);
    free(run->ready);
    free(run->host);
}

static int sim_run_hosts(const comm_driver *driver, int hosts, device *dev, timeline *timelines,
                         int (*body)(comm *, void *), void *argument)
{
    if (hosts < 1)
        return fail("--comm sim: %d hosts are asked for", hosts);
    sim_run run = {.hosts = hosts, .dev = dev, .body = body, .argument = argument};
    run.host = alloc_or_die((size_t)hosts, sizeof *run.host);
    run.ready = alloc_or_die((size_t)hosts, sizeof *run.ready);
    run.halves = alloc_or_die((size_t)hosts, sizeof *run.halves);
    for (int rank = 0; rank < hosts; rank++) {
        sim_host *host = &run.host[rank];
        timelines[rank].dev = dev;
        host->comm = (comm){.driver = driver, .rank = rank, .size = hosts, .dev = dev,
                            .time = &timelines[rank], .state = host};
        host->run = &run;
        host->waiting_for = NOTHING;
        host->coroutine = coroutine_new(host_body, host);
        if (!host->coroutine) {
            free_run(&run);
            return -1;
        }
    }
    schedule(&run);
    free_run(&run);
    if (!run.failed)
        return 0;
    fail("%s", run.sentence);
    free(run.sentence);
    return -1;
}

static int sim_open(const comm_driver *driver, int *ranks, bool *leader)
{
    (void)driver;
    *ranks = INT_MAX;
    *leader = true;
    return 0;
}

static void sim_close(const comm_driver *driver)
{
    (void)driver;
}

static void sim_abort(const comm_driver *driver)
{
    (void)driver;
}

static int sim_share(const comm_driver *driver, void *data, size_t bytes)
{
    (void)driver, (void)data, (void)bytes;
    return 0;
}

const comm_driver sim_driver = {
    .name = "sim",
    .title = "virtual hosts in one process, with a virtual clock over a link model",
    .projected = true,
    .open = sim_open,
    .close = sim_close,
    .abort = sim_abort,
    .share = sim_share,
    .run = sim_run_hosts,
    .all_gather = sim_all_gather,
    .all_to_all = sim_all_to_all,
    .send_recv = sim_send_recv,
    .broadcast = sim_broadcast,
    .barrier = sim_barrier,
    .wait = sim_wait,
    .reduce_max = sim_reduce_max,
    .replicated = sim_replicated,
};
