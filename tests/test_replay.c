/* The virtual clock against times worked out by hand. Virtual hosts run on a device whose clock
 * only moves where a body computes (and in copies, which must not count), then their timelines
 * are replayed. The plain link has latency 1 s and 10 bytes a second, so 100 bytes take 11 s.
 * Times are sums of a few doubles: compared within 1e-9. */
#include "harness/comm.h"
#include "harness/comm/replay.h"
#include "harness/error.h"
#include "tests/clock_device.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

enum { HOSTS = 16 };
static const link_model plain = {.name = "plain", .latency = 1, .bandwidth = 10};
static char memory[HOSTS][1 << 16]; /* what is sent does not matter here */

static void compute(comm *c, double seconds)
{
    ((clock_state *)c->dev->state)->now += seconds;
}

static void wait_for(comm *c, int handle)
{
    cr_assert(handle >= 0, "%s", fail_text());
    cr_assert_eq(c->driver->wait(c, handle), 0, "%s", fail_text());
}

static int gather(comm *c, size_t bytes)
{
    static char send[1 << 16];
    return c->driver->all_gather(c, send, memory[c->rank], bytes);
}

static int message(comm *c, int to, size_t send_bytes, int from, size_t recv_bytes)
{
    static char send[1 << 16];
    return c->driver->send_recv(c, to, send, send_bytes, from, memory[c->rank], recv_bytes);
}

static void (*script)(comm *);

static int body(comm *c, void *unused)
{
    (void)unused;
    compute(c, 100); /* before the start: must not count */
    wait_for(c, c->driver->barrier(c));
    timeline_phase(c->time, PHASE_START);
    script(c);
    if (c->time->entries[c->time->count - 1].kind != ENTRY_PHASE) {
        timeline_phase(c->time, PHASE_PREFILL_END);
        timeline_phase(c->time, PHASE_DECODE_END);
    }
    compute(c, 100);
    return 0;
}

typedef struct {
    clock_state state;
    device dev;
    int hosts;
    timeline timelines[HOSTS];
    host_times times[HOSTS];
} played;

static void record_hosts(played *p, int hosts, void (*what)(comm *))
{
    *p = (played){.state = {.copy_seconds = 7}, .hosts = hosts};
    p->dev = clock_device(&p->state);
    for (int rank = 0; rank < hosts; rank++)
        p->timelines[rank].parts = true;
    script = what;
    const comm_driver *sim = comm_find("sim");
    cr_assert_eq(sim->run(sim, hosts, &p->dev, p->timelines, body, NULL), 0, "%s", fail_text());
}

static void release(played *p)
{
    for (int rank = 0; rank < p->hosts; rank++)
        timeline_free(&p->timelines[rank]);
}

static void play(played *p, int hosts, const link_model *link, void (*what)(comm *))
{
    record_hosts(p, hosts, what);
    cr_assert_eq(replay(p->timelines, hosts, link, p->times), 0, "%s", fail_text());
}

/* Runs and replays, then compares each host's prefill_end. */
static void expect_ends(int hosts, const link_model *link, void (*what)(comm *), const double *ends)
{
    played p;
    play(&p, hosts, link, what);
    for (int rank = 0; rank < hosts; rank++) {
        cr_expect_float_eq(p.times[rank].prefill_end, ends[rank], 1e-9, "host %d: %.9g, not %.9g",
                           rank, p.times[rank].prefill_end, ends[rank]);
        double sum = 0;
        for (int i = 0; i < PART_COUNT; i++)
            sum += p.times[rank].parts[PHASE_PREFILL][i];
        cr_expect_float_eq(sum, p.times[rank].prefill_end, 1e-9, "host %d: parts add up to %.9g",
                           rank, sum);
    }
    release(&p);
}

#define ENDS(...) ((const double[]){__VA_ARGS__})

/* ---- Messages ---- */

static void swap_and_compute(comm *c)
{
    int other = 1 - c->rank;
    int handle = message(c, other, 100, other, 100);
    compute(c, c->rank == 0 ? 20 : 5);
    wait_for(c, handle);
    compute(c, 2);
}

