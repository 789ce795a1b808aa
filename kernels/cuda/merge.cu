/* Exact merge of partial attention: out = sum of e^(lse_p - top) out_p / sum of e^(lse_p - top), the
 * weights in float32. A part with lse -inf saw no key: it is not read, whatever it holds. */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/math.cuh"

enum { MERGE_THREADS = 256, MERGE_PARTS = 4 }; /* parts that a thread has in flight */

/* A thread takes a 16-byte packet of a (row, head). */
__global__ void __launch_bounds__(MERGE_THREADS) merge_kernel(bf16 *out, const bf16 *out_parts,
                                                             const float *lse, int parts,
                                                             int64_t pairs, int head_dim)
{
    int chunks = head_dim / 8, slot = threadIdx.x / chunks, chunk = threadIdx.x - slot * chunks;
    int block_pairs = MERGE_THREADS / chunks;
    int64_t pair = (int64_t)blockIdx.x * block_pairs + slot;
    if (slot >= block_pairs || pair >= pairs)
        return;
    int64_t at = pair * head_dim + chunk * 8, size = pairs * head_dim;
    float top = -INFINITY, total = 0, sum[8] = {};
#pragma unroll 4
    for (int p = 0; p < parts; p++) {
        float x = lse[p * pairs + pair];
        top = x > top ? x : top;
    }
    for (int first = 0; first < parts; first += MERGE_PARTS) {
        bf16x8 packets[MERGE_PARTS];
        float weights[MERGE_PARTS];
#pragma unroll
        for (int i = 0; i < MERGE_PARTS; i++) {
            int p = first + i;
            float x = p < parts ? lse[p * pairs + pair] : -INFINITY;
            weights[i] = x == -INFINITY ? 0 : expf(x - top);
            if (x != -INFINITY)
                packets[i] = load_packet(out_parts + p * size + at);
            else
                packets[i] = bf16x8{};
        }
#pragma unroll
        for (int i = 0; i < MERGE_PARTS; i++) {
            float values[8];
            unpack(packets[i], values);
            total += weights[i];
#pragma unroll
            for (int e = 0; e < 8; e++)
                sum[e] = fmaf(weights[i], values[e], sum[e]);
        }
    }
    float scale = total == 0 ? 0 : 1 / total;
#pragma unroll
    for (int e = 0; e < 8; e++)
        sum[e] *= scale;
    store_packet(out + at, pack(sum));
}

/* Where packets do not fit: an element a thread. */
__global__ void __launch_bounds__(MERGE_THREADS) merge_each_kernel(bf16 *out, const bf16 *out_parts,
                                                                  const float *lse, int parts,
                                                                  int64_t pairs, int head_dim)
{
    int64_t at = (int64_t)blockIdx.x * MERGE_THREADS + threadIdx.x, pair = at / head_dim;
    if (pair >= pairs)
        return;
    float top = -INFINITY, total = 0, sum = 0;
    for (int p = 0; p < parts; p++) {
        float x = lse[p * pairs + pair];
        top = x > top ? x : top;
    }
    for (int p = 0; p < parts; p++) {
        float x = lse[p * pairs + pair];
        if (x == -INFINITY)
            continue;
        float weight = expf(x - top);
        total += weight;
        sum = fmaf(weight, __bfloat162float(out_parts[p * pairs * head_dim + at]), sum);
    }
    out[at] = __float2bfloat16_rn(total == 0 ? 0 : sum / total);
}

extern "C" void cuda_merge(device *d, void *out, const void *out_parts, const float *lse, int parts,
                           int64_t rows, int heads, int head_dim)
{
    int64_t pairs = rows * heads;
    if (pairs <= 0)
        return;
    cudaStream_t stream = cuda_of(d)->stream;
    int chunks = head_dim / 8;
    if (head_dim % 8 == 0 && chunks <= MERGE_THREADS && aligned_to(16, out, out_parts))
        merge_kernel<<<block_count(pairs, MERGE_THREADS / chunks), MERGE_THREADS, 0, stream>>>(
            (bf16 *)out, (const bf16 *)out_parts, lse, parts, pairs, head_dim);
    else
        merge_each_kernel<<<block_count(pairs * head_dim, MERGE_THREADS), MERGE_THREADS, 0,
                            stream>>>((bf16 *)out, (const bf16 *)out_parts, lse, parts, pairs,
                                      head_dim);
    cuda_launched("merge");
}
