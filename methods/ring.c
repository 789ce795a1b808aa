/* RingAttn: contiguous blocks; keys and values travel round the ring while each host folds what it
 * holds into a running result (methods.md 2.2). Plain and unbalanced, as in the paper: host r
 * computes in r + 1 of the H steps and only forwards in the others. */
#include "methods/method.h"

typedef struct {
    void *received[2];
    float *acc, *lse;
} ring_buffers;

static size_t take_buffers(const cell *c, const device *dev, int64_t block, void *work,
                           ring_buffers *b)
{
    zone z = {work, 0};
    if (c->hosts > 1) {
        b->received[0] = zone_take(&z, kv_bytes(c, dev, block));
        b->received[1] = zone_take(&z, kv_bytes(c, dev, block));
    }
    b->acc = zone_take(&z, (size_t)block * c->shape.heads * c->shape.head_dim * sizeof(float));
    b->lse = zone_take(&z, (size_t)block * c->shape.heads * sizeof(float));
    return z.used;
}

static void ring_plan(const cell *c, const device *dev, int rank, plan *p)
{
    int64_t block = ceil_div(c->document, c->hosts);
    plan_block(p, c, rank, block);
    p->owner = c->hosts - 1;
    p->work_bytes = take_buffers(c, dev, block, NULL, &(ring_buffers){0});
}

static int ring_attend(attend_context *x)
{
    comm *links = x->comm;
    int hosts = links->size, rank = links->rank;
    int64_t block = x->plan->rows;
    ring_buffers b = {0};
    take_buffers(x->cell, x->dev, block, x->work, &b);
    size_t bytes = kv_bytes(x->cell, x->dev, block);

    void *in_hand = x->kv_cache; /* after s steps: the block of host rank - s */
    for (int s = 0; s < hosts; s++) {
        void *next = b.received[s % 2];
        int handle = -1;
        if (s + 1 < hosts) {
            handle = links->driver->send_recv(links, (rank + 1) % hosts, in_hand, bytes,
                                              (rank + hosts - 1) % hosts, next, bytes);
            if (handle < 0)
                return -1;
        }
        if (s <= rank) {
            attn_segment segment =
                kv_segment(x->cell, x->dev, in_hand, block, 0, block, s == 0 ? 0 : block);
            attn_call call = attend_call(x, 0, block);
            call.out = NULL;
            call.acc = b.acc;
            call.lse = b.lse;
            call.fold = s > 0;
            call.segments = &segment;
            call.segment_count = 1;
            RANGE(links->time, PART_ATTENTION)
            x->dev->attention(x->dev, &call);
        }
        if (handle >= 0 && links->driver->wait(links, handle))
            return -1;
        in_hand = next;
    }
    RANGE(links->time, PART_ATTENTION)
    x->dev->from_f32(x->dev, x->out, b.acc,
                     block * x->cell->shape.heads * x->cell->shape.head_dim);
    return 0;
}

static void ring_cost(const cell *c, const device *dev, int rank, method_cost *cost)
{
    int64_t block = ceil_div(c->document, c->hosts);
    double b = (double)block;
    cost->linear_rows = b;
    cost->attention_pairs = causal_pairs(b) + rank * b * b;
    cost->bytes_sent = (c->hosts - 1) * (double)kv_bytes(c, dev, block);
    cost->kv_bytes = (double)kv_bytes(c, dev, block);
    cost->work_bytes = (double)take_buffers(c, dev, block, NULL, &(ring_buffers){0});
}

const method ring = {
    .name = "ring",
    .title = "RingAttn",
    .exact = true,
    .summary = "contiguous blocks, KV round the ring; exact, unbalanced as in the paper",
    .plan = ring_plan,
    .attend = ring_attend,
    .cost = ring_cost,
};
