/* y = x W^T of the cpu device. Three ways, by the number of rows, each where it was measured to be
 * the fastest:
 * - few rows (decode): dot products that stream the weights once, at memory bandwidth;
 * - some rows (the query phase): rows in vector lanes against weights read where they lie, once.
 *   dnnl_sgemm packs the weights first, which costs more than the product (half to a third of the
 *   speed at 16 to 64 rows);
 * - many rows (prefill): dnnl_sgemm. */
#include "kernels/cpu/cpu.h"

#include <dnnl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    LANE_ROWS_MAX = 256, /* above, dnnl_sgemm */
    COLUMNS = 64, /* that a thread takes at once; more where there are many */
    DEPTH = 1536, /* elements of k at once, so that the lanes stay in the second cache */
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

/* Columns of a share: enough shares that a thread that was interrupted can be relieved. */
static int64_t share_of(const product *p, int threads)
{
    int64_t share = p->n / (threads * 8) / COLUMNS * COLUMNS;
    return share > COLUMNS ? share : COLUMNS;
}

static void few_rows(cpu_state *state, const product *p)
{
    int threads = p->n * p->k < CPU_PARALLEL_ELEMENTS ? 1 : state->threads;
    int64_t share = share_of(p, threads);
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads) if (threads > 1)
    for (int64_t j = 0; j < p->n; j += share)
        state->lanes->few_rows(p->c + j, p->ldc, p->a, p->lda, p->w + j * p->k,
                               p->bias ? p->bias + j : NULL, (int)p->m,
                               least(share, p->n - j), p->k, p->add);
}

/* Rows first..first + count - 1 of a into lanes [k, width], missing ones as 0. */
static void into_lanes(const product *p, float *lanes, int width, int64_t first, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        for (int64_t e = 0; e < p->k; e++)
            lanes[e * width + i] = p->a[(first + i) * p->lda + e];
    for (int64_t e = 0; e < p->k; e++)
        for (int64_t i = count; i < width; i++)
            lanes[e * width + i] = 0;
}

/* Columns j..j + columns - 1 of the product: the groups of lanes, then the rows left over. */
static void lane_columns(const cpu_lanes *code, const product *p, const float *lanes, int vectors,
                         int groups, int64_t j, int64_t columns)
{
    int64_t depths = (p->k + DEPTH - 1) / DEPTH, depth = depths ? (p->k + depths - 1) / depths : 1;
    const float *bias = p->bias ? p->bias + j : NULL;
    int64_t done = least(vectors * code->width, p->m);
    for (int64_t e = 0; e < p->k || e == 0; e += depth)
        for (int g = 0; g < groups; g++) {
            int begin = g * vectors / groups, end = (g + 1) * vectors / groups;
            int64_t first = begin * code->width, width = (end - begin) * code->width;
            code->many_rows(p->c + first * p->ldc + j, p->ldc, lanes + first * p->k + e * width,
                            end - begin, (int)least(width, p->m - first), p->w + j * p->k + e, p->k,
                            e == 0 ? bias : NULL, columns, least(depth, p->k - e),
                            p->add || e > 0);
        }
    if (done < p->m)
        code->few_rows(p->c + done * p->ldc + j, p->ldc, p->a + done * p->lda, p->lda,
                       p->w + j * p->k, bias, (int)(p->m - done), columns, p->k, p->add);
}

static void lane_rows(cpu_state *state, const product *p)
{
    const cpu_lanes *code = state->lanes;
    int vectors = (int)(p->m / code->width), rest = (int)(p->m % code->width);
    if (vectors == 0 || rest > code->width / 2 || rest > FEW_ROWS_MAX)
        vectors++; /* with empty lanes, which costs less than this many dot products */
    int groups = (vectors + MAX_VECTORS - 1) / MAX_VECTORS;
    size_t lane_count = (size_t)(vectors * code->width);
    float *lanes = cpu_scratch(state, lane_count * (size_t)p->k * sizeof *lanes);
    int64_t share = share_of(p, state->threads);
#pragma omp parallel
    {
        /* Group g has the vectors begin..end - 1: three or two, one where there is only one. */
#pragma omp for schedule(static)
        for (int g = 0; g < groups; g++) {
            int begin = g * vectors / groups, end = (g + 1) * vectors / groups;
            int64_t first = begin * code->width, width = (end - begin) * code->width;
            into_lanes(p, lanes + first * p->k, (int)width, first, least(width, p->m - first));
        }
#pragma omp for schedule(dynamic, 1)
        for (int64_t chunk = 0; chunk < p->n; chunk += share)
            for (int64_t j = chunk; j < least(p->n, chunk + share); j += COLUMNS)
                lane_columns(code, p, lanes, vectors, groups, j, least(COLUMNS, p->n - j));
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
