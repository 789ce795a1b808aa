/* RingAttn: contiguous blocks; keys and values travel round the ring while each host folds what it
 * holds into a running result. Plain and unbalanced, as in the paper: host r computes in r + 1
 * of the H steps and only forwards in the others. */
#include "methods/circulate.h"

static void ring_plan(const cell *c, const device *dev, int rank, plan *p)
{
    int64_t block = ceil_div(c->document, c->hosts);
    plan_block(p, c, rank, block);
    p->owner = c->hosts - 1;
    p->work_bytes = circulation_bytes(c, dev, block, NULL, &(circulation){0});
}

static void ring_visit(attend_context *x, circulation *b, const void *kv, int step)
{
    int64_t block = x->plan->rows;
    if (step <= x->comm->rank)
        circulation_fold(x, b, kv, block, 0, step == 0 ? 0 : block, step);
}

static int ring_attend(attend_context *x)
{
    return circulate(x, ring_visit);
}

static void ring_cost(const cell *c, const device *dev, int rank, method_cost *cost)
{
    int64_t block = ceil_div(c->document, c->hosts);
    double b = (double)block;
    cost->linear_rows = b;
    cost->attention_pairs = causal_pairs(b) + rank * b * b;
    cost->bytes_sent = (c->hosts - 1) * (double)kv_bytes(c, dev, block);
    cost->kv_bytes = (double)kv_bytes(c, dev, block);
    cost->work_bytes = (double)circulation_bytes(c, dev, block, NULL, &(circulation){0});
}

const method ring = {
    .name = "ring",
    .title = "RingAttn",
    .exact = true,
    .summary = "contiguous blocks, KV round the ring; unbalanced, as in the paper",
    .plan = ring_plan,
    .attend = ring_attend,
    .cost = ring_cost,
};