Test(replay, compute_hides_a_transfer_or_waits_for_its_end)
{
    /* Posted at 0, over at 11: host 0 computes past that, host 1 comes at 5 and waits 6. */
    expect_ends(2, &plain, swap_and_compute, ENDS(22, 13));
    played p;
    play(&p, 2, &plain, swap_and_compute);
    cr_expect_eq(p.times[0].parts[PHASE_PREFILL][PART_COMM], 0);
    cr_expect_float_eq(p.times[1].parts[PHASE_PREFILL][PART_COMM], 6, 1e-9);
    release(&p);
}

static void late_receiver(comm *c)
{
    if (c->rank == 0) {
        wait_for(c, message(c, 1, 100, -1, 0));
    } else {
        compute(c, 3);
        wait_for(c, message(c, -1, 0, 0, 100));
    }
}

Test(replay, a_message_starts_when_both_have_posted)
{
    expect_ends(2, &plain, late_receiver, ENDS(14, 14));
}

static void one_sends_to_two(comm *c)
{
    if (c->rank == 0) {
        int first = message(c, 1, 100, -1, 0), second = message(c, 2, 50, -1, 0);
        wait_for(c, first);
        wait_for(c, second);
    } else {
        wait_for(c, message(c, -1, 0, 0, c->rank == 1 ? 100 : 50));
    }
}

static void two_send_to_one(comm *c)
{
    if (c->rank == 0) {
        int first = message(c, -1, 0, 1, 100), second = message(c, -1, 0, 2, 50);
        wait_for(c, first);
        wait_for(c, second);
    } else {
        wait_for(c, message(c, 0, c->rank == 1 ? 100 : 50, -1, 0));
    }
}

Test(replay, transfers_queue_on_a_port_and_latency_does_not_hold_it)
{
    expect_ends(3, &plain, one_sends_to_two, ENDS(16, 11, 16));
    expect_ends(3, &plain, two_send_to_one, ENDS(16, 11, 16));
}

static void blocked_and_free(comm *c)
{
    int first, second;
    switch (c->rank) {
    case 0: /* busy receiving from 1 until 10 */
        first = message(c, -1, 0, 1, 100);
        second = message(c, -1, 0, 2, 30);
        wait_for(c, first);
        wait_for(c, second);
        break;
    case 1:
        wait_for(c, message(c, 0, 100, -1, 0));
        break;
    case 2: /* its message to 0 must wait, the later one to 3 need not */
        compute(c, 1);
        first = message(c, 0, 30, -1, 0);
        compute(c, 1);
        second = message(c, 3, 20, -1, 0);
        wait_for(c, first);
        wait_for(c, second);
        break;
    case 3:
        wait_for(c, message(c, -1, 0, 2, 20));
        break;
    }
}

Test(replay, a_waiting_message_keeps_no_port_idle)
{
    expect_ends(4, &plain, blocked_and_free, ENDS(14, 11, 14, 5));
}

static void wait_late(comm *c)
{
    int other = 1 - c->rank;
    int first = message(c, other, 100, other, 100);
    int second = message(c, other, 100, other, 100);
    compute(c, 1);
    wait_for(c, second); /* over at 21 */
    wait_for(c, first);  /* was over at 11: costs nothing */
    compute(c, 1);
}

Test(replay, waits_in_another_order)
{
    expect_ends(2, &plain, wait_late, ENDS(22, 22));
}

static void nothing_and_self(comm *c)
{
    wait_for(c, message(c, 1 - c->rank, 0, 1 - c->rank, 0));
    wait_for(c, message(c, c->rank, 100, c->rank, 100));
    wait_for(c, message(c, -1, 0, -1, 0));
    compute(c, 3);
}

Test(replay, empty_messages_and_messages_to_oneself_take_no_time)
{
    expect_ends(2, &plain, nothing_and_self, ENDS(3, 3));
}

/* A ring of attention steps of 4 s, whose transfers of 11 s are not hidden, or of 15 s, which hide
 * them: steps x max, with one compute more than transfers. */
static double step_seconds;

