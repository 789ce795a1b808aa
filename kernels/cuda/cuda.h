/* What the files of the cuda device share: its state, error checks, workspace, and the functions
 * that fill the row of the device table. Host code is C; kernels are in the .cu files, which use
 * neither exceptions nor C++ objects, so that everything links as C.
 *
 * All work goes to one stream; nothing here waits for the device but sync() and download(). The
 * activation type is bf16 with float32 accumulation everywhere. */
#ifndef KERNELS_CUDA_CUDA_H
#define KERNELS_CUDA_CUDA_H
#include <cublasLt.h>
#include <cuda_runtime_api.h>

#if CUDART_VERSION < 12040
#error "the cuda device needs the CUDA toolkit 12.4 or later (make CUDA_HOME= builds without it)"
#endif

#ifdef __cplusplus
extern "C" {
#endif
#include "kernels/device.h"

extern device cuda_device;

typedef struct gemm_plans gemm_plans;

typedef struct {
    cudaStream_t stream;
    int ordinal;           /* which GPU of the process's visible ones */
    int multiprocessors;
    int kept_free;         /* of them: left to transfers by kernels that stay on all others; 0 at first */
    int capability;        /* 80, 90, ... */
    size_t cache_bytes;    /* of the L2 cache */
    char title[400];       /* "NVIDIA H100 80GB HBM3, bfloat16 (CUDA 13.0, driver for 13.0)" */

    cublasLtHandle_t lt;
    void *lt_workspace;    /* CUDA_LT_WORKSPACE bytes */
    gemm_plans *plans;

    /* Scratch of one operation at a time: partial sums of split keys, histograms, segment lists.
     * Of fixed size and taken at open(), so that no operation allocates. */
    void *scratch;
    int32_t *turn; /* [2], behind it: works taken and blocks done of attention that runs; 0 between calls */

    cudaEvent_t *events;   /* made so far; the first `marks` of them are in use */
    int event_count, marks;
} cuda_state;

enum { CUDA_ALIGNMENT = 256 };
#define CUDA_LT_WORKSPACE ((size_t)32 << 20)
#define CUDA_SCRATCH ((size_t)256 << 20)

static inline cuda_state *cuda_of(device *d) { return (cuda_state *)d->state; }

/* Ends the program with one sentence when a CUDA call failed: operations fail only by a
 * programmer's mistake or a broken device, and nothing on it can be trusted afterwards. */
void cuda_must(cudaError_t code, const char *what);
/* Fails with `who` and why there is no GPU: what cudaGetDeviceCount() returned with no device. */
int cuda_no_gpu(const char *who, cudaError_t code);
/* After a kernel launch. */
void cuda_launched(const char *kernel);

/* gemm.c */
int cuda_gemm_open(cuda_state *);
void cuda_gemm_close(cuda_state *);
void cuda_gemm(device *, gemm_mode mode, void *c, int64_t ldc, const void *a, int64_t lda,
               const void *w, const void *bias, int64_t m, int64_t n, int64_t k);
/* elementwise.cu, for gemm.c: c [m, n] float32 with row stride ldc += bias [n] (bf16). */
void cuda_add_bias(device *, float *c, int64_t ldc, const void *bias, int64_t m, int64_t n);

/* identity.c */
void cuda_describe(device *, device_identity *);
void cuda_profile(device *, bool on);

/* weights.cu */
void cuda_upload_weights(device *, void *to, bool to_f32, const void *from, dtype type,
                         int64_t count);
void cuda_random(device *, void *to, bool to_f32, int64_t count, uint64_t seed, float bound);
void cuda_from_f32(device *, void *out, const float *in, int64_t count);
void cuda_copy_rows(device *, void *to, size_t to_stride, const void *from, size_t from_stride,
                    size_t row_bytes, int64_t rows);

/* elementwise.cu */
void cuda_embed(device *, float *x, const int32_t *ids, const void *table, int64_t rows,
                int hidden);
void cuda_rmsnorm(device *, void *out, const float *x, const float *weight, int64_t rows,
                  int hidden, float epsilon);
void cuda_rope(device *, void *q, void *kv, const void *qkv, const int32_t *positions,
               const float *table, int64_t rows, int heads, int kv_heads, int head_dim);
void cuda_swiglu(device *, void *out, const void *gate_up, int64_t rows, int ffn);
void cuda_silu(device *, void *x, int64_t count);

/* attention/ */
void cuda_attention(device *, const attn_call *);
/* For tests and benchmarks: one kernel for all calls that it can serve, whatever would be best. */
typedef enum {
    ATTENTION_BEST,
    ATTENTION_PORTABLE,
    ATTENTION_PACKED,       /* sm_80, few rows */
    ATTENTION_HOPPER,
    ATTENTION_HOPPER_PACKED /* few rows: the query phase */
} attention_choice;
extern attention_choice cuda_attention_choice;
/* merge.cu */
void cuda_merge(device *, void *out, const void *out_parts, const float *lse, int parts,
                int64_t rows, int heads, int head_dim);

/* select.cu */
void cuda_score_query(device *, float *scores, const void *q, int64_t query_rows, const void *kv,
                      int64_t rows, int heads, int kv_heads, int head_dim);
void cuda_weigh_by_norm(device *, float *scores, const void *kv, int64_t rows, int kv_heads,
                        int head_dim);
void cuda_max_pool5(device *, float *out, const float *in, int64_t rows, int kv_heads);
void cuda_gather_kv(device *, void *slab, const void *kv, const int32_t *index, int64_t k,
                    int kv_heads, int head_dim);
void cuda_argmax(device *, int32_t *ids, const float *logits, int64_t rows, int vocab);

/* top_k.cu */
void cuda_top_k(device *, int32_t *index, const float *scores, int64_t rows, int kv_heads,
                int64_t k);
#ifdef __cplusplus
}
#endif
#endif
