/* What compressors and greedy decoding choose by, on the cuda device, but for the k best rows
 * (top_k.cu): scores, pooling, the gather of keys and values, and argmax. Every choice is a total
 * order and every sum has a fixed order, so equal inputs give equal bits. */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/math.cuh"

/* ---- Scores of the query compressor ---- */

/* mean [kv_heads, head_dim] of q over query rows and the heads of a group. A block takes 32 dimensions
 * of a KV head; its 32 warps take every 32nd query row each, and their sums are added in order. */
__global__ void __launch_bounds__(1024) mean_query_kernel(float *mean, const bf16 *q,
                                                         int64_t query_rows, int heads, int group,
                                                         int head_dim)
{
    __shared__ float sums[32][33];
    int kv_head = blockIdx.y, e = blockIdx.x * 32 + threadIdx.x;
    float sum = 0;
    if (e < head_dim)
        for (int64_t row = threadIdx.y; row < query_rows; row += 32) {
            const bf16 *from = q + (row * heads + kv_head * group) * head_dim + e;
#pragma unroll 4
            for (int i = 0; i < group; i++)
                sum += __bfloat162float(from[(int64_t)i * head_dim]);
        }
    sums[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y == 0 && e < head_dim) {
        float total = 0;
        for (int i = 0; i < 32; i++)
            total += sums[i][threadIdx.x];
        mean[kv_head * head_dim + e] =
            query_rows > 0 ? total / (float)(query_rows * group) : 0;
    }
}

/* (block * span + at) % heads, without a 64-bit division. */
__device__ __forceinline__ unsigned head_of(unsigned block, unsigned span, unsigned at, int heads)
{
    unsigned n = (unsigned)heads;
    return (block % n * (span % n) + at) % n;
}

enum { SCORE_ROWS = 4 }; /* keys, or values, that a thread has in flight */

/* Chunks = head_dim / 8 threads, a power of two of at most 32, take a key. */
template <int Chunks>
__global__ void __launch_bounds__(256) score_kernel(float *scores, const float *mean,
                                                   const bf16 *kv, int64_t pairs, int kv_heads)
{
    constexpr int HEAD_DIM = 8 * Chunks, GROUPS = 256 / Chunks;
    int chunk = threadIdx.x % Chunks, group = threadIdx.x / Chunks;
    int64_t first = (int64_t)blockIdx.x * (GROUPS * SCORE_ROWS) + group;
    unsigned first_head = head_of(blockIdx.x, GROUPS * SCORE_ROWS, group, kv_heads);
    bf16x8 keys[SCORE_ROWS];
#pragma unroll
    for (int i = 0; i < SCORE_ROWS; i++) {
        int64_t pair = first + i * GROUPS;
        if (pair < pairs)
            keys[i] = load_packet(kv + pair * 2 * HEAD_DIM + 8 * chunk);
    }
#pragma unroll
    for (int i = 0; i < SCORE_ROWS; i++) {
        int64_t pair = first + i * GROUPS;
        float sum = 0;
        if (pair < pairs) {
            float key[8];
            unpack(keys[i], key);
            unsigned head = (first_head + i * GROUPS) % (unsigned)kv_heads;
            const float4 *m = (const float4 *)(mean + head * HEAD_DIM + 8 * chunk);
            float4 low = __ldg(m), high = __ldg(m + 1);
            sum = key[0] * low.x + key[1] * low.y + key[2] * low.z + key[3] * low.w +
                  key[4] * high.x + key[5] * high.y + key[6] * high.z + key[7] * high.w;
        }
#pragma unroll
        for (int distance = Chunks / 2; distance > 0; distance /= 2)
            sum += __shfl_xor_sync(0xffffffffu, sum, distance);
        if (chunk == 0 && pair < pairs)
            scores[pair] = sum;
    }
}

/* Any head_dim: a warp takes a key. */
__global__ void __launch_bounds__(256) score_each_kernel(float *scores, const float *mean,
                                                        const bf16 *kv, int64_t pairs,
                                                        int kv_heads, int head_dim)
{
    int64_t pair = (int64_t)blockIdx.x * 8 + threadIdx.x / 32;
    if (pair >= pairs)
        return;
    float sum = 0;
    for (int e = threadIdx.x % 32; e < head_dim; e += 32)
        sum += __bfloat162float(kv[pair * 2 * head_dim + e]) *
               mean[pair % kv_heads * head_dim + e];
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0)
        scores[pair] = sum;
}

