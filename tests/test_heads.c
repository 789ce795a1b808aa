/* Retaining heads: labels against attention worked out here, the gradient against finite differences in
 * double precision, AdamW against its formulas, learning a tiny set by heart, going on after a stop bit
 * by bit, files that come back as written, and what is read from samples. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "datasets/random.h"
#include "harness/error.h"
#include "harness/heads/observe/observe.h"
#include "harness/heads/passed.h"
#include "harness/heads/train.h"
#include "kernels/hash.h"
#include "tests/checkpoint.h"

static const char tiny[] = "tests/data/checkpoints/llama31-f16";

static float value(uint64_t seed, int64_t i, float bound)
{
    return hash_uniform(seed, (uint64_t)i, bound);
}

static float *values(uint64_t seed, int64_t count, float bound)
{
    float *v = alloc_or_die((size_t)count, sizeof *v);
    for (int64_t i = 0; i < count; i++)
        v[i] = value(seed, i, bound);
    return v;
}

/* ---- Labels ---- */

/* Products of 8 terms below 1 in float32: 1e-6 is many roundings; a wrong head or row is off by 0.1. */
Test(heads, labels_are_the_largest_logits_of_the_group)
{
    enum { ROWS = 70, POSITIONS = 4103, HEADS = 6, KV = 2, DIM = 8 }; /* over a block each way */
    float *q = values(1, ROWS * HEADS * DIM, 1), *kv = values(2, POSITIONS * KV * 2 * DIM, 1);
    float *labels = alloc_or_die(POSITIONS * KV, sizeof *labels);
    labels_from_attention(q, ROWS, kv, POSITIONS, HEADS, KV, DIM, labels);
    double worst = 0;
    for (int t = 0; t < POSITIONS; t++)
        for (int g = 0; g < KV; g++) {
            double largest = -INFINITY;
            for (int i = 0; i < ROWS; i++)
                for (int j = g * HEADS / KV; j < (g + 1) * HEADS / KV; j++) {
                    double z = 0;
                    for (int e = 0; e < DIM; e++)
                        z += (double)q[(i * HEADS + j) * DIM + e] * kv[(t * KV + g) * 2 * DIM + e];
                    largest = fmax(largest, z / sqrt(DIM));
                }
            worst = fmax(worst, fabs(largest - labels[t * KV + g]));
        }
    cr_expect(worst < 1e-6, "off by %g", worst);
    free(labels);
    free(kv);
    free(q);
}

static model *open_tiny(device **dev)
{
    *dev = device_find("cpu");
    cr_assert(*dev && !(*dev)->open(*dev, 2), "%s", fail_text());
    model *m = model_open(tiny, *dev, 0, 1, NULL);
    cr_assert(m, "%s", fail_text());
    return m;
}

static heads_prompt random_prompt(const model *m, uint64_t seed, int64_t count, int64_t positions)
{
    heads_prompt p = {.ids = alloc_or_die((size_t)count, sizeof *p.ids),
                      .count = count,
                      .positions = positions};
    for (int64_t i = 0; i < count; i++)
        p.ids[i] = (int32_t)(hash_bits(seed, (uint64_t)i) % (uint64_t)m->config.shape.vocab);
    return p;
}

typedef struct {
    float *features[8], *labels[8];
    int width, kv_heads, layers;
} shown;

static void count_layer(void *argument, int layer)
{
    int *layers = argument;
    cr_assert_eq(layer, *layers, "layers come in order");
    ++*layers;
}

static shown show(const model *m, const heads_layout *layout, const heads_prompt *p)
{
    const model_shape *s = &m->config.shape;
    shown kept = {.width = (s->heads + 2 * s->kv_heads) * s->head_dim, .kv_heads = s->kv_heads};
    observation seen = {0};
    shown_buffers buffers = {0};
    cr_assert(m->layers <= 8);
    cr_assert_eq(observe_prompt(m, layout, p, &seen, count_layer, &kept.layers), 0, "%s", fail_text());
    cr_assert_eq(kept.layers, m->layers);
    for (int i = 0; i < kept.layers; i++) {
        shown_layer layer;
        observation_show(&seen, i, &buffers, &layer);
        size_t features = (size_t)(layer.positions * kept.width) * sizeof(float);
        size_t labels = (size_t)(layer.positions * kept.kv_heads) * sizeof(float);
        kept.features[i] = memcpy(alloc_or_die(features, 1), layer.features, features);
        kept.labels[i] = memcpy(alloc_or_die(labels, 1), layer.labels, labels);
    }
    shown_buffers_free(&buffers);
    observation_free(&seen);
    return kept;
}

static void shown_free(shown *s)
{
    for (int i = 0; i < s->layers; i++) {
        free(s->features[i]);
        free(s->labels[i]);
    }
}

/* Element e of head `head` (of all that lie in a row of features) of row t, roped here. This model's
 * scaled frequencies are those of Llama-3.1. */
