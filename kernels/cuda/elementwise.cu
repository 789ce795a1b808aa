/* The element-wise operations of the cuda device. All are bound by memory: every byte passes once,
 * coalesced, with several 16-byte loads of a thread in flight before the first is used. Each has a
 * plain form too, for sizes or addresses that wide accesses cannot take. */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/math.cuh"

/* ---- Embedding ---- */

__global__ void __launch_bounds__(TILE_THREADS) embed_kernel(float *x, const int32_t *ids,
                                                            const bf16 *table, int64_t rows,
                                                            int hidden, row_tiling tiling)
{
    packet_place place = place_in_rows(tiling);
    if (place.row >= rows)
        return;
    const bf16 *in = table + (int64_t)ids[place.row] * hidden;
    float *out = x + place.row * hidden;
    float4 values[TILE_UNROLL];
#pragma unroll
    for (int i = 0; i < TILE_UNROLL; i++)
        if (place.packet + i * place.step < tiling.packets)
            values[i] = load_four(in + 4 * (place.packet + i * place.step));
#pragma unroll
    for (int i = 0; i < TILE_UNROLL; i++)
        if (place.packet + i * place.step < tiling.packets)
            *(float4 *)(out + 4 * (place.packet + i * place.step)) = values[i];
}

__global__ void __launch_bounds__(256) embed_each_kernel(float *x, const int32_t *ids,
                                                        const bf16 *table, int hidden)
{
    int64_t row = blockIdx.x;
    const bf16 *in = table + (int64_t)ids[row] * hidden;
    for (int i = threadIdx.x; i < hidden; i += 256)
        x[row * hidden + i] = __bfloat162float(in[i]);
}

extern "C" void cuda_embed(device *d, float *x, const int32_t *ids, const void *table, int64_t rows,
                           int hidden)
{
    if (rows <= 0)
        return;
    cudaStream_t stream = cuda_of(d)->stream;
    if (hidden % 4 == 0 && aligned_to(16, x) && aligned_to(8, table)) {
        row_tiling tiling = tile_rows(rows, hidden / 4);
        embed_kernel<<<tiling.blocks, TILE_THREADS, 0, stream>>>(x, ids, (const bf16 *)table, rows,
                                                                 hidden, tiling);
    } else {
        embed_each_kernel<<<(unsigned)rows, 256, 0, stream>>>(x, ids, (const bf16 *)table, hidden);
    }
    cuda_launched("embed");
}

/* ---- RMSNorm ---- */

/* Lanes threads hold a row in registers, N packets of four each, so it is read once. Full: these are
 * exactly hidden elements, and no access needs a condition of its own. */
template <int Lanes, int N, bool Full>
__global__ void __launch_bounds__(Lanes > 256 ? Lanes : 256)
    rmsnorm_kernel(bf16 *out, const float *x, const float *weight, int64_t rows, int hidden,
                   float epsilon)
{
    constexpr int ROWS = Lanes > 256 ? 1 : 256 / Lanes;
    int lane = threadIdx.x % Lanes, slot = threadIdx.x / Lanes, packets = hidden / 4;
    int64_t row = (int64_t)blockIdx.x * ROWS + slot;
    bool real = row < rows;
    if (!real)
        row = rows - 1; /* it only has to come to the barrier */
    const float4 *in = (const float4 *)(x + row * hidden) + lane;
    float4 values[N];
    float squares = 0;
#pragma unroll
    for (int i = 0; i < N; i++)
        values[i] = Full || lane + i * Lanes < packets ? __ldcs(in + i * Lanes) : float4{};
#pragma unroll
    for (int i = 0; i < N; i++)
        squares += values[i].x * values[i].x + values[i].y * values[i].y +
                   values[i].z * values[i].z + values[i].w * values[i].w;
    squares = warp_sum(squares);
    if constexpr (Lanes > 32) {
        constexpr int WARPS = Lanes / 32;
        __shared__ float sums[ROWS][WARPS];
        if (lane % 32 == 0)
            sums[slot][lane / 32] = squares;
        __syncthreads();
        squares = 0;
#pragma unroll
        for (int i = 0; i < WARPS; i++)
            squares += sums[slot][i];
    }
    if (!real)
        return;
    float scale = rsqrtf(squares / (float)hidden + epsilon);
    const float4 *weights = (const float4 *)weight + lane;
    bf16 *to = out + row * hidden + 4 * lane;
#pragma unroll
    for (int i = 0; i < N; i++)
        if (Full || lane + i * Lanes < packets) {
            float4 w = __ldg(weights + i * Lanes);
            store_four(to + 4 * i * Lanes,
                       {values[i].x * scale * w.x, values[i].y * scale * w.y,
                        values[i].z * scale * w.z, values[i].w * scale * w.w});
        }
}

