/* Ulysses: all-to-all turns "my tokens, all heads" into "all tokens, my heads", one causal call over
 * the whole document, and all-to-all turns the output back (methods.md 2.4). Query heads are split
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
    char *packed; /* what leaves: q or out pieces, then KV pieces, one a peer */
    char *q, *kv; /* [H b, my heads, d], [H b, my KV heads, 2, d] */
    char *out;    /* [H b, my heads, d] */
    char *back;   /* pieces of the output from each peer: [b, its heads, d] */
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
    int64_t block = ceil_div(c->document, c->hosts), all = block * c->hosts;
    head_share mine = share_of(c, rank);
    size_t head = (size_t)c->shape.head_dim * dev->act_bytes;
    b->packed = zone_take(&z, (size_t)block * (c->shape.heads + 2 * kv_copies(c)) * head);
    b->q = zone_take(&z, (size_t)all * mine.count * head);
    b->kv = zone_take(&z, (size_t)all * 2 * mine.kv_count * head);
    b->out = zone_take(&z, (size_t)all * mine.count * head);
    b->back = zone_take(&z, (size_t)block * c->shape.heads * head);
    return z.used;
}

static int ulysses_resolve(cell *c)
{
    if (c->hosts > c->shape.heads || c->hosts > MOST_HEADS)
        return fail("ulysses gives each host whole query heads: %d hosts share %d", c->hosts,
                    c->shape.heads);
    if (!method_option_value(c, "uneven") && c->shape.heads % c->hosts)
        return fail("ulysses with uneven=0 needs hosts that divide the query heads: %d hosts, %d "
                    "heads", c->hosts, c->shape.heads);
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
    for (int k = 0; k < mine.kv_count; k++) {
        int first = (mine.kv_first + k) * group, end = first + group;
        first = first > mine.first ? first : mine.first;
        end = end < mine.first + mine.count ? end : mine.first + mine.count;
        const char *kv = b->kv + (size_t)(2 * k * d) * dev->act_bytes;
        attn_segment document = {
            .k = kv,
            .v = kv + (size_t)d * dev->act_bytes,
            .row_stride = 2 * (int64_t)mine.kv_count * d,
            .head_stride = 2 * d,
            .length = all,
            .row_end = all,
        };
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

/* One all-to-all: places and bytes of the pieces, by peer. At most one host a head. */
typedef struct {
    size_t send_at[MOST_HEADS], send_bytes[MOST_HEADS];
    size_t receive_at[MOST_HEADS], receive_bytes[MOST_HEADS];
} exchange;

static int start(attend_context *x, const exchange *e, const void *from, void *to)
{
    return x->comm->driver->all_to_all(x->comm, from, e->send_at, e->send_bytes, to, e->receive_at,
                                       e->receive_bytes);
}

static int ulysses_attend(attend_context *x)
{
    device *dev = x->dev;
    comm *links = x->comm;
    int hosts = links->size, heads = x->cell->shape.heads, kv_heads = x->cell->shape.kv_heads;
    int64_t block = x->plan->rows;
    size_t head = (size_t)x->cell->shape.head_dim * dev->act_bytes, block_head = (size_t)block * head;
    head_share mine = share_of(x->cell, links->rank);
    ulysses_buffers b = {0};
    take_buffers(x->cell, dev, links->rank, x->work, &b);
    char *packed_kv = b.packed + (size_t)heads * block_head, *kv_end = packed_kv;

    exchange q, kv, back;
    for (int p = 0; p < hosts; p++) {
        head_share theirs = share_of(x->cell, p);
        q.send_at[p] = back.receive_at[p] = theirs.first * block_head;
        q.send_bytes[p] = back.receive_bytes[p] = theirs.count * block_head;
        q.receive_at[p] = back.send_at[p] = p * mine.count * block_head;
        q.receive_bytes[p] = back.send_bytes[p] = mine.count * block_head;
        kv.send_at[p] = (size_t)(kv_end - packed_kv);
        kv.send_bytes[p] = 2 * theirs.kv_count * block_head;
        kv.receive_at[p] = p * 2 * mine.kv_count * block_head;
        kv.receive_bytes[p] = 2 * mine.kv_count * block_head;
        dev->copy_rows(dev, b.packed + q.send_at[p], theirs.count * head,
                       (const char *)x->q + theirs.first * head, heads * head, theirs.count * head,
                       block);
        dev->copy_rows(dev, kv_end, 2 * theirs.kv_count * head,
                       (const char *)x->kv_cache + 2 * theirs.kv_first * head, 2 * kv_heads * head,
                       2 * theirs.kv_count * head, block);
        kv_end += kv.send_bytes[p];
    }
    int q_handle = start(x, &q, b.packed, b.q);
    int kv_handle = q_handle < 0 ? -1 : start(x, &kv, packed_kv, b.kv);
    if (kv_handle < 0 || links->driver->wait(links, q_handle) ||
        links->driver->wait(links, kv_handle))
        return -1;
    RANGE(links->time, PART_ATTENTION)
    attend_my_heads(x, &b, mine);
    int handle = start(x, &back, b.out, b.back);
    if (handle < 0 || links->driver->wait(links, handle))
        return -1;
    for (int p = 0; p < hosts; p++) {
        head_share theirs = share_of(x->cell, p);
        dev->copy_rows(dev, (char *)x->out + theirs.first * head, heads * head,
                       b.back + back.receive_at[p], theirs.count * head, theirs.count * head, block);
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

static const method_option options[] = {
    {"uneven", OPTION_BOOL, NULL, 1, "split query heads unevenly where hosts do not divide them"},
};

const method ulysses = {
    .name = "ulysses",
    .title = "Ulysses",
    .exact = true,
    .summary = "all-to-all between tokens and heads; exact, at most one host a query head",
    .options = options,
    .option_count = 1,
    .resolve = ulysses_resolve,
    .plan = ulysses_plan,
    .attend = ulysses_attend,
    .cost = ulysses_cost,
};
