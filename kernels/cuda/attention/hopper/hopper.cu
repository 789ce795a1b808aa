/* The shapes of the Hopper kernel that are compiled. */
#include "kernels/cuda/attention/hopper/attend.cuh"

#define SHAPE(...)                                                                                 \
    {                                                                                              \
        hopper<__VA_ARGS__>::HeadDim, hopper<__VA_ARGS__>::Rows, hopper<__VA_ARGS__>::Keys,        \
            hopper<__VA_ARGS__>::Threads, hopper<__VA_ARGS__>::SharedBytes,                        \
            (const void *)attend_hopper<hopper<__VA_ARGS__>>                                       \
    }

/* head_dim, consumers */
static const hopper_shape shapes[] = {SHAPE(128, 2), SHAPE(64, 3)};

extern "C" const hopper_shape *hopper_shape_for(int head_dim)
{
    for (const hopper_shape &shape : shapes)
        if (shape.head_dim == head_dim)
            return &shape;
    return nullptr;
}
