/* Features and labels in float32 from what a run left. See observe.h. */
#include <stdlib.h>
#include <string.h>

#include "harness/error.h"
#include "harness/heads/learn.h"
#include "harness/heads/observe/observe.h"

/* `count` activations as float32: in place, or from bfloat16 (device.h knows no other) into a buffer. */
static const float *widened(const observation *seen, const void *from, int64_t count, float **buffer,
                            size_t *room)
{
    if (seen->act_bytes == sizeof **buffer)
        return from;
    if ((size_t)count > *room) {
        free(*buffer);
        *buffer = alloc_or_die((size_t)count, sizeof **buffer);
        *room = (size_t)count;
    }
    const uint16_t *restrict narrow = from;
    float *restrict wide = *buffer;
    for (int64_t i = 0; i < count; i++) {
        uint32_t bits = (uint32_t)narrow[i] << 16;
        memcpy(wide + i, &bits, sizeof bits);
    }
    return wide;
}

void observation_show(const observation *seen, int layer, shown_buffers *b, shown_layer *shown)
{
    const model_shape *s = &seen->shape;
    int64_t features = seen->positions * (s->heads + 2 * s->kv_heads) * s->head_dim;
    int64_t q = seen->label_rows * s->heads * s->head_dim;
    int64_t kv = seen->positions * s->kv_heads * 2 * s->head_dim;
    int64_t labels = seen->positions * s->kv_heads;
    if ((size_t)labels > b->room[3]) {
        free(b->labels);
        b->labels = alloc_or_die((size_t)labels, sizeof(float));
        b->room[3] = (size_t)labels;
    }
    const float *queries = widened(seen, seen->q + (size_t)(layer * q) * seen->act_bytes, q, &b->q,
                                   &b->room[0]);
    const float *keys = widened(seen, seen->kv + (size_t)(layer * kv) * seen->act_bytes, kv, &b->kv,
                                &b->room[1]);
    labels_from_attention(queries, seen->label_rows, keys, seen->positions, s->heads, s->kv_heads,
                          s->head_dim, b->labels);
    *shown = (shown_layer){
        .layer = layer,
        .positions = seen->positions,
        .features = widened(seen, seen->features + (size_t)(layer * features) * seen->act_bytes,
                            features, &b->features, &b->room[2]),
        .labels = b->labels,
        .whole = seen,
        .passed = seen->notes_passing ? seen->passed + layer * labels : NULL,
    };
}

void shown_buffers_free(shown_buffers *b)
{
    free(b->features);
    free(b->labels);
    free(b->q);
    free(b->kv);
    *b = (shown_buffers){0};
}