__global__ void __launch_bounds__(256) rmsnorm_each_kernel(bf16 *out, const float *x,
                                                          const float *weight, int hidden,
                                                          float epsilon)
{
    __shared__ float sums[8];
    int64_t row = blockIdx.x;
    float squares = 0;
    for (int i = threadIdx.x; i < hidden; i += 256)
        squares += x[row * hidden + i] * x[row * hidden + i];
    squares = warp_sum(squares);
    if (threadIdx.x % 32 == 0)
        sums[threadIdx.x / 32] = squares;
    __syncthreads();
    squares = 0;
    for (int i = 0; i < 8; i++)
        squares += sums[i];
    float scale = rsqrtf(squares / (float)hidden + epsilon);
    for (int i = threadIdx.x; i < hidden; i += 256)
        out[row * hidden + i] = __float2bfloat16_rn(x[row * hidden + i] * scale * weight[i]);
}

template <int Lanes, int N>
static void rmsnorm_rows(device *d, void *out, const float *x, const float *weight, int64_t rows,
                         int hidden, float epsilon)
{
    int block = Lanes > 256 ? Lanes : 256;
    unsigned blocks = block_count(rows, block / Lanes);
    cudaStream_t stream = cuda_of(d)->stream;
    if (hidden == 4 * N * Lanes)
        rmsnorm_kernel<Lanes, N, true><<<blocks, block, 0, stream>>>((bf16 *)out, x, weight, rows,
                                                                   hidden, epsilon);
    else
        rmsnorm_kernel<Lanes, N, false><<<blocks, block, 0, stream>>>((bf16 *)out, x, weight, rows,
                                                                    hidden, epsilon);
}

extern "C" void cuda_rmsnorm(device *d, void *out, const float *x, const float *weight, int64_t rows,
                             int hidden, float epsilon)
{
    if (rows <= 0)
        return;
    if (hidden % 4 || hidden > 16384 || !aligned_to(16, x, weight) || !aligned_to(8, out))
        rmsnorm_each_kernel<<<(unsigned)rows, 256, 0, cuda_of(d)->stream>>>((bf16 *)out, x, weight,
                                                                           hidden, epsilon);
    else if (hidden <= 512)
        rmsnorm_rows<32, 4>(d, out, x, weight, rows, hidden, epsilon);
    else if (hidden <= 1024)
        rmsnorm_rows<32, 8>(d, out, x, weight, rows, hidden, epsilon);
    else if (hidden <= 4096)
        rmsnorm_rows<128, 8>(d, out, x, weight, rows, hidden, epsilon);
    else if (hidden <= 8192)
        rmsnorm_rows<256, 8>(d, out, x, weight, rows, hidden, epsilon);
    else
        rmsnorm_rows<512, 8>(d, out, x, weight, rows, hidden, epsilon);
    cuda_launched("rmsnorm");
}

/* ---- RoPE ---- */

enum { ROPE_HEADS = 4 }; /* heads of a row that a thread turns by the angles it loaded */

/* Where a head of the joint projection goes, and whether it is turned. */
struct rope_head {
    bf16 *to;
    bool turned;
};

