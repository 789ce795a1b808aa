/* Ulysses: all-to-all turns "my tokens, all heads" into "all tokens, my heads", one causal call over
 * the whole document, and all-to-all turns the output back. Query heads are split
 * as evenly as whole heads allow, so any number of hosts up to the heads works; a host receives each
 * KV head that its query heads need, which replicates KV heads when hosts outnumber them. */
#include "harness/error.h"
#include "methods/method.h"

enum { MOST_HEADS = 256 };

typedef struct {
    int first, count;       /* query heads */
    int kv_first, kv_count; /* KV heads that they need */
} head_share;

static head_share share_of(const cell *c, int rank)
{
    int heads = c->shape.heads, group = heads / c->shape.kv_heads;
    head_share s;
    s.first = (int)((int64_t)heads * rank / c->hosts);
    s.count = (int)((int64_t)heads * (rank + 1) / c->hosts) - s.first;
    s.kv_first = s.first / group;
    s.kv_count = (s.first + s.count - 1) / group - s.kv_first + 1;
    return s;
}

typedef struct {
    char *packed; /* pieces for each peer: queries, then keys and values; later outputs come back here */
    char *q, *kv; /* [H b, my heads, d], [H b, my KV heads, 2, d] */
    char *out;    /* [H b, my heads, d] */
} ulysses_buffers;

/* KV heads sent, counting one that goes to several peers as often as it goes. */
static int kv_copies(const cell *c)
{
    int copies = 0;
    for (int p = 0; p < c->hosts; p++)
        copies += share_of(c, p).kv_count;
    return copies;
}

static size_t take_buffers(const cell *c, const device *dev, int rank, void *work,
                           ulysses_buffers *b)
{
    zone z = {work, 0};
    head_share mine = share_of(c, rank);
    size_t block = (size_t)ceil_div(c->document, c->hosts), all = block * (size_t)c->hosts;
    size_t head = (size_t)c->shape.head_dim * dev->act_bytes;
    b->packed = zone_take(&z, block * (size_t)(c->shape.heads + 2 * kv_copies(c)) * head);
    b->q = zone_take(&z, all * (size_t)mine.count * head);
    b->kv = zone_take(&z, all * 2 * (size_t)mine.kv_count * head);
    b->out = zone_take(&z, all * (size_t)mine.count * head);
    return z.used;
}

static int ulysses_resolve(cell *c)
{
    if (c->hosts > c->shape.heads || c->hosts > MOST_HEADS)
        return fail("ulysses gives each host whole query heads: %d hosts share %d", c->hosts,
                    c->shape.heads);
    return 0;
}

static void ulysses_plan(const cell *c, const device *dev, int rank, plan *p)
{
    plan_block(p, c, rank, ceil_div(c->document, c->hosts));
    p->owner = c->hosts - 1;
    p->work_bytes = take_buffers(c, dev, rank, NULL, &(ulysses_buffers){0});
}

/* Attention of my heads over the whole document, a call a KV head: where my heads begin or end
 * inside a group, the groups have different widths. */
static void attend_my_heads(attend_context *x, const ulysses_buffers *b, head_share mine)
{
    device *dev = x->dev;
    int d = x->cell->shape.head_dim, group = x->cell->shape.heads / x->cell->shape.kv_heads;
    int64_t all = x->plan->rows * x->cell->hosts;
    cell view = *x->cell;
    view.shape.kv_heads = mine.kv_count; /* as b->kv lies */
    for (int k = 0; k < mine.kv_count; k++) {
        int first = (mine.kv_first + k) * group, end = first + group;
        first = first > mine.first ? first : mine.first;
        end = end < mine.first + mine.count ? end : mine.first + mine.count;
        attn_segment document =
            kv_segment(&view, dev, b->kv + (size_t)(2 * k * d) * dev->act_bytes, all, 0, all, 0);
        attn_call call = attend_call(x, 0, all);
        size_t skip = (size_t)((first - mine.first) * d) * dev->act_bytes;
        call.heads = end - first;
        call.kv_heads = 1;
        call.q = b->q + skip;
        call.out = b->out + skip;
        call.q_row_stride = call.out_row_stride = (int64_t)mine.count * d;
        call.segments = &document;
        call.segment_count = 1;
        dev->attention(dev, &call);
    }
}

