/* APB: every host prefills its block behind an anchor that carries the query, and sees compressed
 * blocks, the passing blocks, of the hosts before it (ACL 2025, arXiv 2502.12085).
 * Approximate. Rows are [anchor | block | query when the compressor needs it]; the anchor is
 * document[0, p0) + query + document[p0, l_a - l') at positions 0 .. l_a - 1. */
#include "harness/error.h"
#include "methods/compressor.h"
#include "methods/method.h"

enum { ANCHOR, PASSING, COMPRESSOR, QUERY_IN_ANCHOR, POOL, SCHEDULE, REFERENCE_MASK, RECENT, OPTIONS };

/* The paper's table 8 (accuracy and speed by length), and table 14's sweep, which keeps the 128K
 * values beyond. By document and query tokens together. */
static const struct {
    int64_t length, anchor, passing;
} table8[] = {
    {32 << 10, 1 << 10, 512},      {64 << 10, 2 << 10, 1 << 10},  {128 << 10, 4 << 10, 2 << 10},
    {256 << 10, 8 << 10, 4 << 10}, {512 << 10, 8 << 10, 8 << 10},
};
enum { SCHEDULE_TABLE8, SCHEDULE_TABLE14, TABLE14_ROWS = 3, TABLE8_ROWS = 5 };

static int64_t block_of(const cell *c) { return ceil_div(c->document, c->hosts); }
static const compressor *compressor_of(const cell *c) { return &compressors[c->options[COMPRESSOR]]; }
static bool passes(const cell *c) { return c->hosts > 1 && c->options[PASSING] > 0; }

/* p0: where the query is put into the anchor, behind the chat head. */
static int64_t query_place(const cell *c)
{
    return c->head_tokens < c->options[ANCHOR] ? c->head_tokens : c->options[ANCHOR];
}

/* l': how many query tokens the anchor holds. */
static int64_t query_length(const cell *c)
{
    int64_t room = c->options[ANCHOR] - query_place(c);
    if (!c->options[QUERY_IN_ANCHOR])
        return 0;
    return c->query_in_anchor < room ? c->query_in_anchor : room;
}

static int apb_resolve(cell *c)
{
    int64_t block = block_of(c), length = c->document + c->query;
    int64_t anchor = block / 4, passing = block / 8;
    int64_t least = c->head_tokens + c->query_in_anchor + 16;
    if (anchor < least)
        anchor = least;
    int rows = c->options[SCHEDULE] == SCHEDULE_TABLE8 ? TABLE8_ROWS : TABLE14_ROWS;
    /* A prompt made for a length leaves room for its answer and may be some 3 % short (datasets/samples.c),
     * and the shortest sample speaks for a row: up to 1/32 and 1K tokens less still count. */
    for (int i = 0; i < rows; i++)
        if (length + table8[i].length / 32 + 1024 >= table8[i].length)
            anchor = table8[i].anchor, passing = table8[i].passing;
    if (c->options[ANCHOR] == OPTION_AUTO)
        c->options[ANCHOR] = anchor;
    if (c->options[PASSING] == OPTION_AUTO)
        c->options[PASSING] = passing;
    if (c->options[COMPRESSOR] == OPTION_AUTO)
        c->options[COMPRESSOR] = c->retaining_width ? COMPRESSOR_RETAINING : COMPRESSOR_QUERY;
    c->uses_heads = passes(c) && compressor_of(c)->before_rope;
    if (compressor_of(c)->before_rope && !c->retaining_width)
        return fail("compressor=%s needs retaining heads, and the model has none; give them "
                    "with --retaining-heads", compressor_of(c)->name);
    if (c->options[ANCHOR] > block || c->options[PASSING] > block - c->options[ANCHOR])
        return fail("apb needs blocks of at least anchor + passing = %lld + %lld tokens, and %d "
                    "hosts share %lld tokens in blocks of %lld",
                    (long long)c->options[ANCHOR], (long long)c->options[PASSING], c->hosts,
                    (long long)c->document, (long long)block);
    if (c->options[RECENT] > c->options[PASSING])
        return fail("apb passes %lld keys of a block, and recent=%lld of them are to be its last: recent "
                    "is at most passing", (long long)c->options[PASSING], (long long)c->options[RECENT]);
    return 0;
}

