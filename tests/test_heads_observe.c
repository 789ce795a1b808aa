/* What retaining heads learn from and are measured by: labels against attention worked out here, features
 * of blocks against prompts of their own, and the rows that compressors pass. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "harness/error.h"
#include "harness/heads/learn.h"
#include "harness/heads/observe/observe.h"
#include "harness/heads/passed.h"
#include "tests/heads_fixture.h"

/* ---- Labels ---- */

/* Products of 8 terms below 1 in float32: 1e-6 is many roundings; a wrong head or row is off by 0.1. */
Test(heads, labels_are_the_largest_logits_of_the_group)
{
    enum { ROWS = 70, POSITIONS = 4103, HEADS = 6, KV = 2, DIM = 8 }; /* over a block each way */
    float *q = random_floats(1, ROWS * HEADS * DIM, 1), *kv = random_floats(2, POSITIONS * KV * 2 * DIM, 1);
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

/* The last block has two rows of padding. */
enum { DOCUMENT = 94, QUERY = 8, ANSWER = 5, HOSTS = HEADS_HOSTS, BLOCK = 24 };

static heads_prompt random_parts(const model *m, uint64_t seed)
{
    heads_prompt p = random_prompt(m, seed, DOCUMENT + QUERY + ANSWER, DOCUMENT);
    p.document = DOCUMENT;
    p.query = p.query_in_anchor = QUERY;
    return p;
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
        heads_forward(&heads, layer, shown.features, heads.inputs, DOCUMENT, &work, scores);
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
/* Of the keys of the first blocks that could be passed, mean share of the largest labels of one head that
 * are among the largest labels pooled over five rows of the block; and among the block's last. */
static void shares_of_labels(const float *labels, int kv_heads, int head, int64_t passing,
                             double *pooled_best, double *last)
{
    *pooled_best = *last = 0;
    for (int block = 0; block < HOSTS - 1; block++) {
        int64_t first = block * BLOCK, behind = block ? 0 : 6, count = BLOCK - behind;
        float raw[BLOCK], pooled[BLOCK];
        uint8_t top[BLOCK], best[BLOCK];
        for (int64_t i = 0; i < count; i++) {
            int64_t row = behind + i;
            pooled[i] = raw[i] = labels[(first + row) * kv_heads + head];
            for (int64_t near = row < 2 ? 0 : row - 2; near <= row + 2 && near < BLOCK; near++)
                pooled[i] = fmaxf(pooled[i], labels[(first + near) * kv_heads + head]);
        }
        learn_best(raw, count, 1, 0, passing, top);
        learn_best(pooled, count, 1, 0, passing, best);
        for (int64_t i = 0; i < count; i++) {
            *pooled_best += (top[i] && best[i]) / (double)passing / (HOSTS - 1);
            *last += (top[i] && i >= count - passing) / (double)passing / (HOSTS - 1);
        }
    }
}

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
    shown whole = show(m, NULL, &p); /* labels are those of the whole, whatever the layout */
    for (int i = 0; i < got.layers * got.kv_heads; i++) {
        double best, last;
        shares_of_labels(whole.labels[i / got.kv_heads], got.kv_heads, i % got.kv_heads, 4, &best, &last);
        cr_expect_float_eq(got.sums[PASSED_LABELS_BEST][i], best, 1e-12, "%g, expected %g",
                           got.sums[PASSED_LABELS_BEST][i], best);
        cr_expect_float_eq(got.sums[PASSED_LABELS][i], last, 1e-12, "%g, expected %g",
                           got.sums[PASSED_LABELS][i], last);
    }
    shown_free(&whole);
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
