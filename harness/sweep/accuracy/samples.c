/* Runs what is left of a row's samples. See samples.h. */
#include "harness/sweep/accuracy/samples.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness/error.h"
#include "harness/sweep/workers.h"

/* What the leading process is told of a sample; its line (with a 0) follows, or nothing: it failed. */
typedef struct {
    int64_t sample;
    uint64_t wanted_bytes;
} piece_head;

/* What the leading process has of the row. With workers it changes under their lock. */
typedef struct {
    const row_samples *row;
    totals *each;        /* [count]; done is 0 for those to come */
    int64_t count, done, left; /* left: done by a run that was killed */
    size_t wanted_bytes;
    char *failure;       /* a line could not be written: why; else NULL */
    double began;
} tally;

/* ---- Taking samples ---- */

/* Whether a line that a killed run has left is one of this row's samples, which it then counts for. */
static bool take_left(void *argument, const json_t *line)
{
    tally *t = argument;
    const group *g = t->row->group;
    const json_t *number = json_object_get(line, "sample");
    int64_t i = json_is_integer(number) ? json_integer_value(number) : -1;
    if (i < 0 || i >= t->count || t->each[i].done || !sample_is_of_line(&g->samples[i], line))
        return false;
    totals_of_line(line, &t->each[i]);
    t->left++;
    return true;
}

static int read_piece(tally *t, const piece_head *head, const char *text, size_t bytes)
{
    json_error_t error;
    json_t *line = bytes && !text[bytes - 1] ? json_loads(text, JSON_ALLOW_NUL, &error) : NULL;
    bool good = line && head->sample >= 0 && head->sample < t->count && !t->each[head->sample].done;
    if (good)
        totals_of_line(line, &t->each[head->sample]);
    json_decref(line);
    return good ? 0 : fail("sample %lld: its line cannot be read back", (long long)head->sample);
}

static int take(void *argument, const void *piece, size_t bytes)
{
    tally *t = argument;
    const accuracy_sweep *s = t->row->group->sweep;
    piece_head head;
    memcpy(&head, piece, sizeof head);
    if (bytes == sizeof head) {
        if (head.wanted_bytes)
            t->wanted_bytes = head.wanted_bytes;
        return 0; /* who ran it comes to the agreement with the reason */
    }
    const char *line = (const char *)piece + sizeof head;
    if (t->failure)
        return -1;
    if (read_piece(t, &head, line, bytes - sizeof head) ||
        records_sample(s->records, t->row->key, line)) {
        t->failure = copy_text(fail_text());
        return -1;
    }
    t->done++;
    progress_within(t->row->progress, t->row->expected, t->began, t->left, t->left + t->done, t->count,
                    t->row->label);
    return 0;
}

/* Workers go through their samples in order: a worker is at the first that has not come. */
static void name_place(void *argument, int worker, char *text, size_t bytes)
{
    const tally *t = argument;
    int64_t i = worker;
    while (i < t->count && t->each[i].done)
        i += workers_count();
    if (i < t->count)
        snprintf(text, bytes, "sample %lld of %s", (long long)i, t->row->label);
    else
        snprintf(text, bytes, "the end of %s", t->row->label);
}

static void hand_in(const group *g, int64_t sample, const sample_result *got)
{
    if (!g->sweep->leader && !g->sweep->apart)
        return;
    char *line = got->line ? json_dumps(got->line, JSON_COMPACT) : NULL;
    size_t bytes = line ? strlen(line) + 1 : 0;
    piece_head head = {sample, got->wanted_bytes};
    char *piece = alloc_or_die(sizeof head + bytes, 1);
    memcpy(mempcpy(piece, &head, sizeof head), line ? line : "", bytes);
    workers_hand_in(piece, sizeof head + bytes);
    free(piece);
    free(line);
}

/* ---- A row ---- */

/* The reason that all processes have agreed on, without who had it. */
static int agreed_failure(void)
{
    const char *sentence = comm_agreed(fail_text());
    return sentence ? fail("%s", sentence) : -1;
}

/* Tells all processes which samples are done. */
static int begin(tally *t)
{
    const accuracy_sweep *s = t->row->group->sweep;
    int status = 0;
    if (s->records) {
        json_t *kept = records_resume(s->records, t->row->key, take_left, t);
        status = kept ? 0 : -1;
        json_decref(kept);
    }
    if (s->driver->agree(s->driver, status))
        return agreed_failure();
    char *done = alloc_or_die((size_t)t->count, 1);
    for (int64_t i = 0; i < t->count; i++)
        done[i] = (char)t->each[i].done;
    status = s->driver->share(s->driver, done, (size_t)t->count);
    for (int64_t i = 0; i < t->count && !s->leader; i++) /* the leader's change already */
        t->each[i].done = done[i];
    free(done);
    return status;
}

static int run(tally *t)
{
    const row_samples *row = t->row;
    group *g = row->group;
    const accuracy_sweep *s = g->sweep;
    int status = 0;
    for (int64_t i = 0; i < t->count && !status; i++) {
        if (i % workers_count() != workers_number() || t->each[i].done)
            continue;
        if (s->apart && workers_enough())
            break;
        sample_result got;
        status = sample_run(g, row->method, row->hosts, row->resolved, i, &got);
        if (status) {
            fail("%s (sample %lld)", fail_text(), (long long)i);
            if (s->apart)
                hand_in(g, i, &(sample_result){.wanted_bytes = got.wanted_bytes});
            else
                t->wanted_bytes = got.wanted_bytes;
        } else {
            hand_in(g, i, &got);
            status = s->apart ? 0 : sample_leader_did(g, t->failure ? fail("%s", t->failure) : 0);
        }
        sample_result_free(&got);
    }
    return status;
}

/* How long after the row's deadline a worker may take to notice it: that is looked at between layers,
 * of which one may be long. */
static double grace_of(const accuracy_sweep *s)
{
    return 5 + s->timeout / 2;
}

int row_samples_run(const row_samples *row, totals *sum, int64_t *ran, size_t *wanted_bytes)
{
    const accuracy_sweep *s = row->group->sweep;
    tally t = {.row = row, .count = row->group->count, .began = monotonic_seconds()};
    t.each = alloc_or_die((size_t)t.count, sizeof *t.each);
    if (s->leader)
        workers_listen(&(workers_intake){take, name_place, &t, row->group->deadline, grace_of(s)});
    int status = begin(&t);
    if (!status) {
        status = run(&t);
        if (s->apart && s->driver->agree(s->driver, status))
            status = agreed_failure();
        if (!status && t.failure)
            status = fail("%s", t.failure);
        if (!status && s->leader && t.left + t.done < t.count) /* no row without all its samples */
            status = fail("%lld of the samples have not come", (long long)(t.count - t.left - t.done));
    }
    if (s->leader)
        workers_listen(NULL);
    for (int64_t i = 0; i < t.count && s->leader; i++)
        totals_add(sum, &t.each[i]);
    *ran = t.done;
    *wanted_bytes = status && !workers_lost() ? t.wanted_bytes : 0;
    free(t.each);
    free(t.failure);
    return status;
}
