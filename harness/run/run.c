/* One cell from prompt to generated ids: what a host does, under any device, links and method. See
 * run.h. */
#include "harness/run/run.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness/error.h"
#include "harness/options.h"
#include "harness/ranges.h"
#include "harness/run/host.h"
#include "methods/query.h"

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

/* ---- Tokens ---- */

static bool is_stop(const run_request *r, int32_t id)
{
    for (int i = 0; i < r->stop_count; i++)
        if (r->stop_ids[i] == id)
            return true;
    return false;
}

/* Reads the token that the last host_few_rows() chose and reports it. Virtual hosts have chosen alike:
 * the first that comes reads it for all of them, since reading waits for the device. */
static void take_token(host *h, int step)
{
    runner *run = h->run;
    const run_request *r = run->request;
    run_result *result = run->result;
    if (step < run->tokens_taken)
        return;
    double since = monotonic_seconds();
    int32_t id;
    h->dev->download(h->dev, &id, h->token, sizeof id);
    run->tokens_taken++;
    result->stopped = is_stop(r, id);
    run->ended = result->stopped || step + 1 == r->new_tokens;
    if (!result->stopped)
        result->ids[result->count++] = id;
    if (r->on_token && (h->links->rank == 0 || h->links->driver->projected)) {
        float *logits = alloc_or_die((size_t)h->cell->shape.vocab, sizeof *logits);
        h->dev->download(h->dev, logits, h->logits,
                         (size_t)h->cell->shape.vocab * sizeof *logits);
        r->on_token(r->argument, step, id, logits);
        free(logits);
    }
    run->blocked += monotonic_seconds() - since;
}

/* Lets whoever asked for it look at the residual stream: of the plan's rows, then of the query's. */
static int show_rows(host *h, bool query)
{
    const run_request *r = h->run->request;
    if (query ? !r->on_query_rows : !r->on_rows)
        return 0;
    int status;
    timeline_entry *aside = timeline_pause(h->links->time, ENTRY_PAUSE, 0);
    LEAF(h->links->time, "watch")
    status = query ? r->on_query_rows(r->argument, h->links, h->few_x)
                   : r->on_rows(r->argument, h->links, &h->plan, h->x);
    timeline_resume(h->links->time, aside);
    return status;
}

