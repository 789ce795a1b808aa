/* One cell from prompt to generated ids: what a host does, under any device, links and method. See
 * run.h. */
#include "harness/run/run.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "harness/error.h"
#include "harness/run/layer.h"
#include "methods/query.h"

/* What all hosts of this process share. */
typedef struct {
    const run_request *request;
    run_result *result;
    layer_scratch scratch;
    void *scratch_memory;
    void **zones; /* [hosts]: freed when all transfers are over, which a failed host does not know */
} runner;

/* One host's zone. Rows of q, out and x are the plan's; the query phase has its own few rows. */
typedef struct {
    runner *run;
    comm *links;
    device *dev;
    const cell *cell;
    const model *model;
    plan plan;
    int64_t capacity; /* rows of the KV cache in each layer */
    int64_t cached;   /* rows in use */

    char *kv; /* [layers, capacity, kv_heads, 2, head_dim] */
    void *extra, *q, *out, *work;
    float *x;
    int32_t *ids, *positions; /* [rows] */

    int64_t few;     /* most rows of the query phase: query tokens, or 1 */
    float *few_x;    /* [few, hidden] */
    char *few_qkv;   /* q [few, heads, head_dim], then kv [few, kv_heads, 2, head_dim] */
    void *few_out;   /* [few, heads, head_dim] */
    void *few_work;
    int32_t *few_ids, *few_positions; /* [query + new tokens] */
    float *logits;  /* [vocab] */
    int32_t *token; /* right behind the logits: one copy carries both */
} host;

/* ---- Memory ---- */

static size_t host_take(host *h, const cell *c, const device *dev, int rank, int64_t new_tokens,
                        void *base)
{
    const model_shape *s = &c->shape;
    h->plan = (plan){0};
    c->method->plan(c, dev, rank, &h->plan);
    const plan *p = &h->plan;
    int64_t appended = rank == p->owner ? c->query + new_tokens : 0;
    h->capacity = p->kept_rows + appended;
    h->capacity = h->capacity < p->cached_rows ? p->cached_rows : h->capacity;
    h->few = c->query > 0 ? c->query : 1;

    zone z = {base, 0};
    size_t rows = (size_t)p->rows, few = (size_t)h->few;
    size_t hidden = (size_t)s->hidden * sizeof(float);
    h->kv = zone_take(&z, (size_t)s->layers * kv_bytes(c, dev, h->capacity));
    h->extra = zone_take(&z, kv_bytes(c, dev, p->extra_rows));
    h->q = zone_take(&z, q_bytes(c, dev, p->rows));
    h->out = zone_take(&z, q_bytes(c, dev, p->rows));
    h->x = zone_take(&z, rows * hidden);
    h->work = zone_take(&z, p->work_bytes);
    h->ids = zone_take(&z, rows * sizeof(int32_t));
    h->positions = zone_take(&z, rows * sizeof(int32_t));
    h->few_x = zone_take(&z, few * hidden);
    h->few_qkv = zone_take(&z, q_bytes(c, dev, h->few) + kv_bytes(c, dev, h->few));
    h->few_out = zone_take(&z, q_bytes(c, dev, h->few));
    h->few_work = zone_take(&z, query_work_bytes(c, dev, h->few));
    h->few_ids = zone_take(&z, few * sizeof(int32_t));
    h->few_positions = zone_take(&z, (size_t)(c->query + new_tokens) * sizeof(int32_t));
    h->logits = zone_take(&z, ((size_t)s->vocab + 1) * sizeof(float));
    h->token = base ? (int32_t *)(h->logits + s->vocab) : NULL;
    return z.used;
}

void run_memory_plan(const model_config *config, int layers, const cell *c, const device *dev,
                     int64_t new_tokens, run_memory *memory)
{
    zone z = {NULL, 0};
    layer_scratch_take(&z, &c->shape, dev, c->document + c->query + new_tokens,
                       &(layer_scratch){0});
    *memory = (run_memory){.weights = model_weight_bytes(config, layers, dev->act_bytes, c->retaining_width),
                           .shared = z.used};
    for (int rank = 0; rank < c->hosts; rank++) {
        size_t bytes = host_take(&(host){0}, c, dev, rank, new_tokens, NULL);
        memory->zone_sum += bytes;
        if (bytes > memory->zone_largest)
            memory->zone_largest = bytes;
    }
}