static void ring_attention(comm *c)
{
    int next = (c->rank + 1) % c->size, previous = (c->rank + c->size - 1) % c->size;
    for (int step = 0; step < c->size; step++) {
        int handle = step + 1 < c->size ? message(c, next, 100, previous, 100) : -1;
        compute(c, step_seconds);
        if (handle >= 0)
            wait_for(c, handle);
    }
}

Test(replay, a_ring_with_overlap)
{
    step_seconds = 4;
    expect_ends(4, &plain, ring_attention, ENDS(37, 37, 37, 37));
    step_seconds = 15;
    expect_ends(4, &plain, ring_attention, ENDS(60, 60, 60, 60));
}

/* ---- Work beside transfers ---- */

static const link_model slowing = {.name = "slowing", .latency = 1, .bandwidth = 10, .slowdown = 2};

static void work_by_parts(comm *c)
{
    int other = 1 - c->rank;
    int handle = message(c, other, 100, other, 100);
    RANGE(c->time, PART_ATTENTION)
    {
        compute(c, 4);
    }
    RANGE(c->time, PART_FFN)
    {
        compute(c, 10);
    }
    wait_for(c, handle);
    compute(c, 3);
}

Test(replay, work_beside_a_transfer_is_slowed_until_it_is_over)
{
    /* Over at 11. Host 0 has then done 5.5 of 20, host 1 has needed 10 for its 5 and waits 1. */
    expect_ends(2, &slowing, swap_and_compute, ENDS(27.5, 13));
    /* Attention takes 8, and 1.5 of the FFN are done at 11. */
    expect_ends(2, &slowing, work_by_parts, ENDS(22.5, 22.5));
    played p;
    play(&p, 2, &slowing, work_by_parts);
    cr_expect_float_eq(p.times[0].parts[PHASE_PREFILL][PART_ATTENTION], 8, 1e-9);
    cr_expect_float_eq(p.times[0].parts[PHASE_PREFILL][PART_FFN], 11.5, 1e-9);
    cr_expect_float_eq(p.times[0].parts[PHASE_PREFILL][PART_OTHER], 3, 1e-9);
    cr_expect_eq(p.times[0].parts[PHASE_PREFILL][PART_COMM], 0);
    release(&p);
    /* In a step 4 become 8 and wait, or of 15 5.5 are done at 11; nothing runs beside the last. */
    step_seconds = 4;
    expect_ends(4, &slowing, ring_attention, ENDS(37, 37, 37, 37));
    step_seconds = 15;
    expect_ends(4, &slowing, ring_attention, ENDS(76.5, 76.5, 76.5, 76.5));
}

static void early_sender(comm *c)
{
    if (c->rank == 0) {
        int handle = message(c, 1, 100, -1, 0);
        compute(c, 5);
        wait_for(c, handle);
    } else {
        compute(c, 3);
        wait_for(c, message(c, -1, 0, 0, 100));
    }
}

static void two_at_once(comm *c)
{
    int other = 1 - c->rank;
    int first = message(c, other, 100, other, 100);
    compute(c, 2);
    int second = message(c, other, 100, other, 100);
    compute(c, 30);
    wait_for(c, second);
    wait_for(c, first);
}

Test(replay, work_is_slowed_from_the_posting_and_by_several_as_by_one)
{
    /* Host 1 posts at 3, so the message is over at 14; host 0 works from 0 to 10 for its 5. */
    expect_ends(2, &slowing, early_sender, ENDS(14, 14));
    /* Messages are over at 11 and 21: 2 take 4, 8.5 of 30 are done at 21. */
    expect_ends(2, &slowing, two_at_once, ENDS(42.5, 42.5));
}

/* ---- Collectives ---- */

static void gather_once(comm *c)
{
    wait_for(c, gather(c, 100));
}

static void gather_with_a_late_host(comm *c)
{
    if (c->rank == 2)
        compute(c, 50);
    wait_for(c, gather(c, 100));
}

static void gather_nothing(comm *c)
{
    wait_for(c, gather(c, 0));
}