static double frequency(const model_config *c, int pair)
{
    double f = pow(c->rope_theta, -2.0 * pair / c->shape.head_dim), wave = 2 * M_PI / f;
    if (c->rope_factor == 0 || wave < c->rope_original_positions / c->rope_high_freq)
        return f;
    if (wave > c->rope_original_positions / c->rope_low_freq)
        return f / c->rope_factor;
    double smooth = (c->rope_original_positions / wave - c->rope_low_freq) /
                    (c->rope_high_freq - c->rope_low_freq);
    return (1 - smooth) * f / c->rope_factor + smooth * f;
}

static double roped(const model_config *c, const float *row, int head, int64_t t, int e)
{
    int half = c->shape.head_dim / 2, pair = e % half;
    double angle = (double)t * frequency(c, pair);
    double x = row[head * 2 * half + pair], y = row[head * 2 * half + pair + half];
    return e < half ? x * cos(angle) - y * sin(angle) : y * cos(angle) + x * sin(angle);
}

/* The features of a longer prompt hold the label rows' own queries: with them the labels of the shorter
 * one are worked out again. Logits of order 1 from float32 activations: 1e-4 is rounding, a row or a head
 * too many or too few is off by 0.01 and more. */
Test(heads, observed_labels_follow_from_observed_features)
{
    device *dev;
    model *m = open_tiny(&dev);
    const model_config *c = &m->config;
    const model_shape *s = &c->shape;
    enum { COUNT = 41, POSITIONS = 29 };
    heads_prompt longer = random_prompt(m, 5, COUNT + 1, COUNT - 1), p = random_prompt(m, 5, COUNT, POSITIONS);
    shown all = show(m, NULL, &longer), some = show(m, NULL, &p);
    int group = s->heads / s->kv_heads;
    double worst = 0, moved = 0;
    for (int layer = 0; layer < m->layers; layer++) {
        for (int64_t i = 0; i < POSITIONS * all.width; i++)
            moved = fmax(moved, fabs((double)all.features[layer][i] - some.features[layer][i]));
        for (int64_t t = 0; t < POSITIONS; t++)
            for (int h = 0; h < s->kv_heads; h++) {
                double largest = -INFINITY;
                for (int64_t i = POSITIONS; i < COUNT - 1; i++)
                    for (int j = h * group; j < (h + 1) * group; j++) {
                        double z = 0;
                        for (int e = 0; e < s->head_dim; e++)
                            z += roped(c, all.features[layer] + i * all.width, j, i, e) *
                                 roped(c, all.features[layer] + t * all.width, s->heads + h, t, e);
                        largest = fmax(largest, z / sqrt(s->head_dim));
                    }
                worst = fmax(worst, fabs(largest - some.labels[layer][t * s->kv_heads + h]));
            }
    }
    cr_expect(worst < 1e-4, "labels are off by %g", worst);
    cr_expect(moved < 1e-4, "features of the same rows are off by %g", moved);
    shown_free(&all);
    shown_free(&some);
    free(longer.ids);
    free(p.ids);
    model_close(m);
    dev->close(dev);
}

/* ---- Layouts ---- */

enum { DOCUMENT = 94, QUERY = 8, ANSWER = 5, HOSTS = 4, BLOCK = 24 }; /* the last block has two rows of padding */

static heads_prompt random_parts(const model *m, uint64_t seed)
{
    heads_prompt p = random_prompt(m, seed, DOCUMENT + QUERY + ANSWER, DOCUMENT);
    p.document = DOCUMENT;
    p.query = p.query_in_anchor = QUERY;
    return p;
}

static heads_layout layout_of(const char *text)
{
    heads_layout layout;
    cr_assert_eq(heads_layout_parse(text, HOSTS, 1, &layout), 0, "%s", fail_text());
    return layout;
}

/* Without an anchor a host of star runs its block alone, and positions count only as distances: the features
 * of each block are those of a prompt of its own. Activations of order 1 in float32, with other roundings
 * by position: 1e-4; features of another row differ by 0.1 and more. Labels stay those of the whole. */
Test(heads, layouts_show_the_features_of_the_blocks)
{
    device *dev;
    model *m = open_tiny(&dev);
    heads_prompt p = random_parts(m, 11);
    heads_layout alone = layout_of("star:anchor=0");
    shown whole = show(m, NULL, &p), parts = show(m, &alone, &p);
    double worst = 0, apart = 0, labels = 0;
    for (int host = 0; host < HOSTS; host++) {
        int64_t first = host * BLOCK, rows = first + BLOCK < DOCUMENT ? BLOCK : DOCUMENT - first;
        heads_prompt block = {.ids = p.ids + first, .count = rows + 2, .positions = rows};
        shown own = show(m, NULL, &block);
        for (int layer = 0; layer < m->layers; layer++)
            for (int64_t i = 0; i < rows * own.width; i++) {
                int64_t at = first * own.width + i;
                worst = fmax(worst, fabs((double)parts.features[layer][at] - own.features[layer][i]));
                if (layer)
                    apart = fmax(apart, fabs((double)parts.features[layer][at] - whole.features[layer][at]));
            }
        shown_free(&own);
    }
    for (int layer = 0; layer < m->layers; layer++)
        for (int64_t i = 0; i < DOCUMENT * whole.kv_heads; i++)
            labels = fmax(labels, fabs((double)parts.labels[layer][i] - whole.labels[layer][i]));
    cr_expect(worst < 1e-4, "features are off by %g", worst);
    cr_expect(apart > 0.1, "blocks alone have the features of the whole: they differ by %g", apart);
    cr_expect_eq(labels, 0, "labels are off by %g", labels);
    shown_free(&whole);
    shown_free(&parts);
    free(p.ids);
    model_close(m);
    dev->close(dev);
}