void cell_from_model(cell *c, const model_config *config, const model *loaded_or_null)
{
    c->shape = config->shape;
    if (loaded_or_null) {
        c->shape.layers = loaded_or_null->layers;
        c->retaining_width = loaded_or_null->retaining_width;
    }
}

/* ---- Prefill ---- */

/* Writes the ids and positions of the plan's rows to the device. */
static void upload_rows(host *h)
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
            ids[row] = (span->source == TOKENS_QUERY ? r->query : r->document)[span->first_token + k];
            positions[row] = (int32_t)(span->first_position + k);
        }
    }
    h->dev->upload(h->dev, h->ids, ids, (size_t)p->rows * sizeof *ids);
    h->dev->upload(h->dev, h->positions, positions, (size_t)p->rows * sizeof *positions);
    free(positions);
    free(ids);
}

static char *layer_kv(const host *h, int layer)
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
            char *kv = (span->cached ? layer_kv(h, layer) : (char *)h->extra) +
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
        .kv_cache = layer_kv(h, layer),
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

/* Real hosts agree on it, so that all leave the run at the same place and the launch lives on. */
static int check_deadline(const host *h, int layer)
{
    double deadline = h->run->request->deadline;
    if (deadline <= 0)
        return 0;
    double late = monotonic_seconds() > deadline;
    if (!h->links->driver->projected) {
        timeline_entry *entry = timeline_pause(h->links->time, ENTRY_PAUSE, 0);
        int status = h->links->driver->reduce_max(h->links, &late, 1);
        timeline_resume(h->links->time, entry);
        if (status)
            return -1;
    }
    return late ? fail("timeout in layer %d", layer) : 0;
}

static int prefill(host *h)
{
    h->dev->embed(h->dev, h->x, h->ids, h->model->embedding, h->plan.rows, h->cell->shape.hidden);
    for (int layer = 0; layer < h->cell->shape.layers; layer++) {
        if (check_deadline(h, layer) || prefill_layer(h, layer))
            return -1;
    }
    h->cached = h->plan.kept_rows;
    return 0;
}

/* ---- Query phase and decode ---- */

/* A few rows' way through one layer outside attention; all hosts would do it alike. */
typedef struct {
    host *h;
    int layer;
    int64_t rows;
    const int32_t *positions;
} few_step;

static int few_project(void *argument)
{
    few_step *s = argument;
    host *h = s->h;
    const model_shape *shape = &h->cell->shape;
    device *dev = h->dev;
    char *kv = h->few_qkv + q_bytes(h->cell, dev, s->rows);
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
    layer_logits(h->model, &h->run->scratch, h->few_x + (s->rows - 1) * h->cell->shape.hidden,
                 h->logits);
    h->dev->argmax(h->dev, h->token, h->logits, 1, h->cell->shape.vocab);
    return 0;
}

/* Takes `rows` tokens at h->few_ids through the model, rows first_new.. after the document, and
 * leaves the last row's logits and the best id. */
static int few_rows(host *h, int64_t rows, int64_t first_new)
{
    device *dev = h->dev;
    comm *links = h->links;
    const comm_driver *driver = links->driver;
    bool owner = links->rank == h->plan.owner;
    size_t x_bytes = (size_t)rows * (size_t)h->cell->shape.hidden * sizeof(float);
    size_t q = q_bytes(h->cell, dev, rows), kv = kv_bytes(h->cell, dev, rows);
    int64_t now_cached = h->cached + (owner ? rows : 0);
    dev->embed(dev, h->few_x, h->few_ids, h->model->embedding, rows, h->cell->shape.hidden);
    few_step step = {h, 0, rows, h->few_positions + first_new};
    if (check_deadline(h, 0))
        return -1;
    for (; step.layer < h->cell->shape.layers; step.layer++) {
        int status = 0;
        RANGE(links->time, PART_QKV)
        status = driver->replicated(links, few_project, &step, h->few_qkv, q + kv);
        if (status)
            return -1;
        if (owner)
            dev->copy(dev, layer_kv(h, step.layer) + kv_bytes(h->cell, dev, h->cached),
                      h->few_qkv + q, kv);
        query_context x = {
            .cell = h->cell,
            .plan = &h->plan,
            .dev = dev,
            .comm = links,
            .rows = rows,
            .q = h->few_qkv,
            .kv_cache = layer_kv(h, step.layer),
            .cached = now_cached,
            .out = h->few_out,
            .work = h->few_work,
        };
        if (query_attend(&x))
            return -1;
        RANGE(links->time, PART_O_PROJ)
        status = driver->replicated(links, few_project_out, &step, h->few_x, x_bytes);
        RANGE(links->time, PART_FFN)
        status = status ? status : driver->replicated(links, few_ffn, &step, h->few_x, x_bytes);
        if (status)
            return -1;
    }
    h->cached = now_cached;
    if (driver->replicated(links, few_logits, &step, h->logits,
                           ((size_t)h->cell->shape.vocab + 1) * sizeof(float)))
        return -1;
    int handle = driver->broadcast(links, h->token, sizeof *h->token, h->plan.owner);
    return handle < 0 ? -1 : driver->wait(links, handle);
}

