/* Virtual hosts: every call against expected data with several host counts, what the timelines
 * record, and the sentences of failing runs. */
#include "harness/comm.h"
#include "harness/error.h"
#include "tests/clock_device.h"
#include "tests/comm_cases.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

typedef int host_body(comm *, void *);

/* Runs body on `hosts` virtual hosts; nothing may be left on the device. */
static int run_hosts(int hosts, host_body *body, void *argument)
{
    clock_state state = {.copy_seconds = 1};
    device dev = clock_device(&state);
    timeline *timelines = alloc_or_die((size_t)hosts, sizeof *timelines);
    const comm_driver *sim = comm_find("sim");
    int result = sim->run(sim, hosts, &dev, timelines, body, argument);
    for (int rank = 0; rank < hosts; rank++)
        timeline_free(&timelines[rank]);
    free(timelines);
    cr_assert_eq(state.allocations, 0, "%d device buffers are left", state.allocations);
    return result;
}

static void expect_failure(int hosts, host_body *body, const char *sentence)
{
    cr_assert_eq(run_hosts(hosts, body, NULL), -1);
    cr_assert_str_eq(fail_text(), sentence);
}

Test(comm, every_call_with_several_host_counts)
{
    static const int counts[] = {1, 2, 3, 5, 8};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        for (int k = 0; k < comm_case_count; k++)
            cr_expect_eq(run_hosts(counts[i], comm_cases[k].body, NULL), 0, "%s on %d hosts: %s",
                         comm_cases[k].name, counts[i], fail_text());
}

/* ---- Order, work and sharing ---- */

typedef struct {
    int order[64], count;
    int work_done;
} record;

static int count_work(void *argument)
{
    ((record *)argument)->work_done++;
    return 0;
}

static int note_order(comm *c, void *argument)
{
    record *r = argument;
    float out = 0;
    for (int step = 0; step < 3; step++) {
        r->order[r->count++] = c->rank;
        if (c->driver->replicated(c, count_work, r, &out, sizeof out) < 0)
            return -1;
        int handle = c->driver->barrier(c);
        if (handle < 0 || c->driver->wait(c, handle) < 0)
            return -1;
    }
    return 0;
}

Test(comm, hosts_take_turns_in_one_order_and_replicated_work_is_done_once)
{
    record first = {0}, second = {0};
    cr_assert_eq(run_hosts(5, note_order, &first), 0);
    cr_assert_eq(run_hosts(5, note_order, &second), 0);
    cr_assert_eq(first.work_done, 3);
    cr_assert_eq(first.count, 15);
    cr_assert_arr_eq(first.order, second.order, sizeof first.order);
}

/* What a host counts for itself, and for work that all would do. */
enum { OWN_FLOPS = 7, SHARED_FLOPS = 1000, ROUNDS = 50 };

static int add_flops(void *argument)
{
    ((comm *)argument)->dev->flops += SHARED_FLOPS;
    return 0;
}

static int count_flops(comm *c, void *argument)
{
    uint64_t *found = argument;
    double out[4] = {0};
    for (int round = 0; round < ROUNDS; round++) {
        c->dev->flops += OWN_FLOPS;
        if (c->driver->replicated(c, add_flops, c, out, sizeof out) < 0)
            return -1;
        int handle = c->driver->barrier(c);
        if (handle < 0 || c->driver->wait(c, handle) < 0)
            return -1;
    }
    found[c->rank] = timeline_flops(c->time);
    timeline_phase(c->time, PHASE_START);
    return timeline_flops(c->time) ? fail("what was counted before the start still counts") : 0;
}

static void *(*alloc_of_device)(device *, size_t);
static int buffers_taken;

static void *count_buffers(device *dev, size_t bytes)
{
    buffers_taken++;
    return alloc_of_device(dev, bytes);
}

/* Whoever copies a result has the FLOPs of its making counted as whoever made it has, and the buffers that
 * results lie in meanwhile are used again. */
Test(comm, replicated_work_counts_on_every_host_and_keeps_few_buffers)
{
    enum { HOSTS = 3 };
    clock_state state = {0};
    device dev = clock_device(&state);
    timeline timelines[HOSTS] = {0};
    uint64_t found[HOSTS] = {0};
    alloc_of_device = dev.alloc;
    dev.alloc = count_buffers;
    dev.flops = 99; /* before: nobody's */
    const comm_driver *sim = comm_find("sim");
    cr_assert_eq(sim->run(sim, HOSTS, &dev, timelines, count_flops, found), 0, "%s", fail_text());
    for (int rank = 0; rank < HOSTS; rank++) {
        cr_expect_eq(found[rank], ROUNDS * (OWN_FLOPS + SHARED_FLOPS), "host %d: %llu", rank,
                     (unsigned long long)found[rank]);
        timeline_free(&timelines[rank]);
    }
    cr_expect(buffers_taken > 0 && buffers_taken < 3, "%d buffers", buffers_taken);
}