__device__ __forceinline__ rope_head rope_place(bf16 *q, bf16 *kv, int64_t row, int head, int heads,
                                                int kv_heads, int head_dim)
{
    if (head < heads)
        return {q + (row * heads + head) * head_dim, true};
    head -= heads;
    bool value = head >= kv_heads;
    int pair = value ? 2 * (head - kv_heads) + 1 : 2 * head;
    return {kv + (row * 2 * kv_heads + pair) * head_dim, !value};
}

/* A thread takes the 8 pairs of one chunk of half a head, in ROPE_HEADS heads of a row. */
__global__ void __launch_bounds__(512) rope_kernel(bf16 *q, bf16 *kv, const bf16 *qkv,
                                                  const int32_t *positions, const float *table,
                                                  int64_t rows, int heads, int kv_heads,
                                                  int head_dim, int row_threads)
{
    int half = head_dim / 2, chunks = half / 8, all = heads + 2 * kv_heads;
    int slot = threadIdx.x / row_threads, item = threadIdx.x - slot * row_threads;
    int64_t row = (int64_t)blockIdx.x * (blockDim.x / row_threads) + slot;
    if (row >= rows)
        return;
    int group = item / chunks, at = (item - group * chunks) * 8;
    const float4 *turns = (const float4 *)(table + (int64_t)positions[row] * head_dim + 2 * at);
    const bf16 *in = qkv + row * all * head_dim + at;
    bf16x8 low[ROPE_HEADS], high[ROPE_HEADS];
#pragma unroll
    for (int i = 0; i < ROPE_HEADS; i++) {
        int head = group * ROPE_HEADS + i;
        if (head < all) {
            low[i] = load_packet(in + head * head_dim);
            high[i] = load_packet(in + head * head_dim + half);
        }
    }
    float cosine[8], sine[8];
#pragma unroll
    for (int i = 0; i < 4; i++) {
        float4 two = __ldg(turns + i);
        cosine[2 * i] = two.x;
        sine[2 * i] = two.y;
        cosine[2 * i + 1] = two.z;
        sine[2 * i + 1] = two.w;
    }
#pragma unroll
    for (int i = 0; i < ROPE_HEADS; i++) {
        int head = group * ROPE_HEADS + i;
        if (head >= all)
            break;
        rope_head place = rope_place(q, kv, row, head, heads, kv_heads, head_dim);
        if (place.turned) {
            float a[8], b[8], turned_a[8], turned_b[8];
            unpack(low[i], a);
            unpack(high[i], b);
#pragma unroll
            for (int e = 0; e < 8; e++) {
                turned_a[e] = a[e] * cosine[e] - b[e] * sine[e];
                turned_b[e] = b[e] * cosine[e] + a[e] * sine[e];
            }
            low[i] = pack(turned_a);
            high[i] = pack(turned_b);
        }
        store_packet(place.to + at, low[i]);
        store_packet(place.to + at + half, high[i]);
    }
}

__global__ void __launch_bounds__(256) rope_each_kernel(bf16 *q, bf16 *kv, const bf16 *qkv,
                                                       const int32_t *positions,
                                                       const float *table, int heads, int kv_heads,
                                                       int head_dim)
{
    int64_t row = blockIdx.x;
    int half = head_dim / 2, all = heads + 2 * kv_heads;
    const float *turns = table + (int64_t)positions[row] * head_dim;
    for (int item = threadIdx.x; item < all * half; item += 256) {
        int head = item / half, e = item - head * half;
        const bf16 *in = qkv + (row * all + head) * head_dim;
        rope_head place = rope_place(q, kv, row, head, heads, kv_heads, head_dim);
        bf16 low = in[e], high = in[e + half];
        if (place.turned) {
            float a = __bfloat162float(low), b = __bfloat162float(high);
            float cosine = turns[2 * e], sine = turns[2 * e + 1];
            low = __float2bfloat16_rn(a * cosine - b * sine);
            high = __float2bfloat16_rn(b * cosine + a * sine);
        }
        place.to[e] = low;
        place.to[e + half] = high;
    }
}