/* Starts an all-to-all whose pieces lie one behind another by peer, on both sides. */
static int start(attend_context *x, const void *from, const size_t *send, void *to,
                 const size_t *receive)
{
    size_t send_at[MOST_HEADS], receive_at[MOST_HEADS], sent = 0, received = 0;
    for (int p = 0; p < x->comm->size; p++) {
        send_at[p] = sent, receive_at[p] = received;
        sent += send[p], received += receive[p];
    }
    return x->comm->driver->all_to_all(x->comm, from, send_at, send, to, receive_at, receive);
}

static int ulysses_attend(attend_context *x)
{
    device *dev = x->dev;
    comm *links = x->comm;
    int heads = x->cell->shape.heads, kv_heads = x->cell->shape.kv_heads;
    int64_t block = x->plan->rows;
    size_t head = (size_t)x->cell->shape.head_dim * dev->act_bytes, piece = (size_t)block * head;
    head_share mine = share_of(x->cell, links->rank);
    ulysses_buffers b = {0};
    take_buffers(x->cell, dev, links->rank, x->work, &b);
    char *packed_kv = b.packed + (size_t)heads * piece, *q_end = b.packed, *kv_end = packed_kv;
    size_t q_out[MOST_HEADS], q_in[MOST_HEADS], kv_out[MOST_HEADS], kv_in[MOST_HEADS];
    RANGE(links->time, PART_OTHER)
    for (int p = 0; p < links->size; p++) {
        head_share theirs = share_of(x->cell, p);
        q_out[p] = theirs.count * piece, q_in[p] = mine.count * piece;
        kv_out[p] = 2 * theirs.kv_count * piece, kv_in[p] = 2 * mine.kv_count * piece;
        dev->copy_rows(dev, q_end, theirs.count * head, (const char *)x->q + theirs.first * head,
                       heads * head, theirs.count * head, block);
        dev->copy_rows(dev, kv_end, 2 * theirs.kv_count * head,
                       (const char *)x->kv_cache + 2 * theirs.kv_first * head, 2 * kv_heads * head,
                       2 * theirs.kv_count * head, block);
        q_end += q_out[p], kv_end += kv_out[p];
    }
    int q = start(x, b.packed, q_out, b.q, q_in);
    int kv = q < 0 ? -1 : start(x, packed_kv, kv_out, b.kv, kv_in);
    if (kv < 0 || links->driver->wait(links, q) || links->driver->wait(links, kv))
        return -1;
    RANGE(links->time, PART_ATTENTION)
    attend_my_heads(x, &b, mine);
    int back = start(x, b.out, q_in, b.packed, q_out);
    if (back < 0 || links->driver->wait(links, back))
        return -1;
    const char *from = b.packed;
    RANGE(links->time, PART_OTHER)
    for (int p = 0; p < links->size; from += q_out[p++]) {
        head_share theirs = share_of(x->cell, p);
        dev->copy_rows(dev, (char *)x->out + theirs.first * head, heads * head, from,
                       theirs.count * head, theirs.count * head, block);
    }
    return 0;
}

static void ulysses_cost(const cell *c, const device *dev, int rank, method_cost *cost)
{
    int64_t block = ceil_div(c->document, c->hosts);
    head_share mine = share_of(c, rank);
    double head = (double)block * c->shape.head_dim * (double)dev->act_bytes;
    cost->linear_rows = (double)block;
    /* Pairs per head, as if all heads attended: the core multiplies by all heads. */
    cost->attention_pairs = causal_pairs((double)block * c->hosts) * mine.count / c->shape.heads;
    cost->bytes_sent = head * ((c->shape.heads - mine.count)                /* q */
                               + 2 * (kv_copies(c) - mine.kv_count)         /* k, v */
                               + (double)(c->hosts - 1) * mine.count);      /* out */
    cost->kv_bytes = (double)kv_bytes(c, dev, block);
    cost->work_bytes = (double)take_buffers(c, dev, rank, NULL, &(ulysses_buffers){0});
}

const method ulysses = {
    .name = "ulysses",
    .title = "Ulysses",
    .exact = true,
    .summary = "all-to-all between tokens and heads; at most one host a query head",
    .resolve = ulysses_resolve,
    .plan = ulysses_plan,
    .attend = ulysses_attend,
    .cost = ulysses_cost,
};
