/* The ring's walk. See circulate.h. */
#include "methods/circulate.h"

size_t circulation_bytes(const cell *c, const device *dev, int64_t rows, void *work, circulation *b)
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

void circulation_fold(attend_context *x, circulation *b, const void *kv, int64_t length,
                      int64_t first_row, int64_t causal_offset, int step)
{
    int64_t rows = x->plan->rows - first_row;
    int heads = x->cell->shape.heads;
    attn_segment segment = kv_segment(x->cell, x->dev, kv, length, 0, rows, causal_offset);
    attn_call call = attend_call(x, first_row, rows);
    call.out = NULL;
    call.acc = b->acc + first_row * heads * x->cell->shape.head_dim;
    call.lse = b->lse + first_row * heads;
    call.fold = step > 0;
    call.segments = &segment;
    call.segment_count = 1;
    RANGE(x->comm->time, PART_ATTENTION)
    x->dev->attention(x->dev, &call);
}

int circulate(attend_context *x,
              void (*visit)(attend_context *, circulation *, const void *kv, int step))
{
    comm *links = x->comm;
    int hosts = links->size, rank = links->rank;
    int64_t rows = x->plan->rows;
    circulation b = {0};
    circulation_bytes(x->cell, x->dev, rows, x->work, &b);
    size_t bytes = kv_bytes(x->cell, x->dev, rows);

    void *in_hand = x->kv_cache;
    for (int s = 0; s < hosts; s++) {
        void *next = b.received[s % 2];
        int handle = -1;
        if (s + 1 < hosts) {
            handle = links->driver->send_recv(links, (rank + 1) % hosts, in_hand, bytes,
                                              (rank + hosts - 1) % hosts, next, bytes);
            if (handle < 0)
                return -1;
        }
        visit(x, &b, in_hand, s);
        if (handle >= 0 && links->driver->wait(links, handle))
            return -1;
        in_hand = next;
    }
    RANGE(links->time, PART_ATTENTION)
    x->dev->from_f32(x->dev, x->out, b.acc, rows * x->cell->shape.heads * x->cell->shape.head_dim);
    return 0;
}