static void no_layer(void *argument, int layer)
{
    (void)argument, (void)layer;
}

/* Runs the layout and says of each compressor whose rows are known whether just those were noted. */
static void expect_passed(const model *m, const heads_prompt *p, const char *text, int64_t passing,
                          bool (*expected)(int64_t token, int64_t first, int64_t passing))
{
    heads_layout layout = layout_of(text);
    observation seen = {.notes_passing = true};
    cr_assert_eq(observe_prompt(m, &layout, p, &seen, no_layer, NULL), 0, "%s", fail_text());
    cr_expect_eq(seen.passing, passing);
    cr_expect_eq(seen.blocks, HOSTS);
    int kv_heads = m->config.shape.kv_heads;
    for (int64_t t = 0; t < DOCUMENT; t++) {
        int64_t block = t / BLOCK, first = block * BLOCK + (block ? 0 : 6); /* behind host 0's anchor */
        cr_expect_eq(seen.block[t], block);
        cr_expect_eq(seen.candidate[t], t >= first, "%s: token %d", text, (int)t);
    }
    for (int layer = 0; layer < m->layers; layer++)
        for (int h = 0; h < kv_heads; h++) {
            int64_t chosen[HOSTS] = {0};
            for (int64_t t = 0; t < DOCUMENT; t++) {
                int64_t block = t / BLOCK, first = block * BLOCK + (block ? 0 : 6);
                bool passed = seen.passed[(layer * DOCUMENT + t) * kv_heads + h];
                chosen[block] += passed;
                cr_expect(!passed || t >= first);
                if (expected)
                    cr_expect_eq(passed, expected(t, first, passing), "%s: layer %d, token %d", text,
                                 layer, (int)t);
            }
            for (int block = 0; block < HOSTS - 1; block++)
                cr_expect_eq(chosen[block], passing, "%s: %d rows of block %d", text, (int)chosen[block], block);
        }
    observation_free(&seen);
}

static bool is_first(int64_t token, int64_t first, int64_t passing)
{
    return token >= first && token < first + passing;
}

static bool is_last(int64_t token, int64_t first, int64_t passing)
{
    (void)first;
    return token % BLOCK >= BLOCK - passing;
}

Test(heads, what_compressors_pass_is_noted)
{
    device *dev;
    model *m = open_tiny(&dev);
    heads_prompt p = random_parts(m, 12);
    expect_passed(m, &p, "apb:anchor=6:passing=4:compressor=sink", 4, is_first);
    expect_passed(m, &p, "apb:anchor=6:passing=4:compressor=recency", 4, is_last);
    expect_passed(m, &p, "apb:anchor=6:passing=5:compressor=query", 5, NULL);
    expect_passed(m, &p, "apb:anchor=6:passing=5:compressor=random", 5, NULL);
    free(p.ids);
    model_close(m);
    dev->close(dev);
}

/* What norm passes against exp(s) |v| of the features, which are before RoPE, with the heads' s from
 * heads_forward: nothing that stays behind weighs more than what is passed, but by rounding (float32
 * products of a few hundred terms: 1e-4). Not pooled, since windows reach into anchors, which are not
 * shown. And it is neither the choice by s alone nor that by |v| alone. */
