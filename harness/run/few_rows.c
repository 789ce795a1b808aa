/* The query phase and decode: a few rows' way through the model over the distributed KV, the same code
 * for every method. What all hosts would do alike (everything but attention over their own keys) is
 * replicated work. See host.h. */
#include "harness/run/host.h"
#include "methods/query.h"

/* A few rows' way through one layer outside attention; all hosts would do it alike. */
typedef struct {
    host *h;
    int layer;
    int64_t rows;
    const int32_t *positions;
    bool alone; /* nobody copies what this host does: keys go straight into its cache */
} few_step;

static int few_project(void *argument)
{
    few_step *s = argument;
    host *h = s->h;
    const model_shape *shape = &h->cell->shape;
    device *dev = h->dev;
    char *kv = s->alone ? host_layer_kv(h, s->layer) + kv_bytes(h->cell, dev, h->cached)
                        : h->few_qkv + q_bytes(h->cell, dev, s->rows);
    for (int64_t first = 0; first < s->rows; first += dev->chunk_rows) {
        int64_t count = s->rows - first < dev->chunk_rows ? s->rows - first : dev->chunk_rows;
        layer_project_qkv(h->model, s->layer, &h->run->scratch, h->few_x + first * shape->hidden,
                          count);
        dev->rope(dev, h->few_qkv + q_bytes(h->cell, dev, first), kv + kv_bytes(h->cell, dev, first),
                  h->run->scratch.qkv, s->positions + first, h->run->scratch.rope, count,
                  shape->heads, shape->kv_heads, shape->head_dim);
    }
    return 0;
}

static int few_project_out(void *argument)
{
    few_step *s = argument;
    layer_project_out(s->h->model, s->layer, s->h->few_x, s->h->few_out, s->rows);
    return 0;
}

static int few_ffn(void *argument)
{
    few_step *s = argument;
    layer_ffn(s->h->model, s->layer, &s->h->run->scratch, s->h->few_x, s->rows);
    return 0;
}

static int few_logits(void *argument)
{
    few_step *s = argument;
    host *h = s->h;
    layer_logits(h->model, h->run->scratch.norm, h->few_x + (s->rows - 1) * h->cell->shape.hidden, 1,
                 h->logits);
    h->dev->argmax(h->dev, h->token, h->logits, 1, h->cell->shape.vocab);
    return 0;
}

/* Work that every host would do alike. */
static int replicated(host *h, int (*work)(void *), few_step *step, void *out, size_t bytes)
{
    if (h->run->keys)
        return work(step);
    return h->links->driver->replicated(h->links, work, step, out, bytes);
}

/* This layer's keys of every host. */
static void layer_keys(const host *h, int layer, int64_t now_cached, query_keys *all)
{
    const cell *c = h->cell;
    for (int rank = 0; rank < c->hosts; rank++) {
        const held_keys *keys = &h->run->keys[rank];
        all[rank] = (query_keys){keys->kv + (size_t)layer * keys->layer_bytes,
                                 rank == h->plan.owner ? now_cached : keys->cached};
    }
}

int host_few_rows(host *h, int64_t rows, int64_t first_new)
{
    device *dev = h->dev;
    comm *links = h->links;
    const comm_driver *driver = links->driver;
    bool owner = links->rank == h->plan.owner;
    size_t x_bytes = (size_t)rows * (size_t)h->cell->shape.hidden * sizeof(float);
    size_t q = q_bytes(h->cell, dev, rows), kv = kv_bytes(h->cell, dev, rows);
    int64_t now_cached = h->cached + (owner ? rows : 0);
    timeline *time = links->time;
    query_keys all[MOST_KEYS_AT_ONCE];
    time->tokens = rows;
    LEAF(time, "embed")
    dev->embed(dev, h->few_x, h->few_ids, h->model->embedding, rows, h->cell->shape.hidden);
    few_step step = {h, 0, rows, h->few_positions + first_new, h->cell->hosts == 1 || h->run->keys};
    if (host_check_time(h, 0))
        return -1;
    for (; step.layer < h->cell->shape.layers; step.layer++) {
        int status = 0;
        comm_place(NULL, step.layer);
        timeline_open(time, "layer", step.layer, false);
        RANGE(time, PART_QKV)
        status = replicated(h, few_project, &step, h->few_qkv, q + kv);
        if (status)
            return -1;
        if (owner && !step.alone)
            RANGE(time, PART_OTHER)
            dev->copy(dev, host_layer_kv(h, step.layer) + kv_bytes(h->cell, dev, h->cached),
                      h->few_qkv + q, kv);
        if (h->run->keys)
            layer_keys(h, step.layer, now_cached, all);
        query_context x = {
            .cell = h->cell,
            .plan = &h->plan,
            .dev = dev,
            .comm = links,
            .rows = rows,
            .q = h->few_qkv,
            .own = {host_layer_kv(h, step.layer), now_cached},
            .all = h->run->keys ? all : NULL,
            .out = h->few_out,
            .work = h->few_work,
        };
        if (query_attend(&x))
            return -1;
        RANGE(time, PART_O_PROJ)
        status = replicated(h, few_project_out, &step, h->few_x, x_bytes);
        RANGE(time, PART_FFN)
        status = status ? status : replicated(h, few_ffn, &step, h->few_x, x_bytes);
        if (status)
            return -1;
        timeline_close(time);
    }
    h->cached = now_cached;
    int status = 0;
    LEAF(time, "logits")
    status = replicated(h, few_logits, &step, h->logits,
                        ((size_t)h->cell->shape.vocab + 1) * sizeof(float));
    if (status)
        return -1;
    if (h->run->keys)
        return 0;
    int handle = driver->broadcast(links, h->token, sizeof *h->token, h->plan.owner);
    return handle < 0 ? -1 : driver->wait(links, handle);
}
