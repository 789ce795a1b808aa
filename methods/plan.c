/* Arithmetic that all methods share: spans of a plan and what they are held against, sizes of rows,
 * segments over cached KV, and the carving of exchange buffers. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "harness/error.h"
#include "methods/method.h"

void plan_add(plan *p, span_kind kind, token_source source, int64_t first_token, int64_t count,
              int64_t first_position, bool cached)
{
    if (count <= 0)
        return;
    if (p->span_count == PLAN_SPANS) {
        fprintf(stderr, "apbench: a plan has more than %d spans\n", PLAN_SPANS);
        abort();
    }
    p->spans[p->span_count++] =
        (plan_span){kind, source, first_token, count, first_position, cached};
    p->rows += count;
    if (!cached)
        p->extra_rows += count;
    else
        p->cached_rows += count;
    if (cached && kind != SPAN_PADDING)
        p->kept_rows += count;
}

void plan_block(plan *p, const cell *c, int rank, int64_t block)
{
    int64_t first = rank * block;
    int64_t real = c->document - first;
    real = real < 0 ? 0 : real > block ? block : real;
    plan_add(p, SPAN_LOCAL, TOKENS_DOCUMENT, first, real, first, true);
    plan_add(p, SPAN_PADDING, TOKENS_PADDING, 0, block - real, 0, true);
}

int plan_check(const cell *c, const device *dev, int rank)
{
    static const char *const names[] = {
        [TOKENS_DOCUMENT] = "document", [TOKENS_QUERY] = "query",
        [TOKENS_ANCHOR_QUERY] = "part of the query that an anchor carries"};
    const int64_t tokens[] = {[TOKENS_DOCUMENT] = c->document, [TOKENS_QUERY] = c->query,
                              [TOKENS_ANCHOR_QUERY] = c->query_in_anchor};
    plan p = {0};
    method_cost cost = {0};
    c->method->plan(c, dev, rank, &p);
    c->method->cost(c, dev, rank, &cost);
    for (const plan_span *s = p.spans; s < p.spans + p.span_count; s++)
        if (s->source != TOKENS_PADDING &&
            (s->first_token < 0 || s->first_token + s->count > tokens[s->source]))
            return fail("plan() takes tokens %lld to %lld of the %s, which has %lld",
                        (long long)s->first_token, (long long)(s->first_token + s->count - 1),
                        names[s->source], (long long)tokens[s->source]);
    if (p.owner < 0 || p.owner >= c->hosts)
        return fail("plan() has host %d own new keys, but the hosts are 0 to %d", p.owner, c->hosts - 1);
    if (cost.linear_rows != (double)p.rows)
        return fail("plan() has %lld rows, cost() says %.0f", (long long)p.rows, cost.linear_rows);
    if (cost.kv_bytes != (double)kv_bytes(c, dev, p.cached_rows))
        return fail("plan() caches %zu bytes a layer, cost() says %.0f",
                    kv_bytes(c, dev, p.cached_rows), cost.kv_bytes);
    if (cost.work_bytes != (double)p.work_bytes)
        return fail("plan() wants %zu work bytes, cost() says %.0f", p.work_bytes, cost.work_bytes);
    return 0;
}

void *zone_take(zone *z, size_t bytes)
{
    void *here = z->base ? z->base + z->used : NULL;
    z->used += (bytes + 255) & ~(size_t)255;
    return here;
}

size_t kv_bytes(const cell *c, const device *dev, int64_t rows)
{
    return (size_t)rows * 2 * (size_t)(c->shape.kv_heads * c->shape.head_dim) * dev->act_bytes;
}

size_t q_bytes(const cell *c, const device *dev, int64_t rows)
{
    return (size_t)rows * (size_t)(c->shape.heads * c->shape.head_dim) * dev->act_bytes;
}

double cost_flops(const cell *c, const method_cost *cost)
{
    const model_shape *s = &c->shape;
    double hidden = s->hidden, q = (double)s->heads * s->head_dim;
    double kv = (double)s->kv_heads * s->head_dim;
    double layer_weights = hidden * (q + 2 * kv) + q * hidden + 3 * hidden * s->ffn;
    return s->layers * (2 * cost->linear_rows * layer_weights + 4 * cost->attention_pairs * q +
                        cost->compressor_flops);
}

attn_segment kv_segment(const cell *c, const device *dev, const void *kv, int64_t length,
                        int64_t row_begin, int64_t row_end, int64_t causal_offset)
{
    int d = c->shape.head_dim;
    return (attn_segment){
        .k = kv,
        .v = kv ? (const char *)kv + (size_t)d * dev->act_bytes : NULL,
        .row_stride = 2 * (int64_t)c->shape.kv_heads * d,
        .head_stride = 2 * d,
        .length = length,
        .row_begin = row_begin,
        .row_end = row_end,
        .causal_offset = causal_offset,
    };
}

attn_call attend_call(const attend_context *x, int64_t first_row, int64_t rows)
{
    const model_shape *s = &x->cell->shape;
    int64_t row = (int64_t)s->heads * s->head_dim;
    size_t skip = (size_t)(first_row * row) * x->dev->act_bytes;
    return (attn_call){
        .rows = rows,
        .heads = s->heads,
        .kv_heads = s->kv_heads,
        .head_dim = s->head_dim,
        .scale = 1 / sqrtf((float)s->head_dim),
        .q = (const char *)x->q + skip,
        .q_row_stride = row,
        .out = (char *)x->out + skip,
        .out_row_stride = row,
    };
}