typedef struct {
    char *slabs; /* [hosts, l_p, kv_heads, 2, head_dim]: the passing blocks in host order */
    compressor_buffers select;
} apb_buffers;

static size_t take_buffers(const cell *c, const device *dev, int64_t scored_rows, void *work,
                           apb_buffers *b)
{
    zone z = {work, 0};
    if (!passes(c))
        return 0;
    b->slabs = zone_take(&z, kv_bytes(c, dev, c->options[PASSING]) * (size_t)c->hosts);
    compressor_take(&z, c, dev, scored_rows, c->options[PASSING], &b->select);
    return z.used;
}

/* Rows of anchor and block: what the compressor scores. */
static int64_t scored_rows(const cell *c, int rank)
{
    return block_of(c) + (rank > 0 ? c->options[ANCHOR] : 0);
}

static int64_t carried_query(const cell *c)
{
    return passes(c) && compressor_of(c)->carries_query ? c->query : 0;
}

static void apb_plan(const cell *c, const device *dev, int rank, plan *p)
{
    if (rank > 0) {
        int64_t p0 = query_place(c), query = query_length(c);
        plan_add(p, SPAN_ANCHOR, TOKENS_DOCUMENT, 0, p0, 0, false);
        plan_add(p, SPAN_ANCHOR, TOKENS_ANCHOR_QUERY, 0, query, p0, false);
        plan_add(p, SPAN_ANCHOR, TOKENS_DOCUMENT, p0, c->options[ANCHOR] - query - p0, p0 + query,
                 false);
    }
    plan_block(p, c, rank, block_of(c));
    plan_add(p, SPAN_QUERY, TOKENS_QUERY, 0, carried_query(c), c->document, false);
    p->owner = c->hosts - 1;
    p->work_bytes = take_buffers(c, dev, scored_rows(c, rank), NULL, &(apb_buffers){0});
    p->reference_query_mask = c->options[REFERENCE_MASK];
}

static void apb_before_rope(attend_context *x, const void *qkv, int64_t first_row, int64_t rows)
{
    const compressor *by = compressor_of(x->cell);
    if (!passes(x->cell) || !by->before_rope)
        return;
    apb_buffers b = {0};
    take_buffers(x->cell, x->dev, scored_rows(x->cell, x->comm->rank), x->work, &b);
    RANGE(x->comm->time, PART_COMPRESS)
    by->before_rope(x, &b.select, qkv, first_row, rows);
}

/* Selects, gathers and exchanges the passing blocks of all hosts. */
static int exchange_passing(attend_context *x, apb_buffers *b)
{
    const cell *c = x->cell;
    comm *links = x->comm;
    int64_t count = c->options[PASSING], anchor = c->options[ANCHOR];
    size_t slab = kv_bytes(c, x->dev, count);
    char *mine = b->slabs + (size_t)links->rank * slab;
    /* Rows below l_a are never passed, on host 0 too, where they are real: as published. */
    const char *candidates =
        (const char *)x->kv_cache + (links->rank == 0 ? kv_bytes(c, x->dev, anchor) : 0);
    RANGE(links->time, PART_COMPRESS)
    {
        int64_t scored = scored_rows(c, links->rank);
        selection wanted = {.scored_rows = scored, .first_candidate = anchor,
                            .candidates = scored - anchor, .count = count, .pool = c->options[POOL]};
        compressor_select(x, compressor_of(c), &b->select, &wanted, c->options[RECENT]);
        x->dev->gather_kv(x->dev, mine, candidates, b->select.index, count, c->shape.kv_heads,
                          c->shape.head_dim);
    }
    int handle = links->driver->all_gather(links, mine, b->slabs, slab);
    return handle < 0 ? -1 : links->driver->wait(links, handle);
}

