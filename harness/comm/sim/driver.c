/* sim: H virtual hosts in one process on one device. Each host is a coroutine that keeps the
 * turn through starts of transfers and gives it up only in wait() and reduce_max(), so the order
 * in which hosts run never affects results. Data move when everybody who takes part has posted,
 * as device copies between the `before` and `after` marks of a timeline entry, where no host's
 * time runs; what the transfer would have cost on real links is computed afterwards from the
 * timelines (replay.h). Nothing here waits for the device: copies queue on its one stream behind
 * the work that made the data. */
#include "harness/comm/sim/sim.h"
#include "harness/error.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

sim_host *sim_host_of(comm *c)
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

int sim_enter(sim_host *host, const char *call)
{
    if (host->run->failed)
        return fail("%s: another host has failed", call);
    if (host->run->in_work)
        return fail("%s was called from replicated work, which may not use the links", call);
    return 0;
}

int sim_park(sim_host *host, int what, const char *call)
{
    host->waiting_for = what;
    coroutine_yield(host->coroutine);
    host->waiting_for = NOTHING;
    return host->run->failed ? fail("%s: another host has failed", call) : 0;
}

void sim_wake_if_waiting(sim_host *host, int what)
{
    if (host->waiting_for == what) {
        host->waiting_for = NOTHING;
        make_ready(host->run, host->comm.rank);
    }
}

operation *sim_find_operation(sim_host *host, int handle)
{
    for (int i = 0; i < host->operation_count; i++)
        if (host->operations[i].handle == handle)
            return &host->operations[i];
    return NULL;
}

operation *sim_add_operation(sim_host *host, transfer_kind kind, int pending)
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

void sim_moved(sim_run *run, int rank, int handle)
{
    sim_host *host = &run->host[rank];
    operation *op = sim_find_operation(host, handle);
    if (--op->pending == 0)
        sim_wake_if_waiting(host, handle);
}

void sim_copy(sim_run *run, void *to, const void *from, size_t bytes)
{
    if (bytes && to != from)
        run->dev->copy(run->dev, to, from, bytes);
}

static int sim_wait(comm *c, int handle)
{
    sim_host *host = sim_host_of(c);
    if (sim_enter(host, "wait") < 0)
        return -1;
    operation *op = sim_find_operation(host, handle);
    if (!op)
        return fail("wait: there is no transfer with handle %d to wait for", handle);
    transfer_kind kind = op->kind;
    if (check_deadline(c, transfer_names[kind]) < 0)
        return -1;
    timeline_entry *entry = timeline_pause(c->time, ENTRY_WAIT, kind);
    entry->handle = handle;
    int result = op->pending ? sim_park(host, handle, transfer_names[kind]) : 0;
    timeline_resume(c->time, entry);
    if (result < 0)
        return -1;
    op = sim_find_operation(host, handle);
    *op = host->operations[--host->operation_count];
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
    operation *op =
        host->waiting_for == REDUCING ? NULL : sim_find_operation(host, host->waiting_for);
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
                       sim_collective_name(call->kind), number, missing,
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
        sim_free_collective(run, &run->collectives[i]);
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

static int sim_open(const comm_driver *driver, device *dev, int *ranks, bool *leader)
{
    (void)driver, (void)dev;
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

static int sim_agree(const comm_driver *driver, int status)
{
    (void)driver;
    return status;
}

const comm_driver sim_driver = {
    .name = "sim",
    .title = "virtual hosts in one process, with a virtual clock over a link model",
    .projected = true,
    .open = sim_open,
    .close = sim_close,
    .abort = sim_abort,
    .share = sim_share,
    .agree = sim_agree,
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
