/* What a replayed or measured timeline says of its parts and phases, and timelines that do not fit each
 * other. See replay_fixture.h for the clock. */
#include "harness/error.h"
#include "tests/replay_fixture.h"

#include <criterion/criterion.h>
#include <string.h>

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

/* Where virtual hosts' seconds went: 6.5 and 7.5 of each host's own and 15 of one that worked for both; the
 * gather's four copies of 7 s and those of two results. What is taken out is nobody's. */
Test(replay, work_and_transfers_of_a_timeline)
{
    played p;
    record_hosts(&p, 2, whole_layer);
    double work = 0, copies = 0;
    for (int rank = 0; rank < 2; rank++) {
        double own, transfers;
        p.timelines[rank].projected = true;
        timeline_work(&p.timelines[rank], &own, &transfers);
        work += own;
        copies += transfers;
    }
    cr_expect_float_eq(work, 6.5 + 7.5 + 15, 1e-9, "%g", work);
    cr_expect_float_eq(copies, 4 * 7 + 2 * 7, 1e-9, "%g", copies);
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

/* A reduction takes a host's time out by itself, also where that is taken out already: once, and with
 * whatever memory the entries have. */
Test(replay, pauses_within_pauses)
{
    enum { PAUSES = 300 };
    clock_state state = {0};
    device dev = clock_device(&state);
    timeline time = {.dev = &dev};
    host_times t;
    timeline_phase(&time, PHASE_START);
    for (int i = 0; i < PAUSES; i++) {
        state.now += 1; /* work */
        timeline_entry *outer = timeline_pause(&time, ENTRY_PAUSE, 0);
        state.now += 10;
        timeline_entry *inner = timeline_pause(&time, ENTRY_PAUSE, 0);
        state.now += 100;
        timeline_resume(&time, inner);
        state.now += 1000;
        timeline_resume(&time, outer);
        cr_assert_eq(outer, &time.entries[time.count - 1], "the entry has moved");
    }
    timeline_phase(&time, PHASE_PREFILL_END);
    timeline_phase(&time, PHASE_DECODE_END);
    cr_assert_eq(replay_measured(&time, &t), 0, "%s", fail_text());
    cr_expect_float_eq(t.prefill_end, PAUSES, 1e-6, "%g", t.prefill_end);
    timeline_free(&time);
}

static void starts_again(comm *c)
{
    wait_for(c, gather(c, 100));
    compute(c, 30);
    timeline_phase(c->time, PHASE_START);
    compute(c, 3);
    wait_for(c, gather(c, 100));
}

/* Entries before the last start do not count, in a replay and in a measured timeline. */
Test(replay, the_last_start_counts)
{
    expect_ends(2, &plain, starts_again, ENDS(14, 14));
    played p;
    host_times t;
    record_hosts(&p, 1, starts_again);
    cr_assert_eq(replay_measured(&p.timelines[0], &t), 0, "%s", fail_text());
    cr_expect_float_eq(t.prefill_end, 3 + 7, 1e-9, "%g, of which 7 are the copy", t.prefill_end);
    release(&p);
}

/* ---- Failures ---- */

static void two_gathers(comm *c)
{
    wait_for(c, gather(c, 100));
    wait_for(c, gather(c, 100));
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
    release(&p);

    for (int change = 0; change < 3; change++) { /* its posts become another call */
        record_hosts(&p, 3, gather_once);
        for (int i = 0; i < p.timelines[2].count; i++) {
            timeline_entry *e = &p.timelines[2].entries[i];
            if (e->kind != ENTRY_POST || e->what != TRANSFER_ALL_GATHER)
                continue;
            e->bytes = change == 0 ? 99 : e->bytes;
            e->to = change == 1 ? 1 : e->to;
            e->what = change == 2 ? TRANSFER_BROADCAST : e->what;
        }
        cr_assert_eq(replay(p.timelines, 3, &plain, p.times), -1);
        cr_expect_str_eq(fail_text(), "replay: collective call 0 of host 2 is not that of the other hosts");
        release(&p);
    }

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

    static const char *const sentences[] = {
        "replay: the timeline of host 1 waits for transfer 9, which it has not posted since its start",
        "replay: host 1: a timeline whose transfers are not numbered in order",
        "replay: host 1: a timeline whose phases end in the wrong order"};
    for (int change = 0; change < 3; change++) {
        record_hosts(&p, 2, two_gathers);
        bool first = true; /* the last of each kind is changed, of phases the end of the prefill */
        for (int i = p.timelines[1].count - 1; i >= 0 && first; i--) {
            timeline_entry *e = &p.timelines[1].entries[i];
            first = e->kind != (change == 0 ? ENTRY_WAIT : change == 1 ? ENTRY_POST : ENTRY_PHASE) ||
                    (change == 2 && e->what != PHASE_PREFILL_END);
            if (!first && change == 2)
                e->what = PHASE_DECODE_END;
            else if (!first)
                e->handle = 9;
        }
        cr_assert_eq(replay(p.timelines, 2, &plain, p.times), -1);
        cr_expect_str_eq(fail_text(), sentences[change]);
        release(&p);
    }

    timeline empty = {.dev = &p.dev};
    cr_assert_eq(replay(&empty, 1, &plain, p.times), -1);
    cr_expect_str_eq(fail_text(), "replay: host 0: a timeline without a start");
}
