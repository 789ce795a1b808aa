/* What a speed sweep says before and while it runs: which cells there are, how each is judged by the room
 * of its device, how long they should take, and the lines of progress. Nothing is loaded. */
#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness/error.h"
#include "harness/sweep/progress.h"
#include "harness/sweep/speed.h"
#include "harness/timeline.h"

static const size_t much = (size_t)1 << 40;

static sweep_axes axes_of(const char *methods, const char *hosts, const char *lengths)
{
    sweep_axes axes = {.query = 50, .new_tokens = 4, .seed = 1};
    cr_assert_eq(parse_texts("tiny", &axes.models), 0, "%s", fail_text());
    cr_assert_eq(parse_texts(methods, &axes.methods), 0, "%s", fail_text());
    cr_assert_eq(parse_sizes(hosts, &axes.hosts), 0, "%s", fail_text());
    cr_assert_eq(parse_sizes(lengths, &axes.lengths), 0, "%s", fail_text());
    return axes;
}

/* "flash 1 1K, ring 2 1K": the cells in their order. */
static void expect_cells(const char *methods, const char *hosts, const char *lengths, int most_hosts,
                         int left_out, const char *expected)
{
    sweep_axes axes = axes_of(methods, hosts, lengths);
    sweep made;
    char text[1024] = "", size[32];
    cr_assert_eq(sweep_make(&axes, device_find("cpu"), much, true, most_hosts, &made), 0, "%s", fail_text());
    for (int i = 0; i < made.count; i++) {
        const sweep_cell *s = &made.cells[i];
        size_t used = strlen(text);
        snprintf(text + used, sizeof text - used, "%s%s%s%s %d %s", i ? ", " : "", s->cell.method->name,
                 *s->variant ? ":" : "", s->variant, s->cell.hosts,
                 format_size(s->length, size, sizeof size));
    }
    cr_expect_str_eq(text, expected, "'%s', expected '%s'", text, expected);
    cr_expect_eq(made.left_out, left_out, "%d are left out", made.left_out);
    sweep_free(&made);
}

/* Each cell once: flash on one host alone, a method that is named twice or with what are its defaults, too;
 * and none of more hosts than the launch has. */
Test(sweep, cells_of_axes)
{
    expect_cells("flash,ring", "1,2", "1K,512", 8, 0,
                 "flash 1 1K, ring 1 1K, ring 2 1K, flash 1 512, ring 1 512, ring 2 512");
    expect_cells("flash,star,star:reference_mask=0,star:reference_mask=1,flash", "2", "512", 8, 0,
                 "flash 1 512, star 2 512, star:reference_mask=1 2 512");
    expect_cells("flash,ring", "2,4,3", "512", 3, 1, "flash 1 512, ring 2 512, ring 3 512");
}

/* One sweep of one cell on three hosts, in this room. */
static sweep_cell cell_in(size_t room, bool shared_device)
{
    sweep_axes axes = axes_of("apb:anchor=64:passing=32", "3", "1000");
    sweep made;
    cr_assert_eq(sweep_make(&axes, device_find("cpu"), room, shared_device, 8, &made), 0, "%s", fail_text());
    cr_assert_eq(made.count, 1);
    sweep_cell one = made.cells[0];
    sweep_free(&made);
    return one;
}

/* What just fits is run. Weights and scratch are each host's, and once for all that one device simulates. */
Test(sweep, verdicts_by_room)
{
    sweep_cell free_room = cell_in(much, true);
    size_t base = free_room.memory.weights + free_room.memory.shared;
    size_t real = base + free_room.memory.zone_largest, simulated = base + free_room.memory.zone_sum;
    cr_assert(free_room.memory.weights && free_room.memory.shared && real < simulated);
    cr_expect_eq(free_room.verdict, CELL_RUNS);
    cr_expect_eq(cell_in(simulated, true).verdict, CELL_RUNS);
    cr_expect_eq(cell_in(simulated - 1, true).verdict, CELL_TOO_BIG);
    cr_expect_eq(cell_in(simulated - 1, false).verdict, CELL_RUNS);
    cr_expect_eq(cell_in(real, true).verdict, CELL_TOO_BIG);
    cr_expect_eq(cell_in(real, false).verdict, CELL_RUNS);
    cr_expect_eq(cell_in(real - 1, true).verdict, CELL_OOM);
    cr_expect_eq(cell_in(real - 1, false).verdict, CELL_OOM);
}

