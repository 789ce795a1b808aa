/* StarAttn: every host but the first prefills its block behind a copy of the document's beginning,
 * the anchor; nothing is sent. Approximate: a block sees no other block. */
#include "harness/error.h"
#include "methods/method.h"

enum { ANCHOR, REFERENCE_MASK };

static int64_t block_of(const cell *c) { return ceil_div(c->document, c->hosts); }

/* Left open it is the whole first block, whatever its length. */
static int64_t anchor_of(const cell *c)
{
    return c->options[ANCHOR] == OPTION_AUTO ? block_of(c) : c->options[ANCHOR];
}

static int star_resolve(cell *c)
{
    if (anchor_of(c) > block_of(c))
        return fail("star's anchor of %lld tokens is longer than a block (%lld tokens)",
                    (long long)anchor_of(c), (long long)block_of(c));
    return 0;
}

static void star_plan(const cell *c, const device *dev, int rank, plan *p)
{
    (void)dev;
    if (rank > 0)
        plan_add(p, SPAN_ANCHOR, TOKENS_DOCUMENT, 0, anchor_of(c), 0, false);
    plan_block(p, c, rank, block_of(c));
    p->owner = c->hosts - 1;
    p->reference_query_mask = c->options[REFERENCE_MASK];
}

static int star_attend(attend_context *x)
{
    int64_t rows = x->plan->rows, anchor = x->plan->extra_rows;
    attn_segment segments[2] = {
        kv_segment(x->cell, x->dev, x->kv_extra, anchor, 0, rows, 0),
        kv_segment(x->cell, x->dev, x->kv_cache, rows - anchor, anchor, rows, 0),
    };
    attn_call call = attend_call(x, 0, rows);
    call.segments = segments;
    call.segment_count = 2;
    RANGE(x->comm->time, PART_ATTENTION)
    x->dev->attention(x->dev, &call);
    return 0;
}

static void star_cost(const cell *c, const device *dev, int rank, method_cost *cost)
{
    double rows = (double)(block_of(c) + (rank > 0 ? anchor_of(c) : 0));
    cost->linear_rows = rows;
    cost->attention_pairs = causal_pairs(rows);
    cost->kv_bytes = (double)kv_bytes(c, dev, block_of(c));
}

static const method_option options[] = {
    [ANCHOR] = {"anchor", OPTION_TOKENS, NULL, OPTION_AUTO,
                "document tokens in front of each block but the first [auto: a whole block]"},
    [REFERENCE_MASK] = {"reference_mask", OPTION_BOOL, NULL, 0,
                        "hide the newest keys from the query as the published code does"},
};

const method star = {
    .name = "star",
    .title = "StarAttn",
    .exact = false,
    .summary = "blocks behind an anchor, no communication in prefill",
    .options = options,
    .option_count = 2,
    .resolve = star_resolve,
    .plan = star_plan,
    .attend = star_attend,
    .cost = star_cost,
};
