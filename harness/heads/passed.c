/* Measures what is passed on. See passed.h. */
#include "harness/heads/passed.h"

#include <stdlib.h>
#include <string.h>

#include "harness/error.h"
#include "harness/heads/learn.h"
#include "harness/heads/observe/pipeline.h"

/* One block of one layer: the positions whose keys could be passed, and of each row all KV heads. */
typedef struct {
    int64_t count;
    int64_t *position; /* [count] */
    float *labels, *pooled; /* [count, kv_heads] */
    uint8_t *top, *best;    /* [count]: the largest labels of one head, raw and pooled */
} block_rows;

static block_rows take_block(const shown_layer *shown, int block, const float *pooled)
{
    const observation *seen = shown->whole;
    size_t kv_heads = (size_t)seen->shape.kv_heads, most = (size_t)shown->positions;
    block_rows b = {.position = alloc_or_die(most, sizeof *b.position),
                    .labels = alloc_or_die(most * kv_heads, sizeof *b.labels),
                    .pooled = alloc_or_die(most * kv_heads, sizeof *b.pooled),
                    .top = alloc_or_die(most, 1),
                    .best = alloc_or_die(most, 1)};
    for (int64_t t = 0; t < shown->positions; t++)
        if (seen->block[t] == block && seen->candidate[t]) {
            size_t at = (size_t)b.count * kv_heads, from = (size_t)t * kv_heads;
            memcpy(b.labels + at, shown->labels + from, kv_heads * sizeof(float));
            memcpy(b.pooled + at, pooled + from, kv_heads * sizeof(float));
            b.position[b.count++] = t;
        }
    return b;
}

static void block_free(block_rows *b)
{
    free(b->position);
    free(b->labels);
    free(b->pooled);
    free(b->top);
    free(b->best);
}

/* out[t] = the largest of in[t - 2 .. t + 2] of the same block. */
static void pool_blocks(const shown_layer *shown, float *out)
{
    int kv_heads = shown->whole->shape.kv_heads;
    const int32_t *block = shown->whole->block;
    for (int64_t t = 0; t < shown->positions; t++)
        for (int h = 0; h < kv_heads; h++) {
            float largest = shown->labels[t * kv_heads + h];
            for (int64_t i = t < 2 ? 0 : t - 2; i <= t + 2 && i < shown->positions; i++)
                if (block[i] == block[t] && shown->labels[i * kv_heads + h] > largest)
                    largest = shown->labels[i * kv_heads + h];
            out[t * kv_heads + h] = largest;
        }
}

/* Of one prompt in one layer and KV head. */
typedef struct {
    double labels, labels_best;
    int64_t needles, needles_best; /* tokens found */
} head_count;

static void count_block(const shown_layer *shown, block_rows *b, const heads_prompt *p, head_count *heads)
{
    int kv_heads = shown->whole->shape.kv_heads;
    int64_t passing = shown->whole->passing < b->count ? shown->whole->passing : b->count;
    for (int h = 0; h < kv_heads && passing; h++) {
        int64_t passed_top = 0, best_top = 0;
        learn_best(b->labels, b->count, kv_heads, h, passing, b->top);
        learn_best(b->pooled, b->count, kv_heads, h, passing, b->best);
        for (int64_t i = 0; i < b->count; i++) {
            bool passed = shown->passed[b->position[i] * kv_heads + h];
            passed_top += b->top[i] && passed;
            best_top += b->top[i] && b->best[i];
            if (p->needle && p->needle[b->position[i]]) {
                heads[h].needles += passed;
                heads[h].needles_best += b->best[i];
            }
        }
        heads[h].labels += (double)passed_top / (double)passing;
        heads[h].labels_best += (double)best_top / (double)passing;
    }
}

/* Where the prompt's needle tokens are: in keys that could be passed to a host, in the anchor, or in the last
 * block. Returns how many could be passed. */
static int64_t place_needles(const heads_prompt *p, const observation *seen, int64_t *in_anchor,
                             int64_t *in_last_block)
{
    int64_t could = 0;
    for (int64_t t = 0; p->needle && t < seen->positions; t++) {
        bool last = seen->block[t] == seen->blocks - 1;
        could += p->needle[t] && !last && seen->candidate[t];
        *in_anchor += p->needle[t] && !last && !seen->candidate[t];
        *in_last_block += p->needle[t] && last;
    }
    return could;
}

