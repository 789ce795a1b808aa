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

static const double gib = 1 << 30;

/* What the cuda device's row of the table says, on a machine without it. */
static device gpu_of(void)
{
    return (device){.name = "cuda", .act_bytes = 2, .chunk_rows = 16384};
}

static const char *const methods[] = {"flash", "ring", "zigzag", "ulysses", "star",
                                      "apb:schedule=table14"};
enum { METHODS = sizeof methods / sizeof *methods };

static void judge(const model *m, const device *dev, const char *method, int hosts, int64_t length,
                  size_t room, sweep_cell *s)
{
    *s = (sweep_cell){.length = length, .cell = {.hosts = hosts, .seed = 1}};
    cr_assert_eq(method_parse(method, &s->cell), 0);
    prompt p;
    cr_assert_eq(prompt_random(m, length, 50, 1, &p), 0);
    cell_from_model(&s->cell, &m->config, m);
    prompt_to_cell(&p, &s->cell);
    prompt_free(&p);
    cr_assert(!s->cell.method->resolve || !s->cell.method->resolve(&s->cell), "%s", fail_text());
    sweep_cell_judge(s, m, dev, room, true, 1);
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
