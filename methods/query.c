/* Attention of the query phase over the distributed KV. See query.h. */
#include "methods/query.h"

#include <math.h>

typedef struct {
    char *outs;  /* [hosts, t, heads, head_dim] */
    float *lses; /* [hosts, t, heads] */
} query_buffers;

static size_t take_buffers(const cell *c, const device *dev, int64_t rows, void *work,
                           query_buffers *b)
{
    zone z = {work, 0};
    b->outs = zone_take(&z, q_bytes(c, dev, rows) * (size_t)c->hosts);
    b->lses = zone_take(&z, (size_t)(rows * c->shape.heads * c->hosts) * sizeof(float));
    return z.used;
}

size_t query_work_bytes(const cell *c, const device *dev, int64_t rows)
{
    return take_buffers(c, dev, rows, NULL, &(query_buffers){0});
}

/* What the rows see of a host's keys. The owner's see the document and themselves causally; other hosts'
 * keys all lie before the query. The published code aligns every host causally, which hides keys
 * elsewhere. */
static attn_segment segment_of(const query_context *x, int rank, const query_keys *keys)
{
    bool causal = rank == x->plan->owner || x->plan->reference_query_mask;
    return kv_segment(x->cell, x->dev, keys->kv, keys->cached, 0, x->rows,
                      causal ? keys->cached - x->rows : keys->cached);
}

int query_attend(query_context *x)
{
    const cell *c = x->cell;
    device *dev = x->dev;
    comm *links = x->comm;
    query_buffers b = {0};
    take_buffers(c, dev, x->rows, x->work, &b);
    size_t out_bytes = q_bytes(c, dev, x->rows);
    size_t lse_bytes = (size_t)(x->rows * c->shape.heads) * sizeof(float);
    bool alone = c->hosts == 1 || x->all;
    attn_segment segments[MOST_KEYS_AT_ONCE] = {segment_of(x, links->rank, &x->own)};
    for (int rank = 0; x->all && rank < c->hosts; rank++)
        segments[rank] = segment_of(x, rank, &x->all[rank]);
    attn_call call = {
        .rows = x->rows,
        .heads = c->shape.heads,
        .kv_heads = c->shape.kv_heads,
        .head_dim = c->shape.head_dim,
        .scale = 1 / sqrtf((float)c->shape.head_dim),
        .q = x->q,
        .q_row_stride = (int64_t)c->shape.heads * c->shape.head_dim,
        .out = alone ? x->out : b.outs + (size_t)links->rank * out_bytes,
        .out_row_stride = (int64_t)c->shape.heads * c->shape.head_dim,
        .lse = alone ? NULL : b.lses + (size_t)links->rank * (size_t)(x->rows * c->shape.heads),
        .segments = segments,
        .segment_count = x->all ? c->hosts : 1,
    };
    RANGE(links->time, PART_ATTENTION)
    dev->attention(dev, &call);
    if (alone)
        return 0;

    int outs = links->driver->all_gather(links, call.out, b.outs, out_bytes);
    int lses = outs < 0 ? -1 : links->driver->all_gather(links, call.lse, b.lses, lse_bytes);
    if (lses < 0 || links->driver->wait(links, outs) || links->driver->wait(links, lses))
        return -1;
    RANGE(links->time, PART_ATTENTION)
    dev->merge(dev, x->out, b.outs, b.lses, c->hosts, x->rows, c->shape.heads, c->shape.head_dim);
    return 0;
}