extern "C" void cuda_score_query(device *d, float *scores, const void *q, int64_t query_rows,
                                 const void *kv, int64_t rows, int heads, int kv_heads,
                                 int head_dim)
{
    int64_t pairs = rows * kv_heads;
    if (pairs <= 0)
        return;
    cudaStream_t stream = cuda_of(d)->stream;
    float *mean = (float *)cuda_of(d)->scratch;
    mean_query_kernel<<<dim3(block_count(head_dim, 32), kv_heads), dim3(32, 32), 0, stream>>>(
        mean, (const bf16 *)q, query_rows, heads, heads / kv_heads, head_dim);
    cuda_launched("mean of the query");
    bool aligned = aligned_to(16, kv);
    if (aligned && head_dim == 64)
        score_kernel<8><<<block_count(pairs, 32 * SCORE_ROWS), 256, 0, stream>>>(
            scores, mean, (const bf16 *)kv, pairs, kv_heads);
    else if (aligned && head_dim == 128)
        score_kernel<16><<<block_count(pairs, 16 * SCORE_ROWS), 256, 0, stream>>>(
            scores, mean, (const bf16 *)kv, pairs, kv_heads);
    else
        score_each_kernel<<<block_count(pairs, 8), 256, 0, stream>>>(
            scores, mean, (const bf16 *)kv, pairs, kv_heads, head_dim);
    cuda_launched("score_query");
}

/* ---- Weighing by the norm of values ---- */

/* As score_kernel, but of the values: Chunks = head_dim / 8 threads take those of a row and head. All of
 * them have its sum at the end, so that each of SCORE_ROWS threads takes one logarithm. */
template <int Chunks>
__global__ void __launch_bounds__(256) norm_kernel(float *scores, const bf16 *kv, int64_t pairs)
{
    constexpr int HEAD_DIM = 8 * Chunks, GROUPS = 256 / Chunks;
    static_assert(SCORE_ROWS <= Chunks, "a thread takes one logarithm at most");
    int chunk = threadIdx.x % Chunks, group = threadIdx.x / Chunks;
    int64_t first = (int64_t)blockIdx.x * (GROUPS * SCORE_ROWS) + group;
    int64_t mine = first + chunk * GROUPS;
    bool writes = chunk < SCORE_ROWS && mine < pairs;
    float score = writes ? scores[mine] : 0, total = 0;
    bf16x8 values[SCORE_ROWS];
#pragma unroll
    for (int i = 0; i < SCORE_ROWS; i++) {
        int64_t pair = first + i * GROUPS;
        if (pair < pairs)
            values[i] = load_packet(kv + (2 * pair + 1) * HEAD_DIM + 8 * chunk);
    }
#pragma unroll
    for (int i = 0; i < SCORE_ROWS; i++) {
        float squares = 0;
        if (first + i * GROUPS < pairs) {
            float v[8];
            unpack(values[i], v);
#pragma unroll
            for (int e = 0; e < 8; e++)
                squares += v[e] * v[e];
        }
#pragma unroll
        for (int distance = Chunks / 2; distance > 0; distance /= 2)
            squares += __shfl_xor_sync(0xffffffffu, squares, distance);
        total = chunk == i ? squares : total;
    }
    if (writes)
        scores[mine] = score + 0.5f * logf(total);
}

/* Any head_dim: a warp takes the values of a row and head. */
__global__ void __launch_bounds__(256) norm_each_kernel(float *scores, const bf16 *kv,
                                                       int64_t pairs, int head_dim)
{
    int64_t pair = (int64_t)blockIdx.x * 8 + threadIdx.x / 32;
    if (pair >= pairs)
        return;
    float squares = 0;
    for (int e = threadIdx.x % 32; e < head_dim; e += 32) {
        float v = __bfloat162float(kv[(2 * pair + 1) * head_dim + e]);
        squares += v * v;
    }
    squares = warp_sum(squares);
    if (threadIdx.x % 32 == 0)
        scores[pair] += 0.5f * logf(squares);
}

