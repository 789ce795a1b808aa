/* Filling memory of the cuda device: weights from a file's bytes, seeded random values, rounding of
 * float32 results, and strided copies. The bytes of weights go through the operations' scratch in
 * pieces and are converted there, so a model needs no second copy of itself on the device. */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/math.cuh"

#include "kernels/hash.h"

#include <cuda_fp16.h>

enum { THREADS = 256, UNROLL = 4 };

/* ---- Conversion ---- */

__device__ __forceinline__ float widen(float x) { return x; }
__device__ __forceinline__ float widen(__half x) { return __half2float(x); }
__device__ __forceinline__ float widen(bf16 x) { return __bfloat162float(x); }
__device__ __forceinline__ void narrow(float *to, float x) { *to = x; }
__device__ __forceinline__ void narrow(bf16 *to, float x) { *to = __float2bfloat16_rn(x); }

__device__ __forceinline__ float4 load_four(const float *from) { return *(const float4 *)from; }
__device__ __forceinline__ float4 load_four(const __half *from)
{
    uint2 words = *(const uint2 *)from;
    float2 low = __half22float2(*(const __half2 *)&words.x);
    float2 high = __half22float2(*(const __half2 *)&words.y);
    return {low.x, low.y, high.x, high.y};
}
__device__ __forceinline__ void store_four(float *to, float4 x) { *(float4 *)to = x; }

/* Four elements at a time, UNROLL of them in flight; the last block also takes what is left. */
template <class To, class From>
__global__ void __launch_bounds__(THREADS) convert_kernel(To *to, const From *from, int64_t count)
{
    int64_t quads = count / 4;
    int64_t first = (int64_t)blockIdx.x * (THREADS * UNROLL) + threadIdx.x;
    float4 x[UNROLL];
#pragma unroll
    for (int i = 0; i < UNROLL; i++)
        if (first + i * THREADS < quads)
            x[i] = load_four(from + 4 * (first + i * THREADS));
#pragma unroll
    for (int i = 0; i < UNROLL; i++)
        if (first + i * THREADS < quads)
            store_four(to + 4 * (first + i * THREADS), x[i]);
    if (blockIdx.x == gridDim.x - 1 && threadIdx.x < count - 4 * quads)
        narrow(to + 4 * quads + threadIdx.x, widen(from[4 * quads + threadIdx.x]));
}

/* For memory that is not aligned to four elements. */
template <class To, class From>
__global__ void __launch_bounds__(THREADS) convert_each_kernel(To *to, const From *from,
                                                              int64_t count)
{
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (i < count)
        narrow(to + i, widen(from[i]));
}

template <class To, class From>
static void convert(device *d, To *to, const From *from, int64_t count)
{
    if (count <= 0)
        return;
    cudaStream_t stream = cuda_of(d)->stream;
    if (aligned_to(4 * sizeof(To), to) && aligned_to(4 * sizeof(From), from))
        convert_kernel<<<block_count(count, 4 * THREADS * UNROLL), THREADS, 0, stream>>>(to, from,
                                                                                      count);
    else
        convert_each_kernel<<<block_count(count, THREADS), THREADS, 0, stream>>>(to, from, count);
    cuda_launched("convert");
}

template <class To>
static void convert_from(device *d, To *to, const void *from, dtype type, int64_t count)
{
    switch (type) {
    case DTYPE_F32:
        convert(d, to, (const float *)from, count);
        break;
    case DTYPE_F16:
        convert(d, to, (const __half *)from, count);
        break;
    case DTYPE_BF16:
        convert(d, to, (const bf16 *)from, count);
        break;
    }
}

extern "C" void cuda_upload_weights(device *d, void *to, bool to_f32, const void *from, dtype type,
                                    int64_t count)
{
    cuda_state *state = cuda_of(d);
    int64_t bytes = type == DTYPE_F32 ? 4 : 2;
    if (type == (to_f32 ? DTYPE_F32 : DTYPE_BF16)) {
        cuda_must(cudaMemcpyAsync(to, from, (size_t)(count * bytes), cudaMemcpyHostToDevice,
                                  state->stream),
                  "uploading weights");
        return;
    }
    int64_t piece = (int64_t)CUDA_SCRATCH / bytes;
    for (int64_t at = 0; at < count; at += piece) {
        int64_t length = count - at < piece ? count - at : piece;
        cuda_must(cudaMemcpyAsync(state->scratch, (const char *)from + at * bytes,
                                  (size_t)(length * bytes), cudaMemcpyHostToDevice, state->stream),
                  "uploading weights");
        if (to_f32)
            convert_from(d, (float *)to + at, state->scratch, type, length);
        else
            convert_from(d, (bf16 *)to + at, state->scratch, type, length);
    }
}

