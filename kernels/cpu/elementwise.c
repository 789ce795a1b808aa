/* The element-wise operations of the cpu device: rows or ranges shared out over the threads, the
 * inner loops in the lanes_*.c files. All are bound by memory, so none makes a second pass. */
#include "harness/error.h"
#include "kernels/cpu/cpu.h"

#include <string.h>

enum { PIECE = 65536 }; /* elements that a thread takes at once from a flat range */

static bool worth_threads(int64_t elements)
{
    return elements >= CPU_PARALLEL_ELEMENTS;
}

static int64_t piece_length(int64_t begin, int64_t count)
{
    return count - begin < PIECE ? count - begin : PIECE;
}

void cpu_copy(device *d, void *to, const void *from, size_t bytes)
{
    cpu_begin(d);
    int64_t count = (int64_t)bytes;
    enum { BYTES = 4 * PIECE };
#pragma omp parallel for schedule(static) if (count > 4 * BYTES)
    for (int64_t i = 0; i < count; i += BYTES)
        memcpy((char *)to + i, (const char *)from + i,
               (size_t)(count - i < BYTES ? count - i : BYTES));
}

void cpu_copy_rows(device *d, void *to, size_t to_stride, const void *from, size_t from_stride,
                   size_t row_bytes, int64_t rows)
{
    if (to_stride == row_bytes && from_stride == row_bytes) {
        cpu_copy(d, to, from, row_bytes * (size_t)rows);
        return;
    }
    cpu_begin(d);
#pragma omp parallel for schedule(static) if (worth_threads(rows * (int64_t)(row_bytes / 4)))
    for (int64_t i = 0; i < rows; i++)
        memcpy((char *)to + (size_t)i * to_stride, (const char *)from + (size_t)i * from_stride,
               row_bytes);
}

void cpu_upload_weights(device *d, void *to, bool to_f32, const void *from, dtype type,
                        int64_t count)
{
    (void)to_f32; /* the activation type is float32 already */
    cpu_state *state = cpu_begin(d);
    float *out = to;
#pragma omp parallel for schedule(static) if (worth_threads(count))
    for (int64_t i = 0; i < count; i += PIECE) {
        int64_t length = piece_length(i, count);
        switch (type) {
        case DTYPE_F32: /* bytes of a file: not always aligned */
            memcpy(out + i, (const char *)from + i * 4, (size_t)length * 4);
            break;
        case DTYPE_F16:
            state->lanes->widen_f16(out + i, (const char *)from + i * 2, length);
            break;
        case DTYPE_BF16:
            state->lanes->widen_bf16(out + i, (const char *)from + i * 2, length);
            break;
        }
    }
}

void cpu_random(device *d, void *to, bool to_f32, int64_t count, uint64_t seed, float bound)
{
    (void)to_f32;
    cpu_state *state = cpu_begin(d);
#pragma omp parallel for schedule(static) if (worth_threads(count))
    for (int64_t i = 0; i < count; i += PIECE)
        state->lanes->random((float *)to + i, i, piece_length(i, count), seed, bound);
}

void cpu_embed(device *d, float *x, const int32_t *ids, const void *table, int64_t rows, int hidden)
{
    cpu_begin(d);
#pragma omp parallel for schedule(static) if (worth_threads(rows * hidden))
    for (int64_t i = 0; i < rows; i++)
        memcpy(x + i * hidden, (const float *)table + (int64_t)ids[i] * hidden,
               (size_t)hidden * sizeof *x);
}

void cpu_rmsnorm(device *d, void *out, const float *x, const float *weight, int64_t rows,
                 int hidden, float epsilon)
{
    cpu_state *state = cpu_begin(d);
#pragma omp parallel for schedule(static) if (worth_threads(rows * hidden))
    for (int64_t i = 0; i < rows; i++)
        state->lanes->rmsnorm((float *)out + i * hidden, x + i * hidden, weight, hidden, epsilon);
}

void cpu_rope(device *d, void *q, void *kv, const void *qkv, const int32_t *positions,
              const float *table, int64_t rows, int heads, int kv_heads, int head_dim)
{
    cpu_state *state = cpu_begin(d);
    int half = head_dim / 2;
    size_t head_bytes = (size_t)head_dim * sizeof(float);
#pragma omp parallel for schedule(static) if (worth_threads(rows * heads * head_dim))
    for (int64_t i = 0; i < rows; i++) {
        const float *in = (const float *)qkv + i * (heads + 2 * kv_heads) * head_dim;
        const float *k_in = in + (int64_t)heads * head_dim;
        const float *v_in = k_in + (int64_t)kv_heads * head_dim;
        const float *turn = table + (int64_t)positions[i] * head_dim;
        float *q_out = (float *)q + i * heads * head_dim;
        float *kv_out = (float *)kv + i * kv_heads * 2 * head_dim;
        for (int h = 0; h < heads; h++)
            state->lanes->rotate(q_out + h * head_dim, in + h * head_dim, turn, half);
        for (int h = 0; h < kv_heads; h++) {
            state->lanes->rotate(kv_out + h * 2 * head_dim, k_in + h * head_dim, turn, half);
            memcpy(kv_out + (h * 2 + 1) * head_dim, v_in + h * head_dim, head_bytes);
        }
    }
}

void cpu_swiglu(device *d, void *out, const void *gate_up, int64_t rows, int ffn)
{
    cpu_state *state = cpu_begin(d);
#pragma omp parallel for schedule(static) if (worth_threads(rows * ffn))
    for (int64_t i = 0; i < rows; i++) {
        const float *gate = (const float *)gate_up + i * 2 * ffn;
        state->lanes->swiglu((float *)out + i * ffn, gate, gate + ffn, ffn);
    }
}

void cpu_silu(device *d, void *x, int64_t count)
{
    cpu_state *state = cpu_begin(d);
#pragma omp parallel for schedule(static) if (worth_threads(count))
    for (int64_t i = 0; i < count; i += PIECE)
        state->lanes->silu((float *)x + i, piece_length(i, count));
}

void cpu_from_f32(device *d, void *out, const float *in, int64_t count)
{
    cpu_copy(d, out, in, (size_t)count * sizeof(float));
}
