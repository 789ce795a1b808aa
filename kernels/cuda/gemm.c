/* Matrix products through cuBLASLt. Our row-major c [m, n] = a [m, k] w [n, k]^T is its column-major
 * C^T [n, m] = W [n, k] A^T [k, m], so W is its transposed first operand. What to run is asked of
 * the library once for each shape and kept; the first answer of its heuristic is taken, never a
 * timing, so that all ranks choose alike and give equal bits. */
#include "kernels/cuda/cuda.h"

#include "harness/error.h"
#include "harness/fnv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the choice depends on. Compared as bytes: no padding (checked below), unused fields 0. */
typedef struct {
    int64_t m, n, k, lda, ldc;
    int32_t mode, bias;
    int32_t align_a, align_w, align_c, unused;
} gemm_key;
_Static_assert(sizeof(gemm_key) == 5 * 8 + 6 * 4, "gemm_key is compared as bytes");

typedef struct {
    gemm_key key; /* m == 0: a free slot */
    cublasLtMatmulDesc_t operation;
    cublasLtMatrixLayout_t w, a, c;
    cublasLtMatmulAlgo_t algorithm;
} gemm_plan;

struct gemm_plans {
    gemm_plan *slots; /* open addressing, a power of two, at most half full */
    size_t capacity, count;
};

static void lt_must(cublasStatus_t code, const char *what)
{
    if (code == CUBLAS_STATUS_SUCCESS)
        return;
    fprintf(stderr, "apbench: device cuda: cuBLASLt: %s: %s\n", what,
            cublasLtGetStatusString(code));
    exit(1);
}

int cuda_gemm_open(cuda_state *state)
{
    cublasStatus_t code = cublasLtCreate(&state->lt);
    if (code != CUBLAS_STATUS_SUCCESS)
        return fail("device cuda: cuBLASLt cannot be used: %s", cublasLtGetStatusString(code));
    state->plans = alloc_or_die(1, sizeof *state->plans);
    state->plans->capacity = 256;
    state->plans->slots = alloc_or_die(256, sizeof *state->plans->slots);
    return 0;
}

void cuda_gemm_close(cuda_state *state)
{
    if (!state->plans)
        return;
    for (size_t i = 0; i < state->plans->capacity; i++) {
        gemm_plan *plan = &state->plans->slots[i];
        if (plan->key.m == 0)
            continue;
        cublasLtMatmulDescDestroy(plan->operation);
        cublasLtMatrixLayoutDestroy(plan->w);
        cublasLtMatrixLayoutDestroy(plan->a);
        cublasLtMatrixLayoutDestroy(plan->c);
    }
    free(state->plans->slots);
    free(state->plans);
    cublasLtDestroy(state->lt);
}

/* ---- The plans kept ---- */

static gemm_plan *slot_of(gemm_plans *plans, const gemm_key *key)
{
    size_t at = fnv1a(FNV_START, key, sizeof *key) & (plans->capacity - 1);
    while (plans->slots[at].key.m && memcmp(&plans->slots[at].key, key, sizeof *key))
        at = (at + 1) & (plans->capacity - 1);
    return &plans->slots[at];
}

static void grow(gemm_plans *plans)
{
    gemm_plans old = *plans;
    plans->capacity *= 2;
    plans->slots = alloc_or_die(plans->capacity, sizeof *plans->slots);
    for (size_t i = 0; i < old.capacity; i++)
        if (old.slots[i].key.m)
            *slot_of(plans, &old.slots[i].key) = old.slots[i];
    free(old.slots);
}

static void set_operation(gemm_plan *plan, cublasLtMatmulDescAttributes_t attribute,
                          const void *value, size_t bytes)
{
    lt_must(cublasLtMatmulDescSetAttribute(plan->operation, attribute, value, bytes),
            "an attribute of the product");
}

