/* The shapes of the sm_80 attention kernel that are compiled, and that attention.cu chooses from. */
#include "kernels/cuda/attention/attend.cuh"
#include "kernels/cuda/attention/sm80.h"

#define SHAPE(name, ...)                                                                           \
    {                                                                                              \
        name, shape<__VA_ARGS__>::HeadDim, shape<__VA_ARGS__>::Packed, shape<__VA_ARGS__>::Rows,   \
            shape<__VA_ARGS__>::Keys, shape<__VA_ARGS__>::Threads,                                 \
            shape<__VA_ARGS__>::SharedBytes, shape<__VA_ARGS__>::Blocks,                           \
            (const void *)attend<shape<__VA_ARGS__>>                                               \
    }

/*                          head_dim row tiles warps keys hold q ahead packed blocks */
extern "C" const attention_shape attention_shapes[] = {
    SHAPE("128: 2x4 warps, 64", 128, 2, 4, 64, false, false, false, 2),
    SHAPE("128: 2x8 warps, 64", 128, 2, 8, 64, false, false, false, 1),
    SHAPE("128: 1x4 warps, 64, held", 128, 1, 4, 64, true, false, false, 3),
    SHAPE("128: 1x8 warps, 64, held", 128, 1, 8, 64, true, false, false, 1),
    SHAPE("128: 2x4 warps, 32, ahead", 128, 2, 4, 32, false, true, false, 2),
    SHAPE("128: 1x4 warps, 64, held, ahead", 128, 1, 4, 64, true, true, false, 2),
    SHAPE("128: 1x4 warps, 32, held, ahead", 128, 1, 4, 32, false, true, false, 3),
    SHAPE("128: 2x4 warps, 32", 128, 2, 4, 32, false, false, false, 2),
    SHAPE("128: 2x8 warps, 32, ahead", 128, 2, 8, 32, false, true, false, 1),
    SHAPE("64: 2x4 warps, 64", 64, 2, 4, 64, false, false, false, 2),
    SHAPE("64: 2x4 warps, 128", 64, 2, 4, 128, false, false, false, 2),
    SHAPE("64: 2x4 warps, 64, held, ahead", 64, 2, 4, 64, true, true, false, 2),
    SHAPE("64: 2x4 warps, 64, ahead", 64, 2, 4, 64, false, true, false, 2),
    SHAPE("64: 1x4 warps, 64, held", 64, 1, 4, 64, true, false, false, 4),
    SHAPE("128: packed", 128, 1, 4, 64, true, false, true, 3),
    SHAPE("64: packed", 64, 1, 4, 64, true, false, true, 4),
};
extern "C" const int attention_shape_count = sizeof attention_shapes / sizeof attention_shapes[0];
