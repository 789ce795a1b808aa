/* Enumerates and judges the cells of a sweep. See cells.h. */
#include "harness/sweep/cells.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness/error.h"

const char *const cell_verdict_names[] = {"ok", "unsupported", "oom", "too-big-to-simulate"};

/* Bytes of one machine: all its processes hold the weights, and those that are hosts of the cell the
 * rest. Which hosts they are is the launcher's choice: at worst the largest. */
static size_t machine_bytes(const run_memory *memory, int hosts, int processes)
{
    size_t there = (size_t)(hosts < processes ? hosts : processes);
    size_t zones = there * memory->zone_largest;
    zones = zones < memory->zone_sum ? zones : memory->zone_sum;
    return (size_t)processes * memory->weights + there * memory->shared + zones;
}

void sweep_cell_judge(sweep_cell *s, const model *described, const device *dev, size_t room,
                      bool shared_device, int64_t new_tokens)
{
    const cell *c = &s->cell;
    run_memory_plan(&described->config, described->layers, c, dev, new_tokens, &s->memory);
    s->flops_sum = s->flops_largest = 0;
    for (int rank = 0; rank < c->hosts; rank++) {
        method_cost cost = {0};
        c->method->cost(c, dev, rank, &cost);
        double flops = cost_flops(c, &cost);
        s->flops_sum += flops;
        s->flops_largest = flops > s->flops_largest ? flops : s->flops_largest;
    }
    size_t base = s->memory.weights + s->memory.shared;
    size_t real = base + s->memory.zone_largest, simulated = base + s->memory.zone_sum;
    int processes = 1 + dev->neighbours;
    size_t together = machine_bytes(&s->memory, c->hosts, processes);
    s->verdict = CELL_RUNS;
    if (device_check_head_dim(dev, c->shape.head_dim)) {
        s->verdict = CELL_UNSUPPORTED;
        snprintf(s->reason, sizeof s->reason, "%s", fail_text());
    } else if (real > room) {
        s->verdict = CELL_OOM;
        snprintf(s->reason, sizeof s->reason, "a host needs %zu bytes, the device has %zu", real,
                 room);
    } else if (together > room) {
        s->verdict = CELL_OOM;
        snprintf(s->reason, sizeof s->reason,
                 "%d processes on one machine need %zu bytes (a host %zu), it has %zu", processes,
                 together, real, room);
    } else if (shared_device && simulated > room) {
        s->verdict = CELL_TOO_BIG;
        snprintf(s->reason, sizeof s->reason,
                 "simulating %d hosts needs %zu bytes (one host %zu), the device has %zu", c->hosts,
                 simulated, real, room);
    }
}

/* The cell's fields that come from model, length and flags; the method's own by resolve(). */
static void fill_cell(sweep_cell *s, const sweep_axes *axes, const model *m, const prompt *p)
{
    cell *c = &s->cell;
    cell_from_model(c, &m->config, m);
    prompt_to_cell(p, c);
    c->seed = (uint64_t)axes->seed;
    if (c->method->resolve && c->method->resolve(c)) {
        s->verdict = CELL_UNSUPPORTED;
        snprintf(s->reason, sizeof s->reason, "%s", fail_text());
    }
    method_describe(c, s->options, sizeof s->options);
}

/* Whether a cell is in the sweep already: an axis may name the same thing twice, or spell a default. */
static bool is_repeated(const sweep *sweep, const sweep_cell *s)
{
    for (int i = 0; i < sweep->count; i++) {
        const sweep_cell *other = &sweep->cells[i];
        if (other->cell.method == s->cell.method && other->cell.hosts == s->cell.hosts &&
            other->length == s->length && !strcmp(other->options, s->options) &&
            !strcmp(sweep->models[other->model]->name, sweep->models[s->model]->name) &&
            !strcmp(sweep->models[other->model]->origin, sweep->models[s->model]->origin))
            return true;
    }
    return false;
}

/* h: index into the axis of hosts. */
static int add_cell(sweep *sweep, const sweep_axes *axes, int model, int64_t length, int h,
                    const char *method_text, const prompt *p, const device *dev, size_t room,
                    bool shared_device, int most_hosts)
{
    sweep_cell s = {.model = model, .length = length};
    if (method_parse(method_text, &s.cell))
        return -1;
    if (s.cell.method->single_host && h > 0)
        return 0;
    s.cell.hosts = s.cell.method->single_host ? 1 : (int)axes->hosts.items[h];
    if (s.cell.hosts > most_hosts) {
        sweep->left_out++;
        return 0;
    }
    const char *colon = strchr(method_text, ':');
    s.variant = colon ? colon + 1 : "";
    fill_cell(&s, axes, sweep->models[model], p);
    if (is_repeated(sweep, &s))
        return 0;
    if (s.verdict == CELL_RUNS)
        sweep_cell_judge(&s, sweep->models[model], dev, room, shared_device, axes->new_tokens);
    sweep->cells = realloc_or_die(sweep->cells, (size_t)sweep->count + 1, sizeof *sweep->cells);
    sweep->cells[sweep->count++] = s;
    return 0;
}

int sweep_make(const sweep_axes *axes, const device *dev, size_t room, bool shared_device,
               int most_hosts, sweep *sweep)
{
    *sweep = (struct sweep){0};
    sweep->models = alloc_or_die((size_t)axes->models.count, sizeof *sweep->models);
    for (int m = 0; m < axes->models.count; m++) {
        model *described = sweep->models[m] = model_open(
            axes->models.items[m], NULL, (int)axes->layers, (uint64_t)axes->seed,
            axes->retaining_heads);
        sweep->model_count = m + 1;
        if (!described)
            return -1;
        for (int l = 0; l < axes->lengths.count; l++) {
            int64_t length = axes->lengths.items[l];
            prompt p;
            if (prompt_random(described, length, axes->query, (uint64_t)axes->seed, &p))
                return -1;
            int status = 0;
            for (int h = 0; h < axes->hosts.count && !status; h++)
                for (int k = 0; k < axes->methods.count && !status; k++)
                    status = add_cell(sweep, axes, m, length, h, axes->methods.items[k], &p, dev,
                                      room, shared_device, most_hosts);
            prompt_free(&p);
            if (status)
                return -1;
        }
    }
    return 0;
}

void sweep_free(sweep *sweep)
{
    for (int i = 0; i < sweep->model_count; i++)
        model_close(sweep->models[i]);
    free(sweep->models);
    free(sweep->cells);
}

double sweep_cell_seconds(const sweep_cell *s, double flops_per_second, bool shared_device)
{
    if (s->verdict != CELL_RUNS || flops_per_second <= 0)
        return 0;
    return (shared_device ? s->flops_sum : s->flops_largest) / flops_per_second;
}