static bool is_stop(const run_request *r, int32_t id)
{
    for (int i = 0; i < r->stop_count; i++)
        if (r->stop_ids[i] == id)
            return true;
    return false;
}

/* Reads the token that the last few_rows() chose and reports it; *ended tells whether it was the
 * last. Every host comes to the same end. */
static void take_token(host *h, int step, bool *ended)
{
    const run_request *r = h->run->request;
    run_result *result = h->run->result;
    int32_t id;
    h->dev->download(h->dev, &id, h->token, sizeof id);
    bool stop = is_stop(r, id);
    *ended = stop || step + 1 == r->new_tokens;
    if (h->links->rank > 0 && h->links->driver->projected)
        return; /* host 0 of the same process keeps the result */
    result->stopped = stop;
    if (!stop)
        result->ids[result->count++] = id;
    if (r->on_token && h->links->rank == 0) {
        float *logits = alloc_or_die((size_t)h->cell->shape.vocab, sizeof *logits);
        h->dev->download(h->dev, logits, h->logits,
                         (size_t)h->cell->shape.vocab * sizeof *logits);
        r->on_token(r->argument, step, id, logits);
        free(logits);
    }
}

static int generate(host *h)
{
    const run_request *r = h->run->request;
    timeline *time = h->links->time;
    const cell *c = h->cell;
    timeline_phase(time, PHASE_START);
    if (prefill(h))
        return -1;
    run_result *result = h->run->result;
    int rank = h->links->rank;
    result->host_flops[rank] = (double)timeline_flops(time);
    result->host_bytes_sent[rank] = (double)h->links->bytes_sent;

    h->dev->upload(h->dev, h->few_ids, r->query, (size_t)c->query * sizeof *r->query);
    if (few_rows(h, c->query, 0))
        return -1;
    bool ended = false;
    for (int step = 0;; step++) {
        if (step > 0) {
            h->dev->copy(h->dev, h->few_ids, h->token, sizeof *h->token);
            if (few_rows(h, 1, c->query + step - 1))
                return -1;
        }
        if (step == 0) {
            timeline_phase(time, PHASE_PREFILL_END);
            result->flops = fmax(result->flops, (double)timeline_flops(time));
            result->bytes_sent = fmax(result->bytes_sent, (double)h->links->bytes_sent);
        }
        timeline_entry *aside = timeline_pause(time, ENTRY_PAUSE, 0);
        take_token(h, step, &ended);
        timeline_resume(time, aside);
        if (ended)
            break;
    }
    timeline_phase(time, PHASE_DECODE_END);
    return 0;
}

/* Where hosts are processes, each learns all hosts' times and the largest counters. */
static int collect_measured(comm *links, run_result *result)
{
    enum { TIMES = sizeof(host_times) / sizeof(double) };
    int count = 2 + links->size * TIMES;
    double *values = alloc_or_die((size_t)count, sizeof *values);
    values[0] = result->flops;
    values[1] = result->bytes_sent;
    host_times own;
    int status = replay_measured(links->time, &own);
    memcpy(values + 2 + links->rank * TIMES, &own, sizeof own);
    if (!status)
        status = links->driver->reduce_max(links, values, count);
    result->flops = values[0];
    result->bytes_sent = values[1];
    result->measured = alloc_or_die((size_t)links->size, sizeof *result->measured);
    memcpy(result->measured, values + 2, (size_t)links->size * sizeof *result->measured);
    free(values);
    return status;
}

