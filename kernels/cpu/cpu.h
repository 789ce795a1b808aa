/* What the files of the cpu device share: its state, its scratch memory and the functions that fill
 * the row of the device table. Nothing outside kernels/ includes this. */
#ifndef KERNELS_CPU_CPU_H
#define KERNELS_CPU_CPU_H
#include "kernels/cpu/lanes/lanes.h"
#include "kernels/device.h"

extern device cpu_device;

/* The open device. One caller at a time: virtual hosts take turns. */
typedef struct {
    int threads;
    const cpu_lanes *lanes; /* the vector code that this processor runs fastest */
    size_t total_bytes;     /* of the machine, or of the control group */
    void *scratch;          /* kept from call to call, since fresh pages cost more than the work */
    size_t scratch_bytes;
} cpu_state;

/* The state, with OpenMP's thread count set for the calling thread, whose property it is. Every
 * operation that opens a parallel region starts so. */
cpu_state *cpu_begin(device *);

/* 64-byte aligned scratch of at least this size, good until the next call of cpu_scratch. */
void *cpu_scratch(cpu_state *, size_t bytes);

/* This thread's number inside a parallel region. */
int cpu_thread(void);

/* Below this many elements an element-wise operation is done before a second thread is awake. */
enum { CPU_PARALLEL_ELEMENTS = 16384 };

/* device.c, for device_prepare() */
void cpu_prepare(char **arguments);

/* memory.c */
void cpu_memory(device *, size_t *free_bytes, size_t *total_bytes);

/* elementwise.c */
void cpu_copy(device *, void *to, const void *from, size_t bytes);
void cpu_copy_rows(device *, void *to, size_t to_stride, const void *from, size_t from_stride,
                   size_t row_bytes, int64_t rows);
void cpu_upload_weights(device *, void *to, bool to_f32, const void *from, dtype type,
                        int64_t count);
void cpu_random(device *, void *to, bool to_f32, int64_t count, uint64_t seed, float bound);
void cpu_embed(device *, float *x, const int32_t *ids, const void *table, int64_t rows, int hidden);
void cpu_rmsnorm(device *, void *out, const float *x, const float *weight, int64_t rows, int hidden,
                 float epsilon);
void cpu_rope(device *, void *q, void *kv, const void *qkv, const int32_t *positions,
              const float *table, int64_t rows, int heads, int kv_heads, int head_dim);
void cpu_swiglu(device *, void *out, const void *gate_up, int64_t rows, int ffn);
void cpu_silu(device *, void *x, int64_t count);
void cpu_from_f32(device *, void *out, const float *in, int64_t count);

/* gemm.c */
void cpu_gemm(device *, gemm_mode mode, void *c, int64_t ldc, const void *a, int64_t lda,
              const void *w, const void *bias, int64_t m, int64_t n, int64_t k);

/* attention.c */
void cpu_attention(device *, const attn_call *);
void cpu_merge(device *, void *out, const void *out_parts, const float *lse, int parts,
               int64_t rows, int heads, int head_dim);

/* select.c */
void cpu_score_query(device *, float *scores, const void *q, int64_t query_rows, const void *kv,
                     int64_t rows, int heads, int kv_heads, int head_dim);
void cpu_weigh_by_norm(device *, float *scores, const void *kv, int64_t rows, int kv_heads,
                       int head_dim);
void cpu_max_pool5(device *, float *out, const float *in, int64_t rows, int kv_heads);
void cpu_top_k(device *, int32_t *index, const float *scores, int64_t rows, int kv_heads,
               int64_t k);
void cpu_gather_kv(device *, void *slab, const void *kv, const int32_t *index, int64_t k,
                   int kv_heads, int head_dim);
void cpu_argmax(device *, int32_t *ids, const float *logits, int64_t rows, int vocab);
#endif
