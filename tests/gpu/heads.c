/* What retaining heads are shown on the cuda device against the cpu device: features and labels of a
 * prompt through a model of random weights, the same values before rounding on both. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "harness/error.h"
#include "harness/heads/observe/observe.h"
#include "kernels/hash.h"
#include "tests/gpu/support/pair.h"

enum { MOST = 8 };

typedef struct {
    float *features[MOST], *labels[MOST];
    int64_t feature_count, label_count;
    int layers;
} kept;

static kept kept_on_cpu, kept_on_gpu;

static void layer_done(void *argument, int layer)
{
    (void)argument, (void)layer;
}

static void keep(const observation *seen, kept *k)
{
    shown_buffers buffers = {0};
    size_t features = (size_t)k->feature_count * sizeof(float);
    size_t labels = (size_t)k->label_count * sizeof(float);
    for (k->layers = 0; k->layers < seen->shape.layers && k->layers < MOST; k->layers++) {
        shown_layer shown;
        observation_show(seen, k->layers, &buffers, &shown);
        k->features[k->layers] = memcpy(alloc_or_die(features, 1), shown.features, features);
        k->labels[k->layers] = memcpy(alloc_or_die(labels, 1), shown.labels, labels);
    }
    shown_buffers_free(&buffers);
}

/* Frobenius error of got, |got - want| / |want|. */
static double error_of(const float *got, const float *want, int64_t count)
{
    double off = 0, whole = 0;
    for (int64_t i = 0; i < count; i++) {
        off += ((double)got[i] - want[i]) * ((double)got[i] - want[i]);
        whole += (double)want[i] * want[i];
    }
    return sqrt(off / whole);
}

/* Weights and activations are each rounded to 2^-9 of their size, in some ten products of four layers:
 * 2 % of the whole leaves room; a piece in the wrong place is off by 100 % of itself. */
static const double allowed = 0.02;

static void compare(void)
{
    double worst = 0;
    for (int i = 0; i < kept_on_cpu.layers && i < kept_on_gpu.layers; i++) {
        double features = error_of(kept_on_gpu.features[i], kept_on_cpu.features[i], kept_on_cpu.feature_count);
        double labels = error_of(kept_on_gpu.labels[i], kept_on_cpu.labels[i], kept_on_cpu.label_count);
        if (!(features < allowed))
            pair_wrong("features of layer %d: error %.4f, allowed %.4f", i, features, allowed);
        if (!(labels < allowed))
            pair_wrong("labels of layer %d: error %.4f, allowed %.4f", i, labels, allowed);
        worst = fmax(worst, fmax(features, labels));
    }
    if (kept_on_cpu.layers != kept_on_gpu.layers || !kept_on_cpu.layers)
        pair_wrong("%d layers were shown, expected %d", kept_on_gpu.layers, kept_on_cpu.layers);
    pair_note("largest error of a layer %.4f", worst);
}

/* features as the text's method sees them on 4 hosts; the rows behind the positions are the query. */
static int show(device *dev, const char *layout_text, int64_t positions, int64_t count, kept *k)
{
    model *m = model_open("small", dev, 0, 1, NULL);
    if (!m) {
        pair_wrong("%s: %s", dev->name, fail_text());
        return -1;
    }
    const model_shape *s = &m->config.shape;
    *k = (kept){.feature_count = positions * (s->heads + 2 * s->kv_heads) * s->head_dim,
                .label_count = positions * s->kv_heads};
    heads_prompt p = {.ids = alloc_or_die((size_t)count, sizeof *p.ids), .count = count, .positions = positions,
                      .document = positions, .query = count - positions, .query_in_anchor = count - positions};
    for (int64_t i = 0; i < count; i++)
        p.ids[i] = (int32_t)(hash_bits(3, (uint64_t)i) % (uint64_t)s->vocab);
    heads_layout layout;
    observation seen = {0};
    int status = layout_text ? heads_layout_parse(layout_text, 4, 1, &layout) : 0;
    if (!status)
        status = observe_prompt(m, layout_text ? &layout : NULL, &p, &seen, layer_done, NULL);
    if (status)
        pair_wrong("%s: %s", dev->name, fail_text());
    else
        keep(&seen, k);
    observation_free(&seen);
    free(p.ids);
    model_close(m);
    return status;
}

static void kept_free(kept *k)
{
    for (int i = 0; i < k->layers; i++) {
        free(k->features[i]);
        free(k->labels[i]);
    }
    *k = (kept){0};
}

static void compare_shown(const char *layout)
{
    int64_t positions = pair_small ? 300 : 1333;
    pair_shape("%lld positions, %s", (long long)positions, layout ? layout : "exact");
    if (!show(cpu, layout, positions, positions + 41, &kept_on_cpu) &&
        !show(gpu, layout, positions, positions + 41, &kept_on_gpu))
        compare();
    kept_free(&kept_on_cpu);
    kept_free(&kept_on_gpu);
    pair_shape_end();
}

static void shown_alike(void)
{
    compare_shown(NULL);
}

/* Compressors that choose by scores may choose otherwise after rounding; these pass the same rows. */
static void shown_alike_in_layouts(void)
{
    compare_shown("apb:anchor=60:passing=10:compressor=recency");
    compare_shown("star");
}

int main(int argc, char **argv)
{
    static const pair_case cases[] = {{"heads_features_and_labels", shown_alike},
                                      {"heads_features_in_layouts", shown_alike_in_layouts}};
    return pair_main(argc, argv, cases, 2);
}