extern "C" void cuda_from_f32(device *d, void *out, const float *in, int64_t count)
{
    convert(d, (bf16 *)out, in, count);
}

/* ---- Random values ---- */

template <class To>
__global__ void __launch_bounds__(THREADS) random_kernel(To *to, int64_t count, uint64_t seed,
                                                        float bound, bool aligned)
{
    int64_t first = 4 * ((int64_t)blockIdx.x * THREADS + threadIdx.x);
    if (aligned && first + 4 <= count) {
        float4 x = {hash_uniform(seed, (uint64_t)first, bound),
                    hash_uniform(seed, (uint64_t)first + 1, bound),
                    hash_uniform(seed, (uint64_t)first + 2, bound),
                    hash_uniform(seed, (uint64_t)first + 3, bound)};
        store_four(to + first, x);
        return;
    }
    for (int64_t i = first; i < first + 4 && i < count; i++)
        narrow(to + i, hash_uniform(seed, (uint64_t)i, bound));
}

template <class To>
static void fill_random(device *d, To *to, int64_t count, uint64_t seed, float bound)
{
    if (count <= 0)
        return;
    random_kernel<<<block_count(count, 4 * THREADS), THREADS, 0, cuda_of(d)->stream>>>(
        to, count, seed, bound, aligned_to(4 * sizeof(To), to));
    cuda_launched("random");
}

extern "C" void cuda_random(device *d, void *to, bool to_f32, int64_t count, uint64_t seed,
                            float bound)
{
    if (to_f32)
        fill_random(d, (float *)to, count, seed, bound);
    else
        fill_random(d, (bf16 *)to, count, seed, bound);
}

/* ---- Strided copies ---- */

template <class Packet>
__global__ void __launch_bounds__(TILE_THREADS) copy_rows_kernel(char *to, int64_t to_stride,
                                                                const char *from,
                                                                int64_t from_stride, int64_t rows,
                                                                row_tiling tiling)
{
    packet_place place = place_in_rows(tiling);
    if (place.row >= rows)
        return;
    const Packet *in = (const Packet *)(from + place.row * from_stride);
    Packet *out = (Packet *)(to + place.row * to_stride);
    Packet x[TILE_UNROLL];
#pragma unroll
    for (int i = 0; i < TILE_UNROLL; i++)
        if (place.packet + i * place.step < tiling.packets)
            x[i] = in[place.packet + i * place.step];
#pragma unroll
    for (int i = 0; i < TILE_UNROLL; i++)
        if (place.packet + i * place.step < tiling.packets)
            out[place.packet + i * place.step] = x[i];
}

template <class Packet>
static void copy_packets(device *d, void *to, size_t to_stride, const void *from,
                         size_t from_stride, size_t row_bytes, int64_t rows)
{
    row_tiling tiling = tile_rows(rows, (int64_t)(row_bytes / sizeof(Packet)));
    copy_rows_kernel<Packet><<<tiling.blocks, TILE_THREADS, 0, cuda_of(d)->stream>>>(
        (char *)to, (int64_t)to_stride, (const char *)from, (int64_t)from_stride, rows, tiling);
    cuda_launched("copy_rows");
}

extern "C" void cuda_copy_rows(device *d, void *to, size_t to_stride, const void *from,
                               size_t from_stride, size_t row_bytes, int64_t rows)
{
    if (rows <= 0 || row_bytes == 0)
        return;
    if (rows == 1 || (to_stride == row_bytes && from_stride == row_bytes)) {
        d->copy(d, to, from, row_bytes * (size_t)rows);
        return;
    }
    uintptr_t all = (uintptr_t)to | (uintptr_t)from | to_stride | from_stride | row_bytes;
    if (all % 16 == 0)
        copy_packets<uint4>(d, to, to_stride, from, from_stride, row_bytes, rows);
    else if (all % 4 == 0)
        copy_packets<uint32_t>(d, to, to_stride, from, from_stride, row_bytes, rows);
    else
        copy_packets<char>(d, to, to_stride, from, from_stride, row_bytes, rows);
}
