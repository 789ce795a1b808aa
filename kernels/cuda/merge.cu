/* Exact merge of partial attention: out = sum of e^(lse_p - top) out_p / sum of e^(lse_p - top), the
 * weights in float32. A part with lse -inf saw no key: it is not read, whatever it holds. */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/math.cuh"

/* Elements that a thread takes of one (row, head): a 16-byte packet, or 1 where that does not fit. */
template <int Width>
__global__ void __launch_bounds__(256) merge_kernel(bf16 *out, const bf16 *out_parts,
                                                   const float *lse, int parts, int64_t pairs,
                                                   int head_dim)
{
    int chunks = head_dim / Width;
    int64_t item = (int64_t)blockIdx.x * 256 + threadIdx.x;
    int64_t pair = item / chunks;
    if (pair >= pairs)
        return;
    int64_t at = pair * head_dim + (item - pair * chunks) * Width;
    float top = -INFINITY;
    for (int p = 0; p < parts; p++) {
        float x = lse[p * pairs + pair];
        top = x > top ? x : top;
    }
    float total = 0, sum[Width];
#pragma unroll
    for (int e = 0; e < Width; e++)
        sum[e] = 0;
#pragma unroll 4
    for (int p = 0; p < parts; p++) {
        float x = lse[p * pairs + pair];
        if (x == -INFINITY)
            continue;
        float weight = expf(x - top);
        total += weight;
        const bf16 *part = out_parts + p * pairs * head_dim + at;
        if constexpr (Width == 8) {
            float values[8];
            unpack(load_packet(part), values);
#pragma unroll
            for (int e = 0; e < 8; e++)
                sum[e] = fmaf(weight, values[e], sum[e]);
        } else {
            sum[0] = fmaf(weight, __bfloat162float(*part), sum[0]);
        }
    }
    float scale = total == 0 ? 0 : 1 / total;
#pragma unroll
    for (int e = 0; e < Width; e++)
        sum[e] *= scale;
    if constexpr (Width == 8)
        store_packet(out + at, pack(sum));
    else
        out[at] = __float2bfloat16_rn(sum[0]);
}

extern "C" void cuda_merge(device *d, void *out, const void *out_parts, const float *lse, int parts,
                           int64_t rows, int heads, int head_dim)
{
    int64_t pairs = rows * heads;
    if (pairs <= 0)
        return;
    cudaStream_t stream = cuda_of(d)->stream;
    if (head_dim % 8 == 0 && aligned_to(16, out, out_parts))
        merge_kernel<8><<<block_count(pairs * (head_dim / 8), 256), 256, 0, stream>>>(
            (bf16 *)out, (const bf16 *)out_parts, lse, parts, pairs, head_dim);
    else
        merge_kernel<1><<<block_count(pairs * head_dim, 256), 256, 0, stream>>>(
            (bf16 *)out, (const bf16 *)out_parts, lse, parts, pairs, head_dim);
    cuda_launched("merge");
}
