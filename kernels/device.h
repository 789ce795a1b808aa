/* The device table: everything that a transformer and its attention methods ask of a machine.
 * A device is a row of function pointers; `cpu` is the oracle, others must agree with it. Callers
 * never look behind a device pointer: what alloc() returns may live on another chip.
 *
 * Types. Activations have the device's own type (act_bytes: float32 on cpu); the residual stream,
 * log-sum-exps, scores, partial attention and logits are float32 everywhere. Weights of matrices
 * are [out, in] in the activation type, so y = x W^T; norms and the RoPE table are float32.
 * Keys and values of a token lie together, [tokens, kv_heads, 2, head_dim] with K at 0 and V at 1,
 * so that a run of tokens is one transfer.
 *
 * Operations are queued in order on the device's one compute stream and may return before they are
 * done; sync() waits. They fail only by a programmer's mistake, so they return nothing: sizes and
 * memory are settled before a run by the plan. */
#ifndef KERNELS_DEVICE_H
#define KERNELS_DEVICE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum { DTYPE_F32, DTYPE_F16, DTYPE_BF16 } dtype;

/* A run of keys and values that a range of query rows sees. Strides in elements. Key j of the
 * segment is visible to row i of [row_begin, row_end) iff j < length and j <= (i - row_begin) +
 * causal_offset; an offset of length or more means "seen whole". */
typedef struct {
    const void *k, *v; /* activation type, [length, kv_heads, head_dim] through the strides */
    int64_t row_stride, head_stride;
    int64_t length;
    int64_t row_begin, row_end;
    int64_t causal_offset;
} attn_segment;

/* One call of attention over segments: softmax(scale q K^T) V over all keys that each row sees.
 * Query head j uses KV head j / (heads / kv_heads). A row that sees no key gets output 0 and
 * log-sum-exp -inf. Exactly one of `out` and `acc` is given: `out` for the only call of its rows,
 * `acc` (float32) for a running result that later calls fold into. */
typedef struct {
    int64_t rows;
    int heads, kv_heads, head_dim;
    float scale;
    const void *q;        /* activation type, [rows, heads, head_dim] */
    int64_t q_row_stride; /* in elements; heads * head_dim when packed */
    void *out;            /* activation type, [rows, heads, head_dim], or NULL */
    int64_t out_row_stride;
    float *acc; /* [rows, heads, head_dim] packed, or NULL */
    float *lse; /* [rows, heads], natural log, scale included; with `out` it may be NULL */
    bool fold;  /* acc and lse hold a partial result of the same rows: merge this call into it */
    const attn_segment *segments;
    int segment_count;
} attn_call;

typedef enum {
    GEMM_STORE,     /* c = a w^T + bias, activation type */
    GEMM_STORE_F32, /* the same into float32 */
    GEMM_ADD_F32,   /* c += a w^T (+ bias), float32: the residual stream */
} gemm_mode;

/* A point in the compute stream's time. Read with between() after sync(). */
typedef union {
    double seconds;
    void *event;
} device_mark;

typedef struct {
    char chip[128], driver[64], libraries[128];
} device_identity;

typedef struct device device;
struct device {
    const char *name, *title;
    size_t act_bytes;
    int64_t chunk_rows; /* rows that projections and FFN take at a time: widest buffers stay small */
    int head_dims[4];   /* that its attention has kernels for, 0 behind the last; none named: any */
    int threads;        /* CPU threads that it uses; before it is open what was asked for, 0: all */
    bool on_cores;      /* it computes with these threads: processes of one machine share cores out */
    int ordinal;        /* which of several of its kind; set before open */
    int neighbours;     /* other processes of the launch that take memory from the same machine; where
                         * machines differ, the most on any, so that all judge alike; set before open */
    uint64_t flops; /* counted by gemm and attention (visible pairs, never tiles) */

    /* Opens or closes the device. threads <= 0 means all that the machine has. */
    int (*open)(device *, int threads);
    void (*close)(device *);

    /* Memory. alloc() returns NULL when the device is out of memory; contents are undefined. */
    void *(*alloc)(device *, size_t bytes);
    void (*free)(device *, void *);
    /* Host memory that downloads reach fastest; never NULL. Uploads from it may run on behind the call. */
    void *(*alloc_host)(device *, size_t bytes);
    void (*free_host)(device *, void *);
    void (*memory)(device *, size_t *free_bytes, size_t *total_bytes);
    void (*upload)(device *, void *to, const void *from_host, size_t bytes);
    void (*download)(device *, void *to_host, const void *from, size_t bytes); /* waits */
    void (*copy)(device *, void *to, const void *from, size_t bytes);
    /* rows pieces of row_bytes, each side with its own stride in bytes. */
    void (*copy_rows)(device *, void *to, size_t to_stride, const void *from, size_t from_stride,
                      size_t row_bytes, int64_t rows);
    /* Weights from a file's bytes: `count` elements of `type`, into the activation type, or into
     * float32 where `to_f32`. */
    void (*upload_weights)(device *, void *to, bool to_f32, const void *from_host, dtype type,
                           int64_t count);
    /* Seeded values: element i is uniform in [-bound, bound) from a counter hash of (seed, i): the
     * same values before rounding on every device. Activation type, or float32 where `to_f32`. */
    void (*random)(device *, void *to, bool to_f32, int64_t count, uint64_t seed, float bound);

