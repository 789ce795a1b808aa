/* Small device functions that several kernels share: 16-byte packets of bf16, warp sums. */
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
#endif