Test(replay, all_gather_is_a_ring)
{
    expect_ends(1, &plain, gather_once, ENDS(0));
    expect_ends(2, &plain, gather_once, ENDS(11, 11));
    expect_ends(5, &plain, gather_once, ENDS(44, 44, 44, 44, 44)); /* (H-1) (lat + bytes/bw) */
    expect_ends(5, &plain, gather_nothing, ENDS(0, 0, 0, 0, 0));
    /* H = 3, host 2 comes at 50. Before, 0 -> 1 was over at 11. At 50, 1 -> 2 sends block 1,
     * then block 0 right behind it (arrived 61, 71); 2 -> 0 sends block 2 (61), then block 1
     * when that has come (61 -> 72); 0 -> 1 sends block 2 (61 -> 72). */
    expect_ends(3, &plain, gather_with_a_late_host, ENDS(72, 72, 72));
}

static void exchange_once(comm *c)
{
    static char send[1 << 16];
    size_t at[HOSTS], bytes[HOSTS];
    for (int p = 0; p < c->size; p++) {
        at[p] = (size_t)p * 100;
        bytes[p] = 100;
    }
    wait_for(c, c->driver->all_to_all(c, send, at, bytes, memory[c->rank], at, bytes));
}

/* Host 0 sends 200 to host 2, all else is 100 or, between 1 and 2, nothing. */
static size_t uneven_bytes(int source, int target)
{
    if (source == 0 && target == 2)
        return 200;
    return source + target == 3 ? 0 : 100;
}

static void exchange_uneven(comm *c)
{
    static char send[1 << 16];
    size_t at[3] = {0, 1000, 2000}, send_bytes[3], recv_bytes[3];
    for (int p = 0; p < 3; p++) {
        send_bytes[p] = uneven_bytes(c->rank, p);
        recv_bytes[p] = uneven_bytes(p, c->rank);
    }
    wait_for(c, c->driver->all_to_all(c, send, at, send_bytes, memory[c->rank], at, recv_bytes));
}

Test(replay, all_to_all_is_pairwise)
{
    expect_ends(1, &plain, exchange_once, ENDS(0));
    expect_ends(2, &plain, exchange_once, ENDS(11, 11));
    expect_ends(5, &plain, exchange_once, ENDS(41, 41, 41, 41, 41)); /* (H-1) bytes/bw + lat */
    /* Round 1: 0 -> 1 and 2 -> 0 hold ports until 10, 1 -> 2 is empty. Round 2: 0 -> 2 (200)
     * from 10 to 30, 1 -> 0 from 10 to 20, 2 -> 1 is empty. */
    expect_ends(3, &plain, exchange_uneven, ENDS(31, 21, 31));
}

static int broadcast_root;

static void broadcast_once(comm *c)
{
    wait_for(c, c->driver->broadcast(c, memory[c->rank], 100, broadcast_root));
}

Test(replay, broadcast_is_a_binomial_tree)
{
    /* From host 0 of 8: 0 -> 1 arrives at 11, 0 -> 2 at 21, 0 -> 4 at 31; 1 -> 3 at 22, 1 -> 5
     * at 32; 2 -> 6 at 32; 3 -> 7 at 33. A host is over when what it passes on has arrived. */
    broadcast_root = 0;
    expect_ends(8, &plain, broadcast_once, ENDS(31, 32, 32, 33, 31, 32, 32, 33));
    broadcast_root = 3;
    expect_ends(8, &plain, broadcast_once, ENDS(32, 32, 33, 31, 32, 32, 33, 31));
    broadcast_root = 0;
    expect_ends(1, &plain, broadcast_once, ENDS(0));
}

static void meet(comm *c)
{
    compute(c, c->rank == 3 ? 10 : 1);
    wait_for(c, c->driver->barrier(c));
}

Test(replay, barrier)
{
    expect_ends(5, &plain, meet, ENDS(13, 13, 13, 13, 13));
    expect_ends(1, &plain, meet, ENDS(1));
    link_model nodes = {.latency = 1, .bandwidth = 10, .hosts_per_node = 4, .node_latency = 2,
                        .node_bandwidth = 5};
    expect_ends(4, &nodes, meet, ENDS(12, 12, 12, 12));
    expect_ends(5, &nodes, meet, ENDS(16, 16, 16, 16, 16));
}

static void two_pairs(comm *c)
{
    int other = c->rank ^ 1, far = (c->rank + 2) % 4;
    wait_for(c, message(c, other, 100, other, 100));
    wait_for(c, message(c, far, 100, far, 100));
}

