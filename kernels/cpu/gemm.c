/* y = x W^T of the cpu device: oneDNN's dnnl_sgemm for many rows, our own loop that streams the
 * weights once for few, where dnnl_sgemm is far from memory bandwidth. */
#include "kernels/cpu/cpu.h"

#include <dnnl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One share of the columns for every thread, in whole cache lines of the output. */
static void few_rows(cpu_state *state, float *c, int64_t ldc, const float *a, int64_t lda,
                     const float *w, const float *bias, int64_t m, int64_t n, int64_t k, bool add)
{
    int threads = n * k < CPU_PARALLEL_ELEMENTS ? 1 : state->threads;
    int64_t share = ((n + threads - 1) / threads + 15) / 16 * 16;
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int t = 0; t < threads; t++) {
        int64_t begin = t * share, end = begin + share < n ? begin + share : n;
        if (begin < end)
            state->lanes->few_rows(c + begin, ldc, a, lda, w + begin * k, bias ? bias + begin : NULL,
                                   (int)m, end - begin, k, add);
    }
}

/* Puts the bias where beta = 1 will add it. */
static void spread_bias(float *c, int64_t ldc, const float *bias, int64_t m, int64_t n, bool add)
{
#pragma omp parallel for schedule(static) if (m * n >= CPU_PARALLEL_ELEMENTS)
    for (int64_t i = 0; i < m; i++) {
        float *row = c + i * ldc;
        if (add)
            for (int64_t j = 0; j < n; j++)
                row[j] += bias[j];
        else
            memcpy(row, bias, (size_t)n * sizeof *row);
    }
}

void cpu_gemm(device *d, gemm_mode mode, void *c, int64_t ldc, const void *a, int64_t lda,
              const void *w, const void *bias, int64_t m, int64_t n, int64_t k)
{
    cpu_state *state = cpu_begin(d);
    if (m <= 0 || n <= 0)
        return;
    bool add = mode == GEMM_ADD_F32;
    __atomic_fetch_add(&d->flops, (uint64_t)m * (uint64_t)n * (uint64_t)k * 2, __ATOMIC_RELAXED);
    if (m <= FEW_ROWS_MAX) {
        few_rows(state, c, ldc, a, lda, w, bias, m, n, k, add);
        return;
    }
    if (bias)
        spread_bias(c, ldc, bias, m, n, add);
    dnnl_status_t status = dnnl_sgemm('N', 'T', m, n, k, 1.0f, a, lda, w, k,
                                      add || bias ? 1.0f : 0.0f, c, ldc);
    if (status != dnnl_success) {
        fprintf(stderr, "apbench: dnnl_sgemm refused a product of %lld x %lld x %lld (status %d)\n",
                (long long)m, (long long)n, (long long)k, (int)status);
        abort();
    }
}