extern "C" void cuda_weigh_by_norm(device *d, float *scores, const void *kv, int64_t rows,
                                   int kv_heads, int head_dim)
{
    int64_t pairs = rows * kv_heads;
    if (pairs <= 0)
        return;
    cudaStream_t stream = cuda_of(d)->stream;
    bool aligned = aligned_to(16, kv);
    if (aligned && head_dim == 64)
        norm_kernel<8><<<block_count(pairs, 32 * SCORE_ROWS), 256, 0, stream>>>(
            scores, (const bf16 *)kv, pairs);
    else if (aligned && head_dim == 128)
        norm_kernel<16><<<block_count(pairs, 16 * SCORE_ROWS), 256, 0, stream>>>(
            scores, (const bf16 *)kv, pairs);
    else
        norm_each_kernel<<<block_count(pairs, 8), 256, 0, stream>>>(scores, (const bf16 *)kv, pairs,
                                                                    head_dim);
    cuda_launched("weigh_by_norm");
}

/* ---- Pooling ---- */

__global__ void __launch_bounds__(256) max_pool5_kernel(float *out, const float *in, int64_t rows,
                                                       int kv_heads)
{
    int64_t at = (int64_t)blockIdx.x * 256 + threadIdx.x;
    int64_t count = rows * kv_heads;
    if (at >= count)
        return;
    int64_t begin = at - 2 * kv_heads, end = at + 2 * kv_heads;
    while (begin < 0)
        begin += kv_heads;
    float top = in[begin];
    for (int64_t i = begin + kv_heads; i <= end && i < count; i += kv_heads) {
        float x = in[i];
        top = x > top ? x : top;
    }
    out[at] = top;
}

extern "C" void cuda_max_pool5(device *d, float *out, const float *in, int64_t rows, int kv_heads)
{
    if (rows <= 0)
        return;
    max_pool5_kernel<<<block_count(rows * kv_heads, 256), 256, 0, cuda_of(d)->stream>>>(
        out, in, rows, kv_heads);
    cuda_launched("max_pool5");
}

/* ---- Gather ---- */

enum { GATHER_PAIRS = 4 }; /* (row, head) pairs that a thread takes a packet of */

/* `packets` of the key and value of a pair, at most 256. */
template <class Packet>
__global__ void __launch_bounds__(256) gather_kernel(Packet *slab, const Packet *kv,
                                                    const int32_t *index, int64_t pairs,
                                                    int kv_heads, int packets)
{
    int slots = 256 / packets, slot = threadIdx.x / packets, packet = threadIdx.x - slot * packets;
    if (slot >= slots)
        return;
    int64_t first = (int64_t)blockIdx.x * (slots * GATHER_PAIRS) + slot;
    unsigned first_head = head_of(blockIdx.x, slots * GATHER_PAIRS, slot, kv_heads);
    int64_t rows[GATHER_PAIRS];
    Packet values[GATHER_PAIRS];
#pragma unroll
    for (int i = 0; i < GATHER_PAIRS; i++)
        if (first + i * slots < pairs)
            rows[i] = index[first + i * slots];
#pragma unroll
    for (int i = 0; i < GATHER_PAIRS; i++)
        if (first + i * slots < pairs) {
            unsigned head = (first_head + i * slots) % (unsigned)kv_heads;
            values[i] = kv[(rows[i] * kv_heads + head) * packets + packet];
        }
#pragma unroll
    for (int i = 0; i < GATHER_PAIRS; i++)
        if (first + i * slots < pairs)
            slab[(first + i * slots) * packets + packet] = values[i];
}

/* Any head_dim and address: a block a pair. */
__global__ void __launch_bounds__(256) gather_each_kernel(bf16 *slab, const bf16 *kv,
                                                         const int32_t *index, int kv_heads,
                                                         int head_dim)
{
    int64_t pair = blockIdx.x, from = (int64_t)index[pair] * kv_heads + blockIdx.x % kv_heads;
    for (int e = threadIdx.x; e < 2 * head_dim; e += 256)
        slab[pair * 2 * head_dim + e] = kv[from * 2 * head_dim + e];
}

extern "C" void cuda_gather_kv(device *d, void *slab, const void *kv, const int32_t *index,
                               int64_t k, int kv_heads, int head_dim)
{
    int64_t pairs = k * kv_heads;
    if (pairs <= 0)
        return;
    cudaStream_t stream = cuda_of(d)->stream;
    int packets = head_dim / 4;
    if (head_dim % 4 == 0 && packets <= 256 && aligned_to(16, slab, kv))
        gather_kernel<<<block_count(pairs, 256 / packets * GATHER_PAIRS), 256, 0, stream>>>(
            (uint4 *)slab, (const uint4 *)kv, index, pairs, kv_heads, packets);
    else
        gather_each_kernel<<<(unsigned)pairs, 256, 0, stream>>>((bf16 *)slab, (const bf16 *)kv,
                                                               index, kv_heads, head_dim);
    cuda_launched("gather_kv");
}

