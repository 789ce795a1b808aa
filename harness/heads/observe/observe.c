/* The frozen model's runs that retaining heads look on. See observe.h; show.c makes features and labels
 * of what they leave. */
#include "harness/heads/observe/observe.h"

#include <stdlib.h>
#include <string.h>

#include "harness/error.h"
#include "harness/run/run.h"

/* The cell comes first, so that the method's hooks find the rest behind the cell that they are given. */
typedef struct {
    cell cell;
    method looking_on; /* the watched one with our hooks */
    const method *watched;
    observation *seen;
    bool features, labels; /* which of both this run is for */
    int64_t labelled;      /* the first row that looks back */
    int *attended;         /* [layers]: hosts that are through with the layer */
    void (*on_layer)(void *argument, int layer);
    void *argument;
} observer;

static int64_t features_width(const model_shape *s)
{
    return (int64_t)(s->heads + 2 * s->kv_heads) * s->head_dim;
}

/* ---- Features ---- */

static void keep_features(attend_context *x, const void *qkv, int64_t first_row, int64_t rows)
{
    observer *o = (observer *)x->cell;
    observation *seen = o->seen;
    if (o->watched->before_rope)
        o->watched->before_rope(x, qkv, first_row, rows);
    if (!o->features)
        return;
    size_t row_bytes = (size_t)features_width(&seen->shape) * seen->act_bytes;
    int64_t span_row = 0;
    for (int i = 0; i < x->plan->span_count; i++) {
        const plan_span *span = &x->plan->spans[i];
        int64_t begin = span_row > first_row ? span_row : first_row;
        int64_t end = span_row + span->count;
        end = end < first_row + rows ? end : first_row + rows;
        int64_t token = span->first_token + begin - span_row;
        if (end - begin > seen->positions - token)
            end = begin + seen->positions - token;
        if (span->kind == SPAN_LOCAL && span->source == TOKENS_DOCUMENT && begin < end) {
            char *to = seen->features +
                       (size_t)(x->layer * seen->positions + token) * row_bytes;
            x->dev->download(x->dev, to, (const char *)qkv + (size_t)(begin - first_row) * row_bytes,
                             (size_t)(end - begin) * row_bytes);
            for (int64_t t = token; t < token + end - begin; t++)
                seen->block[t] = x->comm->rank;
        }
        span_row += span->count;
    }
}

/* ---- What is passed on ---- */

/* The device as a host's attend() sees it, which notes the keys that are gathered to be passed on: all
 * compressors choose rows and gather them (methods/compressor.h). */
typedef struct {
    device seen; /* first, so that its operations find the rest */
    device *real;
    attend_context *x;
} watching_device;

/* The document's token of each cached row of the plan; -1 for padding. */
static int64_t *cached_tokens(const plan *p)
{
    int64_t *tokens = alloc_or_die((size_t)(p->cached_rows ? p->cached_rows : 1), sizeof *tokens), row = 0;
    for (int i = 0; i < p->span_count; i++)
        for (int64_t k = 0; p->spans[i].cached && k < p->spans[i].count; k++)
            tokens[row++] = p->spans[i].source == TOKENS_DOCUMENT ? p->spans[i].first_token + k : -1;
    return tokens;
}

static void gather_and_note(device *d, void *slab, const void *kv, const int32_t *index, int64_t k,
                            int kv_heads, int head_dim)
{
    watching_device *w = (watching_device *)d;
    attend_context *x = w->x;
    observation *seen = ((observer *)x->cell)->seen;
    w->real->gather_kv(w->real, slab, kv, index, k, kv_heads, head_dim);
    int64_t before = (int64_t)((size_t)((const char *)kv - (const char *)x->kv_cache) /
                               kv_bytes(x->cell, w->real, 1));
    int32_t *rows = alloc_or_die((size_t)(k * kv_heads), sizeof *rows);
    int64_t *tokens = cached_tokens(x->plan);
    w->real->download(w->real, rows, index, (size_t)(k * kv_heads) * sizeof *rows);
    for (int64_t row = before; row < x->plan->cached_rows; row++)
        if (tokens[row] >= 0 && tokens[row] < seen->positions)
            seen->candidate[tokens[row]] = 1;
    for (int64_t i = 0; i < k * kv_heads; i++) {
        int64_t token = tokens[before + rows[i]];
        if (token >= 0 && token < seen->positions)
            seen->passed[(x->layer * seen->positions + token) * kv_heads + i % kv_heads] = 1;
    }
    seen->passing = k;
    free(tokens);
    free(rows);
}

static int attend_watched(observer *o, attend_context *x)
{
    watching_device w = {.seen = *x->dev, .real = x->dev, .x = x};
    attend_context through = *x;
    through.dev = &w.seen;
    w.seen.gather_kv = gather_and_note;
    uint64_t before = w.seen.flops;
    int status = o->watched->attend(&through);
    w.real->flops += w.seen.flops - before;
    return status;
}

/* ---- Labels ---- */

static int attend_and_show(attend_context *x)
{
    observer *o = (observer *)x->cell;
    observation *seen = o->seen;
    const model_shape *s = &seen->shape;
    if (seen->notes_passing ? attend_watched(o, x) : o->watched->attend(x))
        return -1;
    if (o->labels) {
        size_t q = (size_t)(seen->label_rows * s->heads * s->head_dim) * seen->act_bytes;
        size_t kv = (size_t)(seen->positions * s->kv_heads * 2 * s->head_dim) * seen->act_bytes;
        x->dev->download(x->dev, seen->q + (size_t)x->layer * q,
                         (const char *)x->q + q_bytes(x->cell, x->dev, o->labelled), q);
        x->dev->download(x->dev, seen->kv + (size_t)x->layer * kv, x->kv_cache, kv);
    }
    if (++o->attended[x->layer] == x->cell->hosts && o->on_layer)
        o->on_layer(o->argument, x->layer);
    return 0;
}