extern "C" void cuda_rope(device *d, void *q, void *kv, const void *qkv, const int32_t *positions,
                          const float *table, int64_t rows, int heads, int kv_heads, int head_dim)
{
    if (rows <= 0)
        return;
    cudaStream_t stream = cuda_of(d)->stream;
    int groups = (heads + 2 * kv_heads + ROPE_HEADS - 1) / ROPE_HEADS;
    int row_threads = groups * (head_dim / 16);
    if (head_dim % 16 == 0 && row_threads <= 512 && aligned_to(16, q, kv, qkv) &&
        aligned_to(16, table)) {
        int block_rows = row_threads < 256 ? 256 / row_threads : 1;
        rope_kernel<<<block_count(rows, block_rows), block_rows * row_threads, 0, stream>>>(
            (bf16 *)q, (bf16 *)kv, (const bf16 *)qkv, positions, table, rows, heads, kv_heads,
            head_dim, row_threads);
    } else {
        rope_each_kernel<<<(unsigned)rows, 256, 0, stream>>>((bf16 *)q, (bf16 *)kv,
                                                            (const bf16 *)qkv, positions, table,
                                                            heads, kv_heads, head_dim);
    }
    cuda_launched("rope");
}

/* ---- SiLU and SwiGLU ---- */

/* x / (1 + e^-x). The fast exponential is off by 2 + |1.2 x| units in the last place of float32,
 * so below 2^-16 relatively where the result is not yet 0 in bf16. */
__device__ __forceinline__ float silu(float x)
{
    return __fdividef(x, 1.0f + __expf(-x));
}

__global__ void __launch_bounds__(TILE_THREADS) swiglu_kernel(bf16 *out, const bf16 *gate_up,
                                                             int64_t rows, int ffn,
                                                             row_tiling tiling)
{
    packet_place place = place_in_rows(tiling);
    if (place.row >= rows)
        return;
    const bf16 *gate = gate_up + place.row * 2 * ffn, *up = gate + ffn;
    bf16x8 gates[TILE_UNROLL], ups[TILE_UNROLL];
#pragma unroll
    for (int i = 0; i < TILE_UNROLL; i++)
        if (place.packet + i * place.step < tiling.packets) {
            gates[i] = load_packet(gate + 8 * (place.packet + i * place.step));
            ups[i] = load_packet(up + 8 * (place.packet + i * place.step));
        }
#pragma unroll
    for (int i = 0; i < TILE_UNROLL; i++)
        if (place.packet + i * place.step < tiling.packets) {
            float a[8], b[8];
            unpack(gates[i], a);
            unpack(ups[i], b);
#pragma unroll
            for (int e = 0; e < 8; e++)
                a[e] = silu(a[e]) * b[e];
            store_packet(out + place.row * ffn + 8 * (place.packet + i * place.step), pack(a));
        }
}

__global__ void __launch_bounds__(256) swiglu_each_kernel(bf16 *out, const bf16 *gate_up, int ffn)
{
    int64_t row = blockIdx.x;
    const bf16 *gate = gate_up + row * 2 * ffn, *up = gate + ffn;
    for (int i = threadIdx.x; i < ffn; i += 256)
        out[row * ffn + i] =
            __float2bfloat16_rn(silu(__bfloat162float(gate[i])) * __bfloat162float(up[i]));
}

extern "C" void cuda_swiglu(device *d, void *out, const void *gate_up, int64_t rows, int ffn)
{
    if (rows <= 0)
        return;
    cudaStream_t stream = cuda_of(d)->stream;
    if (ffn % 8 == 0 && aligned_to(16, out, gate_up)) {
        row_tiling tiling = tile_rows(rows, ffn / 8);
        swiglu_kernel<<<tiling.blocks, TILE_THREADS, 0, stream>>>(
            (bf16 *)out, (const bf16 *)gate_up, rows, ffn, tiling);
    } else {
        swiglu_each_kernel<<<(unsigned)rows, 256, 0, stream>>>((bf16 *)out, (const bf16 *)gate_up,
                                                              ffn);
    }
    cuda_launched("swiglu");
}

