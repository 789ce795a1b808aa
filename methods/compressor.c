/* The six compressors. Scoring is apart from selection, so that tests can put scores in. See
 * compressor.h. */
#include "methods/compressor.h"

#include <stdlib.h>

#include "harness/error.h"

static int64_t projection_width(const cell *c)
{
    return (int64_t)(c->shape.heads + 2 * c->shape.kv_heads) * c->shape.head_dim;
}

void compressor_take(zone *z, const cell *c, const device *dev, int64_t scored_rows, int64_t count,
                     compressor_buffers *b)
{
    size_t scores = (size_t)(scored_rows * c->shape.kv_heads) * sizeof(float);
    b->scores = zone_take(z, scores);
    b->pooled = zone_take(z, scores);
    b->index = zone_take(z, (size_t)(count * c->shape.kv_heads) * sizeof(int32_t));
    b->hidden = zone_take(z, (size_t)dev->chunk_rows * (size_t)c->retaining_width * dev->act_bytes);
}

double retaining_flops(const cell *c, int64_t rows)
{
    return 2.0 * (double)rows * c->retaining_width *
           (double)(projection_width(c) + c->shape.kv_heads);
}

/* Max-pool over five positions inside the host's rows, anchor included, as the published code
 * has it, then the best candidates of each KV head. */
static void select_best(attend_context *x, compressor_buffers *b, const selection *s)
{
    int kv_heads = x->cell->shape.kv_heads;
    const float *scores = b->scores;
    if (s->pool) {
        x->dev->max_pool5(x->dev, b->pooled, b->scores, s->scored_rows, kv_heads);
        scores = b->pooled;
    }
    x->dev->top_k(x->dev, b->index, scores + s->first_candidate * kv_heads, s->candidates, kv_heads,
                  s->count);
}

/* s = fc2(SiLU(fc1([q; k; v]))), pre-RoPE: APB's and Locret's retaining head. */
static void retaining_score(attend_context *x, compressor_buffers *b, const void *qkv,
                            int64_t first_row, int64_t rows)
{
    int width = x->cell->retaining_width, kv_heads = x->cell->shape.kv_heads;
    int64_t in = projection_width(x->cell);
    device *dev = x->dev;
    dev->gemm(dev, GEMM_STORE, b->hidden, width, qkv, in, x->retaining_fc1, NULL, rows, width, in);
    dev->silu(dev, b->hidden, rows * width);
    dev->gemm(dev, GEMM_STORE_F32, b->scores + first_row * kv_heads, kv_heads, b->hidden, width,
              x->retaining_fc2, NULL, rows, kv_heads, width);
}

/* exp(s) |v| with the retaining head's s: commented out in APB's code, unused. The device adds ln |v| to
 * s instead, which pools and orders alike. Scored rows are those of the anchor, then the block's. */
static void norm_select(attend_context *x, compressor_buffers *b, const selection *s)
{
    const model_shape *m = &x->cell->shape;
    int64_t cached = x->plan->cached_rows, anchor = s->scored_rows - cached;
    x->dev->weigh_by_norm(x->dev, b->scores, x->kv_extra, anchor, m->kv_heads, m->head_dim);
    x->dev->weigh_by_norm(x->dev, b->scores + anchor * m->kv_heads, x->kv_cache, cached,
                          m->kv_heads, m->head_dim);
    select_best(x, b, s);
}

/* k . mean q over the query's rows and the heads of the group, both roped (Spava's score). The
 * query's rows lie behind all scored rows. */
static void query_select(attend_context *x, compressor_buffers *b, const selection *s)
{
    const model_shape *m = &x->cell->shape;
    device *dev = x->dev;
    const char *query = (const char *)x->q + q_bytes(x->cell, dev, s->scored_rows);
    int64_t cached = x->plan->cached_rows, anchor = s->scored_rows - cached;
    dev->score_query(dev, b->scores, query, x->cell->query, x->kv_extra, anchor, m->heads,
                     m->kv_heads, m->head_dim);
    dev->score_query(dev, b->scores + anchor * m->kv_heads, query, x->cell->query, x->kv_cache,
                     cached, m->heads, m->kv_heads, m->head_dim);
    select_best(x, b, s);
}

static void random_select(attend_context *x, compressor_buffers *b, const selection *s)
{
    selection drawn = *s;
    drawn.pool = false; /* drawn after pooling in the paper's ablation */
    uint64_t seed = (x->cell->seed * 1000003 + (uint64_t)x->layer) * 1000003 +
                    (uint64_t)x->comm->rank;
    x->dev->random(x->dev, b->scores, true, s->scored_rows * x->cell->shape.kv_heads, seed, 1);
    select_best(x, b, &drawn);
}

/* index[at ...] = `count` candidates from `first` on, of every KV head. The same in every layer: written
 * once, in the first, and work lives across layers. */
static void select_run(attend_context *x, compressor_buffers *b, int64_t at, int64_t first, int64_t count)
{
    if (x->layer > 0 || !count)
        return;
    int kv_heads = x->cell->shape.kv_heads;
    int32_t *index = alloc_or_die((size_t)(count * kv_heads), sizeof *index);
    for (int64_t i = 0; i < count * kv_heads; i++)
        index[i] = (int32_t)(first + i / kv_heads);
    x->dev->upload(x->dev, b->index + at * kv_heads, index, (size_t)(count * kv_heads) * sizeof *index);
    free(index);
}

static void recency_select(attend_context *x, compressor_buffers *b, const selection *s)
{
    select_run(x, b, 0, s->candidates - s->count, s->count);
}

static void sink_select(attend_context *x, compressor_buffers *b, const selection *s)
{
    select_run(x, b, 0, 0, s->count);
}

void compressor_select(attend_context *x, const compressor *by, compressor_buffers *b,
                       const selection *s, int64_t recent)
{
    selection others = *s;
    others.candidates -= recent;
    others.count -= recent;
    if (others.count)
        by->select(x, b, &others);
    select_run(x, b, others.count, others.candidates, recent);
}

const compressor compressors[] = {
    [COMPRESSOR_RETAINING] = {"retaining", false, retaining_score, select_best},
    [COMPRESSOR_RANDOM] = {"random", false, NULL, random_select},
    [COMPRESSOR_QUERY] = {"query", true, NULL, query_select},
    [COMPRESSOR_RECENCY] = {"recency", false, NULL, recency_select},
    [COMPRESSOR_SINK] = {"sink", false, NULL, sink_select},
    [COMPRESSOR_NORM] = {"norm", false, retaining_score, norm_select},
};