Test(replay, nodes_with_a_slower_link_between)
{
    link_model nodes = {.latency = 1, .bandwidth = 10, .hosts_per_node = 2, .node_latency = 3,
                        .node_bandwidth = 4};
    expect_ends(4, &nodes, two_pairs, ENDS(39, 39, 39, 39)); /* 11 + 3 + 100/4 */
    /* A ring over two nodes: 1 -> 2 and 3 -> 0 are slow. The three blocks of 1 -> 2 leave at 0,
     * 25 and 50 (they came at 0, 11 and 39) and the last is there at 75 + 3. 2 -> 3 passes the
     * one of 53 on by 64. */
    expect_ends(4, &nodes, gather_once, ENDS(78, 78, 78, 78));
}

static void shift_in_flight(comm *c)
{
    int gathering = gather(c, 100);
    int next = (c->rank + 1) % c->size, previous = (c->rank + c->size - 1) % c->size;
    int shifting = message(c, next, 50, previous, 50);
    wait_for(c, shifting);
    compute(c, 1);
    wait_for(c, gathering);
}

Test(replay, two_transfers_share_the_ports)
{
    /* 3 hosts: ring step 0 holds the ports until 10, the message until 15 (over at 16), step 1 is
     * ready at 11, starts at 15, is over at 26. */
    expect_ends(3, &plain, shift_in_flight, ENDS(26, 26, 26));
}

/* ---- Parts, phases, replicated work ---- */

static int three_parts(void *argument)
{
    comm *c = argument;
    compute(c, 1);
    RANGE(c->time, PART_QKV) compute(c, 2);
    RANGE(c->time, PART_FFN) compute(c, 3);
    compute(c, 4);
    return 0;
}

static int plain_work(void *argument)
{
    compute(argument, 5);
    return 0;
}

static void whole_layer(comm *c)
{
    float out = 0;
    RANGE(c->time, PART_QKV) compute(c, 1 + c->rank);
    RANGE(c->time, PART_ATTENTION)
    {
        int handle = gather(c, 100);
        compute(c, 2);
        wait_for(c, handle);
        compute(c, 3);
    }
    timeline_phase(c->time, PHASE_PREFILL_END);
    cr_assert_eq(c->driver->replicated(c, three_parts, c, &out, sizeof out), 0);
    timeline_entry *aside = timeline_pause(c->time, ENTRY_PAUSE, 0);
    compute(c, 1000);
    timeline_resume(c->time, aside);
    RANGE(c->time, PART_O_PROJ)
    cr_assert_eq(c->driver->replicated(c, plain_work, c, &out, sizeof out), 0);
    double unused = c->rank;
    cr_assert_eq(c->driver->reduce_max(c, &unused, 1), 0);
    compute(c, 0.5);
    timeline_phase(c->time, PHASE_DECODE_END);
}

Test(replay, parts_phases_and_replicated_work)
{
    played p;
    play(&p, 2, &plain, whole_layer);
    for (int rank = 0; rank < 2; rank++) {
        const host_times *t = &p.times[rank];
        /* Host 1 posts at 2, so the gather is over at 13 for both; then 3 s of attention. */
        cr_expect_float_eq(t->prefill_end, 16, 1e-9);
        cr_expect_float_eq(t->decode_end, 16 + 10 + 5 + 0.5, 1e-9);
        const double *prefill = t->parts[PHASE_PREFILL], *decode = t->parts[PHASE_DECODE];
        cr_expect_float_eq(prefill[PART_QKV], 1 + rank, 1e-9);
        cr_expect_float_eq(prefill[PART_ATTENTION], 5, 1e-9);
        cr_expect_float_eq(prefill[PART_COMM], 10 - rank, 1e-9);
        cr_expect_float_eq(prefill[PART_OTHER], 0, 1e-9);
        cr_expect_float_eq(decode[PART_QKV], 2, 1e-9);
        cr_expect_float_eq(decode[PART_FFN], 3, 1e-9);
        cr_expect_float_eq(decode[PART_O_PROJ], 5, 1e-9);
        cr_expect_float_eq(decode[PART_OTHER], 5.5, 1e-9);
        cr_expect_float_eq(decode[PART_COMM], 0, 1e-9);
    }
    release(&p);
}