__global__ void __launch_bounds__(256) silu_kernel(bf16 *x, int64_t count, bool aligned)
{
    int64_t packets = aligned ? count / 8 : 0;
    int64_t first = (int64_t)blockIdx.x * (256 * TILE_UNROLL) + threadIdx.x;
    bf16x8 values[TILE_UNROLL];
#pragma unroll
    for (int i = 0; i < TILE_UNROLL; i++)
        if (first + i * 256 < packets)
            values[i] = load_packet(x + 8 * (first + i * 256));
#pragma unroll
    for (int i = 0; i < TILE_UNROLL; i++)
        if (first + i * 256 < packets) {
            float a[8];
            unpack(values[i], a);
#pragma unroll
            for (int e = 0; e < 8; e++)
                a[e] = silu(a[e]);
            store_packet(x + 8 * (first + i * 256), pack(a));
        }
    /* The last elements, or all where the address is not aligned. */
    int64_t stride = (int64_t)gridDim.x * 256;
    for (int64_t i = 8 * packets + (int64_t)blockIdx.x * 256 + threadIdx.x; i < count; i += stride)
        x[i] = __float2bfloat16_rn(silu(__bfloat162float(x[i])));
}

extern "C" void cuda_silu(device *d, void *x, int64_t count)
{
    if (count <= 0)
        return;
    silu_kernel<<<block_count(count, 8 * 256 * TILE_UNROLL), 256, 0, cuda_of(d)->stream>>>(
        (bf16 *)x, count, aligned_to(16, x));
    cuda_launched("silu");
}

/* ---- Bias of a float32 product ---- */

__global__ void __launch_bounds__(TILE_THREADS) add_bias_kernel(float *c, int64_t ldc,
                                                               const bf16 *bias, int64_t rows,
                                                               row_tiling tiling)
{
    packet_place place = place_in_rows(tiling);
    if (place.row >= rows)
        return;
    float4 *out = (float4 *)(c + place.row * ldc);
    float4 values[TILE_UNROLL];
#pragma unroll
    for (int i = 0; i < TILE_UNROLL; i++)
        if (place.packet + i * place.step < tiling.packets)
            values[i] = out[place.packet + i * place.step];
#pragma unroll
    for (int i = 0; i < TILE_UNROLL; i++)
        if (place.packet + i * place.step < tiling.packets) {
            float4 b = load_four(bias + 4 * (place.packet + i * place.step));
            out[place.packet + i * place.step] = {values[i].x + b.x, values[i].y + b.y,
                                                  values[i].z + b.z, values[i].w + b.w};
        }
}

__global__ void __launch_bounds__(256) add_bias_each_kernel(float *c, int64_t ldc, const bf16 *bias,
                                                           int64_t n)
{
    for (int64_t j = threadIdx.x; j < n; j += 256)
        c[blockIdx.x * ldc + j] += __bfloat162float(bias[j]);
}

extern "C" void cuda_add_bias(device *d, float *c, int64_t ldc, const void *bias, int64_t m,
                              int64_t n)
{
    if (m <= 0 || n <= 0)
        return;
    cudaStream_t stream = cuda_of(d)->stream;
    if (n % 4 == 0 && ldc % 4 == 0 && aligned_to(16, c) && aligned_to(8, bias)) {
        row_tiling tiling = tile_rows(m, n / 4);
        add_bias_kernel<<<tiling.blocks, TILE_THREADS, 0, stream>>>(c, ldc, (const bf16 *)bias, m,
                                                                    tiling);
    } else {
        add_bias_each_kernel<<<(unsigned)m, 256, 0, stream>>>(c, ldc, (const bf16 *)bias, n);
    }
    cuda_launched("add_bias");
}
