/* ZigZag ring: the document in 2H chunks, host r holds chunks r and 2H-1-r, so that every step costs
 * every host the same. The last token lies on host 0, which owns new KV. */
#include "methods/circulate.h"

static void zigzag_plan(const cell *c, const device *dev, int rank, plan *p)
{
    int64_t half = ceil_div(c->document, 2 * (int64_t)c->hosts);
    plan_block(p, c, rank, half);
    plan_block(p, c, 2 * c->hosts - 1 - rank, half);
    p->owner = 0;
    p->work_bytes = circulation_bytes(c, dev, 2 * half, NULL, &(circulation){0});
}

static void zigzag_visit(attend_context *x, circulation *b, const void *kv, int step)
{
    int64_t rows = x->plan->rows, half = rows / 2;
    if (step == 0)
        circulation_fold(x, b, kv, rows, 0, 0, step);
    else if (step <= x->comm->rank) /* a host before: its early chunk is before both of ours */
        circulation_fold(x, b, kv, half, 0, half, step);
    else /* a host behind: both its chunks are before our late chunk only */
        circulation_fold(x, b, kv, rows, half, rows, step);
}

static int zigzag_attend(attend_context *x)
{
    return circulate(x, zigzag_visit);
}

static void zigzag_cost(const cell *c, const device *dev, int rank, method_cost *cost)
{
    (void)rank;
    int64_t rows = 2 * ceil_div(c->document, 2 * (int64_t)c->hosts);
    double m = (double)rows;
    cost->linear_rows = m;
    cost->attention_pairs = causal_pairs(m) + (c->hosts - 1) * m * m / 2;
    cost->bytes_sent = (c->hosts - 1) * (double)kv_bytes(c, dev, rows);
    cost->kv_bytes = (double)kv_bytes(c, dev, rows);
    cost->work_bytes = (double)circulation_bytes(c, dev, rows, NULL, &(circulation){0});
}

const method zigzag = {
    .name = "zigzag",
    .title = "ZigZag",
    .exact = true,
    .summary = "the ring with an early and a late chunk on each host: balanced",
    .plan = zigzag_plan,
    .attend = zigzag_attend,
    .cost = zigzag_cost,
};