/* A device that simulates all hosts does the work of all, a host of its own no more than the busiest one
 * has; and every repetition is counted, the warm-ups and the instrumented one too. */
Test(sweep, seconds_that_are_expected)
{
    sweep_cell one = cell_in(much, true);
    cr_expect(one.flops_largest > one.flops_sum / 3 && one.flops_largest < one.flops_sum / 2);
    cr_expect_float_eq(sweep_cell_seconds(&one, 1e6, false) / (one.flops_largest / 1e6), 1, 1e-9);
    cr_expect_float_eq(sweep_cell_seconds(&one, 1e6, true) / (one.flops_sum / 1e6), 1, 1e-9);
    one.verdict = CELL_OOM;
    cr_expect_eq(sweep_cell_seconds(&one, 1e6, true), 0);
    sweep_cell both[2] = {cell_in(much, true), one};
    sweep made = {.cells = both, .count = 2};
    speed_sweep s = {.driver = comm_find("sim"), .sweep = &made, .reps = 3, .warmup = 2, .gemm_peak = 1e6};
    cr_expect_float_eq(speed_expected(&s) / (6 * both[0].flops_sum / 0.6e6), 1, 1e-9);
}

Test(sweep, seconds_as_text)
{
    static const struct {
        double seconds;
        const char *text;
    } cases[] = {{0, "0 s"}, {59.4, "59 s"}, {60, "1 min 0 s"}, {200, "3 min 20 s"}, {3599, "59 min 59 s"},
                 {3600, "1 h 0 min"}, {7500, "2 h 5 min"}, {47.5 * 3600, "47 h 30 min"},
                 {48 * 3600, "2 days"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[64];
        cr_expect_str_eq(format_seconds(cases[i].seconds, text, sizeof text), cases[i].text);
    }
}

/* Three cells that were to take 10, 20 and 30 s; twice as slow as expected, so 30 s take a minute. */
Test(sweep, progress_of_cells, .init = cr_redirect_stderr)
{
    progress p = {.total = 3, .expected_left = 60};
    progress_report(&p, 10, 15, "one");
    progress_report(&p, 20, 45, "two");
    progress_report(&p, 30, 60, "three");
    progress rounded = {.total = 2, .expected_left = 10}; /* nothing is expected of what is left */
    progress_report(&rounded, 10 + 1e-12, 1, "four");
    progress quiet = {.total = 3, .expected_left = 60, .quiet = true};
    progress_report(&quiet, 10, 15, "nobody hears this");
    fflush(stderr);
    cr_assert_stderr_eq_str("[1/3] one; about 1 min 15 s left\n[2/3] two; about 1 min 0 s left\n"
                            "[3/3] three\n[1/2] four; about 0 s left\n");
}

/* A row of 10 samples, 4 of them from before, in its twentieth second: of 6 that were to take 60 s 2 are
 * done, and rows before it that were to take 60 s have taken 40. The rest of it and 40 s behind it come to
 * 60 s at that pace. */
Test(sweep, progress_within_a_cell, .init = cr_redirect_stderr)
{
    progress p = {.total = 2, .expected_left = 100, .expected_done = 60, .took = 40};
    double now = monotonic_seconds();
    progress_within(&p, 60, now - 5, 4, 6, 10, "too early");
    progress_within(&p, 60, now - 20, 4, 10, 10, "at its end, which is said elsewhere");
    progress_within(&p, 60, now - 20, 4, 6, 10, "row");
    progress_within(&p, 60, now - 20, 4, 7, 10, "said a moment ago");
    fflush(stderr);
    cr_assert_stderr_eq_str("[1/2] row: 6 of 10 samples; about 1 min 0 s left\n");
}
