/* Labels, loss, AdamW and the overlap. See learn.h. */
#include "harness/heads/learn.h"

#include <dnnl.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "harness/error.h"

enum { LABEL_ROWS = 64, LABEL_KEYS = 4096 }; /* of products at a time: 1 MB of logits */
static const double smoothness = 0.0025, clip = 0.5;
static const double beta1 = 0.9, beta2 = 0.95, epsilon = 1e-8, weight_decay = 0.01;

/* Folds the largest of each column of z [rows, keys] into labels. */
static void fold_largest(const float *z, int64_t rows, int64_t keys, float scale, float *labels,
                         int kv_heads)
{
#pragma omp parallel for
    for (int64_t j = 0; j < keys; j++) {
        float largest = labels[j * kv_heads];
        for (int64_t i = 0; i < rows; i++)
            largest = fmaxf(largest, z[i * keys + j] * scale);
        labels[j * kv_heads] = largest;
    }
}

void labels_from_attention(const float *q, int64_t rows, const float *kv, int64_t positions,
                           int heads, int kv_heads, int head_dim, float *labels)
{
    float *z = alloc_or_die((size_t)LABEL_ROWS * LABEL_KEYS, sizeof *z);
    float scale = (float)(1 / sqrt((double)head_dim));
    int64_t q_row = (int64_t)heads * head_dim, kv_row = 2 * (int64_t)kv_heads * head_dim;
    for (int64_t i = 0; i < positions * kv_heads; i++)
        labels[i] = -INFINITY;
    for (int head = 0; head < heads; head++) {
        int group = head / (heads / kv_heads);
        for (int64_t key = 0; key < positions; key += LABEL_KEYS)
            for (int64_t row = 0; row < rows; row += LABEL_ROWS) {
                int64_t m = rows - row < LABEL_ROWS ? rows - row : LABEL_ROWS;
                int64_t n = positions - key < LABEL_KEYS ? positions - key : LABEL_KEYS;
                dnnl_status_t status =
                    dnnl_sgemm('N', 'T', m, n, head_dim, 1.0f, q + row * q_row + head * head_dim,
                               q_row, kv + key * kv_row + 2 * (int64_t)group * head_dim, kv_row, 0.0f, z, n);
                if (status != dnnl_success) { /* only by a programmer's mistake */
                    fprintf(stderr, "apbench: dnnl_sgemm refused the labels' product (status %d)\n",
                            (int)status);
                    abort();
                }
                fold_largest(z, m, n, scale, labels + key * kv_heads + group, kv_heads);
            }
    }
    free(z);
}

double learn_loss(const float *scores, const float *labels, int64_t positions, int kv_heads,
                  int layers, float *gradient)
{
    double regression = 0, rough = 0;
    double share = 1 / ((double)layers * kv_heads * (double)positions);
    double bend = positions > 1 ? smoothness / ((double)kv_heads * (double)(positions - 1)) : 0;
    for (int64_t i = 0; i < positions * kv_heads; i++) {
        double off = (double)scores[i] - labels[i];
        bool near = fabs(off) < 1;
        regression += near ? 0.5 * off * off : fabs(off) - 0.5;
        double slope = share * (near ? off : off > 0 ? 1 : -1);
        if (i >= kv_heads) {
            double step = (double)scores[i] - scores[i - kv_heads];
            rough += step * step;
            slope += 2 * bend * step;
        }
        if (i + kv_heads < positions * kv_heads)
            slope -= 2 * bend * ((double)scores[i + kv_heads] - scores[i]);
        if (gradient)
            gradient[i] = (float)slope;
    }
    return share * regression + bend * rough;
}

double schedule_rate(const schedule *s, int64_t step)
{
    if (step < s->warm_up)
        return s->rate * (double)step / (double)s->warm_up;
    return s->rate * (double)(s->steps - step) / (double)(s->steps - s->warm_up);
}

void learn_update(float *values, float *mean, float *square, const float *gradient, int64_t count,
                  double rate, int64_t step)
{
    double bias1 = 1 - pow(beta1, (double)step + 1), bias2 = 1 - pow(beta2, (double)step + 1);
    float keep = (float)(1 - rate * weight_decay), pace = (float)(rate / bias1);
    float root_bias2 = (float)(1 / sqrt(bias2));
#pragma omp parallel for
    for (int64_t i = 0; i < count; i++) {
        float g = fminf(fmaxf(gradient[i], (float)-clip), (float)clip);
        mean[i] = (float)beta1 * mean[i] + (float)(1 - beta1) * g;
        square[i] = (float)beta2 * square[i] + (float)(1 - beta2) * g * g;
        values[i] = keep * values[i] -
                    pace * mean[i] / (sqrtf(square[i]) * root_bias2 + (float)epsilon);
    }
}

/* ---- Overlap ---- */

typedef struct {
    float score;
    int64_t position;
} ranked;

/* The better one first; of equals the earlier. */
static int compare_ranked(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return (x->position > y->position) - (x->position < y->position);
}

int64_t learn_top(const float *scores, int64_t positions, int kv_heads, int head, uint8_t *chosen)
{
    ranked *all = alloc_or_die((size_t)positions, sizeof *all);
    for (int64_t t = 0; t < positions; t++) {
        all[t] = (ranked){scores[t * kv_heads + head], t};
        chosen[t] = 0;
    }
    qsort(all, (size_t)positions, sizeof *all, compare_ranked);
    int64_t count = positions >= 10 ? positions / 10 : 1;
    for (int64_t i = 0; i < count; i++)
        chosen[all[i].position] = 1;
    free(all);
    return count;
}

void learn_overlap(const float *scores, const float *labels, int64_t positions, int kv_heads,
                   double *overlap)
{
#pragma omp parallel for
    for (int head = 0; head < kv_heads; head++) {
        uint8_t *by_score = alloc_or_die((size_t)positions, 1);
        uint8_t *by_label = alloc_or_die((size_t)positions, 1);
        int64_t count = learn_top(scores, positions, kv_heads, head, by_score), both = 0;
        learn_top(labels, positions, kv_heads, head, by_label);
        for (int64_t t = 0; t < positions; t++)
            both += by_score[t] && by_label[t];
        overlap[head] = (double)both / (double)count;
        free(by_score);
        free(by_label);
    }
}
