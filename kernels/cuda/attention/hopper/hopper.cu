/* The shapes of the Hopper kernel that are compiled. */
#include "kernels/cuda/attention/hopper/attend.cuh"

#define SHAPE(...)                                                                                 \
    {                                                                                              \
        hopper<__VA_ARGS__>::HeadDim, hopper<__VA_ARGS__>::Packed, hopper<__VA_ARGS__>::Rows,      \
            hopper<__VA_ARGS__>::Keys, hopper<__VA_ARGS__>::Threads,                               \
            hopper<__VA_ARGS__>::SharedBytes,                                                      \
            (const void *)attend_hopper<hopper<__VA_ARGS__>>                                       \
    }

/* head_dim, consumers, keys, packed. Measured on an H100 against cuDNN 9.19 in turn, causal, 32/8 heads of 128
 * at 8K, 16K, 32K, 64K, 128K: 160 keys 1.13 1.17 1.10 1.09 1.13 of it, 128 keys 1.15 1.17 1.09 1.07
 * 1.12; consumers that take turns by barriers, as FlashAttention-3's do, 1.13 1.15 1.07 1.06 1.11
 * with 128 keys and no difference with 160. For head_dim 64 three consumers have 1.10-1.17, two 0.97. */
static const hopper_shape shapes[] = {SHAPE(128, 2, 160, false), SHAPE(64, 3, 128, false),
                                      SHAPE(128, 2, 160, true), SHAPE(64, 3, 128, true)};

extern "C" const hopper_shape *hopper_shape_for(int head_dim, int packed)
{
    for (const hopper_shape &shape : shapes)
        if (shape.head_dim == head_dim && shape.packed == packed)
            return &shape;
    return nullptr;
}