static int deep_stack(comm *c, void *argument)
{
    volatile char frame[600 << 10]; /* of the megabyte that a host has */
    memset((char *)frame, c->rank, sizeof frame);
    int handle = c->driver->barrier(c);
    if (handle < 0 || c->driver->wait(c, handle) < 0)
        return -1;
    *(int *)argument += frame[12345] == c->rank && frame[sizeof frame - 1] == c->rank;
    return 0;
}

static int pass_rank_round(comm *c, void *argument)
{
    int previous = (c->rank + c->size - 1) % c->size, next = (c->rank + 1) % c->size, got = -1;
    for (int step = 0; step < 20; step++) {
        int handle = c->driver->send_recv(c, next, &c->rank, sizeof c->rank, previous, &got,
                                          sizeof got);
        if (handle < 0 || c->driver->wait(c, handle) < 0)
            return -1;
        *(int *)argument += got == previous;
    }
    return 0;
}

Test(comm, stacks_are_apart_and_a_thousand_hosts_run)
{
    int good = 0;
    cr_assert_eq(run_hosts(8, deep_stack, &good), 0);
    cr_assert_eq(good, 8);
    good = 0;
    cr_assert_eq(run_hosts(1024, pass_rank_round, &good), 0, "%s", fail_text());
    cr_assert_eq(good, 1024 * 20);
}

/* ---- Failures: one sentence that names host and call ---- */

static int wait_for(comm *c, int handle)
{
    return handle < 0 ? -1 : c->driver->wait(c, handle);
}

static int one_fails(comm *c, void *unused)
{
    (void)unused;
    void *memory = c->dev->alloc(c->dev, 10); /* parked hosts must get the chance to free this */
    int result = c->rank == 2 ? fail("the moon is full") : wait_for(c, c->driver->barrier(c));
    c->dev->free(c->dev, memory);
    return result;
}

static int kinds_differ(comm *c, void *unused)
{
    (void)unused;
    if (wait_for(c, c->driver->barrier(c)) < 0)
        return -1;
    char data[64] = {0};
    return wait_for(c, c->rank == 2 ? c->driver->broadcast(c, data, 8, 0)
                                    : c->driver->all_gather(c, data, data, 8));
}

static int sizes_differ(comm *c, void *unused)
{
    (void)unused;
    char data[64] = {0};
    return wait_for(c, c->driver->all_gather(c, data, data, c->rank == 1 ? 9 : 8));
}

static int roots_differ(comm *c, void *unused)
{
    (void)unused;
    char data[8] = {0};
    return wait_for(c, c->driver->broadcast(c, data, 8, c->rank == 1));
}

static int parts_differ(comm *c, void *unused)
{
    (void)unused;
    char send[8] = {0}, recv[8];
    size_t at[2] = {0, 4}, send_bytes[2] = {4, 4}, recv_bytes[2] = {4, 4};
    recv_bytes[0] = c->rank == 1 ? 3 : 4;
    return wait_for(c, c->driver->all_to_all(c, send, at, send_bytes, recv, at, recv_bytes));
}

static int parts_differ_the_other_way(comm *c, void *unused)
{
    (void)unused;
    char send[8] = {0}, recv[8];
    size_t at[2] = {0, 4}, send_bytes[2] = {4, 4}, recv_bytes[2] = {4, 4};
    send_bytes[0] = c->rank == 1 ? 3 : 4;
    return wait_for(c, c->driver->all_to_all(c, send, at, send_bytes, recv, at, recv_bytes));
}

static int messages_differ(comm *c, void *unused)
{
    (void)unused;
    char data[64] = {0};
    return wait_for(c, c->rank == 0 ? c->driver->send_recv(c, 1, data, 20, -1, NULL, 0)
                                    : c->driver->send_recv(c, -1, NULL, 0, 0, data, 30));
}

static int no_such_peer(comm *c, void *unused)
{
    (void)unused;
    char data[8] = {0};
    return wait_for(c, c->driver->send_recv(c, c->rank + 1, data, 8, -1, NULL, 0));
}

static int no_such_root(comm *c, void *unused)
{
    (void)unused;
    char data[8] = {0};
    return wait_for(c, c->driver->broadcast(c, data, 8, -1));
}

static int nobody_receives(comm *c, void *unused)
{
    (void)unused;
    char data[8] = {0};
    return c->rank == 1 ? wait_for(c, c->driver->send_recv(c, 0, data, 8, -1, NULL, 0))
                        : wait_for(c, c->driver->barrier(c));
}

static int one_leaves_early(comm *c, void *unused)
{
    (void)unused;
    return c->rank == 1 ? 0 : wait_for(c, c->driver->barrier(c));
}

