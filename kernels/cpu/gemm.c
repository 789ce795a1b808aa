/* y = x W^T of the cpu device. Three ways, by the number of rows, each where it was measured to be
 * the fastest:
 * - few rows (decode): dot products that stream the weights once, at memory bandwidth;
 * - some rows (the query phase, prefill in chunks): rows in vector lanes against weights read where
 *   they lie. dnnl_sgemm packs the weights first: with two threads it took 1.4 to 3.6 times as long
 *   at 50 rows, 1.0 to 1.3 times at 512, over the shapes of SmolLM2-135M and Llama-3.1-8B;
 * - many rows: dnnl_sgemm. */
#include "kernels/cpu/cpu.h"

#include <dnnl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    LANE_ROWS_MAX = 512, /* above, dnnl_sgemm is as good */
    COLUMNS = 128,       /* that a task takes at most, so that its weights stay in cache */
    COLUMNS_MIN = 32,    /* and at least */
    DEPTH = 1536,        /* elements of k at once, for the same reason */
    TASKS_PER_THREAD = 4,
};

typedef struct {
    float *c;
    const float *a, *w, *bias;
    int64_t ldc, lda, m, n, k;
    bool add;
} product;

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Columns of one of about `shares` equal shares, in whole blocks. */
static int64_t share_of(int64_t n, int64_t shares)
{
    return ((n + shares - 1) / shares + 7) / 8 * 8;
}

static void few_rows(cpu_state *state, const product *p)
{
    int threads = p->n * p->k < CPU_PARALLEL_ELEMENTS ? 1 : state->threads;
    int64_t share = share_of(p->n, threads * TASKS_PER_THREAD);
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads) if (threads > 1)
    for (int64_t j = 0; j < p->n; j += share)
        state->lanes->few_rows(p->c + j, p->ldc, p->a, p->lda, p->w + j * p->k,
                               p->bias ? p->bias + j : NULL, (int)p->m, least(share, p->n - j),
                               p->k, p->add);
}

/* Rows first..first + count - 1 of a into lanes [k, width], missing ones as 0. */
static void into_lanes(const cpu_lanes *code, const product *p, float *lanes, int width,
                       int64_t first, int64_t count)
{
    code->transpose(lanes, width, p->a + first * p->lda, p->lda, count, p->k, 1.0f);
    for (int64_t e = 0; e < p->k; e++)
        for (int64_t i = count; i < width; i++)
            lanes[e * width + i] = 0;
}

/* The rows in lanes: groups of up to MAX_VECTORS vectors, group g with the vectors
 * g * vectors / groups .. (g + 1) * vectors / groups - 1. Rows behind them are left over. */
typedef struct {
    float *lanes;
    int vectors, groups, width;
} laned_rows;

static int64_t group_row(const laned_rows *rows, int64_t group)
{
    return group * rows->vectors / rows->groups * rows->width;
}

/* Groups begin..end - 1 by columns j..j + columns - 1 of the product, with the last group also the
 * rows left over. */
static void lane_task(const cpu_lanes *code, const product *p, const laned_rows *rows,
                      int64_t begin, int64_t end, int64_t j, int64_t columns)
{
    int64_t depths = (p->k + DEPTH - 1) / DEPTH, depth = depths ? (p->k + depths - 1) / depths : 1;
    const float *bias = p->bias ? p->bias + j : NULL;
    for (int64_t e = 0; e < p->k || e == 0; e += depth)
        for (int64_t g = begin; g < end; g++) {
            int64_t first = group_row(rows, g), width = group_row(rows, g + 1) - first;
            code->many_rows(p->c + first * p->ldc + j, p->ldc,
                            rows->lanes + first * p->k + e * width, (int)width / rows->width,
                            (int)least(width, p->m - first), p->w + j * p->k + e, p->k,
                            e == 0 ? bias : NULL, columns, least(depth, p->k - e),
                            p->add || e > 0);
        }
    int64_t done = group_row(rows, rows->groups);
    if (end == rows->groups && done < p->m)
        code->few_rows(p->c + done * p->ldc + j, p->ldc, p->a + done * p->lda, p->lda,
                       p->w + j * p->k, bias, (int)(p->m - done), columns, p->k, p->add);
}