/* ---- Runs ---- */

int heads_layout_parse(const char *text, int hosts, uint64_t seed, heads_layout *layout)
{
    *layout = (heads_layout){.cell = {.hosts = hosts, .seed = seed}};
    return method_parse(text, &layout->cell);
}

int heads_layout_cell(const heads_layout *layout, const model *m, const heads_prompt *p, cell *c)
{
    *c = layout->cell;
    cell_from_model(c, &m->config, m);
    c->document = p->document;
    c->query = p->query;
    c->head_tokens = p->head_tokens;
    c->query_in_anchor = p->query_in_anchor;
    if (c->method->exact)
        return 0;
    if (p->document < 1 || p->query < 1)
        return fail("the prompt is not parted into document and query");
    return c->method->resolve ? c->method->resolve(c) : 0;
}

/* Runs the observer's cell over a prompt: its first ids are the document's, the query's come behind. */
static int run_observed(const model *m, const heads_prompt *p, observer *o)
{
    o->watched = o->cell.method;
    o->looking_on = *o->watched;
    o->looking_on.before_rope = keep_features;
    o->looking_on.attend = attend_and_show;
    o->cell.method = &o->looking_on;
    o->attended = alloc_or_die((size_t)m->layers, sizeof *o->attended);
    run_request request = {
        .model = m,
        .cell = &o->cell,
        .driver = comm_find("sim"),
        .document = p->ids,
        .query = p->ids + o->cell.document,
        .new_tokens = 1,
        .untimed = true,
        .kept = &o->seen->kept,
    };
    run_result result = {0};
    int status = run_cell(&request, &result);
    run_result_free(&result);
    m->dev->forget_marks(m->dev);
    free(o->attended);
    return status;
}

static void reserve(observation *seen, void *block, int which, size_t bytes)
{
    void **at = block;
    if (bytes <= seen->room[which])
        return;
    if (*at)
        seen->dev->free_host(seen->dev, *at);
    *at = seen->dev->alloc_host(seen->dev, bytes);
    seen->room[which] = bytes;
}

/* Makes room for a prompt. */
static void begin_observation(observation *seen, const model *m, int64_t positions, int64_t label_rows,
                              int blocks)
{
    const model_shape *s = &m->config.shape;
    seen->shape = *s;
    seen->shape.layers = m->layers;
    seen->act_bytes = m->dev->act_bytes;
    seen->positions = positions;
    seen->label_rows = label_rows;
    seen->blocks = blocks;
    seen->passing = 0;
    size_t layers = (size_t)m->layers, shown = (size_t)positions, kv_heads = (size_t)s->kv_heads;
    size_t head = (size_t)s->head_dim * seen->act_bytes;
    seen->dev = m->dev;
    reserve(seen, &seen->features, 0, layers * shown * (size_t)features_width(s) * seen->act_bytes);
    reserve(seen, &seen->q, 1, layers * (size_t)label_rows * (size_t)s->heads * head);
    reserve(seen, &seen->kv, 2, layers * shown * kv_heads * 2 * head);
    reserve(seen, &seen->block, 3, shown * sizeof *seen->block);
    memset(seen->block, 0, shown * sizeof *seen->block);
    if (seen->notes_passing) {
        reserve(seen, &seen->candidate, 4, shown);
        reserve(seen, &seen->passed, 5, layers * shown * kv_heads);
        memset(seen->candidate, 0, shown);
        memset(seen->passed, 0, layers * shown * kv_heads);
    }
}

int observe_prompt(const model *m, const heads_layout *layout, const heads_prompt *p,
                   observation *seen, void (*on_layer)(void *argument, int layer), void *argument)
{
    bool apart = layout && !layout->cell.method->exact;
    int64_t shown = apart && p->document < p->positions ? p->document : p->positions;
    shown = shown < MOST_SHOWN ? shown : MOST_SHOWN;
    seen->prompt = p;
    begin_observation(seen, m, shown, p->count - 1 - p->positions, apart ? layout->cell.hosts : 1);
    observer exact = {
        .cell = {.method = method_find("flash"), .hosts = 1, .seed = 1},
        .seen = seen,
        .features = !apart,
        .labels = true,
        .labelled = p->positions,
        .on_layer = apart ? NULL : on_layer,
        .argument = argument,
    };
    if (!exact.cell.method)
        return -1;
    cell_from_model(&exact.cell, &m->config, m);
    exact.cell.document = p->count - 1;
    exact.cell.query = exact.cell.query_in_anchor = 1;
    if (run_observed(m, p, &exact))
        return -1;
    if (!apart)
        return 0;
    observer used = {.seen = seen, .features = true, .on_layer = on_layer, .argument = argument};
    return heads_layout_cell(layout, m, p, &used.cell) ? -1 : run_observed(m, p, &used);
}

void observation_free(observation *seen)
{
    void *blocks[] = {seen->features, seen->q, seen->kv, seen->block, seen->candidate, seen->passed};
    for (int i = 0; i < (int)(sizeof blocks / sizeof *blocks); i++)
        if (blocks[i])
            seen->dev->free_host(seen->dev, blocks[i]);
    run_kept_free(&seen->kept);
    *seen = (observation){0};
}
