/* The document's prefill on one host: rows of the plan through all layers, attention by the method.
 * See host.h. */
#include "harness/run/host.h"

#include <stdlib.h>

#include "harness/error.h"

static const int32_t *ids_of(const run_request *r, token_source source)
{
    if (source == TOKENS_DOCUMENT)
        return r->document;
    return source == TOKENS_ANCHOR_QUERY && r->anchor_query ? r->anchor_query : r->query;
}

void host_upload_rows(host *h)
{
    const run_request *r = h->run->request;
    const plan *p = &h->plan;
    int32_t *ids = alloc_or_die((size_t)p->rows, sizeof *ids);
    int32_t *positions = alloc_or_die((size_t)p->rows, sizeof *positions);
    int64_t row = 0;
    for (int i = 0; i < p->span_count; i++) {
        const plan_span *span = &p->spans[i];
        for (int64_t k = 0; k < span->count; k++, row++) {
            if (span->source == TOKENS_PADDING)
                continue; /* both 0 */
            ids[row] = ids_of(r, span->source)[span->first_token + k];
            positions[row] = (int32_t)(span->first_position + k);
        }
    }
    h->dev->upload(h->dev, h->ids, ids, (size_t)p->rows * sizeof *ids);
    h->dev->upload(h->dev, h->positions, positions, (size_t)p->rows * sizeof *positions);
    free(positions);
    free(ids);
}

char *host_layer_kv(const host *h, int layer)
{
    return h->kv + (size_t)layer * kv_bytes(h->cell, h->dev, h->capacity);
}

/* Rotates rows [first, first + count) of the joint projection into q, and K and V to where each
 * span keeps them. */
static void rope_rows(host *h, int layer, int64_t first, int64_t count)
{
    const model_shape *s = &h->cell->shape;
    device *dev = h->dev;
    int64_t row = 0, cached = 0, extra = 0;
    size_t qkv_row = (size_t)((s->heads + 2 * s->kv_heads) * s->head_dim) * dev->act_bytes;
    for (int i = 0; i < h->plan.span_count; i++) {
        const plan_span *span = &h->plan.spans[i];
        int64_t begin = row > first ? row : first;
        int64_t end = row + span->count < first + count ? row + span->count : first + count;
        if (begin < end) {
            int64_t place = (span->cached ? cached : extra) + begin - row;
            char *kv = (span->cached ? host_layer_kv(h, layer) : (char *)h->extra) +
                       kv_bytes(h->cell, dev, place);
            dev->rope(dev, (char *)h->q + q_bytes(h->cell, dev, begin), kv,
                      (char *)h->run->scratch.qkv + (size_t)(begin - first) * qkv_row,
                      h->positions + begin, h->run->scratch.rope, end - begin, s->heads,
                      s->kv_heads, s->head_dim);
        }
        row += span->count;
        *(span->cached ? &cached : &extra) += span->count;
    }
}

static int prefill_layer(host *h, int layer)
{
    const layer_weights *w = &h->model->layer[layer];
    timeline *time = h->links->time;
    attend_context x = {
        .cell = h->cell,
        .plan = &h->plan,
        .dev = h->dev,
        .comm = h->links,
        .layer = layer,
        .q = h->q,
        .kv_cache = host_layer_kv(h, layer),
        .kv_extra = h->extra,
        .out = h->out,
        .work = h->work,
        .retaining_fc1 = w->retaining_fc1,
        .retaining_fc2 = w->retaining_fc2,
    };
    const method *m = h->cell->method;
    for (int64_t first = 0; first < h->plan.rows; first += h->dev->chunk_rows) {
        int64_t count = h->plan.rows - first;
        count = count < h->dev->chunk_rows ? count : h->dev->chunk_rows;
        RANGE(time, PART_QKV)
        layer_project_qkv(h->model, layer, &h->run->scratch, h->x + first * h->cell->shape.hidden,
                          count);
        if (m->before_rope)
            m->before_rope(&x, h->run->scratch.qkv, first, count);
        RANGE(time, PART_QKV)
        rope_rows(h, layer, first, count);
    }
    if (m->attend(&x))
        return -1;
    RANGE(time, PART_O_PROJ)
    layer_project_out(h->model, layer, h->x, h->out, h->plan.rows);
    RANGE(time, PART_FFN)
    layer_ffn(h->model, layer, &h->run->scratch, h->x, h->plan.rows);
    return 0;
}

int host_check_time(const host *h, int layer)
{
    double deadline = h->run->request->deadline;
    comm_place(NULL, layer);
    if (deadline <= 0 || h->links->driver->watches_time)
        return 0;
    double late = monotonic_seconds() > deadline;
    if (!h->links->driver->projected && h->links->driver->reduce_max(h->links, &late, 1))
        return -1;
    return late ? fail("timeout in layer %d", layer) : 0;
}

int host_prefill(host *h)
{
    timeline *time = h->links->time;
    time->tokens = h->plan.rows;
    LEAF(time, "embed")
    h->dev->embed(h->dev, h->x, h->ids, h->model->embedding, h->plan.rows, h->cell->shape.hidden);
    for (int layer = 0; layer < h->cell->shape.layers; layer++) {
        if (host_check_time(h, layer))
            return -1;
        timeline_open(time, "layer", layer, false);
        if (prefill_layer(h, layer))
            return -1;
        timeline_close(time);
    }
    h->cached = h->plan.kept_rows;
    return 0;
}