static void lane_rows(cpu_state *state, const product *p)
{
    const cpu_lanes *code = state->lanes;
    laned_rows rows = {.vectors = (int)(p->m / code->width), .width = code->width};
    int rest = (int)(p->m % code->width);
    if (rows.vectors == 0 || rest > code->width / 2)
        rows.vectors++; /* with empty lanes, which costs less than this many dot products */
    rows.groups = (rows.vectors + MAX_VECTORS - 1) / MAX_VECTORS;
    size_t lane_count = (size_t)(rows.vectors * code->width);
    rows.lanes = cpu_scratch(state, lane_count * (size_t)p->k * sizeof *rows.lanes);

    /* Enough tasks by parting the rows too, and only then by narrower shares of the columns. */
    int64_t threads = state->threads, wanted = threads * TASKS_PER_THREAD;
    int64_t shares = (p->n + COLUMNS - 1) / COLUMNS;
    int64_t parts = least(rows.groups, (wanted + shares - 1) / shares);
    if (shares * parts < wanted)
        shares = least((wanted + parts - 1) / parts, (p->n + COLUMNS_MIN - 1) / COLUMNS_MIN);
    int64_t share = share_of(p->n, (shares + threads - 1) / threads * threads);
    shares = (p->n + share - 1) / share;
#pragma omp parallel
    {
#pragma omp for schedule(static)
        for (int g = 0; g < rows.groups; g++) {
            int64_t first = group_row(&rows, g), width = group_row(&rows, g + 1) - first;
            into_lanes(code, p, rows.lanes + first * p->k, (int)width, first,
                       least(width, p->m - first));
        }
#pragma omp for schedule(dynamic, 1)
        for (int64_t task = 0; task < shares * parts; task++) {
            int64_t j = task / parts * share, part = task % parts;
            lane_task(code, p, &rows, part * rows.groups / parts, (part + 1) * rows.groups / parts,
                      j, least(share, p->n - j));
        }
    }
}

/* Puts the bias where beta = 1 will add it. */
static void spread_bias(const product *p)
{
#pragma omp parallel for schedule(static) if (p->m * p->n >= CPU_PARALLEL_ELEMENTS)
    for (int64_t i = 0; i < p->m; i++) {
        float *row = p->c + i * p->ldc;
        for (int64_t j = 0; p->add && j < p->n; j++)
            row[j] += p->bias[j];
        if (!p->add)
            memcpy(row, p->bias, (size_t)p->n * sizeof *row);
    }
}

static void library_product(const product *p)
{
    if (p->bias)
        spread_bias(p);
    float beta = p->add || p->bias ? 1.0f : 0.0f;
    dnnl_status_t status = dnnl_sgemm('N', 'T', p->m, p->n, p->k, 1.0f, p->a, p->lda, p->w, p->k,
                                      beta, p->c, p->ldc);
    if (status != dnnl_success) {
        fprintf(stderr, "apbench: dnnl_sgemm refused a product of %lld x %lld x %lld (status %d)\n",
                (long long)p->m, (long long)p->n, (long long)p->k, (int)status);
        exit(1);
    }
}

void cpu_gemm(device *d, gemm_mode mode, void *c, int64_t ldc, const void *a, int64_t lda,
              const void *w, const void *bias, int64_t m, int64_t n, int64_t k)
{
    cpu_state *state = cpu_begin(d);
    if (m <= 0 || n <= 0)
        return;
    product p = {.c = c, .a = a, .w = w, .bias = bias, .ldc = ldc, .lda = lda, .m = m, .n = n,
                 .k = k, .add = mode == GEMM_ADD_F32};
    __atomic_fetch_add(&d->flops, (uint64_t)m * (uint64_t)n * (uint64_t)k * 2, __ATOMIC_RELAXED);
    if (m <= FEW_ROWS_MAX)
        few_rows(state, &p);
    else if (m <= LANE_ROWS_MAX)
        lane_rows(state, &p);
    else
        library_product(&p);
}
