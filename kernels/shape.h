/* The sizes of a transformer, all that attention methods and device operations need to know of a
 * model. */
#ifndef KERNELS_SHAPE_H
#define KERNELS_SHAPE_H

typedef struct {
    int layers;
    int hidden;   /* d_model */
    int heads;    /* query heads */
    int kv_heads; /* heads % kv_heads == 0 */
    int head_dim; /* even; a device may serve some sizes alone (device.h) */
    int ffn;      /* width of gate and of up */
    int vocab;
} model_shape;
#endif
