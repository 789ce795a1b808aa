/* Small functions that several kernels share: 16-byte packets of bf16, warp sums, and how rows are
 * laid out over blocks of threads. */
#ifndef KERNELS_CUDA_MATH_CUH
#define KERNELS_CUDA_MATH_CUH
#include <cuda_bf16.h>
#include <stdint.h>

typedef __nv_bfloat16 bf16;

/* Eight bf16 values: the widest access a thread can make. */
struct __align__(16) bf16x8 {
    __nv_bfloat162 pair[4];
};

__device__ __forceinline__ void unpack(const bf16x8 &packet, float (&x)[8])
{
#pragma unroll
    for (int i = 0; i < 4; i++) {
        float2 two = __bfloat1622float2(packet.pair[i]);
        x[2 * i] = two.x;
        x[2 * i + 1] = two.y;
    }
}

__device__ __forceinline__ bf16x8 pack(const float (&x)[8])
{
    bf16x8 packet;
#pragma unroll
    for (int i = 0; i < 4; i++)
        packet.pair[i] = __floats2bfloat162_rn(x[2 * i], x[2 * i + 1]);
    return packet;
}

/* One 16-byte load or store, whatever the compiler thinks of the struct. */
__device__ __forceinline__ bf16x8 load_packet(const bf16 *from)
{
    uint4 words = *(const uint4 *)from;
    return *(const bf16x8 *)&words;
}

__device__ __forceinline__ void store_packet(bf16 *to, const bf16x8 &packet)
{
    uint4 words = *(const uint4 *)&packet; /* in assembly, since the compiler split it in four once */
    asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(to), "r"(words.x), "r"(words.y),
                 "r"(words.z), "r"(words.w)
                 : "memory");
}

/* Four float32 values rounded into one 8-byte store: where float32 comes in and bf16 goes out, each
 * side of it is coalesced. */
__device__ __forceinline__ void store_four(bf16 *to, float4 x)
{
    __nv_bfloat162 low = __floats2bfloat162_rn(x.x, x.y), high = __floats2bfloat162_rn(x.z, x.w);
    uint2 words = {*(const uint32_t *)&low, *(const uint32_t *)&high};
    *(uint2 *)to = words;
}

__device__ __forceinline__ float4 load_four(const bf16 *from)
{
    uint2 words = *(const uint2 *)from;
    float2 low = __bfloat1622float2(*(const __nv_bfloat162 *)&words.x);
    float2 high = __bfloat1622float2(*(const __nv_bfloat162 *)&words.y);
    return {low.x, low.y, high.x, high.y};
}

__device__ __forceinline__ float warp_sum(float x)
{
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2)
        x += __shfl_xor_sync(0xffffffffu, x, distance);
    return x;
}

__device__ __forceinline__ float warp_max(float x)
{
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2)
        x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, distance));
    return x;
}

/* A key that orders like the score as an unsigned integer: NaN lowest, below -inf; -0 equals 0. */
__device__ __forceinline__ uint32_t order_key(float score)
{
    if (isnan(score))
        return 0;
    uint32_t bits = __float_as_uint(score + 0.0f); /* -0 becomes 0 */
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

/* ---- How work is laid out over blocks (host side) ---- */

/* Blocks that `items` need at `per_block` each. A grid may have 2^31 - 1 of them in x. */
static inline unsigned block_count(int64_t items, int64_t per_block)
{
    return (unsigned)((items + per_block - 1) / per_block);
}

static inline bool aligned_to(uintptr_t alignment, const void *a, const void *b = nullptr,
                              const void *c = nullptr)
{
    return (((uintptr_t)a | (uintptr_t)b | (uintptr_t)c) & (alignment - 1)) == 0;
}

enum { TILE_THREADS = 256, TILE_UNROLL = 4 };

/* Rows of `packets` packets over blocks of TILE_THREADS threads: 2^log2_lanes threads lie along a
 * row, the others on the rows below, and each thread takes TILE_UNROLL packets, a lane count apart,
 * so that it has as many loads in flight. A long row is cut into `chunks` blocks. */
struct row_tiling {
    int log2_lanes;
    int64_t packets, chunks;
    unsigned blocks;
};

static inline row_tiling tile_rows(int64_t rows, int64_t packets)
{
    row_tiling tiling = {0, packets, 0, 0};
    while (tiling.log2_lanes < 8 && ((int64_t)TILE_UNROLL << tiling.log2_lanes) < packets)
        tiling.log2_lanes++;
    int64_t span = (int64_t)TILE_UNROLL << tiling.log2_lanes;
    tiling.chunks = (packets + span - 1) / span;
    int64_t rows_per_block = TILE_THREADS >> tiling.log2_lanes;
    tiling.blocks = (unsigned)((rows + rows_per_block - 1) / rows_per_block * tiling.chunks);
    return tiling;
}

/* The row of this thread, its first packet, and the step to its next. */
struct packet_place {
    int64_t row, packet;
    int step;
};

__device__ __forceinline__ packet_place place_in_rows(const row_tiling &tiling)
{
    unsigned chunks = (unsigned)tiling.chunks;
    unsigned group = chunks == 1 ? blockIdx.x : blockIdx.x / chunks;
    unsigned chunk = blockIdx.x - group * chunks;
    int lanes = 1 << tiling.log2_lanes;
    packet_place place;
    place.row = (int64_t)group * (TILE_THREADS >> tiling.log2_lanes) +
                (threadIdx.x >> tiling.log2_lanes);
    place.packet = (int64_t)chunk * (TILE_UNROLL * lanes) + (threadIdx.x & (lanes - 1));
    place.step = lanes;
    return place;
}
#endif
