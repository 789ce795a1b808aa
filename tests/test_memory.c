/* Device memory as it is planned: what the paper's model needs on a GPU, how a cell is judged that does
 * not fit, and what happens when a device has less than was counted on. No GPU takes part: plans need
 * only a device's element size and row chunk. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness/error.h"
#include "harness/run/prompt.h"
#include "harness/sweep/cells.h"
#include "tests/extent_device.h"

static const double gib = 1 << 30;

/* What the cuda device's row of the table says, on a machine without it. */
static device gpu_of(void)
{
    return (device){.name = "cuda", .act_bytes = 2, .chunk_rows = 16384, .head_dims = {64, 128}};
}

static const char *const methods[] = {"flash", "ring", "zigzag", "ulysses", "star",
                                      "apb:schedule=table14"};
enum { METHODS = sizeof methods / sizeof *methods };

static void judge_at(const model *m, const device *dev, const char *method, int hosts, int64_t length,
                     size_t room, bool shared_device, sweep_cell *s)
{
    *s = (sweep_cell){.length = length, .cell = {.hosts = hosts, .seed = 1}};
    cr_assert_eq(method_parse(method, &s->cell), 0);
    prompt p;
    cr_assert_eq(prompt_random(m, length, 50, 1, &p), 0);
    cell_from_model(&s->cell, &m->config, m);
    prompt_to_cell(&p, &s->cell);
    prompt_free(&p);
    cr_assert(!s->cell.method->resolve || !s->cell.method->resolve(&s->cell), "%s", fail_text());
    sweep_cell_judge(s, m, dev, room, shared_device, 1);
}

static void judge(const model *m, const device *dev, const char *method, int hosts, int64_t length,
                  size_t room, sweep_cell *s)
{
    judge_at(m, dev, method, hosts, length, room, true, s);
}

/* An H100 of 80 GB shows 79.1 GiB; with the context, kernels and workspaces some 78 are left. */
static const double room_of_80_gb = 78;

Test(memory, eight_hosts_of_llama_on_one_gpu)
{
    device dev = gpu_of();
    model *m = model_open("llama-3.1-8b", NULL, 0, 1, NULL);
    cr_assert(m, "%s", fail_text());
    printf("GiB   ");
    static const int64_t lengths[] = {32 << 10, 64 << 10, 128 << 10, 256 << 10, 512 << 10};
    for (int l = 0; l < 5; l++)
        printf("  %5lldK sim  real", (long long)lengths[l] >> 10);
    printf("\n");
    for (int i = 0; i < METHODS; i++) {
        printf("%-6.6s", methods[i]);
        for (int l = 0; l < 5; l++) {
            sweep_cell s;
            judge(m, &dev, methods[i], i == 0 ? 1 : 8, lengths[l], (size_t)(room_of_80_gb * gib), &s);
            double base = (double)(s.memory.weights + s.memory.shared);
            double simulated = (base + (double)s.memory.zone_sum) / gib;
            printf("  %10.1f %5.1f", simulated, (base + (double)s.memory.zone_largest) / gib);
            cr_expect_eq(s.verdict == CELL_RUNS, simulated <= room_of_80_gb);
            if (lengths[l] <= 256 << 10)
                cr_expect_eq(s.verdict, CELL_RUNS, "%s at %lldK: %s", methods[i],
                             (long long)lengths[l] >> 10, s.reason);
        }
        printf("\n");
    }
    model_close(m);
}

/* Processes of a launch share the memory of their machine: all of them hold the weights, but only hosts
 * of the cell the rest. Judged to the byte: alone, as many hosts as processes, one host of several, and
 * more hosts than one machine has. */
