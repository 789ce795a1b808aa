/* FlashAttn: the whole document on one host, one causal call. The exact reference that all other
 * methods are held against. */
#include "harness/error.h"
#include "methods/method.h"

static int flash_resolve(cell *c)
{
    return c->hosts == 1 ? 0 : fail("flash runs on one host, not on %d", c->hosts);
}

static void flash_plan(const cell *c, const device *dev, int rank, plan *p)
{
    (void)dev;
    plan_block(p, c, rank, c->document);
}

static int flash_attend(attend_context *x)
{
    int64_t rows = x->plan->rows;
    attn_segment block = kv_segment(x->cell, x->dev, x->kv_cache, rows, 0, rows, 0);
    attn_call call = attend_call(x, 0, rows);
    call.segments = &block;
    call.segment_count = 1;
    RANGE(x->comm->time, PART_ATTENTION)
    x->dev->attention(x->dev, &call);
    return 0;
}

static void flash_cost(const cell *c, const device *dev, int rank, method_cost *cost)
{
    (void)rank;
    cost->linear_rows = (double)c->document;
    cost->attention_pairs = causal_pairs((double)c->document);
    cost->kv_bytes = (double)kv_bytes(c, dev, c->document);
}

const method flash = {
    .name = "flash",
    .title = "FlashAttn",
    .exact = true,
    .single_host = true,
    .summary = "the whole document on one host; the reference",
    .resolve = flash_resolve,
    .plan = flash_plan,
    .attend = flash_attend,
    .cost = flash_cost,
};