static int apb_attend(attend_context *x)
{
    const cell *c = x->cell;
    int rank = x->comm->rank;
    int64_t rows = x->plan->rows, anchor = rank > 0 ? c->options[ANCHOR] : 0;
    int64_t block = block_of(c), query = carried_query(c);
    apb_buffers b = {0};
    take_buffers(c, x->dev, scored_rows(c, rank), x->work, &b);
    if (passes(c) && exchange_passing(x, &b))
        return -1;

    int64_t passed = passes(c) ? rank * c->options[PASSING] : 0;
    const char *query_kv = (const char *)x->kv_extra + kv_bytes(c, x->dev, anchor);
    attn_segment segments[4] = {
        kv_segment(c, x->dev, x->kv_extra, anchor, 0, rows, 0),
        kv_segment(c, x->dev, b.slabs, passed, anchor, rows, passed),
        kv_segment(c, x->dev, x->kv_cache, block, anchor, rows, 0),
        kv_segment(c, x->dev, query_kv, query, anchor + block, rows, 0),
    };
    attn_call call = attend_call(x, 0, rows);
    call.segments = segments;
    call.segment_count = 4;
    RANGE(x->comm->time, PART_ATTENTION)
    x->dev->attention(x->dev, &call);
    return 0;
}

static void apb_cost(const cell *c, const device *dev, int rank, method_cost *cost)
{
    double a = rank > 0 ? (double)c->options[ANCHOR] : 0, b = (double)block_of(c);
    double q = (double)carried_query(c), p = passes(c) ? (double)c->options[PASSING] * rank : 0;
    cost->linear_rows = a + b + q;
    cost->attention_pairs = causal_pairs(a + b) + b * p + q * (a + p + b) + causal_pairs(q);
    cost->kv_bytes = (double)kv_bytes(c, dev, block_of(c));
    if (!passes(c))
        return;
    if (compressor_of(c)->before_rope)
        cost->compressor_flops = retaining_flops(c, scored_rows(c, rank));
    cost->bytes_sent = (c->hosts - 1) * (double)kv_bytes(c, dev, c->options[PASSING]);
    cost->work_bytes =
        (double)take_buffers(c, dev, scored_rows(c, rank), NULL, &(apb_buffers){0});
}

static const method_option options[OPTIONS] = {
    [ANCHOR] = {"anchor", OPTION_TOKENS, NULL, OPTION_AUTO,
                "l_a, tokens in front of each block but the first [by length: see schedule]"},
    [PASSING] = {"passing", OPTION_TOKENS, NULL, OPTION_AUTO,
                 "l_p, keys that a host passes on [by length: see schedule]"},
    [COMPRESSOR] = {"compressor", OPTION_CHOICE, COMPRESSOR_CHOICES, OPTION_AUTO,
                    "what chooses them [retaining if the model has retaining heads, else query]"},
    [QUERY_IN_ANCHOR] = {"query_in_anchor", OPTION_BOOL, NULL, 1,
                         "put the query into the anchor, behind the chat head"},
    [POOL] = {"pool", OPTION_BOOL, NULL, 1, "max-pool scores over five positions"},
    [SCHEDULE] = {"schedule", OPTION_CHOICE, "table8|table14", SCHEDULE_TABLE8,
                  "the paper's table that gives anchor and passing from 32K (less 1/32 and 1K) up; below: "
                  "b/4, b/8"},
    [REFERENCE_MASK] = {"reference_mask", OPTION_BOOL, NULL, 0,
                        "hide the newest keys from the query as the published code does"},
    [RECENT] = {"recent", OPTION_TOKENS, NULL, 0,
                "of the passed keys, so many are the last of the block, whatever the compressor says"},
};

const method apb = {
    .name = "apb",
    .title = "APB",
    .exact = false,
    .summary = "blocks behind an anchor with the query, plus compressed blocks passed on",
    .options = options,
    .option_count = OPTIONS,
    .later_options = 1,
    .resolve = apb_resolve,
    .plan = apb_plan,
    .before_rope = apb_before_rope,
    .attend = apb_attend,
    .cost = apb_cost,
};
