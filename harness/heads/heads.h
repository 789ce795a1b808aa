/* Retaining heads in host memory: small networks, one a layer, that tell from a token's queries, keys
 * and values how much later tokens will look at it (Locret, arXiv 2410.01805; APB's compressor):
 *
 *     s [kv_heads] = fc2 (SiLU (fc1 [q; k; v])),   q, k, v before RoPE, no biases.
 *
 * Here they are made, read, written in the published layout and computed in float32; methods run them
 * on a device (methods/compressor.c). A layer's parameters lie together, fc1 and then fc2, so that
 * gradients and the optimiser see one run of numbers. */
#ifndef HARNESS_HEADS_H
#define HARNESS_HEADS_H
#include <stdint.h>

#include "kernels/shape.h"

typedef struct {
    int layers;
    int inputs; /* (heads + 2 kv_heads) head_dim */
    int width;  /* hidden */
    int kv_heads;
    float *values; /* [layers][fc1 [width, inputs], fc2 [kv_heads, width]] */
} retaining_heads;

/* Zeroed heads for the first `layers` layers of a model. */
void heads_make(retaining_heads *, const model_shape *, int layers, int width);
/* Normal numbers of deviation 0.02, as Hugging Face initialises linear layers. */
void heads_fill(retaining_heads *, uint64_t seed);
void heads_free(retaining_heads *);

int64_t heads_layer_size(const retaining_heads *); /* parameters of a layer */
float *heads_layer(const retaining_heads *, int layer);
float *heads_fc2(const retaining_heads *, int layer);

/* Tensors model.layers.{i}.self_attn.fc1.weight and fc2.weight of a safetensors file, whose first
 * tensor tells the width; the file must have the first `layers` layers. -1 with a sentence. */
int heads_load(retaining_heads *, const model_shape *, int layers, const char *path);
/* Writes them as bfloat16 (to nearest, ties to even), as the published ones are. The file appears
 * whole, by rename. -1 with a sentence. */
int heads_save(const retaining_heads *, const char *path);

/* Rounds every value to what the file would hold. */
void heads_round(retaining_heads *);

/* What forward leaves for the gradient: fc1's outputs before and after SiLU and their quotient,
 * [rows, width]. Each thread that computes has its own. */
typedef struct {
    float *before, *gate, *after, *scratch;
    int64_t rows; /* for which there is room */
} heads_work;
void heads_work_free(heads_work *);

/* scores [rows, kv_heads] of features [rows, inputs], whose rows are `stride` floats apart; grows the work
 * as needed. */
void heads_forward(const retaining_heads *, int layer, const float *features, int64_t stride,
                   int64_t rows, heads_work *, float *scores);
/* gradient (one layer's parameters, overwritten) from that of the scores, after heads_forward on the
 * same features. */
void heads_backward(const retaining_heads *, int layer, const float *features, int64_t stride,
                    int64_t rows, heads_work *, const float *score_gradient, float *gradient);
#endif
