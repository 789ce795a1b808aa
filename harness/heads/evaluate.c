/* How well retaining heads find what later rows look at. See train.h. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "harness/error.h"
#include "harness/heads/observe/pipeline.h"
#include "harness/heads/train.h"

typedef struct {
    const retaining_heads *heads;
    heads_work *work; /* [threads] */
    heads_measure *measure; /* layers add each to their own places, prompts in order */
} evaluation;

/* out[t] = the largest of in[t - 2 .. t + 2]. */
static void pool(const float *in, int64_t positions, int kv_heads, float *out)
{
    for (int64_t t = 0; t < positions; t++)
        for (int h = 0; h < kv_heads; h++) {
            float largest = -INFINITY;
            for (int64_t i = t < 2 ? 0 : t - 2; i <= t + 2 && i < positions; i++)
                largest = fmaxf(largest, in[i * kv_heads + h]);
            out[t * kv_heads + h] = largest;
        }
}

static void add_recall(const heads_prompt *p, const float *scores, int64_t positions, int kv_heads,
                       double *recall)
{
    float *pooled = alloc_or_die((size_t)(positions * kv_heads), sizeof *pooled);
    uint8_t *chosen = alloc_or_die((size_t)positions, 1);
    pool(scores, positions, kv_heads, pooled);
    for (int h = 0; h < kv_heads; h++) {
        int64_t needles = 0, found = 0;
        learn_best(pooled, positions, kv_heads, h, learn_tenth(positions), chosen);
        for (int64_t t = 0; t < positions; t++)
            if (p->needle[t])
                needles++, found += chosen[t];
        recall[h] += needles ? (double)found / (double)needles : 0;
    }
    free(chosen);
    free(pooled);
}

static bool has_needles(const heads_prompt *p)
{
    int64_t shown = p->positions < MOST_SHOWN ? p->positions : MOST_SHOWN;
    for (int64_t t = 0; p->needle && t < shown; t++)
        if (p->needle[t])
            return true;
    return false;
}

static void measure_layer(void *argument, int thread, int slot, const shown_layer *shown)
{
    (void)slot;
    evaluation *e = argument;
    int kv_heads = e->heads->kv_heads, at = shown->layer * kv_heads;
    float *scores = alloc_or_die((size_t)(shown->positions * kv_heads), sizeof *scores);
    double *overlap = alloc_or_die((size_t)kv_heads, sizeof *overlap);
    heads_forward(e->heads, shown->layer, shown->features, e->heads->inputs, shown->positions,
                  &e->work[thread], scores);
    learn_overlap(scores, shown->labels, shown->positions, kv_heads, overlap);
    for (int h = 0; h < kv_heads; h++)
        e->measure->overlap[at + h] += overlap[h];
    const heads_prompt *p = shown->whole->prompt;
    if (has_needles(p)) {
        add_recall(p, scores, shown->positions, kv_heads, e->measure->recall + at);
        add_recall(p, shown->labels, shown->positions, kv_heads, e->measure->label_recall + at);
    }
    free(overlap);
    free(scores);
}

int heads_evaluate(const model *m, const heads_layout *layout, int threads,
                   const heads_prompts *prompts, const retaining_heads *heads, heads_measure *measure)
{
    size_t cells = (size_t)(heads->layers * heads->kv_heads);
    *measure = (heads_measure){.layers = heads->layers,
                               .kv_heads = heads->kv_heads,
                               .overlap = alloc_or_die(cells, sizeof(double)),
                               .recall = alloc_or_die(cells, sizeof(double)),
                               .label_recall = alloc_or_die(cells, sizeof(double))};
    evaluation e = {.heads = heads,
                    .measure = measure,
                    .work = alloc_or_die((size_t)threads, sizeof *e.work)};
    pipeline *line = pipeline_open(&(pipeline_work){.model = m,
                                                    .layout = layout,
                                                    .threads = threads,
                                                    .on_layer = measure_layer,
                                                    .argument = &e});
    int status = line ? 0 : -1;
    for (int64_t i = 0; i < prompts->count && !status; i++) {
        status = pipeline_run(line, &prompts->items[i]);
        measure->prompts++;
        measure->with_needles += has_needles(&prompts->items[i]);
    }
    if (line)
        pipeline_close(line); /* which waits for what is under way */
    for (int i = 0; i < threads; i++)
        heads_work_free(&e.work[i]);
    free(e.work);
    if (status)
        heads_measure_free(measure);
    return status;
}

double heads_mean(const heads_measure *measure, const double *sums, int64_t prompts)
{
    int cells = measure->layers * measure->kv_heads;
    double sum = 0;
    for (int i = 0; i < cells; i++)
        sum += sums[i];
    return prompts ? sum / cells / (double)prompts : NAN;
}

void heads_measure_free(heads_measure *measure)
{
    free(measure->overlap);
    free(measure->recall);
    free(measure->label_recall);
    *measure = (heads_measure){0};
}