Test(memory, ranks_of_one_machine)
{
    static const struct {
        const char *method;
        int hosts, processes;
    } cases[] = {{"ring", 4, 1}, {"ring", 4, 4}, {"star", 2, 4}, {"flash", 1, 4}, {"apb", 8, 4}};
    model *m = model_open("llama-3.1-8b", NULL, 2, 1, NULL);
    cr_assert(m, "%s", fail_text());
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int hosts = cases[i].hosts, processes = cases[i].processes;
        device dev = *device_find("cpu");
        sweep_cell s;
        judge_at(m, &dev, cases[i].method, hosts, 32 << 10, SIZE_MAX, false, &s);
        cr_assert_eq(s.verdict, CELL_RUNS, "%s", s.reason);
        run_memory one = s.memory;
        size_t there = (size_t)(hosts < processes ? hosts : processes);
        size_t zones = hosts <= processes ? one.zone_sum : there * one.zone_largest;
        size_t least = (size_t)processes * one.weights + there * one.shared + zones;
        dev.neighbours = processes - 1;
        judge_at(m, &dev, cases[i].method, hosts, 32 << 10, least, false, &s);
        cr_expect_eq(s.verdict, CELL_RUNS, "%s on %d hosts, %d processes: %s", cases[i].method, hosts,
                     processes, s.reason);
        judge_at(m, &dev, cases[i].method, hosts, 32 << 10, least - 1, false, &s);
        cr_expect_eq(s.verdict, CELL_OOM);
        cr_expect_eq(!strstr(s.reason, "processes on one machine"), processes == 1, "%s", s.reason);
        cr_expect(strstr(s.reason, format_text("%zu bytes", least)), "%s", s.reason);
    }
    model_close(m);
}

/* Runs a resolved cell on a device of extents; the prompt's ids do not matter. */
static int run_on(const model *m, const cell *c, run_result *result)
{
    prompt p;
    cr_assert_eq(prompt_random(m, c->document + c->query, c->query, 1, &p), 0);
    run_request request = {
        .model = m,
        .cell = c,
        .driver = comm_find("sim"),
        .document = p.ids,
        .query = p.ids + p.document,
        .new_tokens = 1,
    };
    int status = run_cell(&request, result);
    prompt_free(&p);
    return status;
}

/* From 512K tokens up a residual stream of 4096 columns has more than 2^31 elements: every offset on the
 * way must be 64-bit. This is 1M, the longest of the paper's lengths. No call may reach outside its
 * block; and the rows' queries, keys, values and residuals must each have a place of their own, queries
 * and residuals of a host without a gap, which an offset that wraps within the block would spoil. */
Test(memory, offsets_at_1M)
{
    for (int i = 0; i < METHODS; i++) {
        extent_state state = {.few_rows = 50, .one_host = i == 0};
        device dev = extent_device(&state);
        model *m = model_open("llama-3.1-8b", &dev, 0, 1, NULL);
        cr_assert(m, "%s", fail_text());
        state.ffn = m->config.shape.ffn;
        sweep_cell s;
        judge(m, &dev, methods[i], i == 0 ? 1 : 8, 1 << 20, (size_t)400 << 30, &s);
        cr_assert_eq(s.verdict, CELL_RUNS, "%s", s.reason);
        run_result result = {0};
        cr_assert_eq(run_on(m, &s.cell, &result), 0, "%s: %s", methods[i], fail_text());
        run_result_free(&result);
        cr_expect_eq(state.outside, 0, "%s: %d of %d buffers outside, first %s", methods[i],
                     state.outside, state.calls, state.first_outside);
        size_t q = 0, kv = 0, residual = 0;
        for (int rank = 0; rank < s.cell.hosts; rank++) {
            plan p = {0};
            s.cell.method->plan(&s.cell, &dev, rank, &p);
            q += q_bytes(&s.cell, &dev, p.rows);
            kv += (size_t)s.cell.shape.layers * kv_bytes(&s.cell, &dev, p.cached_rows) +
                  kv_bytes(&s.cell, &dev, p.extra_rows);
            residual += (size_t)p.rows * (size_t)s.cell.shape.hidden * sizeof(float);
        }
        int runs;
        cr_expect_eq(extent_union(&state.kv, &runs), kv, "%s: keys and values lie on each other",
                     methods[i]);
        cr_expect_eq(extent_union(&state.q, &runs), q, "%s: queries lie on each other", methods[i]);
        cr_expect_eq(runs, s.cell.hosts, "%s: queries lie in %d places", methods[i], runs);
        cr_expect_eq(extent_union(&state.normed, &runs), residual, "%s: norms read elsewhere",
                     methods[i]);
        cr_expect_eq(runs, s.cell.hosts, "%s: norms read in %d places", methods[i], runs);
        cr_expect_eq(extent_union(&state.residual, &runs), residual,
                     "%s: residuals lie on each other", methods[i]);
        cr_expect_eq(runs, s.cell.hosts, "%s: residuals lie in %d places", methods[i], runs);
        model_close(m);
        cr_expect_eq(state.blocks.count, 0, "%d blocks were not freed", state.blocks.count);
        extent_free(&state);
    }
}