Test(heads, norm_passes_what_weighs_most)
{
    device *dev = device_find("cpu");
    cr_assert(dev && !dev->open(dev, 2));
    model *m = model_open("tiny", dev, 0, 1, NULL); /* random weights come with heads */
    cr_assert(m, "%s", fail_text());
    const model_shape *s = &m->config.shape;
    retaining_heads heads;
    heads_make(&heads, s, m->layers, m->retaining_width);
    heads_prompt p = random_parts(m, 14);
    heads_layout layout = layout_of("apb:anchor=6:passing=7:compressor=norm:pool=0");
    observation seen = {.notes_passing = true};
    shown_buffers buffers = {0};
    heads_work work = {0};
    int64_t above_by[2] = {0}; /* pairs of a passed and another row that s or |v| orders otherwise */
    float *scores = alloc_or_die((size_t)(DOCUMENT * s->kv_heads), sizeof *scores);
    double *weights = alloc_or_die(DOCUMENT, sizeof *weights), *norms = alloc_or_die(DOCUMENT, sizeof *norms);
    cr_assert_eq(observe_prompt(m, &layout, &p, &seen, no_layer, NULL), 0, "%s", fail_text());
    cr_assert_eq(seen.passing, 7);
    for (int layer = 0; layer < m->layers; layer++) {
        size_t fc1 = (size_t)(heads.width * heads.inputs) * sizeof(float);
        memcpy(heads_layer(&heads, layer), m->layer[layer].retaining_fc1, fc1);
        memcpy(heads_fc2(&heads, layer), m->layer[layer].retaining_fc2,
               (size_t)(heads.kv_heads * heads.width) * sizeof(float));
        shown_layer shown;
        observation_show(&seen, layer, &buffers, &shown);
        heads_forward(&heads, layer, shown.features, DOCUMENT, &work, scores);
        for (int h = 0; h < s->kv_heads; h++) {
            for (int64_t t = 0; t < DOCUMENT; t++) {
                const float *v = shown.features + t * heads.inputs + (s->heads + s->kv_heads + h) * s->head_dim;
                double squares = 0;
                for (int e = 0; e < s->head_dim; e++)
                    squares += (double)v[e] * v[e];
                norms[t] = sqrt(squares);
                weights[t] = exp(scores[t * s->kv_heads + h]) * norms[t];
            }
            for (int64_t t = 0; t < DOCUMENT; t++)
                for (int64_t u = 0; u < DOCUMENT; u++) {
                    bool passed = shown.passed[t * s->kv_heads + h], other = shown.passed[u * s->kv_heads + h];
                    if (!passed || other || !seen.candidate[u] || seen.block[t] != seen.block[u])
                        continue;
                    cr_expect(weights[t] >= weights[u] * (1 - 1e-4),
                              "layer %d, head %d: %d of %g is passed, %d of %g not", layer, h, (int)t,
                              weights[t], (int)u, weights[u]);
                    above_by[0] += scores[u * s->kv_heads + h] > scores[t * s->kv_heads + h];
                    above_by[1] += norms[u] > norms[t];
                }
        }
    }
    cr_expect(above_by[0] > 0 && above_by[1] > 0, "%d, %d", (int)above_by[0], (int)above_by[1]);
    heads_free(&heads);
    heads_work_free(&work);
    shown_buffers_free(&buffers);
    observation_free(&seen);
    free(scores);
    free(weights);
    free(norms);
    free(p.ids);
    model_close(m);
    dev->close(dev);
}

/* Recency passes the last four of each block. Needles: one in the anchor, two at the end of block 0, one in
 * the middle of block 1, one in the last block: of the three that could be passed, two are. */
Test(heads, measure_of_what_is_passed)
{
    device *dev;
    model *m = open_tiny(&dev);
    heads_prompt p = random_parts(m, 13);
    p.needle = alloc_or_die(DOCUMENT, 1);
    p.needle[2] = p.needle[21] = p.needle[23] = p.needle[BLOCK + 9] = p.needle[DOCUMENT - 1] = 1;
    heads_prompts prompts = {.items = &p, .count = 1};
    heads_layout recency = layout_of("apb:anchor=6:passing=4:compressor=recency"), star = layout_of("star");
    passed_measure got;
    cr_assert_eq(heads_measure_passed(m, &recency, 2, &prompts, &got), 0, "%s", fail_text());
    cr_expect(got.prompts == 1 && got.with_needles == 1 && got.passing == 4);
    cr_expect(got.needle_tokens == 5 && got.in_anchor == 1 && got.in_last_block == 1);
    cr_expect_float_eq(got.chance, 3 * 4 / 66., 1e-12); /* keys of blocks: 18, 24, 24 */
    for (int i = 0; i < got.layers * got.kv_heads; i++) {
        cr_expect_float_eq(got.sums[PASSED_NEEDLES][i], 2 / 3., 1e-12);
        double labels = got.sums[PASSED_LABELS][i], best = got.sums[PASSED_LABELS_BEST][i];
        cr_expect(labels >= 0 && labels < 1 && best > 0.2 && best <= 1, "%g, best %g", labels, best);
    }
    for (int i = 0; i < got.layers; i++)
        cr_expect_float_eq(got.any_head[i], 2 / 3., 1e-12);
    passed_measure_free(&got);

    /* Where all keys of blocks 1 and 2 are passed, all that could be found there is. */
    heads_layout all = layout_of("apb:anchor=0:passing=24:compressor=query");
    cr_assert_eq(heads_measure_passed(m, &all, 2, &prompts, &got), 0, "%s", fail_text());
    cr_expect_eq(got.in_anchor, 0);
    for (int i = 0; i < got.layers * got.kv_heads; i++) {
        cr_expect_float_eq(got.sums[PASSED_LABELS][i], 1, 1e-12);
        cr_expect_float_eq(got.sums[PASSED_NEEDLES][i], 1, 1e-12);
    }
    passed_measure_free(&got);

    cr_expect_eq(heads_measure_passed(m, &star, 2, &prompts, &got), -1);
    cr_expect(strstr(fail_text(), "passes no keys"), "%s", fail_text());
    free(p.needle);
    free(p.ids);
    model_close(m);
    dev->close(dev);
}

/* ---- Gradient ---- */

enum { ROWS = 13, LAYERS = 2 };
static const model_shape small = {.layers = LAYERS, .heads = 4, .kv_heads = 2, .head_dim = 3};

