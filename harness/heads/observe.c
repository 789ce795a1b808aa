/* The frozen model's run that retaining heads look on. See observe.h. */
#include "harness/heads/observe.h"

#include <stdlib.h>
#include <string.h>

#include "harness/error.h"
#include "harness/heads/learn.h"
#include "harness/run/run.h"

/* The cell comes first, so that the method's hooks find the rest behind the cell that they are given. */
typedef struct {
    cell cell;
    method looking_on; /* flash with our hooks */
    const method *exact;
    int64_t labelled, shown, label_rows;
    float *features, *labels, *q, *kv;
    void *landing; /* activations of one download, as the device has them */
    void (*on_layer)(void *argument, const shown_layer *);
    void *argument;
} observer;

/* `count` activations from the device: float32, or bfloat16 to be widened (device.h knows no other). */
static void fetch(observer *o, device *dev, const void *from, int64_t count, float *to)
{
    if (dev->act_bytes == sizeof *to) {
        dev->download(dev, to, from, (size_t)count * sizeof *to);
        return;
    }
    dev->download(dev, o->landing, from, (size_t)count * dev->act_bytes);
    const uint16_t *narrow = o->landing;
#pragma omp parallel for
    for (int64_t i = 0; i < count; i++) {
        uint32_t bits = (uint32_t)narrow[i] << 16;
        memcpy(to + i, &bits, sizeof bits);
    }
}

static void keep_features(attend_context *x, const void *qkv, int64_t first_row, int64_t rows)
{
    observer *o = (observer *)x->cell;
    const model_shape *s = &x->cell->shape;
    int64_t width = (int64_t)(s->heads + 2 * s->kv_heads) * s->head_dim;
    int64_t left = o->shown - first_row;
    if (left > 0)
        fetch(o, x->dev, qkv, (left < rows ? left : rows) * width, o->features + first_row * width);
}

static int attend_and_show(attend_context *x)
{
    observer *o = (observer *)x->cell;
    const model_shape *s = &x->cell->shape;
    if (o->exact->attend(x))
        return -1;
    fetch(o, x->dev, (const char *)x->q + q_bytes(x->cell, x->dev, o->labelled),
          o->label_rows * s->heads * s->head_dim, o->q);
    fetch(o, x->dev, x->kv_cache, o->shown * s->kv_heads * 2 * s->head_dim, o->kv);
    labels_from_attention(o->q, o->label_rows, o->kv, o->shown, s->heads, s->kv_heads, s->head_dim,
                          o->labels);
    o->on_layer(o->argument, &(shown_layer){x->layer, o->shown, o->features, o->labels});
    return 0;
}

static void take_buffers(observer *o, const device *dev)
{
    const model_shape *s = &o->cell.shape;
    size_t shown = (size_t)o->shown, head_dim = (size_t)s->head_dim;
    size_t features = shown * (size_t)(s->heads + 2 * s->kv_heads) * head_dim;
    size_t q = (size_t)o->label_rows * (size_t)s->heads * head_dim;
    o->features = alloc_or_die(features, sizeof(float));
    o->labels = alloc_or_die(shown * (size_t)s->kv_heads, sizeof(float));
    o->q = alloc_or_die(q, sizeof(float));
    o->kv = alloc_or_die(shown * (size_t)s->kv_heads * 2 * head_dim, sizeof(float));
    o->landing = alloc_or_die(features > q ? features : q, dev->act_bytes);
}

int observe_prompt(const model *m, const heads_prompt *p,
                   void (*on_layer)(void *argument, const shown_layer *), void *argument)
{
    observer o = {
        .cell = {.hosts = 1, .seed = 1},
        .exact = method_find("flash"),
        .labelled = p->positions,
        .shown = p->positions < MOST_SHOWN ? p->positions : MOST_SHOWN,
        .label_rows = p->count - 1 - p->positions,
        .on_layer = on_layer,
        .argument = argument,
    };
    if (!o.exact)
        return -1;
    o.looking_on = *o.exact;
    o.looking_on.before_rope = keep_features;
    o.looking_on.attend = attend_and_show;
    o.cell.method = &o.looking_on;
    cell_from_model(&o.cell, &m->config, m);
    o.cell.document = p->count - 1;
    o.cell.query = o.cell.query_in_anchor = 1;
    take_buffers(&o, m->dev);
    run_request request = {
        .model = m,
        .cell = &o.cell,
        .driver = comm_find("sim"),
        .document = p->ids,
        .query = p->ids + p->count - 1,
        .new_tokens = 1,
    };
    run_result result = {0};
    int status = run_cell(&request, &result);
    run_result_free(&result);
    m->dev->forget_marks(m->dev);
    free(o.features);
    free(o.labels);
    free(o.q);
    free(o.kv);
    free(o.landing);
    return status;
}