static int host_body(comm *links, void *argument)
{
    runner *run = argument;
    const run_request *r = run->request;
    device *dev = r->model->dev;
    host h = {.run = run, .links = links, .dev = dev, .cell = r->cell, .model = r->model};
    size_t bytes = host_take(&h, r->cell, dev, links->rank, r->new_tokens, NULL);
    void *memory = dev->alloc(dev, bytes);
    if (!memory)
        return fail("out of memory: %zu bytes wanted on the device", bytes);
    run->zones[links->rank] = memory;
    host_take(&h, r->cell, dev, links->rank, r->new_tokens, memory);
    upload_rows(&h);
    int64_t positions = r->cell->query + r->new_tokens;
    int32_t *after = alloc_or_die((size_t)positions, sizeof *after);
    for (int64_t i = 0; i < positions; i++)
        after[i] = (int32_t)(r->cell->document + i);
    dev->upload(dev, h.few_positions, after, (size_t)positions * sizeof *after);
    free(after);
    dev->sync(dev);
    int handle = links->driver->barrier(links);
    int status = handle < 0 ? -1 : links->driver->wait(links, handle);
    if (!status)
        status = generate(&h);
    dev->sync(dev);
    if (!status && !links->driver->projected)
        status = collect_measured(links, run->result);
    return status;
}

/* Real hosts agree on the deadline between layers; a transfer gives up later, when a host hangs. */
static double transfers_deadline(const run_request *r)
{
    double grace = r->driver->projected ? 0 : 10;
    return r->deadline > 0 ? r->deadline + grace : 0;
}

int run_cell(const run_request *r, run_result *result)
{
    device *dev = r->model->dev;
    const cell *c = r->cell;
    int64_t length = c->document + c->query;
    if (r->new_tokens < 1)
        return fail("a cell makes at least one token, %lld were asked for", (long long)r->new_tokens);
    if (c->query < 1 || c->document < 1)
        return fail("a cell needs at least one document and one query token, got %lld and %lld",
                    (long long)c->document, (long long)c->query);
    *result = (run_result){
        .ids = alloc_or_die((size_t)r->new_tokens, sizeof(int32_t)),
        .timelines = alloc_or_die((size_t)c->hosts, sizeof(timeline)),
        .host_flops = alloc_or_die((size_t)c->hosts, sizeof(double)),
        .host_bytes_sent = alloc_or_die((size_t)c->hosts, sizeof(double)),
        .hosts = c->hosts,
    };
    for (int i = 0; i < c->hosts; i++)
        result->timelines[i] = (timeline){.dev = dev,
                                           .parts = r->parts,
                                           .wall_start = monotonic_seconds(),
                                           .deadline = transfers_deadline(r)};
    run_memory memory;
    run_memory_plan(&r->model->config, r->model->layers, c, dev, r->new_tokens, &memory);
    result->peak_bytes = memory.weights + memory.shared + memory.zone_largest;

    runner run = {.request = r,
                  .result = result,
                  .zones = alloc_or_die((size_t)c->hosts, sizeof(void *))};
    run.scratch_memory = dev->alloc(dev, memory.shared);
    if (!run.scratch_memory) {
        free(run.zones);
        return fail("out of memory: %zu bytes wanted on the device", memory.shared);
    }
    zone z = {run.scratch_memory, 0};
    layer_scratch_take(&z, &c->shape, dev, length + r->new_tokens, &run.scratch);
    rope_table_fill(&r->model->config, dev, &run.scratch);
    double start = monotonic_seconds();
    int status = r->driver->run(r->driver, c->hosts, dev, result->timelines, host_body, &run);
    dev->sync(dev);
    result->wall_s = monotonic_seconds() - start;
    for (int i = 0; i < c->hosts; i++)
        if (run.zones[i])
            dev->free(dev, run.zones[i]);
    free(run.zones);
    dev->free(dev, run.scratch_memory);
    return status;
}

void run_result_free(run_result *result)
{
    for (int i = 0; i < result->hosts; i++)
        timeline_free(&result->timelines[i]);
    free(result->timelines);
    free(result->measured);
    free(result->host_flops);
    free(result->host_bytes_sent);
    free(result->ids);
    *result = (run_result){0};
}