/* The whole loss in double precision, written out from its formula. */
static double whole_loss(const retaining_heads *h, const double *parameters, float *const *features,
                         float *const *labels)
{
    double regression = 0, rough = 0;
    for (int layer = 0; layer < LAYERS; layer++) {
        const double *fc1 = parameters + layer * heads_layer_size(h), *fc2 = fc1 + h->width * h->inputs;
        double scores[ROWS][2] = {{0}};
        for (int t = 0; t < ROWS; t++)
            for (int w = 0; w < h->width; w++) {
                double x = 0;
                for (int i = 0; i < h->inputs; i++)
                    x += fc1[w * h->inputs + i] * features[layer][t * h->inputs + i];
                for (int k = 0; k < 2; k++)
                    scores[t][k] += fc2[k * h->width + w] * x / (1 + exp(-x));
            }
        for (int t = 0; t < ROWS; t++)
            for (int k = 0; k < 2; k++) {
                double off = fabs(scores[t][k] - labels[layer][t * 2 + k]);
                regression += (off < 1 ? off * off / 2 : off - 0.5) / ROWS / (LAYERS * 2);
                if (t)
                    rough += pow(scores[t][k] - scores[t - 1][k], 2) / (2 * (ROWS - 1));
            }
    }
    return regression + 0.0025 * rough;
}

/* Float32 arithmetic over some 20 terms: 1e-5 of the largest gradient. Differences in double with a step
 * of 1e-5 are exact to 1e-8. Labels lie on both sides of where smooth-L1 changes its form. */
Test(heads, gradient_is_that_of_finite_differences)
{
    retaining_heads h;
    heads_make(&h, &small, LAYERS, 5);
    heads_fill(&h, 3);
    int64_t size = heads_layer_size(&h), count = LAYERS * size;
    double *parameters = alloc_or_die((size_t)count, sizeof *parameters);
    for (int64_t i = 0; i < count; i++)
        parameters[i] = h.values[i] *= 20; /* scores of order 1 */
    float *features[LAYERS], *labels[LAYERS];
    float *gradient = alloc_or_die((size_t)count, sizeof *gradient);
    heads_work work = {0};
    double loss = 0;
    for (int layer = 0; layer < LAYERS; layer++) {
        features[layer] = values(10 + (uint64_t)layer, ROWS * h.inputs, 1.5f);
        labels[layer] = values(20 + (uint64_t)layer, ROWS * 2, 3);
        float scores[ROWS * 2], slopes[ROWS * 2];
        heads_forward(&h, layer, features[layer], ROWS, &work, scores);
        loss += learn_loss(scores, labels[layer], ROWS, 2, LAYERS, slopes);
        heads_backward(&h, layer, features[layer], ROWS, &work, slopes, gradient + layer * size);
    }
    double expected = whole_loss(&h, parameters, features, labels);
    cr_expect(fabs(loss - expected) < 1e-5 * expected, "loss %g, expected %g", loss, expected);
    double largest = 0, worst = 0;
    for (int64_t i = 0; i < count; i++) {
        double kept = parameters[i];
        parameters[i] = kept + 1e-5;
        double up = whole_loss(&h, parameters, features, labels);
        parameters[i] = kept - 1e-5;
        double slope = (up - whole_loss(&h, parameters, features, labels)) / 2e-5;
        parameters[i] = kept;
        largest = fmax(largest, fabs(slope));
        worst = fmax(worst, fabs(slope - gradient[i]));
    }
    cr_expect(largest > 0.01, "the gradient is next to nothing: %g", largest);
    cr_expect(worst < 1e-5 * largest, "off by %g of %g", worst, largest);
    for (int layer = 0; layer < LAYERS; layer++) {
        free(features[layer]);
        free(labels[layer]);
    }
    heads_work_free(&work);
    free(gradient);
    free(parameters);
    heads_free(&h);
}

/* ---- Optimiser ---- */

/* Three steps of numbers of order 1 in float32 against double: 1e-6. One gradient is clipped. */
Test(heads, update_is_adamw_after_clipping)
{
    float p[2] = {1.5f, -0.25f}, mean[2] = {0}, square[2] = {0};
    const float gradients[3][2] = {{0.3f, -4}, {-0.1f, 0.2f}, {0.05f, 3}};
    double x[2] = {1.5, -0.25}, m[2] = {0}, v[2] = {0};
    for (int step = 0; step < 3; step++) {
        double rate = 0.01 * (step + 1);
        learn_update(p, mean, square, gradients[step], 2, rate, step);
        for (int i = 0; i < 2; i++) {
            double g = fmax(-0.5, fmin(0.5, gradients[step][i]));
            m[i] = 0.9 * m[i] + 0.1 * g;
            v[i] = 0.95 * v[i] + 0.05 * g * g;
            x[i] -= rate * 0.01 * x[i];
            x[i] -= rate * (m[i] / (1 - pow(0.9, step + 1))) /
                    (sqrt(v[i] / (1 - pow(0.95, step + 1))) + 1e-8);
            cr_expect(fabs(x[i] - p[i]) < 1e-6, "step %d, number %d: %.8f, expected %.8f", step, i,
                      p[i], x[i]);
        }
    }
}