static void make_plan(cuda_state *state, gemm_plan *plan, const gemm_key *key)
{
    plan->key = *key;
    cudaDataType_t out = key->mode == GEMM_STORE ? CUDA_R_16BF : CUDA_R_32F;
    uint64_t m = (uint64_t)key->m, n = (uint64_t)key->n, k = (uint64_t)key->k;
    cublasOperation_t transposed = CUBLAS_OP_T;
    lt_must(cublasLtMatmulDescCreate(&plan->operation, CUBLAS_COMPUTE_32F, CUDA_R_32F), "a product");
    set_operation(plan, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof transposed);
    if (key->bias) {
        cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
        set_operation(plan, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue);
    }
    lt_must(cublasLtMatrixLayoutCreate(&plan->w, CUDA_R_16BF, k, n, key->k), "a layout");
    lt_must(cublasLtMatrixLayoutCreate(&plan->a, CUDA_R_16BF, k, m, key->lda), "a layout");
    lt_must(cublasLtMatrixLayoutCreate(&plan->c, out, n, m, key->ldc), "a layout");

    cublasLtMatmulPreference_t preference;
    size_t workspace = CUDA_LT_WORKSPACE;
    uint32_t align_w = (uint32_t)key->align_w, align_a = (uint32_t)key->align_a,
             align_c = (uint32_t)key->align_c;
    lt_must(cublasLtMatmulPreferenceCreate(&preference), "a preference");
    cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                         &workspace, sizeof workspace);
    cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
                                         &align_w, sizeof align_w);
    cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                                         &align_a, sizeof align_a);
    cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
                                         &align_c, sizeof align_c);
    cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
                                         &align_c, sizeof align_c);
    cublasLtMatmulHeuristicResult_t found;
    int count = 0;
    cublasStatus_t code =
        cublasLtMatmulAlgoGetHeuristic(state->lt, plan->operation, plan->w, plan->a, plan->c,
                                       plan->c, preference, 1, &found, &count);
    cublasLtMatmulPreferenceDestroy(preference);
    if (code != CUBLAS_STATUS_SUCCESS || count == 0) {
        fprintf(stderr,
                "apbench: device cuda: cuBLASLt knows no way to multiply [%lld, %lld] by "
                "[%lld, %lld]^T: %s\n",
                (long long)key->m, (long long)key->k, (long long)key->n, (long long)key->k,
                cublasLtGetStatusString(code));
        exit(1);
    }
    plan->algorithm = found.algo;
}

static int32_t alignment_of(const void *pointer)
{
    uintptr_t low = (uintptr_t)pointer & -(uintptr_t)pointer;
    return pointer && low < CUDA_ALIGNMENT ? (int32_t)low : CUDA_ALIGNMENT;
}

void cuda_gemm(device *d, gemm_mode mode, void *c, int64_t ldc, const void *a, int64_t lda,
               const void *w, const void *bias, int64_t m, int64_t n, int64_t k)
{
    cuda_state *state = cuda_of(d);
    if (m <= 0 || n <= 0)
        return;
    d->flops += 2 * (uint64_t)m * (uint64_t)n * (uint64_t)k;
    /* With float32 output the library's bias would have to be float32 too: a pass of its own. */
    bool fused = bias && mode == GEMM_STORE;
    gemm_key key = {.m = m, .n = n, .k = k, .lda = lda, .ldc = ldc, .mode = mode, .bias = fused,
                    .align_a = alignment_of(a), .align_w = alignment_of(w),
                    .align_c = alignment_of(c)};
    gemm_plan *plan = slot_of(state->plans, &key);
    if (plan->key.m == 0) {
        if (2 * ++state->plans->count > state->plans->capacity) {
            grow(state->plans);
            plan = slot_of(state->plans, &key);
        }
        make_plan(state, plan, &key);
    }
    if (fused)
        set_operation(plan, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias);
    float one = 1, zero = 0;
    lt_must(cublasLtMatmul(state->lt, plan->operation, &one, w, plan->w, a, plan->a,
                           mode == GEMM_ADD_F32 ? &one : &zero, c, plan->c, c, plan->c,
                           &plan->algorithm, state->lt_workspace, CUDA_LT_WORKSPACE, state->stream),
            "a product");
    if (bias && !fused)
        cuda_add_bias(d, c, ldc, bias, m, n);
}