static int generate(host *h)
{
    runner *run = h->run;
    timeline *time = h->links->time;
    const cell *c = h->cell;
    if (run->started == 0)
        run->started = monotonic_seconds();
    timeline_phase(time, PHASE_START);
    if (host_prefill(h))
        return -1;
    run_result *result = run->result;
    int rank = h->links->rank;
    result->host_flops[rank] = (double)timeline_flops(time);
    result->host_bytes_sent[rank] = (double)h->links->bytes_sent;
    if (show_rows(h, false))
        return -1;
    if (run->keys) { /* the owner goes on when all are there */
        run->keys[rank] = (held_keys){h->kv, kv_bytes(c, h->dev, h->capacity), h->cached};
        int all_there = h->links->driver->barrier(h->links);
        if (all_there < 0 || h->links->driver->wait(h->links, all_there))
            return -1;
        if (rank != h->plan.owner)
            return 0;
    }

    if (host_few_rows(h, c->query, 0) || show_rows(h, true))
        return -1;
    for (int step = 0;; step++) {
        if (step > 0) {
            LEAF(time, "embed")
            h->dev->copy(h->dev, h->few_ids, h->token, sizeof *h->token);
            if (host_few_rows(h, 1, c->query + step - 1))
                return -1;
        }
        if (step == 0) {
            timeline_phase(time, PHASE_PREFILL_END);
            result->flops = fmax(result->flops, (double)timeline_flops(time));
            result->bytes_sent = fmax(result->bytes_sent, (double)h->links->bytes_sent);
        }
        timeline_entry *aside = timeline_pause(time, ENTRY_PAUSE, 0);
        LEAF(time, "token")
        take_token(h, step);
        timeline_resume(time, aside);
        if (run->ended)
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

/* ---- A process's run ---- */

static void *kept_arena(run_kept *kept, device *dev, size_t bytes)
{
    if (kept->arena_bytes < bytes) {
        if (kept->arena)
            dev->free(dev, kept->arena);
        kept->dev = dev;
        kept->arena = dev->alloc(dev, bytes);
        kept->arena_bytes = kept->arena ? bytes : 0;
    }
    return kept->arena;
}

void run_kept_free(run_kept *kept)
{
    if (kept->arena)
        kept->dev->free(kept->dev, kept->arena);
    free(kept->rope);
    *kept = (run_kept){0};
}

static void upload_rope(runner *run)
{
    const run_request *r = run->request;
    const model_config *config = &r->model->config;
    device *dev = r->model->dev;
    const layer_scratch *scratch = &run->scratch;
    size_t bytes = (size_t)scratch->positions * (size_t)config->shape.head_dim * sizeof(float);
    run_kept own = {0}, *kept = r->kept ? r->kept : &own;
    if (kept->rope_positions < scratch->positions) {
        free(kept->rope);
        kept->rope = rope_table(config, scratch->positions);
        kept->rope_positions = scratch->positions;
    }
    dev->upload(dev, scratch->rope, kept->rope, bytes);
    run_kept_free(&own);
}

/* Takes the arena when the process's first host comes: one block for all that are here. Processes
 * that are a host each agree, so that none of them goes on alone. */
static int take_arena(runner *run, comm *links)
{
    const run_request *r = run->request;
    device *dev = r->model->dev;
    if (!run->arena) {
        run->arena = r->kept ? kept_arena(r->kept, dev, run->arena_bytes)
                             : dev->alloc(dev, run->arena_bytes);
        run->result->wanted_bytes = run->arena ? 0 : run->arena_bytes;
    }
    double wanted = (double)run->result->wanted_bytes;
    if (!links->driver->projected && links->driver->reduce_max(links, &wanted, 1))
        return -1;
    run->result->wanted_bytes = (size_t)wanted;
    if (wanted > 0)
        return fail("out of memory: %zu bytes wanted on the device", run->result->wanted_bytes);
    if (run->scratch.rope)
        return 0;
    zone shared = {run->arena, 0};
    layer_scratch_take(&shared, &r->cell->shape, dev,
                       r->cell->document + r->cell->query + r->new_tokens, &run->scratch);
    upload_rope(run);
    return 0;
}

/* Ids and positions of what comes behind the document. */
static void upload_query(host *h)
{
    const run_request *r = h->run->request;
    int64_t count = r->cell->query + r->new_tokens;
    int32_t *after = alloc_or_die((size_t)count, sizeof *after);
    for (int64_t i = 0; i < count; i++)
        after[i] = (int32_t)(r->cell->document + i);
    h->dev->upload(h->dev, h->few_positions, after, (size_t)count * sizeof *after);
    h->dev->upload(h->dev, h->few_ids, r->query, (size_t)r->cell->query * sizeof *r->query);
    h->dev->sync(h->dev);
    free(after);
}

static int host_body(comm *links, void *argument)
{
    runner *run = argument;
    const run_request *r = run->request;
    device *dev = r->model->dev;
    timeline *time = links->time;
    host h = {.run = run, .links = links, .dev = dev, .cell = r->cell, .model = r->model};
    timeline_open(time, "host", links->rank, false);
    int status = 0;
    LEAF(time, "setup")
    {
        status = take_arena(run, links);
        if (!status) {
            host_take(&h, r->cell, dev, links->rank, r->new_tokens,
                      run->arena + run->zone_at[links->rank]);
            host_upload_rows(&h);
            upload_query(&h);
        }
    }
    if (status)
        return -1;
    int handle = links->driver->barrier(links);
    status = handle < 0 ? -1 : links->driver->wait(links, handle);
    if (!status)
        status = generate(&h);
    if (!status && !links->driver->projected) {
        LEAF(time, "token")
        dev->sync(dev);
        run->stopped = monotonic_seconds();
        status = collect_measured(links, run->result);
    }
    timeline_close(time);
    return status;
}

/* Real hosts agree on the deadline between layers, unless somebody watches over them; a transfer gives
 * up later, when a host hangs. */
static double transfers_deadline(const run_request *r)
{
    double grace = r->driver->projected || r->driver->watches_time ? 0 : 10;
    return r->deadline > 0 ? r->deadline + grace : 0;
}

/* Where each host's zone lies in the arena of its process, and how large that is. */
static void lay_out(runner *run, const run_memory *memory)
{
    const run_request *r = run->request;
    bool together = r->driver->projected;
    size_t at = memory->shared;
    run->zone_at = alloc_or_die((size_t)r->cell->hosts, sizeof *run->zone_at);
    for (int rank = 0; rank < r->cell->hosts; rank++) {
        run->zone_at[rank] = at;
        if (together)
            at += host_take(&(host){0}, r->cell, r->model->dev, rank, r->new_tokens, NULL);
    }
    run->arena_bytes = together ? at : at + memory->zone_largest;
}

/* What became of the time from the first host's start to the end. */
static void account(const runner *run)
{
    run_result *result = run->result;
    double host_stopped = run->stopped;
    bool timed = !run->request->untimed;
    if (run->request->driver->projected)
        run->request->model->dev->sync(run->request->model->dev);
    double stopped = run->request->driver->projected ? monotonic_seconds() : host_stopped;
    result->wall_s = stopped - run->started;
    result->enqueue_s = host_stopped - run->started - run->blocked;
    for (int rank = 0; rank < result->hosts && timed; rank++) {
        double own = 0, transfers = 0;
        timeline_work(&result->timelines[rank], &own, &transfers);
        result->charged_s += own;
        result->transfers_s += transfers;
    }
}

/* For whoever watches, or says where a host died. */
static void place_cell(const run_request *r)
{
    char text[PLACE_CELL], length[32];
    snprintf(text, sizeof text, "%s %s, %d host%s, length %s", r->model->name,
             r->cell->method->name, r->cell->hosts, r->cell->hosts == 1 ? "" : "s",
             format_size(r->cell->document + r->cell->query, length, sizeof length));
    comm_place(text, -1);
}

int run_cell(const run_request *r, run_result *result)
{
    device *dev = r->model->dev;
    const cell *c = r->cell;
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
                                           .untimed = r->untimed && r->driver->projected,
                                           .projected = r->driver->projected,
                                           .synchronised = r->synchronised,
                                           .wall_start = monotonic_seconds(),
                                           .deadline = transfers_deadline(r)};
    run_memory memory;
    run_memory_plan(&r->model->config, r->model->layers, c, dev, r->new_tokens, &memory);
    result->peak_bytes = memory.weights + memory.shared + memory.zone_largest;

    runner run = {.request = r, .result = result};
    if (r->untimed && r->driver->projected && c->hosts > 1 && c->hosts <= MOST_KEYS_AT_ONCE)
        run.keys = alloc_or_die((size_t)c->hosts, sizeof *run.keys);
    lay_out(&run, &memory);
    int depth = ranges_depth();
    place_cell(r);
    int status = r->driver->run(r->driver, c->hosts, dev, result->timelines, host_body, &run);
    if (run.stopped == 0)
        run.stopped = monotonic_seconds();
    ranges_close_to(depth); /* a host that failed left some open */
    ranges_open("teardown", 0);
    if (status || run.started == 0) /* failed, or a process outside the cell's hosts */
        dev->sync(dev);
    else
        account(&run);
    if (run.arena && !r->kept)
        dev->free(dev, run.arena);
    free(run.keys);
    free(run.zone_at);
    comm_place("", -1);
    ranges_close();
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