Test(heads, rate_rises_and_falls)
{
    schedule s = {.rate = 5e-4, .warm_up = 2000, .steps = 3000};
    cr_expect_eq(schedule_rate(&s, 0), 0);
    cr_expect_float_eq(schedule_rate(&s, 1000), 2.5e-4, 1e-12);
    cr_expect_float_eq(schedule_rate(&s, 2000), 5e-4, 1e-12);
    cr_expect_float_eq(schedule_rate(&s, 2750), 1.25e-4, 1e-12);
    s.warm_up = 0;
    cr_expect_float_eq(schedule_rate(&s, 0), 5e-4, 1e-12);
}

Test(heads, overlap_counts_the_best_tenth)
{
    float scores[20 * 2], labels[20 * 2];
    for (int t = 0; t < 20; t++) {
        scores[2 * t] = (float)t; /* best: 19, 18 */
        labels[2 * t] = t == 18 ? 9 : t == 3 ? 8 : 0;
        scores[2 * t + 1] = 1; /* all alike: the earlier, 0 and 1 */
        labels[2 * t + 1] = t < 2 ? 5 : -5;
    }
    double overlap[2];
    learn_overlap(scores, labels, 20, 2, overlap);
    cr_expect_eq(overlap[0], 0.5);
    cr_expect_eq(overlap[1], 1);
    learn_overlap(scores, labels, 5, 2, overlap); /* at least one */
    cr_expect_eq(overlap[1], 1);
}

/* Against the definition, one by one: few distinct values, so that most are tied; signs and both zeros. */
Test(heads, best_are_chosen_as_sorting_would)
{
    enum { MOST = 300 };
    float scores[2 * MOST];
    uint8_t chosen[MOST];
    for (int trial = 0; trial < 200; trial++) {
        int n = 1 + (int)(hash_bits(7, (uint64_t)trial) % MOST);
        int kinds = trial % 3 ? 1 + trial % 7 : 1000;
        for (int i = 0; i < 2 * n; i++) {
            int kind = (int)(hash_bits(100 + (uint64_t)trial, (uint64_t)i) % (uint64_t)kinds);
            scores[i] = kind ? (float)(kind % 2 ? kind : -kind) : i % 4 ? 0.0f : -0.0f;
        }
        for (int count = 0; count <= n; count += 1 + n / 9) {
            learn_best(scores, n, 2, 1, count, chosen);
            for (int t = 0; t < n; t++) {
                int better = 0;
                for (int i = 0; i < n; i++)
                    better += scores[2 * i + 1] > scores[2 * t + 1] ||
                              (scores[2 * i + 1] == scores[2 * t + 1] && i < t);
                cr_assert_eq(chosen[t], better < count, "trial %d, %d of %d: row %d", trial, count, n, t);
            }
        }
    }
}

/* ---- Training ---- */

static char *directory;

static void set_up(void)
{
    directory = temporary_directory();
}

static void tear_down(void)
{
    remove_directory(directory);
}

TestSuite(training, .init = set_up, .fini = tear_down, .timeout = 120);

static heads_prompts random_prompts(const model *m, int64_t count)
{
    heads_prompts all = {.items = alloc_or_die((size_t)count, sizeof *all.items), .count = count};
    for (int64_t i = 0; i < count; i++)
        all.items[i] = random_prompt(m, 100 + (uint64_t)i, 61 + 3 * i, 50 + 2 * i);
    return all;
}

/* Two prompts by heart. Untrained heads reach some 0.1; the labels of random ids jump from token to token,
 * and the smoothness that the loss asks for keeps even heads trained for long at 0.9. */
Test(training, learns_two_prompts_by_heart)
{
    device *dev;
    model *m = open_tiny(&dev);
    heads_prompts prompts = random_prompts(m, 2);
    char *out = format_text("%s/heads.safetensors", directory);
    train_settings s = {.width = 64, .schedule = {.rate = 5e-3, .warm_up = 20, .steps = 600},
                        .save_every = 1000, .threads = 2, .seed = 1, .out = out};
    retaining_heads h, fresh;
    heads_make(&fresh, &m->config.shape, m->layers, 64);
    heads_fill(&fresh, 1);
    heads_measure before, after;
    cr_assert_eq(heads_train(m, &prompts, &s, &h), 0, "%s", fail_text());
    cr_assert_eq(heads_evaluate(m, NULL, 2, &prompts, &fresh, &before), 0, "%s", fail_text());
    cr_assert_eq(heads_evaluate(m, NULL, 2, &prompts, &h, &after), 0, "%s", fail_text());
    double untrained = heads_mean(&before, before.overlap, before.prompts);
    double trained = heads_mean(&after, after.overlap, after.prompts);
    cr_expect(untrained < 0.5, "untrained heads overlap by %g", untrained);
    cr_expect(trained > 0.8, "trained heads overlap by %g", trained);
    heads_measure_free(&before);
    heads_measure_free(&after);
    heads_free(&h);
    heads_free(&fresh);
    heads_prompts_free(&prompts);
    free(out);
    model_close(m);
    dev->close(dev);
}