Test(replay, a_measured_timeline)
{
    /* The same timeline read as if its waits were real: on one device the whole run is host 0's. */
    played p;
    record_hosts(&p, 2, whole_layer);
    host_times t;
    cr_assert_eq(replay_measured(&p.timelines[0], &t), 0, "%s", fail_text());
    const timeline *time = &p.timelines[0];
    double waited = 0, own = 0, began = 0;
    for (int i = 0; i < time->count; i++) {
        const timeline_entry *e = &time->entries[i];
        if (e->kind == ENTRY_PHASE && e->what == PHASE_START) {
            waited = 0;
            began = e->after.seconds;
        } else if (e->kind == ENTRY_PHASE && e->what == PHASE_PREFILL_END) {
            own = e->before.seconds - began;
            break;
        } else if (e->kind == ENTRY_WAIT || e->kind == ENTRY_POST) {
            waited += e->after.seconds - e->before.seconds;
        }
    }
    cr_expect(waited > 0);
    cr_expect_float_eq(t.prefill_end, own, 1e-9);
    cr_expect_float_eq(t.parts[PHASE_PREFILL][PART_COMM], waited, 1e-9);
    cr_expect_float_eq(t.parts[PHASE_PREFILL][PART_ATTENTION], 5, 1e-9);
    cr_expect_float_eq(t.decode_end - t.prefill_end, 10 + 5 + 0.5, 1e-9, "pauses are taken out");
    release(&p);
}

Test(replay, the_slowest_host_counts)
{
    host_times times[2] = {{.prefill_end = 5, .decode_end = 9},
                           {.prefill_end = 4, .decode_end = 10}};
    times[0].parts[PHASE_PREFILL][PART_FFN] = 5;
    times[1].parts[PHASE_PREFILL][PART_FFN] = 4;
    times[1].parts[PHASE_PREFILL][PART_COMM] = 9; /* a host that waited much did not work much */
    times[0].parts[PHASE_DECODE][PART_FFN] = 4;
    times[1].parts[PHASE_DECODE][PART_FFN] = 6;
    host_times slowest;
    slowest_host(times, 2, &slowest);
    cr_expect_eq(slowest.prefill_end, 5);
    cr_expect_eq(slowest.decode_end, 10);
    cr_expect_eq(slowest.parts[PHASE_PREFILL][PART_FFN], 5);
    cr_expect_eq(slowest.parts[PHASE_DECODE][PART_FFN], 6);
}

/* ---- The paper's link, determinism, failures ---- */

static double gather_seconds(const link_model *link, int hosts, int64_t bytes)
{
    clock_state state = {0};
    device dev = clock_device(&state);
    timeline timelines[HOSTS] = {0};
    host_times times[HOSTS];
    for (int rank = 0; rank < hosts; rank++) { /* by hand: 8 x 8 MiB need not be moved */
        timeline *time = &timelines[rank];
        time->dev = &dev;
        timeline_phase(time, PHASE_START);
        timeline_entry *post = timeline_pause(time, ENTRY_POST, TRANSFER_ALL_GATHER);
        post->handle = 0;
        post->bytes = bytes;
        timeline_pause(time, ENTRY_WAIT, TRANSFER_ALL_GATHER)->handle = 0;
        timeline_phase(time, PHASE_PREFILL_END);
        timeline_phase(time, PHASE_DECODE_END);
    }
    cr_assert_eq(replay(timelines, hosts, link, times), 0, "%s", fail_text());
    for (int rank = 0; rank < hosts; rank++)
        timeline_free(&timelines[rank]);
    return times[0].prefill_end;
}

Test(replay, the_papers_link_gives_the_papers_gather)
{
    /* Table 16: 0.62 ms for [8, 2048, 8, 2 x 128] bf16, printed with two digits. */
    link_model link;
    cr_assert_eq(link_find("a800-paper", &link), 0);
    double seconds = gather_seconds(&link, 8, 2048 * 8 * 2 * 128 * 2);
    cr_assert_float_eq(seconds, 0.62e-3, 0.005e-3, "%g s", seconds);
}

