/* Runs one cell for a profiler. See profile.h. */
#include "harness/sweep/profile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness/error.h"
#include "harness/ranges.h"
#include "harness/run/together.h"
#include "harness/sweep/repetition.h"

enum { WARMUP, UNTOUCHED, PROFILED, REPETITIONS };

const sweep_cell *profile_find(const sweep *sweep, const char *text)
{
    const sweep_cell *found = NULL;
    char *end, name[512];
    long number = strtol(text, &end, 10);
    if (*text && !*end) {
        if (number < 1 || number > sweep->count) {
            fail("--profile %s: the sweep has cells 1 to %d (see --dry-run)", text, sweep->count);
            return NULL;
        }
        found = &sweep->cells[number - 1];
    }
    for (int i = 0; i < sweep->count && *end; i++) {
        speed_name_cell(sweep, &sweep->cells[i], name, sizeof name);
        if (!strstr(name, text))
            continue;
        if (found) {
            fail("--profile '%s': several cells have that in their name; give a number (see "
                 "--dry-run)", text);
            return NULL;
        }
        found = &sweep->cells[i];
    }
    if (!found)
        fail("--profile '%s': no cell has that in its name (see --dry-run)", text);
    return found;
}

int profile_check(const sweep *sweep, const sweep_cell *cell)
{
    char name[512];
    if (cell->verdict == CELL_RUNS)
        return 0;
    speed_name_cell(sweep, cell, name, sizeof name);
    return fail("--profile: %s is %s: %s", name, cell_verdict_names[cell->verdict], cell->reason);
}

static void print_repetition(const char *title, const cell_times *t, int64_t repetition)
{
    host_times slowest;
    repetition_slowest(t, repetition, 0, &slowest);
    const repetition_account *a = &t->accounts[repetition];
    printf("%-10s prefill %.6g s, decode %.6g s; wall %.6g s: hosts' work %.6g s, transfers %.6g s, "
           "overhead %.2f %%; queued in %.6g s\n",
           title, slowest.prefill_end, slowest.decode_end - slowest.prefill_end, a->wall_s,
           a->charged_s, a->transfers_s, 100 * repetition_overhead(a), a->enqueue_s);
}

static int run(const speed_sweep *s, const model *m, const sweep_cell *cell, cell_times *t)
{
    static const char *const kinds[REPETITIONS] = {"warmup", "timed", "instrumented"};
    prompt p;
    if (prompt_random(m, cell->length, s->axes->query, (uint64_t)s->axes->seed, &p))
        return -1;
    repetition_setting setting = speed_setting(s, m, cell, &p);
    char name[512];
    speed_name_cell(s->sweep, cell, name, sizeof name);
    int status = 0;
    for (int r = 0; r < REPETITIONS && !status; r++) {
        if (r == PROFILED)
            s->dev->profile(s->dev, true);
        ranges_open(name, cell->length);
        status = repetition_run(&setting, r, kinds[r], r == PROFILED, t);
        ranges_close();
        if (r == PROFILED)
            s->dev->profile(s->dev, false);
    }
    prompt_free(&p);
    if (status || !s->leader)
        return status;
    bool projected = s->driver->projected && t->hosts > 1;
    printf("cell       %s%s%s\n", name, projected ? ", projected over " : "",
           projected ? s->link_names->items[0] : "");
    print_repetition("untouched", t, UNTOUCHED);
    print_repetition("profiled", t, PROFILED);
    host_times untouched, profiled;
    repetition_slowest(t, UNTOUCHED, 0, &untouched);
    repetition_slowest(t, PROFILED, 0, &profiled);
    printf("difference %+.2f %% of the prefill\n",
           100 * (profiled.prefill_end / untouched.prefill_end - 1));
    return 0;
}

int profile_run(const speed_sweep *s, const sweep_cell *cell)
{
    model *m = model_open_together(s->driver, s->axes->models.items[cell->model], s->dev,
                                   (int)s->axes->layers, (uint64_t)s->axes->seed,
                                   s->axes->retaining_heads);
    if (!m)
        return -1;
    cell_times t = {.links = 1, .hosts = cell->cell.hosts, .repetitions = REPETITIONS};
    cell_times_take(&t);
    int status = run(s, m, cell, &t);
    cell_times_free(&t);
    model_close(m);
    return status;
}