    void (*sync)(device *);
    device_mark (*mark)(device *);
    double (*between)(device *, device_mark from, device_mark to); /* seconds */
    void (*forget_marks)(device *); /* all marks made so far may be reused */
    void (*profile)(device *, bool on); /* a profiler that waits for it begins or ends its capture */
    /* What a row says of the machine beside the processor: the chip, its driver, and the libraries that
     * compute on it, each "" when there is nothing to say. The device is open. */
    void (*describe)(device *, device_identity *);

    /* x [rows, hidden] float32 = table[ids], table [vocab, hidden] in activation type. */
    void (*embed)(device *, float *x, const int32_t *ids, const void *table, int64_t rows,
                  int hidden);
    /* out [rows, hidden] = x / rms(x) * weight. */
    void (*rmsnorm)(device *, void *out, const float *x, const float *weight, int64_t rows,
                    int hidden, float epsilon);
    /* a [m, k], w [n, k], bias [n] activation type or NULL, c [m, n] with row stride ldc. */
    void (*gemm)(device *, gemm_mode mode, void *c, int64_t ldc, const void *a, int64_t lda,
                 const void *w, const void *bias, int64_t m, int64_t n, int64_t k);
    /* Rotates q and k of the joint projection qkv [rows, heads + 2 kv_heads, head_dim] and writes
     * q [rows, heads, head_dim] and kv [rows, kv_heads, 2, head_dim] (v unrotated). Pairs are
     * (i, i + head_dim/2). table [positions, head_dim/2, 2] holds cos, sin. */
    void (*rope)(device *, void *q, void *kv, const void *qkv, const int32_t *positions,
                 const float *table, int64_t rows, int heads, int kv_heads, int head_dim);
    /* out [rows, ffn] = silu(gate) * up, where gate_up is [rows, 2 ffn], gate first. */
    void (*swiglu)(device *, void *out, const void *gate_up, int64_t rows, int ffn);
    /* x = silu(x), activation type. */
    void (*silu)(device *, void *x, int64_t count);

    void (*attention)(device *, const attn_call *);
    /* Activation type from a float32 running result (attn_call.acc). */
    void (*from_f32)(device *, void *out, const float *in, int64_t count);
    /* Exact merge of `parts` partial results: out_parts [parts, rows, heads, head_dim] activation
     * type, lse [parts, rows, heads]; a part of -inf counts for nothing. */
    void (*merge)(device *, void *out, const void *out_parts, const float *lse, int parts,
                  int64_t rows, int heads, int head_dim);

    /* Compressors. scores are float32 [rows, kv_heads]. */
    /* scores[t, h] = k[t, h] . mean of q over query rows and the heads of group h. */
    void (*score_query)(device *, float *scores, const void *q, int64_t query_rows, const void *kv,
                        int64_t rows, int heads, int kv_heads, int head_dim);
    /* scores[t, h] += ln |v[t, h]|, the L2 norm of the row's values: the logarithm of exp(scores) |v|,
     * which orders alike and is finite where exp is not. -inf where the values are 0. */
    void (*weigh_by_norm)(device *, float *scores, const void *kv, int64_t rows, int kv_heads,
                          int head_dim);
    /* out[t, h] = max of in[t-2 .. t+2, h] within the rows. in != out. */
    void (*max_pool5)(device *, float *out, const float *in, int64_t rows, int kv_heads);
    /* For each KV head the k best rows by (score descending, row ascending), written as rows in
     * ascending order: index [k, kv_heads], counted from the first score row. k <= rows. */
    void (*top_k)(device *, int32_t *index, const float *scores, int64_t rows, int kv_heads,
                  int64_t k);
    /* slab [k, kv_heads, 2, head_dim] = kv[index[i, h], h]. */
    void (*gather_kv)(device *, void *slab, const void *kv, const int32_t *index, int64_t k,
                      int kv_heads, int head_dim);

    /* ids[i] = first index of the largest of logits [rows, vocab]. */
    void (*argmax)(device *, int32_t *ids, const float *logits, int64_t rows, int vocab);
    void *state;
};

/* Call first in main(), with its arguments. Settles what a runtime library reads from the
 * environment before main() starts, which may run the program anew: same process, same arguments.
 */
void device_prepare(char **arguments);

/* The table: cpu first. device_find fails with the names that exist. */
device *device_find(const char *name);
/* 0, or -1 with a sentence when the device's attention does not serve heads of that size: asked before
 * anything of a model is loaded, or a cell of it is run. */
int device_check_head_dim(const device *, int head_dim);
extern device *const device_table[];
extern const int device_count;
#endif