static void jitter(comm *c)
{
    uint32_t random = 99u + (uint32_t)c->rank;
    for (int layer = 0; layer < 20; layer++) {
        random = random * 1664525u + 1013904223u;
        compute(c, (random >> 8) * 1e-7);
        int gathering = gather(c, 100);
        exchange_once(c);
        int next = (c->rank + 1) % c->size, previous = (c->rank + c->size - 1) % c->size;
        int shifting = message(c, next, 70, previous, 70);
        compute(c, 3);
        if (random & 64) {
            wait_for(c, gathering);
            wait_for(c, shifting);
        } else {
            wait_for(c, shifting);
            wait_for(c, gathering);
        }
        wait_for(c, c->driver->broadcast(c, memory[c->rank], 30, layer % c->size));
    }
}

Test(replay, the_same_run_gives_the_same_times)
{
    static played first, second;
    play(&first, 9, &plain, jitter);
    play(&second, 9, &plain, jitter);
    cr_expect_arr_eq(first.times, second.times, sizeof first.times);
    cr_assert_eq(replay(first.timelines, 9, &plain, second.times), 0);
    cr_expect_arr_eq(first.times, second.times, sizeof first.times);
    /* A slowdown of 1 is none, and one of 2 makes a run longer, but never twice as long. */
    link_model link = plain;
    link.slowdown = 1;
    cr_assert_eq(replay(first.timelines, 9, &link, second.times), 0);
    cr_expect_arr_eq(first.times, second.times, sizeof first.times);
    cr_assert_eq(replay(first.timelines, 9, &slowing, second.times), 0);
    for (int rank = 0; rank < 9; rank++) {
        double once = first.times[rank].prefill_end, slowed = second.times[rank].prefill_end;
        cr_expect(slowed >= once && slowed < 2 * once, "host %d: %g, slowed %g", rank, once, slowed);
    }
    /* No host can be faster than what its ports have to carry: per layer 8 x 100 for each of the
     * gather and the exchange and 70 for the message, and all wait in every layer. */
    for (int rank = 0; rank < 9; rank++)
        cr_expect(first.times[rank].prefill_end > 20 * (800 + 800 + 70) / 10.0);
    release(&first);
    release(&second);
}

Test(replay, timelines_that_do_not_fit)
{
    played p;
    record_hosts(&p, 3, gather_once);
    p.timelines[1].count--;
    cr_assert_eq(replay(p.timelines, 3, &plain, p.times), -1);
    cr_expect_str_eq(fail_text(), "replay: the timeline of host 1 does not end its decode");
    cr_assert_eq(replay_measured(&p.timelines[1], p.times), -1);
    cr_expect_str_eq(fail_text(), "measured timeline: the timeline does not end its decode");
    p.timelines[1].count++;

    for (int i = 0; i < p.timelines[2].count; i++) /* its posts become another call */
        if (p.timelines[2].entries[i].kind == ENTRY_POST &&
            p.timelines[2].entries[i].what == TRANSFER_ALL_GATHER)
            p.timelines[2].entries[i].bytes = 99;
    cr_assert_eq(replay(p.timelines, 3, &plain, p.times), -1);
    cr_expect_str_eq(fail_text(),
                     "replay: collective call 0 of host 2 is not that of the other hosts");
    release(&p);

    record_hosts(&p, 2, late_receiver);
    timeline_entry *entries = p.timelines[1].entries;
    for (int i = 0; i < p.timelines[1].count; i++)
        if (entries[i].kind == ENTRY_POST && entries[i].what == TRANSFER_SEND_RECV)
            entries[i].from = -1; /* host 1 no longer receives */
    cr_assert_eq(replay(p.timelines, 2, &plain, p.times), -1);
    cr_expect(strstr(fail_text(),
                     "replay: the timelines do not match: host 0 waits for transfer 1"),
              "%s", fail_text());
    release(&p);

    timeline empty = {.dev = &p.dev};
    cr_assert_eq(replay(&empty, 1, &plain, p.times), -1);
    cr_expect_str_eq(fail_text(), "replay: host 0: a timeline without a start");
}
