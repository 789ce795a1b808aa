/* The shapes of the sm_80 attention kernel that are compiled, and that attention.c chooses from. */
#include "kernels/cuda/attention/attend.cuh"
#include "kernels/cuda/attention/sm80.h"

#define SHAPE(...)                                                                                 \
    {                                                                                              \
        shape<__VA_ARGS__>::HeadDim, shape<__VA_ARGS__>::Packed, shape<__VA_ARGS__>::Rows,   \
            shape<__VA_ARGS__>::Keys, shape<__VA_ARGS__>::Threads,                                 \
            shape<__VA_ARGS__>::SharedBytes, shape<__VA_ARGS__>::Blocks,                           \
            (const void *)attend<shape<__VA_ARGS__>>                                               \
    }

/* Measured on an H100 at 8K-128K causal rows, against other shapes with 16 or 32 rows a warp, 32, 64
 * or 128 keys, 4 or 8 warps, and with the next tile's scores computed beside this one's softmax: 32
 * rows a warp (each K and V fragment serves two products) and 2 blocks of 4 warps are best, 361 and
 * 323 TFLOP/s at 32K for head_dim 128 and 64; the runners-up had 345 and 311. */
/*                head_dim, row tiles, warps, keys, hold q, packed, blocks */
extern "C" const attention_shape attention_shapes[] = {
    SHAPE(128, 2, 4, 64, false, false, 2),
    SHAPE(64, 2, 4, 128, false, false, 2),
    SHAPE(128, 1, 4, 64, true, true, 3),
    SHAPE(64, 1, 4, 64, true, true, 4),
};
extern "C" const int attention_shape_count = sizeof attention_shapes / sizeof attention_shapes[0];
