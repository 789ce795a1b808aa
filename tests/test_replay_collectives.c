/* Collectives on the virtual clock against times worked out by hand, on one link, over nodes, and at the
 * paper's size. See replay_fixture.h for the clock. */
#include "harness/error.h"
#include "tests/replay_fixture.h"

#include <criterion/criterion.h>

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

/* Host 0 sends 200 to host 2, all else is 100 or, between 1 and 2, nothing. */
static const size_t uneven[3][4] = {{100, 100, 200}, {100, 100, 0}, {100, 0, 100}};

/* Messages of four hosts that are late in every round: 1 -> 2, 1 -> 3 and 0 -> 3. */
static const size_t late_rounds[4][4] = {{0, 10, 0, 100}, {0, 0, 100, 100}, {0, 0, 0, 10}, {10, 0, 0, 0}};

static const size_t (*sizes)[4]; /* [source][target] */

static void exchange_sizes(comm *c)
{
    static char send[1 << 16];
    size_t at[4] = {0, 1000, 2000, 3000}, send_bytes[4], recv_bytes[4];
    for (int p = 0; p < c->size; p++) {
        send_bytes[p] = sizes[c->rank][p];
        recv_bytes[p] = sizes[p][c->rank];
    }
    wait_for(c, c->driver->all_to_all(c, send, at, send_bytes, replay_memory[c->rank], at, recv_bytes));
}

Test(replay, all_to_all_is_pairwise)
{
    expect_ends(1, &plain, exchange_once, ENDS(0));
    expect_ends(2, &plain, exchange_once, ENDS(11, 11));
    expect_ends(5, &plain, exchange_once, ENDS(41, 41, 41, 41, 41)); /* (H-1) bytes/bw + lat */
    /* Round 1: 0 -> 1 and 2 -> 0 hold ports until 10, 1 -> 2 is empty. Round 2: 0 -> 2 (200)
     * from 10 to 30, 1 -> 0 from 10 to 20, 2 -> 1 is empty. */
    sizes = uneven;
    expect_ends(3, &plain, exchange_sizes, ENDS(31, 21, 31));
    /* 0 could send its last message at 1, but host 3 is to receive that of 1 before: which leaves host 1
     * at 10, behind the one to 2, and leaves the port at 20. */
    sizes = late_rounds;
    expect_ends(4, &plain, exchange_sizes, ENDS(31, 21, 11, 31));
}

static int broadcast_root;

static void broadcast_once(comm *c)
{
    wait_for(c, c->driver->broadcast(c, replay_memory[c->rank], 100, broadcast_root));
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

/* ---- A bandwidth of their own ---- */

static const link_model wide = {.latency = 1, .bandwidth = 10, .collectives = 25};

static void shift_once(comm *c)
{
    wait_for(c, message(c, (c->rank + 1) % c->size, 100, (c->rank + c->size - 1) % c->size, 100));
}

Test(replay, collectives_with_a_bandwidth_of_their_own)
{
    expect_ends(5, &wide, gather_once, ENDS(20, 20, 20, 20, 20)); /* (H-1) (lat + 100/25) */
    expect_ends(5, &wide, exchange_once, ENDS(17, 17, 17, 17, 17)); /* (H-1) 100/25 + lat */
    broadcast_root = 0; /* 0 -> 1 is there at 5, 0 -> 2 at 9, 1 -> 3 at 10 */
    expect_ends(4, &wide, broadcast_once, ENDS(9, 10, 9, 10));
    expect_ends(5, &wide, meet, ENDS(13, 13, 13, 13, 13));
    expect_ends(5, &wide, shift_once, ENDS(11, 11, 11, 11, 11)); /* as ever */
    /* Ring step 0 holds the ports until 4, the message until 9; step 1, ready at 5, ends at 13 + 1. */
    expect_ends(3, &wide, shift_in_flight, ENDS(14, 14, 14));
    /* Between nodes all messages go at the node's bandwidth: the three blocks of 1 -> 2 leave until 75. */
    link_model nodes = {.latency = 1, .bandwidth = 10, .collectives = 25, .hosts_per_node = 2,
                        .node_latency = 3, .node_bandwidth = 4};
    expect_ends(4, &nodes, gather_once, ENDS(78, 78, 78, 78));
    expect_ends(4, &nodes, two_pairs, ENDS(39, 39, 39, 39));
}

/* ---- The paper's link ---- */

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
