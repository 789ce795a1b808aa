/* Virtual hosts: every call against expected data with several host counts, what the timelines
 * record, and the sentences of failing runs. */
#include "harness/comm.h"
#include "harness/comm/link.h"
#include "harness/error.h"
#include "harness/machine/links.h"
#include "tests/clock_device.h"
#include "tests/comm_cases.h"

#include <criterion/criterion.h>
#include <math.h>
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

/* ---- Links as text ---- */

Test(links, presets_and_text)
{
    link_model link;
    for (int i = 0; i < link_count; i++) {
        cr_assert_eq(link_find(link_table[i].name, &link), 0);
        cr_assert_str_eq(link.name, link_table[i].name);
        cr_assert(link.bandwidth > 0 && link.latency > 0 && link.source[0] && link.title[0]);
    }
    cr_assert_eq(link_find("custom:latency=5us:bandwidth=50G:hosts_per_node=8:node_latency=8e-6:"
                           "node_bandwidth=25.5G", &link), 0, "%s", fail_text());
    cr_assert_float_eq(link.latency, 5e-6, 1e-18);
    cr_assert_float_eq(link.bandwidth, 50e9, 1);
    cr_assert_eq(link.hosts_per_node, 8);
    cr_assert_float_eq(link.node_latency, 8e-6, 1e-18);
    cr_assert_float_eq(link.node_bandwidth, 25.5e9, 1);
    cr_assert_eq(link_find("custom:latency=5us:bandwidth=50G:hosts_per_node=1048576:node_latency=5us:"
                           "node_bandwidth=50G", &link), 0, "%s", fail_text());
    cr_assert_eq(link.hosts_per_node, 1 << 20);
    cr_assert_eq(link_find("nvlink4:latency=0", &link), 0);
    cr_assert_eq(link.latency, 0);
    cr_assert_float_eq(link.bandwidth, 370e9, 1);
    cr_assert_eq(link_find("nvlink4:slowdown=1.25", &link), 0, "%s", fail_text());
    cr_assert_eq(link.slowdown, 1.25);
    cr_assert_eq(link.collectives, 0, "as bandwidth");
    cr_assert_eq(link_find("nvlink4:collectives=280.5G", &link), 0, "%s", fail_text());
    cr_assert_float_eq(link.collectives, 280.5e9, 1);
    cr_assert_float_eq(link.bandwidth, 370e9, 1);
}

/* Four digits of each quantity are kept. */
Test(links, written_and_read)
{
    static const link_model links[] = {
        {.latency = 0, .bandwidth = 1.5e6},
        {.latency = 3.4e-6, .bandwidth = 370e9},
        {.latency = 0.0123456, .bandwidth = 98.7654e12},
        {.latency = 3.4e-6, .bandwidth = 370e9, .slowdown = 1.0375},
        {.latency = 3.4e-6, .bandwidth = 82.25e9, .collectives = 242.5e9},
        {.latency = 1.234e-17, .bandwidth = 1.234e-7, .collectives = 1.234e+21, .slowdown = 1.234e9},
    };
    for (size_t i = 0; i < sizeof links / sizeof *links; i++) {
        char text[LINK_TEXT];
        link_model read;
        cr_assert_eq(link_find(link_write(&links[i], text, sizeof text), &read), 0, "%s", fail_text());
        cr_expect_float_eq(read.latency, links[i].latency, 1e-3 * links[i].latency + 1e-15, "%s", text);
        cr_expect_float_eq(read.bandwidth, links[i].bandwidth, 1e-3 * links[i].bandwidth, "%s", text);
        cr_expect_float_eq(read.collectives, links[i].collectives, 1e-3 * links[i].collectives, "%s", text);
        cr_expect_float_eq(read.slowdown, links[i].slowdown, 1e-3 * links[i].slowdown, "%s", text);
    }
}

Test(links, fitted_to_times)
{
    enum { SIZES = 10 };
    link_point points[SIZES];
    double worst;
    link_model link;
    for (int i = 0; i < SIZES; i++) { /* 1 KB to 256 MB, of a link exactly */
        double bytes = 1024 * pow(4, i);
        points[i] = (link_point){false, 1, bytes, 14e-6 + bytes / 48e9};
    }
    cr_assert_eq(links_fit(points, SIZES, &link, &worst), 0, "%s", fail_text());
    cr_expect_float_eq(link.latency, 14e-6, 1e-12);
    cr_expect_float_eq(link.bandwidth, 48e9, 1e4);
    cr_expect_eq(link.collectives, 0);
    cr_expect(worst < 1e-9, "%g", worst);
    /* Times that are off by 10 % either way move neither figure by more than that. */
    for (int i = 0; i < SIZES; i++)
        points[i].seconds *= i % 2 ? 1.1 : 0.9;
    cr_assert_eq(links_fit(points, SIZES, &link, &worst), 0, "%s", fail_text());
    cr_expect_float_eq(link.latency, 14e-6, 1.4e-6, "%g", link.latency);
    cr_expect_float_eq(link.bandwidth, 48e9, 4.8e9, "%g", link.bandwidth);
    cr_expect(worst > 0.08 && worst < 0.25, "%g", worst);
    /* Faster than in proportion: no latency, not one below 0. */
    for (int i = 0; i < SIZES; i++)
        points[i].seconds = pow(points[i].bytes, 1.1) * 1e-10;
    cr_assert_eq(links_fit(points, SIZES, &link, &worst), 0, "%s", fail_text());
    cr_expect_eq(link.latency, 0);
    cr_expect(link.bandwidth > 0 && isfinite(link.bandwidth));
    for (int i = 0; i < SIZES; i++)
        points[i].seconds = 1 / points[i].bytes;
    cr_expect_eq(links_fit(points, SIZES, &link, &worst), -1);
    cr_expect(strstr(fail_text(), "times do not grow with bytes"), "%s", fail_text());
    cr_expect_eq(links_fit(points, 1, &link, &worst), -1, "one size tells nothing");
    cr_expect(strstr(fail_text(), "one size"), "%s", fail_text());
    points[1] = points[0];
    cr_expect_eq(links_fit(points, 2, &link, &worst), -1, "nor does one twice");
    cr_expect_eq(links_distances(1), 0);
    cr_expect_eq(links_distances(2), 1);
    cr_expect_eq(links_distances(5), 3);
    cr_expect_eq(links_distances(8), 3);
}

