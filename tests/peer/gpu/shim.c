/* The cuda device as a shared library with a plain C interface, for the Python scripts beside it:
 * they hand it the addresses of torch's own tensors, so that peers and ours are timed in turn on the
 * same memory, on one stream, with the same events. It links only the cuda device's files, so that a
 * machine with nothing but a driver and PyTorch can load it.
 *
 * Calls return 0, or -1 with a sentence in peer_error(). Pointers are device addresses; strides are
 * in elements (bfloat16). One device is open at a time. */
#include "harness/error.h"
#include "kernels/cuda/cuda.h"

static cudaStream_t own_stream;

const char *peer_error(void)
{
    return fail_text();
}

const char *peer_title(void)
{
    return cuda_device.title;
}

/* Opens GPU `ordinal` of the process; all later work goes to `stream`, the caller's. */
int peer_open(int ordinal, void *stream)
{
    cuda_device.ordinal = ordinal;
    if (cuda_device.open(&cuda_device, 0))
        return -1;
    own_stream = cuda_of(&cuda_device)->stream;
    cuda_of(&cuda_device)->stream = stream;
    return 0;
}

void peer_close(void)
{
    if (!cuda_device.state)
        return;
    cuda_device.sync(&cuda_device);
    cuda_of(&cuda_device)->stream = own_stream; /* the other is not ours to destroy */
    cuda_device.close(&cuda_device);
}

/* One segment: q and out [rows, heads, head_dim], k and v [length, kv_heads, head_dim] through their
 * strides. Key j is visible to row i iff j <= i + causal_offset. lse [rows, heads] float32 or NULL. */
int peer_attention(int64_t rows, int heads, int kv_heads, int head_dim, float scale, const void *q,
                   int64_t q_row_stride, const void *k, const void *v, int64_t kv_row_stride,
                   int64_t kv_head_stride, int64_t length, int64_t causal_offset, void *out,
                   int64_t out_row_stride, float *lse)
{
    if (!cuda_device.state)
        return fail("peer_attention: the device is not open");
    attn_segment segment = {.k = k,
                            .v = v,
                            .row_stride = kv_row_stride,
                            .head_stride = kv_head_stride,
                            .length = length,
                            .row_end = rows,
                            .causal_offset = causal_offset};
    attn_call call = {.rows = rows,
                      .heads = heads,
                      .kv_heads = kv_heads,
                      .head_dim = head_dim,
                      .scale = scale,
                      .q = q,
                      .q_row_stride = q_row_stride,
                      .out = out,
                      .out_row_stride = out_row_stride,
                      .lse = lse,
                      .segments = &segment,
                      .segment_count = 1};
    cuda_device.attention(&cuda_device, &call);
    return 0;
}

/* c [m, n] = or += a [m, k] w [n, k]^T, all packed; mode as in device.h (0 store, 1 store float32,
 * 2 add to float32). */
int peer_gemm(int mode, void *c, const void *a, const void *w, int64_t m, int64_t n, int64_t k)
{
    if (!cuda_device.state)
        return fail("peer_gemm: the device is not open");
    if (mode < GEMM_STORE || mode > GEMM_ADD_F32)
        return fail("peer_gemm: there is no mode %d", mode);
    cuda_device.gemm(&cuda_device, (gemm_mode)mode, c, n, a, k, w, NULL, m, n, k);
    return 0;
}