/* ---- Argmax ---- */

enum { ARGMAX_THREADS = 512, ARGMAX_UNROLL = 8 };

/* Order of candidates: the key first, then the lower index. All NaN leaves index 0. */
__device__ __forceinline__ uint64_t candidate(uint32_t key, uint32_t index)
{
    return (uint64_t)key << 32 | (0xffffffffu - index);
}

__device__ __forceinline__ uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* The largest over the block, in thread 0. */
__device__ __forceinline__ uint64_t block_largest(uint64_t best)
{
    __shared__ uint64_t bests[ARGMAX_THREADS / 32];
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2)
        best = larger(best, __shfl_xor_sync(0xffffffffu, best, distance));
    if (threadIdx.x % 32 == 0)
        bests[threadIdx.x / 32] = best;
    __syncthreads();
    for (int i = 0; threadIdx.x == 0 && i < ARGMAX_THREADS / 32; i++)
        best = larger(best, bests[i]);
    return best;
}

/* Block (part, row) looks at elements begin..end - 1 of its row. With one part it writes ids. */
__global__ void __launch_bounds__(ARGMAX_THREADS) argmax_kernel(int32_t *ids, uint64_t *candidates,
                                                               const float *logits, int vocab,
                                                               int parts, int part_length)
{
    int64_t row = blockIdx.x / (unsigned)parts;
    int part = (int)(blockIdx.x - row * parts);
    int begin = part * part_length;
    int end = vocab - begin < part_length ? vocab : begin + part_length;
    const float *in = logits + row * vocab;
    uint32_t best_key = 0;
    int64_t best_index = begin + (int)threadIdx.x;
    for (int64_t first = best_index; first < end;
         first += ARGMAX_THREADS * ARGMAX_UNROLL) {
        float values[ARGMAX_UNROLL];
#pragma unroll
        for (int i = 0; i < ARGMAX_UNROLL; i++)
            if (first + i * ARGMAX_THREADS < end)
                values[i] = in[first + i * ARGMAX_THREADS];
#pragma unroll
        for (int i = 0; i < ARGMAX_UNROLL; i++)
            if (first + i * ARGMAX_THREADS < end && order_key(values[i]) > best_key) {
                best_key = order_key(values[i]);
                best_index = first + i * ARGMAX_THREADS;
            }
    }
    bool any = begin + (int)threadIdx.x < end;
    uint64_t best = block_largest(any ? candidate(best_key, (uint32_t)best_index) : 0);
    if (threadIdx.x == 0) {
        if (parts == 1)
            ids[row] = (int32_t)(0xffffffffu - (uint32_t)best);
        else
            candidates[blockIdx.x] = best;
    }
}

__global__ void __launch_bounds__(ARGMAX_THREADS) argmax_parts_kernel(int32_t *ids,
                                                                     const uint64_t *candidates,
                                                                     int parts)
{
    int64_t row = blockIdx.x;
    uint64_t best = 0;
    for (int i = threadIdx.x; i < parts; i += ARGMAX_THREADS)
        best = larger(best, candidates[row * parts + i]);
    best = block_largest(best);
    if (threadIdx.x == 0)
        ids[row] = (int32_t)(0xffffffffu - (uint32_t)best);
}

extern "C" void cuda_argmax(device *d, int32_t *ids, const float *logits, int64_t rows, int vocab)
{
    if (rows <= 0)
        return;
    cuda_state *state = cuda_of(d);
    /* Few rows are cut into parts, so that all multiprocessors read. */
    int most = (vocab + 4 * ARGMAX_THREADS - 1) / (4 * ARGMAX_THREADS);
    int parts = (int)(2 * state->multiprocessors / rows);
    parts = parts < 1 ? 1 : parts > most ? most : parts;
    int part_length = (vocab + parts - 1) / parts;
    uint64_t *candidates = (uint64_t *)state->scratch;
    argmax_kernel<<<(unsigned)(rows * parts), ARGMAX_THREADS, 0, state->stream>>>(
        ids, candidates, logits, vocab, parts, part_length);
    cuda_launched("argmax");
    if (parts > 1) {
        argmax_parts_kernel<<<(unsigned)rows, ARGMAX_THREADS, 0, state->stream>>>(ids, candidates,
                                                                                 parts);
        cuda_launched("argmax of parts");
    }
}