static void *trained_bytes(const model *m, const heads_prompts *prompts, train_settings s,
                           const char *name, int64_t stop_after, size_t *bytes)
{
    char *out = format_text("%s/%s", directory, name);
    s.out = out;
    s.stop_after = stop_after;
    retaining_heads h;
    int status;
    while ((status = heads_train(m, prompts, &s, &h)) == 1) {
        heads_free(&h);
        char *state = format_text("%s.state", out);
        size_t count;
        free(read_file(state, &count)); /* it is there */
        free(state);
    }
    cr_assert_eq(status, 0, "%s", fail_text());
    heads_free(&h);
    void *content = read_file(out, bytes);
    free(out);
    return content;
}

static const train_settings short_training = {
    .width = 16, .schedule = {.rate = 1e-3, .warm_up = 6, .steps = 17}, .save_every = 4, .threads = 2, .seed = 9};

Test(training, goes_on_to_the_same_bits)
{
    device *dev;
    model *m = open_tiny(&dev);
    heads_prompts prompts = random_prompts(m, 5);
    size_t whole, parts;
    void *a = trained_bytes(m, &prompts, short_training, "whole", 0, &whole);
    void *b = trained_bytes(m, &prompts, short_training, "parts", 7, &parts);
    cr_expect(whole == parts && !memcmp(a, b, whole), "stopping twice changed the heads");
    free(b);

    /* In a layout too, which gives other heads. */
    heads_layout apb = layout_of("apb:anchor=4:passing=3:compressor=query");
    train_settings in_blocks = short_training;
    in_blocks.layout = &apb;
    in_blocks.layout_text = "apb";
    for (int i = 0; i < prompts.count; i++) {
        heads_prompt *p = &prompts.items[i];
        p->document = p->positions;
        p->query = p->query_in_anchor = p->count - p->document;
    }
    void *c = trained_bytes(m, &prompts, in_blocks, "blocks", 0, &whole);
    void *d = trained_bytes(m, &prompts, in_blocks, "blocks in parts", 7, &parts);
    cr_expect(whole == parts && !memcmp(c, d, whole), "stopping twice changed the heads of a layout");
    cr_expect(memcmp(a, c, whole), "the layout changed nothing");
    free(c);
    free(d);

    /* Nor does it matter how many threads learn beside the model: every layer has prompts in order. */
    train_settings other = short_training;
    for (other.threads = 1; other.threads <= 7; other.threads += 3) {
        b = trained_bytes(m, &prompts, other, "others", 0, &parts);
        cr_expect(whole == parts && !memcmp(a, b, whole), "%d threads changed the heads", other.threads);
        free(b);
    }
    free(a);
    heads_prompts_free(&prompts);
    model_close(m);
    dev->close(dev);
}

Test(training, refuses_a_state_that_is_not_its_own)
{
    device *dev;
    model *m = open_tiny(&dev);
    heads_prompts prompts = random_prompts(m, 3);
    char *out = format_text("%s/heads", directory), *state = format_text("%s.state", out);
    train_settings s = short_training, other;
    s.out = out;
    s.stop_after = 3;
    retaining_heads h;
    cr_assert_eq(heads_train(m, &prompts, &s, &h), 1);
    heads_free(&h);
    other = s;
    other.schedule.rate *= 2;
    cr_assert_eq(heads_train(m, &prompts, &other, &h), -1);
    cr_expect(strstr(fail_text(), "another training"), "%s", fail_text());
    heads_free(&h);

    size_t bytes;
    uint8_t *content = read_file(state, &bytes);
    content[bytes / 2] ^= 1;
    write_file(state, content, bytes);
    cr_assert_eq(heads_train(m, &prompts, &s, &h), -1);
    cr_expect(strstr(fail_text(), "damaged"), "%s", fail_text());
    heads_free(&h);
    content[bytes / 2] ^= 1;
    write_file(state, content, bytes - 1);
    cr_assert_eq(heads_train(m, &prompts, &s, &h), -1);
    cr_expect(strstr(fail_text(), "damaged"), "%s", fail_text());
    heads_free(&h);
    free(content);
    free(state);
    free(out);
    heads_prompts_free(&prompts);
    model_close(m);
    dev->close(dev);
}

/* ---- Files ---- */

/* What is written is read back as it was rounded, and a model takes it as its retaining heads. */
Test(training, files_come_back_and_models_take_them)
{
    device *dev;
    model *m = open_tiny(&dev);
    char *path = format_text("%s/heads.safetensors", directory);
    retaining_heads h, back;
    heads_make(&h, &m->config.shape, m->layers, 24);
    heads_fill(&h, 4);
    cr_assert_eq(heads_save(&h, path), 0, "%s", fail_text());
    cr_assert_eq(heads_load(&back, &m->config.shape, m->layers, path), 0, "%s", fail_text());
    size_t bytes = (size_t)(h.layers * heads_layer_size(&h)) * sizeof(float);
    double worst = 0;
    for (size_t i = 0; i < bytes / sizeof(float); i++)
        worst = fmax(worst, fabs((double)h.values[i] - back.values[i]) / fabs(h.values[i]));
    cr_expect(worst > 0 && worst <= 0x1p-8, "bfloat16 keeps 8 bits, the worst is off by %g", worst);
    heads_round(&h);
    cr_assert_eq(back.width, 24);
    cr_expect(!memcmp(h.values, back.values, bytes));

    model *with = model_open(tiny, dev, 0, 1, path);
    cr_assert(with, "%s", fail_text());
    cr_assert_eq(with->retaining_width, 24);
    for (int layer = 0; layer < m->layers; layer++) {
        size_t fc1 = (size_t)(h.width * h.inputs) * sizeof(float);
        size_t fc2 = (size_t)(h.kv_heads * h.width) * sizeof(float);
        cr_expect(!memcmp(with->layer[layer].retaining_fc1, heads_layer(&h, layer), fc1));
        cr_expect(!memcmp(with->layer[layer].retaining_fc2, heads_fc2(&h, layer), fc2));
    }
    model_close(with);
    heads_free(&back);
    model_shape wider = m->config.shape;
    wider.head_dim *= 2;
    cr_expect_eq(heads_load(&back, &wider, m->layers, path), -1);
    cr_expect_eq(heads_load(&back, &m->config.shape, m->layers + 1, path), -1);
    heads_free(&h);
    free(path);
    model_close(m);
    dev->close(dev);
}

