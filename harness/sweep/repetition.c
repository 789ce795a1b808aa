/* Runs repetitions of a cell. See repetition.h. */
#include "harness/sweep/repetition.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness/error.h"
#include "harness/ranges.h"

void cell_times_take(cell_times *t)
{
    t->times = alloc_or_die((size_t)(t->repetitions * t->links * t->hosts), sizeof *t->times);
    t->accounts = alloc_or_die((size_t)t->repetitions, sizeof *t->accounts);
}

void cell_times_free(cell_times *t)
{
    free(t->times);
    free(t->accounts);
    t->times = NULL;
    t->accounts = NULL;
}

host_times *cell_times_at(const cell_times *t, int64_t repetition, int link)
{
    return t->times + (repetition * t->links + link) * t->hosts;
}

/* Every host's times over every link. */
static int read_times(const repetition_setting *s, const run_result *result, int64_t index,
                      cell_times *t)
{
    int status = 0;
    for (int link = 0; link < t->links && !status; link++) {
        host_times *times = cell_times_at(t, index, link);
        if (s->driver->projected)
            status = replay(result->timelines, t->hosts, &s->links[link], times);
        else if (result->measured) /* not in a process outside the cell's hosts */
            memcpy(times, result->measured, (size_t)t->hosts * sizeof *times);
    }
    return status;
}

int repetition_run(const repetition_setting *s, int64_t index, const char *kind, bool synchronised,
                   cell_times *t)
{
    run_request request = {
        .model = s->model,
        .cell = s->cell,
        .driver = s->driver,
        .document = s->prompt->ids,
        .query = s->prompt->ids + s->prompt->document,
        .new_tokens = s->new_tokens,
        .deadline = s->deadline,
        .parts = !strcmp(kind, "instrumented"),
        .synchronised = synchronised,
    };
    char name[64];
    snprintf(name, sizeof name, "repetition (%s)", kind);
    ranges_open(name, index + 1);
    run_result result = {0};
    int status = run_cell(&request, &result);
    ranges_open("replay", t->links);
    if (!status)
        status = read_times(s, &result, index, t);
    t->accounts[index] = (repetition_account){result.wall_s, result.charged_s, result.transfers_s,
                                              result.enqueue_s};
    t->flops = result.flops;
    t->bytes_sent = result.bytes_sent;
    t->peak_bytes = result.peak_bytes;
    t->wanted_bytes = result.wanted_bytes;
    run_result_free(&result);
    s->model->dev->forget_marks(s->model->dev);
    ranges_close();
    ranges_close();
    return status;
}

void repetition_slowest(const cell_times *t, int64_t repetition, int link, host_times *slowest)
{
    slowest_host(cell_times_at(t, repetition, link), t->hosts, slowest);
}

double repetition_overhead(const repetition_account *a)
{
    return 1 - (a->charged_s + a->transfers_s) / a->wall_s;
}