static int forgets_to_wait(comm *c, void *unused)
{
    (void)unused;
    return c->driver->barrier(c) < 0 ? -1 : 0;
}

static int waits_twice(comm *c, void *unused)
{
    (void)unused;
    int handle = c->driver->barrier(c);
    return wait_for(c, handle) < 0 ? -1 : c->driver->wait(c, handle);
}

static int calls_barrier(void *argument)
{
    comm *c = argument;
    return wait_for(c, c->driver->barrier(c));
}

static int work_calls_comm(comm *c, void *unused)
{
    (void)unused;
    char out[4];
    return c->driver->replicated(c, calls_barrier, c, out, sizeof out);
}

static int results_differ(comm *c, void *unused)
{
    (void)unused;
    record r;
    char out[8];
    return c->driver->replicated(c, count_work, &r, out, c->rank == 1 ? 4 : 8);
}

static int too_late(comm *c, void *unused)
{
    (void)unused;
    c->time->wall_start = 1;
    c->time->deadline = 2; /* seconds of a clock that began with the machine */
    return wait_for(c, c->driver->barrier(c));
}

Test(comm, a_failing_host_ends_the_run)
{
    expect_failure(4, one_fails, "host 2: the moon is full");
    expect_failure(2, forgets_to_wait,
                   "host 0: returned without waiting for its barrier (handle 0)");
    expect_failure(1, waits_twice, "host 0: wait: there is no transfer with handle 0 to wait for");
    cr_assert_eq(run_hosts(2, too_late, NULL), -1);
    cr_assert(strstr(fail_text(), "host 0: timeout: still in barrier after "), "%s", fail_text());
    cr_assert_eq(run_hosts(0, one_fails, NULL), -1);
    cr_assert_str_eq(fail_text(), "--comm sim: 0 hosts are asked for");
}

Test(comm, calls_that_do_not_match)
{
    expect_failure(3, kinds_differ,
                   "host 0: its collective call 1 is all_gather, but that of host 2 is broadcast");
    expect_failure(2, sizes_differ,
                   "host 1: all_gather (collective call 0) of 9 bytes, but host 0 has 8 bytes "
                   "there");
    expect_failure(2, roots_differ,
                   "host 1: broadcast (collective call 0) from host 1, but host 0 has it from "
                   "host 0");
    expect_failure(2, parts_differ,
                   "host 1: all_to_all: it receives 3 bytes from host 0, which sends 4");
    expect_failure(2, parts_differ_the_other_way,
                   "host 1: all_to_all: it sends 3 bytes to host 0, which receives 4");
    expect_failure(2, messages_differ,
                   "host 1: send_recv: host 0 sends 20 bytes to host 1, which receives 30");
    expect_failure(2, no_such_peer,
                   "host 1: send_recv: the receiver is host 2, but the hosts are 0 to 1");
    expect_failure(2, no_such_root,
                   "host 0: broadcast: the root is host -1, but the hosts are 0 to 1");
    expect_failure(2, results_differ,
                   "host 1: replicated: call 0 has a result of 4 bytes, but host 0 made 8 there");
    expect_failure(2, work_calls_comm,
                   "host 0: barrier was called from replicated work, which may not use the links");
}

Test(comm, deadlocks_are_found)
{
    expect_failure(2, nobody_receives,
                   "host 0: barrier (collective call 0) waits for ever: host 1 waits for "
                   "something else");
    expect_failure(3, one_leaves_early,
                   "host 0: barrier (collective call 0) waits for ever: host 1 has returned "
                   "without it");
}

static int send_into_the_void(comm *c, void *unused)
{
    (void)unused;
    char data[8] = {0};
    return c->rank ? 0 : wait_for(c, c->driver->send_recv(c, 1, data, 8, -1, NULL, 0));
}

Test(comm, a_message_that_nobody_takes)
{
    expect_failure(2, send_into_the_void, "host 0: send_recv waits for ever: host 1 has not posted "
                                          "the receive");
}

Test(comm, replicated_work_without_room)
{
    clock_state state = {.largest = 4};
    device dev = clock_device(&state);
    timeline timelines[2] = {0};
    const comm_driver *sim = comm_find("sim");
    cr_assert_eq(sim->run(sim, 2, &dev, timelines, results_differ, NULL), -1);
    cr_assert_str_eq(fail_text(),
                     "host 0: replicated: the device has no room for 8 bytes of results");
    timeline_free(&timelines[0]);
    timeline_free(&timelines[1]);
}

Test(comm, the_table)
{
    cr_assert_str_eq(comm_table[0]->name, "sim");
    for (int i = 0; i < comm_count; i++)
        cr_assert_eq(comm_find(comm_table[i]->name), comm_table[i]);
    cr_assert_null(comm_find("pigeon"));
    cr_assert(strstr(fail_text(), "--comm pigeon: there is no such comm; this build has sim"));
}