static int64_t needles_in_some_head(const heads_prompt *p, const shown_layer *shown)
{
    const observation *seen = shown->whole;
    int64_t found = 0;
    for (int64_t t = 0; p->needle && t < seen->positions; t++) {
        bool passed = false;
        for (int h = 0; h < seen->shape.kv_heads; h++)
            passed |= shown->passed[t * seen->shape.kv_heads + h];
        found += passed && p->needle[t] && seen->block[t] < seen->blocks - 1;
    }
    return found;
}

static void measure_passed(void *argument, int thread, int slot, const shown_layer *shown)
{
    (void)thread;
    (void)slot;
    passed_measure *m = argument; /* layers add each to their own places; layer 0 to what has no layer */
    const observation *seen = shown->whole;
    const heads_prompt *p = seen->prompt;
    int kv_heads = seen->shape.kv_heads, read = seen->blocks - 1;
    int64_t in_anchor = 0, in_last = 0, could = place_needles(p, seen, &in_anchor, &in_last);
    int64_t keys = 0;
    float *pooled = alloc_or_die((size_t)(shown->positions * kv_heads), sizeof *pooled);
    head_count *heads = alloc_or_die((size_t)kv_heads, sizeof *heads);
    pool_blocks(shown, pooled);
    for (int block = 0; block < read; block++) {
        block_rows b = take_block(shown, block, pooled);
        count_block(shown, &b, p, heads);
        keys += b.count;
        block_free(&b);
    }
    for (int h = 0; h < kv_heads && read > 0; h++) {
        int at = shown->layer * kv_heads + h;
        m->sums[PASSED_LABELS][at] += heads[h].labels / read;
        m->sums[PASSED_LABELS_BEST][at] += heads[h].labels_best / read;
        if (could) {
            m->sums[PASSED_NEEDLES][at] += (double)heads[h].needles / (double)could;
            m->sums[PASSED_NEEDLES_BEST][at] += (double)heads[h].needles_best / (double)could;
        }
    }
    if (could)
        m->any_head[shown->layer] += (double)needles_in_some_head(p, shown) / (double)could;
    if (shown->layer == 0) {
        m->prompts++;
        m->with_needles += could > 0;
        m->needle_tokens += could + in_anchor + in_last;
        m->in_anchor += in_anchor;
        m->in_last_block += in_last;
        m->chance += keys ? (double)seen->passing * read / (double)keys : 0;
        m->passing = seen->passing;
    }
    free(heads);
    free(pooled);
}

int heads_measure_passed(const model *m, const heads_layout *layout, int threads,
                         const heads_prompts *prompts, passed_measure *measure)
{
    size_t cells = (size_t)m->layers * (size_t)m->config.shape.kv_heads;
    *measure = (passed_measure){.layers = m->layers, .kv_heads = m->config.shape.kv_heads};
    for (int i = 0; i < PASSED_SHARES; i++)
        measure->sums[i] = alloc_or_die(cells, sizeof(double));
    measure->any_head = alloc_or_die((size_t)m->layers, sizeof(double));
    pipeline *line = pipeline_open(&(pipeline_work){.model = m,
                                                    .layout = layout,
                                                    .notes_passing = true,
                                                    .threads = threads,
                                                    .on_layer = measure_passed,
                                                    .argument = measure});
    int status = line ? 0 : -1;
    for (int64_t i = 0; i < prompts->count && !status; i++)
        status = pipeline_run(line, &prompts->items[i]);
    if (line)
        pipeline_close(line); /* which waits for what is under way */
    if (!status && !measure->passing)
        status = fail("%s passes no keys on among %d host%s", layout->cell.method->name,
                      layout->cell.hosts, layout->cell.hosts == 1 ? "" : "s");
    if (status)
        passed_measure_free(measure);
    return status;
}

void passed_measure_free(passed_measure *m)
{
    for (int i = 0; i < PASSED_SHARES; i++)
        free(m->sums[i]);
    free(m->any_head);
    *m = (passed_measure){0};
}