/* ---- Prompts ---- */

/* All of a model that reading prompts asks for: words. */
static model *open_words(model *m)
{
    *m = (model){.name = "words", .tokens = tokenizer_open("tests/data/tasks")};
    cr_assert(m->tokens, "%s", fail_text());
    m->config.stop_ids[0] = 2;
    m->config.stop_count = 1;
    return m;
}

Test(training, prompts_are_split_where_rows_begin_to_look_back)
{
    model words, *m = open_words(&words);
    write_text(directory, "rows.jsonl",
               "{\"input_context\": \"grass is green and 4711 is the number. \", "
               "\"input_query\": \"What is the number?\", \"outputs\": [\"4711\"]}\n"
               "{\"input_context\": 5}\n"
               "not JSON\n");
    prompt_sources from = {.seed = 1};
    char *path = format_text("%s/rows.jsonl", directory);
    text_list_push(&from.data, path);
    heads_prompts answer, query;
    cr_assert_eq(heads_prompts_read(m, &from, &answer), 0, "%s", fail_text());
    from.from_query = true;
    cr_assert_eq(heads_prompts_read(m, &from, &query), 0, "%s", fail_text());
    cr_assert(answer.count == 1 && query.count == 1);
    const heads_prompt *a = answer.items, *q = query.items;
    token_list document = {0}, whole = {0};
    const char context[] = "grass is green and 4711 is the number. ";
    cr_assert(!tokenizer_encode(m->tokens, context, strlen(context), false, &document));
    cr_expect_eq(q->positions, (int64_t)document.count);
    cr_expect_eq(a->count, q->count);
    cr_assert(!tokenizer_encode(m->tokens, "What is the number?", 19, false, &whole));
    cr_expect_eq(a->positions, (int64_t)(document.count + whole.count));
    cr_expect(!memcmp(a->ids, document.ids, document.count * sizeof *a->ids));
    token_list marked = {0};
    for (int64_t t = 0; t < q->positions; t++)
        if (q->needle[t])
            token_list_push(&marked, q->ids[t]);
    size_t bytes;
    char *needle = tokenizer_decode(m->tokens, marked.ids, marked.count, false, &bytes);
    cr_expect(strstr(needle, "4711") && bytes <= 6, "'%s' is marked", needle);
    cr_expect(heads_prompts_hash(&answer) != heads_prompts_hash(&query));
    free(needle);
    token_list_free(&marked);
    token_list_free(&document);
    token_list_free(&whole);
    heads_prompts_free(&answer);
    heads_prompts_free(&query);
    text_list_free(&from.data);
    free(path);
    tokenizer_close(m->tokens);
}

Test(training, windows_of_text_have_the_lengths_asked_for)
{
    model words, *m = open_words(&words);
    char *text = alloc_or_die(20001, 1);
    for (int i = 0; i < 20000; i++)
        text[i] = "abc def ghij. klm\n"[i % 18];
    write_text(directory, "text", text);
    char *path = format_text("%s/text", directory);
    int64_t lengths[] = {100, 140};
    prompt_sources from = {.seed = 1, .windows = 50, .lengths = {lengths, 2}};
    text_list_push(&from.text, path);
    heads_prompts all, again;
    cr_assert_eq(heads_prompts_read(m, &from, &all), 0, "%s", fail_text());
    cr_assert_eq(heads_prompts_read(m, &from, &again), 0, "%s", fail_text());
    cr_expect_eq(heads_prompts_hash(&all), heads_prompts_hash(&again));
    cr_assert_eq(all.count, 50);
    int64_t least = 1000, most = 0;
    for (int i = 0; i < 50; i++) {
        int64_t count = all.items[i].count;
        least = count < least ? count : least;
        most = count > most ? count : most;
        cr_expect_eq(all.items[i].positions, count - 65);
    }
    cr_expect(least >= 100 && most <= 140 && most - least > 20, "%d to %d", (int)least, (int)most);
    from.lengths.items[1] = 1000000;
    heads_prompts_free(&again);
    cr_expect_eq(heads_prompts_read(m, &from, &again), -1);
    heads_prompts_free(&all);
    text_list_free(&from.text);
    free(path);
    free(text);
    tokenizer_close(m->tokens);
}
