/* The virtual clock against times worked out by hand: messages on their links and ports, and work beside
 * them; and that the same run always gives the same times. See replay_fixture.h for the clock. */
#include "harness/error.h"
#include "tests/replay_fixture.h"

#include <criterion/criterion.h>

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

static void one_came_before(comm *c)
{
    int handles[3];
    switch (c->rank) {
    case 0: /* its second message to 1 needs both ports that the first holds until 10 */
        handles[0] = message(c, 1, 100, -1, 0);
        compute(c, 2);
        handles[1] = message(c, 1, 50, -1, 0);
        wait_for(c, handles[0]);
        wait_for(c, handles[1]);
        break;
    case 1:
        for (int i = 0; i < 3; i++)
            handles[i] = message(c, -1, 0, i == 1 ? 2 : 0, i == 0 ? 100 : i == 1 ? 30 : 50);
        for (int i = 0; i < 3; i++)
            wait_for(c, handles[i]);
        break;
    case 2: /* its message has waited for the port in longer */
        compute(c, 1);
        wait_for(c, message(c, 1, 30, -1, 0));
        break;
    }
}

Test(replay, of_all_that_wait_the_first_that_came_starts)
{
    expect_ends(3, &plain, one_came_before, ENDS(19, 19, 14));
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

static void gather_and_compute(comm *c)
{
    int handle = gather(c, 100);
    compute(c, 5);
    wait_for(c, handle);
    compute(c, 2);
}

Test(replay, work_is_slowed_from_the_posting_and_by_several_as_by_one)
{
    /* Host 1 posts at 3, so the message is over at 14; host 0 works from 0 to 10 for its 5. */
    expect_ends(2, &slowing, early_sender, ENDS(14, 14));
    /* Messages are over at 11 and 21: 2 take 4, 8.5 of 30 are done at 21. */
    expect_ends(2, &slowing, two_at_once, ENDS(42.5, 42.5));
    /* Over at 11 among two; a host alone has no transfer that would slow it. */
    expect_ends(2, &slowing, gather_and_compute, ENDS(13, 13));
    expect_ends(1, &slowing, gather_and_compute, ENDS(7));
}

/* ---- Determinism ---- */

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
        wait_for(c, c->driver->broadcast(c, replay_memory[c->rank], 30, layer % c->size));
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
