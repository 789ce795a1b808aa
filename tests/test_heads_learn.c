/* The arithmetic of learning: the gradient of retaining heads against finite differences in double
 * precision, AdamW and its rate against their formulas, overlap and the choice of the best against their
 * definitions. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#include "harness/error.h"
#include "kernels/hash.h"
#include "tests/heads_fixture.h"

/* ---- Gradient ---- */

enum { ROWS = 13, LAYERS = 2 };
static const double smoothness = 0.0025;
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
        for (int k = 0; k < 2; k++) {
            double level = 0;
            for (int t = 0; t < ROWS; t++)
                level += (scores[t][k] - labels[layer][t * 2 + k]) / ROWS;
            for (int t = 0; t < ROWS; t++) {
                double off = fabs(scores[t][k] - labels[layer][t * 2 + k] - level);
                regression += (off < 1 ? off * off / 2 : off - 0.5) / ROWS / (LAYERS * 2);
                if (t)
                    rough += pow(scores[t][k] - scores[t - 1][k], 2) / (2 * (ROWS - 1));
            }
        }
    }
    return regression + smoothness * rough;
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
        features[layer] = random_floats(10 + (uint64_t)layer, ROWS * h.inputs, 1.5f);
        labels[layer] = random_floats(20 + (uint64_t)layer, ROWS * 2, 3);
        float scores[ROWS * 2], slopes[ROWS * 2];
        heads_forward(&h, layer, features[layer], h.inputs, ROWS, &work, scores);
        loss += learn_loss(scores, labels[layer], ROWS, 2, LAYERS, smoothness, slopes);
        heads_backward(&h, layer, features[layer], h.inputs, ROWS, &work, slopes, gradient + layer * size);
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

/* Three steps of numbers of order 1 in float32 against double, written for inputs in their units: 1e-6. One
 * gradient is clipped. */
Test(heads, update_is_adamw_after_clipping)
{
    float p[4] = {1.5f, -0.25f, 0.5f, 2}, mean[4] = {0}, square[4] = {0};
    const float unit[2] = {1, 2.5f};
    const float gradients[3][4] = {{0.3f, -4, 0, 1}, {-0.1f, 0.2f, 0.4f, -0.3f}, {0.05f, 3, 0.1f, 0.2f}};
    double x[4] = {1.5, -0.25, 0.5, 2}, m[4] = {0}, v[4] = {0};
    for (int step = 0; step < 3; step++) {
        double rate = 0.01 * (step + 1);
        learn_update(p, mean, square, gradients[step], 2, 2, unit, rate, step);
        for (int i = 0; i < 4; i++) {
            double g = fmax(-0.5, fmin(0.5, gradients[step][i]));
            m[i] = 0.9 * m[i] + 0.1 * g;
            v[i] = 0.95 * v[i] + 0.05 * g * g;
            x[i] -= rate * 0.01 * x[i];
            x[i] -= unit[i % 2] * rate * (m[i] / (1 - pow(0.9, step + 1))) /
                    (sqrt(v[i] / (1 - pow(0.95, step + 1))) + 1e-8);
            cr_expect(fabs(x[i] - p[i]) < 1e-6, "step %d, number %d: %.8f, expected %.8f", step, i,
                      p[i], x[i]);
        }
    }
}

/* Divided by their units, columns are of one size, which is that of all before; a zero column stays. */
Test(heads, units_make_columns_alike)
{
    const float features[3 * 4] = {1, -20, 0, 0.3f, -1, 5, 0, 0.1f, 2, 10, 0, -0.2f};
    float unit[4];
    double all = 0, size[4] = {0};
    for (int i = 0; i < 12; i++) {
        all += pow(features[i], 2) / 12;
        size[i % 4] += pow(features[i], 2) / 3;
    }
    learn_units(features, 3, 4, unit);
    for (int j = 0; j < 4; j++)
        cr_expect_float_eq(unit[j] * sqrt(size[j]), j == 2 ? 0 : sqrt(all), 1e-5 * sqrt(all));
    cr_expect_eq(unit[2], 1);
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
    static const int64_t tenths[][2] = {{1, 1}, {9, 1}, {10, 1}, {19, 1}, {20, 2}, {8191, 819}};
    for (int i = 0; i < 6; i++)
        cr_expect_eq(learn_tenth(tenths[i][0]), tenths[i][1]);
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