/* On 8 hosts of a link whose collectives are faster: an all_gather's 7 steps and an all_to_all's rounds, as
 * the clock charges them, have one bandwidth, messages the other, and all one latency. */
Test(links, fitted_to_messages_and_collectives)
{
    enum { SIZES = 5 };
    link_point points[3 * SIZES];
    double worst;
    link_model link;
    for (int i = 0; i < SIZES; i++) {
        double bytes = 1024 * pow(16, i);
        points[i] = (link_point){false, 1, bytes, 14e-6 + bytes / 48e9};
        points[SIZES + i] = (link_point){true, 7, 7 * bytes, 7 * (14e-6 + bytes / 120e9)};
        points[2 * SIZES + i] = (link_point){true, 1, 7 * bytes, 14e-6 + 7 * bytes / 120e9};
    }
    cr_assert_eq(links_fit(points, 3 * SIZES, &link, &worst), 0, "%s", fail_text());
    cr_expect_float_eq(link.latency, 14e-6, 1e-12);
    cr_expect_float_eq(link.bandwidth, 48e9, 1e4);
    cr_expect_float_eq(link.collectives, 120e9, 1e4);
    cr_expect(worst < 1e-9, "%g", worst);
    /* Without messages the one bandwidth is that of the collectives. */
    cr_assert_eq(links_fit(points + SIZES, 2 * SIZES, &link, &worst), 0, "%s", fail_text());
    cr_expect_float_eq(link.bandwidth, 120e9, 1e4);
    cr_expect_eq(link.collectives, 0);
    /* Collectives of one duration whatever their size: the misfit shows. */
    for (int i = SIZES; i < 3 * SIZES; i++)
        points[i].seconds = 1e-3;
    cr_assert_eq(links_fit(points, 3 * SIZES, &link, &worst), 0, "%s", fail_text());
    cr_expect(worst > 0.5, "%g", worst);
}

Test(links, faulty_text)
{
    static const struct {
        const char *text, *sentence;
    } faulty[] = {
        {"", "is no link; known are"},
        {"nvlink", "is no link; known are"},
        {"custom", "bandwidth is missing"},
        {"custom:", "'' is not of the form key=value"},
        {"custom:bandwidth", "'bandwidth' is not of the form"},
        {"nvlink4:slowdown=0.9", "slowdown=0.9 is not a number of at least 1"},
        {"nvlink4:slowdown=5%", "slowdown=5% is not a number of at least 1"},
        {"nvlink4:slowdown=inf", "slowdown=inf is not a number of at least 1"},
        {"custom:collectives=5G", "bandwidth is missing"},
        {"custom:bandwidth=5G:collectives=", "collectives= is not a positive number"},
        {"custom:bandwidth=5G:collectives=0", "collectives=0 is not a positive number"},
        {"custom:bandwidth=5G:collectives=-1G", "collectives=-1G is not a positive number"},
        {"custom:bandwidth=5G:collectives=inf", "collectives=inf is not a positive number"},
        {"custom:bandwidth=5G:collectives=5s", "units are K, M, G, T"},
        {"custom:bandwidth=5G:collective=5G", "there is no 'collective'; keys are latency, bandwidth, "
                                              "collectives"},
        {"custom:bandwidth=0", "bandwidth=0 is not a positive number"},
        {"custom:bandwidth=-5G", "bandwidth=-5G is not a positive number"},
        {"custom:bandwidth=nan", "bandwidth=nan is not a positive number"},
        {"custom:bandwidth=1e999", "is not a positive number"},
        {"custom:bandwidth=5Gb", "units are K, M, G, T"},
        {"custom:bandwidth=G", "bandwidth=G is not"},
        {"custom:bandwidth=5G:latency=3m", "latency=3m is not a number of at least 0; units are s, "
                                           "ms, us, ns"},
        {"custom:bandwidth=5G:speed=3", "there is no 'speed'; keys are"},
        {"custom:bandwidth=5G:hosts_per_node=1.5", "hosts_per_node=1.5 is not a number of hosts"},
        {"custom:bandwidth=5G:hosts_per_node=2", "node_bandwidth is missing"},
        {"custom:latency=5us:bandwidth=5G:hosts_per_node=2:node_bandwidth=1G", "node_latency is missing"},
        {"custom:bandwidth=5G:hosts_per_node=99999999999", "is not a number of hosts"},
    };
    for (size_t i = 0; i < sizeof faulty / sizeof *faulty; i++) {
        link_model link;
        cr_expect_eq(link_find(faulty[i].text, &link), -1, "%s", faulty[i].text);
        cr_expect(strstr(fail_text(), faulty[i].sentence), "%s", fail_text());
    }
}
