/* The samples of one model, length and task: made or read once, for all methods. See group.h. */
#include "harness/sweep/accuracy/group.h"

#include <stdlib.h>

#include "harness/error.h"

int64_t group_samples_wanted(const accuracy_sweep *s)
{
    return s->limit && s->limit < s->samples ? s->limit : s->samples;
}

void group_close(group *g)
{
    for (int64_t i = 0; i < g->count; i++) {
        task_sample_free(&g->samples[i].sample);
        prompt_free(&g->samples[i].prompt);
        logits_trace_free(&g->samples[i].exact);
        free(g->samples[i].exact_rows);
    }
    free(g->samples);
    free(g->broken);
    g->samples = NULL;
    g->broken = NULL;
    g->count = 0;
    g->exact_bytes = 0;
}

int group_open(group *g)
{
    const accuracy_sweep *s = g->sweep;
    const model *m = g->model;
    task_request request = {
        .task = g->task,
        .length = g->length,
        .seed = (uint64_t)s->seed,
        .tokens = m->tokens,
        .chat = s->chat ? m->chat : NULL,
        .haystack = s->haystack,
        .file = s->file,
        .quiet = !s->leader,
    };
    task_samples *source = task_samples_open(&request);
    if (!source)
        return -1;
    int status = 0, got = 1;
    while (!status && g->count < group_samples_wanted(s)) {
        group_sample one = {0};
        got = task_samples_next(source, &one.sample);
        if (got <= 0)
            break;
        status = prompt_from_parts(m, one.sample.document.bytes, one.sample.document.count,
                                   one.sample.query.bytes, one.sample.query.count, &one.prompt);
        const sized_text carried = one.sample.anchor_query;
        if (!status && carried.bytes)
            status = prompt_set_anchor_query(m, carried.bytes, carried.count, &one.prompt);
        if (status) {
            prompt_free(&one.prompt);
            task_sample_free(&one.sample);
            break;
        }
        g->samples = realloc_or_die(g->samples, (size_t)g->count + 1, sizeof *g->samples);
        g->samples[g->count++] = one;
    }
    g->broken = task_samples_broken_text(source);
    task_samples_close(source);
    if (!status && got < 0)
        status = -1;
    if (!status && !g->count)
        status = fail("%s has no usable sample of %s%s%s", s->file ? s->file : "the generator",
                      g->task->name, g->broken ? ": " : "", g->broken ? g->broken : "");
    return status;
}