/* Simulating all hosts takes one block: shared scratch and every host's zone, as it was judged. */
Test(memory, one_block_as_planned)
{
    for (int i = 0; i < METHODS; i++) {
        extent_state state = {.few_rows = 50};
        device dev = extent_device(&state);
        model *m = model_open("llama-3.1-8b", &dev, 2, 1, NULL);
        cr_assert(m, "%s", fail_text());
        sweep_cell s;
        judge(m, &dev, methods[i], i == 0 ? 1 : 8, 32 << 10, (size_t)200 << 30, &s);
        size_t arena = s.memory.shared + s.memory.zone_sum;
        run_result result = {0};
        state.refuse_from = arena; /* one byte less than wanted */
        cr_expect_eq(run_on(m, &s.cell, &result), -1);
        cr_expect_eq(result.wanted_bytes, arena, "%s: wanted %zu, planned %zu", methods[i],
                     result.wanted_bytes, arena);
        cr_expect(strstr(fail_text(), "out of memory"), "%s", fail_text());
        run_result_free(&result);
        state.refuse_from = arena + 1;
        cr_expect_eq(run_on(m, &s.cell, &result), 0, "%s", fail_text());
        cr_expect_eq(result.wanted_bytes, 0);
        cr_expect_eq(result.peak_bytes, s.memory.weights + s.memory.shared + s.memory.zone_largest,
                     "%s: a real host would hold %zu bytes", methods[i], result.peak_bytes);
        run_result_free(&result);
        model_close(m);
        cr_expect_eq(state.blocks.count, 0);
        extent_free(&state);
    }
}

/* Keys of the query and of new tokens are one host's: all have the positions of new tokens, an integer each,
 * and room between buffers (some 256 bytes a host). */
Test(memory, keys_behind_the_document)
{
    enum { MORE = 4096 };
    device dev = gpu_of();
    model *m = model_open("llama-3.1-8b", NULL, 2, 1, NULL);
    cr_assert(m, "%s", fail_text());
    for (int i = 0; i < METHODS; i++) {
        sweep_cell s;
        run_memory more;
        judge(m, &dev, methods[i], i == 0 ? 1 : 8, 32 << 10, SIZE_MAX, &s);
        run_memory_plan(&m->config, m->layers, &s.cell, &dev, 1 + MORE, &more);
        size_t keys = (size_t)m->layers * kv_bytes(&s.cell, &dev, MORE), hosts = (size_t)s.cell.hosts;
        size_t positions = hosts * MORE * sizeof(int32_t), grown = more.zone_sum - s.memory.zone_sum;
        cr_expect(grown >= keys + positions - hosts * 256 && grown <= keys + positions + hosts * 256,
                  "%s: %zu bytes, keys take %zu", methods[i], grown, keys);
    }
    model_close(m);
}

/* A device whose attention has kernels for some head sizes refuses other models before anything is
 * loaded or run; a sweep has a row that says so. The preset "tiny" has heads of 16. */
Test(memory, head_sizes_that_a_device_does_not_serve)
{
    static const char sentence[] = "heads of 16 are not served by device cuda, whose attention has "
                                   "kernels for 64, 128; the cpu device serves all";
    device dev = gpu_of();
    cr_expect_null(model_open("tiny", &dev, 0, 1, NULL));
    cr_expect_str_eq(fail_text(), format_text("model tiny: %s", sentence));
    model *m = model_open("tiny", NULL, 0, 1, NULL);
    cr_assert(m, "%s", fail_text());
    sweep_cell s;
    judge(m, &dev, "apb", 2, 2048, (size_t)1 << 30, &s);
    cr_expect_eq(s.verdict, CELL_UNSUPPORTED);
    cr_expect_str_eq(s.reason, sentence);
    judge(m, device_find("cpu"), "apb", 2, 2048, (size_t)1 << 30, &s);
    cr_expect_eq(s.verdict, CELL_RUNS, "%s", s.reason);
    model_close(m);
    for (int head_dim = 2; head_dim <= 256; head_dim += 2)
        cr_expect_eq(device_check_head_dim(&dev, head_dim) == 0, head_dim == 64 || head_dim == 128);
#ifdef WITH_CUDA
    device *real = device_find("cuda");
    cr_expect_eq(memcmp(real->head_dims, dev.head_dims, sizeof dev.head_dims), 0);
#endif
}
