/* ZigZag ring: the document in 2H chunks, host r holds chunks r and 2H-1-r, so that every step costs
 * every host the same (methods.md 2.3). The last token lies on host 0, which owns new KV. */
#include "methods/method.h"

typedef struct {
    void *received[2];
    float *acc, *lse;
} zigzag_buffers;

static size_t take_buffers(const cell *c, const device *dev, int64_t rows, void *work,
                           zigzag_buffers *b)
{
    zone z = {work, 0};
    if (c->hosts > 1) {
        b->received[0] = zone_take(&z, kv_bytes(c, dev, rows));
        b->received[1] = zone_take(&z, kv_bytes(c, dev, rows));
    }
    b->acc = zone_take(&z, (size_t)rows * c->shape.heads * c->shape.head_dim * sizeof(float));
    b->lse = zone_take(&z, (size_t)rows * c->shape.heads * sizeof(float));
    return z.used;
}

static void zigzag_plan(const cell *c, const device *dev, int rank, plan *p)
{
    int64_t half = ceil_div(c->document, 2 * (int64_t)c->hosts);
    plan_block(p, c, rank, half);
    plan_block(p, c, 2 * c->hosts - 1 - rank, half);
    p->owner = 0;
    p->work_bytes = take_buffers(c, dev, 2 * half, NULL, &(zigzag_buffers){0});
}

/* Folds one segment into rows first_row.. of the running result. */
static void fold(attend_context *x, zigzag_buffers *b, const void *kv, int64_t length,
                 int64_t first_row, int64_t causal_offset, bool into_running)
{
    int64_t rows = x->plan->rows - first_row;
    int heads = x->cell->shape.heads;
    attn_segment segment = kv_segment(x->cell, x->dev, kv, length, 0, rows, causal_offset);
    attn_call call = attend_call(x, first_row, rows);
    call.out = NULL;
    call.acc = b->acc + first_row * heads * x->cell->shape.head_dim;
    call.lse = b->lse + first_row * heads;
    call.fold = into_running;
    call.segments = &segment;
    call.segment_count = 1;
    RANGE(x->comm->time, PART_ATTENTION)
    x->dev->attention(x->dev, &call);
}

static int zigzag_attend(attend_context *x)
{
    comm *links = x->comm;
    int hosts = links->size, rank = links->rank;
    int64_t rows = x->plan->rows, half = rows / 2;
    zigzag_buffers b = {0};
    take_buffers(x->cell, x->dev, rows, x->work, &b);
    size_t bytes = kv_bytes(x->cell, x->dev, rows);

    void *in_hand = x->kv_cache; /* after s steps: the chunks of host rank - s (mod H) */
    for (int s = 0; s < hosts; s++) {
        void *next = b.received[s % 2];
        int handle = -1;
        if (s + 1 < hosts) {
            handle = links->driver->send_recv(links, (rank + 1) % hosts, in_hand, bytes,
                                              (rank + hosts - 1) % hosts, next, bytes);
            if (handle < 0)
                return -1;
        }
        if (s == 0)
            fold(x, &b, in_hand, rows, 0, 0, false);
        else if (s <= rank) /* a host before: its early chunk is before both of ours */
            fold(x, &b, in_hand, half, 0, half, true);
        else /* a host behind: both its chunks are before our late chunk only */
            fold(x, &b, in_hand, rows, half, rows, true);
        if (handle >= 0 && links->driver->wait(links, handle))
            return -1;
        in_hand = next;
    }
    RANGE(links->time, PART_ATTENTION)
    x->dev->from_f32(x->dev, x->out, b.acc, rows * x->cell->shape.heads * x->cell->shape.head_dim);
    return 0;
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
    cost->work_bytes = (double)take_buffers(c, dev, rows, NULL, &(zigzag_buffers){0});
}

const method zigzag = {
    .name = "zigzag",
    .title = "ZigZag",
    .exact = true,
    .summary = "the ring with an early and a late chunk on each host: exact and balanced",
    .plan = zigzag_plan,
    .attend = zigzag_attend,
    .cost = zigzag_cost,
};
