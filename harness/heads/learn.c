/* Labels, loss, AdamW and the overlap. See learn.h. */
#include "harness/heads/learn.h"

#include <dnnl.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness/error.h"

enum { LABEL_ROWS = 64, LABEL_KEYS = 512 }; /* of products at a time: logits that stay in a core's cache */
static const double clip = 0.5;
static const double beta1 = 0.9, beta2 = 0.95, epsilon = 1e-8, weight_decay = 0.01;

/* Folds the largest of each column of z [rows, keys] into largest [keys]. */
static void fold_largest(const float *restrict z, int64_t rows, int64_t keys, float *restrict largest)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < keys; j++)
            largest[j] = z[i * keys + j] > largest[j] ? z[i * keys + j] : largest[j];
}

void labels_from_attention(const float *q, int64_t rows, const float *kv, int64_t positions,
                           int heads, int kv_heads, int head_dim, float *labels)
{
    float *z = alloc_or_die((size_t)LABEL_ROWS * LABEL_KEYS, sizeof *z), largest[LABEL_KEYS];
    float scale = (float)(1 / sqrt((double)head_dim));
    int64_t q_row = (int64_t)heads * head_dim, kv_row = 2 * (int64_t)kv_heads * head_dim;
    int group = heads / kv_heads;
    for (int64_t key = 0; key < positions; key += LABEL_KEYS)
        for (int kv_head = 0; kv_head < kv_heads; kv_head++) {
            int64_t n = positions - key < LABEL_KEYS ? positions - key : LABEL_KEYS;
            for (int64_t j = 0; j < n; j++)
                largest[j] = -INFINITY;
            for (int head = kv_head * group; head < (kv_head + 1) * group; head++)
                for (int64_t row = 0; row < rows; row += LABEL_ROWS) {
                    int64_t m = rows - row < LABEL_ROWS ? rows - row : LABEL_ROWS;
                    dnnl_status_t status = dnnl_sgemm(
                        'N', 'T', m, n, head_dim, 1.0f, q + row * q_row + head * head_dim, q_row,
                        kv + key * kv_row + 2 * (int64_t)kv_head * head_dim, kv_row, 0.0f, z, n);
                    if (status != dnnl_success) { /* only by a programmer's mistake */
                        fprintf(stderr, "apbench: dnnl_sgemm refused the labels' product (status %d)\n",
                                (int)status);
                        abort();
                    }
                    fold_largest(z, m, n, largest);
                }
            for (int64_t j = 0; j < n; j++)
                labels[(key + j) * kv_heads + kv_head] = largest[j] * scale;
        }
    free(z);
}

/* The mean of score - label of one head. */
static double level_of(const float *scores, const float *labels, int64_t positions, int kv_heads, int head)
{
    double sum = 0;
    for (int64_t i = head; i < positions * kv_heads; i += kv_heads)
        sum += (double)scores[i] - labels[i];
    return sum / (double)positions;
}

/* Smooth-L1's slope: the difference, where it is below 1. */
static double slope_of(double off)
{
    return fabs(off) < 1 ? off : off > 0 ? 1 : -1;
}

double learn_loss(const float *scores, const float *labels, int64_t positions, int kv_heads,
                  int layers, double smoothness, float *gradient)
{
    double regression = 0, rough = 0;
    double share = 1 / ((double)layers * kv_heads * (double)positions);
    double bend = positions > 1 ? smoothness / ((double)kv_heads * (double)(positions - 1)) : 0;
    for (int head = 0; head < kv_heads; head++) {
        double level = level_of(scores, labels, positions, kv_heads, head), pull = 0;
        for (int64_t i = head; i < positions * kv_heads; i += kv_heads) {
            double off = (double)scores[i] - labels[i] - level;
            regression += fabs(off) < 1 ? 0.5 * off * off : fabs(off) - 0.5;
            pull += slope_of(off);
        }
        pull /= (double)positions; /* which the level passes on to every score */
        for (int64_t i = head; i < positions * kv_heads; i += kv_heads) {
            double off = (double)scores[i] - labels[i] - level;
            double slope = share * (slope_of(off) - pull);
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
    }
    return share * regression + bend * rough;
}

double schedule_rate(const schedule *s, int64_t step)
{
    if (step < s->warm_up)
        return s->rate * (double)step / (double)s->warm_up;
    return s->rate * (double)(s->steps - step) / (double)(s->steps - s->warm_up);
}

void learn_units(const float *features, int64_t rows, int64_t inputs, float *unit)
{
    double *square = alloc_or_die((size_t)inputs, sizeof *square), all = 0;
    for (int64_t row = 0; row < rows; row++)
        for (int64_t j = 0; j < inputs; j++)
            square[j] += (double)features[row * inputs + j] * features[row * inputs + j];
    for (int64_t j = 0; j < inputs; j++)
        all += square[j] / (double)inputs;
    for (int64_t j = 0; j < inputs; j++)
        unit[j] = square[j] > 0 ? (float)sqrt(all / square[j]) : 1;
    free(square);
}

void learn_update(float *restrict values, float *restrict mean, float *restrict square,
                  const float *restrict gradient, int64_t rows, int64_t columns,
                  const float *restrict unit, double rate, int64_t step)
{
    double bias1 = 1 - pow(beta1, (double)step + 1), bias2 = 1 - pow(beta2, (double)step + 1);
    float keep = (float)(1 - rate * weight_decay), pace = (float)(rate / bias1);
    float root_bias2 = (float)(1 / sqrt(bias2)), most = (float)clip;
    for (int64_t row = 0; row < rows; row++)
        for (int64_t j = 0, i = row * columns; j < columns; j++, i++) {
            float g = gradient[i] < most ? gradient[i] : most; /* NaN too */
            g = g > -most ? g : -most;
            mean[i] = (float)beta1 * mean[i] + (float)(1 - beta1) * g;
            square[i] = (float)beta2 * square[i] + (float)(1 - beta2) * g * g;
            values[i] = keep * values[i] -
                        pace * unit[j] * mean[i] / (sqrtf(square[i]) * root_bias2 + (float)epsilon);
        }
}

/* ---- Overlap ---- */

/* Whole numbers in the order of the floats. */
static uint32_t order_of(float value)
{
    uint32_t bits;
    value += 0; /* there is but one zero */
    memcpy(&bits, &value, sizeof bits);
    return bits >> 31 ? ~bits : bits | 0x80000000u;
}

/* The count-th largest of keys [n], which are moved about: quickselect, from three to two parts. */
static uint32_t largest_of(uint32_t *keys, int64_t n, int64_t count)
{
    int64_t low = 0, high = n; /* it is among keys[low, high), the count-th largest of the whole */
    for (;;) {
        uint32_t a = keys[low], b = keys[low + (high - low) / 2], c = keys[high - 1];
        uint32_t pivot = a < b ? (b < c ? b : a < c ? c : a) : (a < c ? a : b < c ? c : b);
        int64_t larger = low, at = low, smaller = high;
        while (at < smaller) { /* larger ones to the left, smaller ones to the right */
            uint32_t key = keys[at];
            if (key > pivot) {
                keys[at++] = keys[larger];
                keys[larger++] = key;
            } else if (key < pivot) {
                keys[at] = keys[--smaller];
                keys[smaller] = key;
            } else {
                at++;
            }
        }
        if (count <= larger)
            high = larger;
        else if (count > smaller)
            low = smaller;
        else
            return pivot;
    }
}

void learn_best(const float *scores, int64_t positions, int kv_heads, int head, int64_t count,
                uint8_t *chosen)
{
    if (count < 1) {
        for (int64_t t = 0; t < positions; t++)
            chosen[t] = 0;
        return;
    }
    uint32_t *keys = alloc_or_die((size_t)positions, sizeof *keys);
    for (int64_t t = 0; t < positions; t++)
        keys[t] = order_of(scores[t * kv_heads + head]);
    uint32_t least = largest_of(keys, positions, count);
    free(keys);
    int64_t larger = 0;
    for (int64_t t = 0; t < positions; t++) {
        chosen[t] = order_of(scores[t * kv_heads + head]) > least;
        larger += chosen[t];
    }
    for (int64_t t = 0; t < positions && larger < count; t++) /* of equals the earlier */
        if (order_of(scores[t * kv_heads + head]) == least) {
            chosen[t] = 1;
            larger++;
        }
}

int64_t learn_tenth(int64_t positions)
{
    return positions >= 10 ? positions / 10 : 1;
}

void learn_overlap(const float *scores, const float *labels, int64_t positions, int kv_heads,
                   double *overlap)
{
    int64_t count = learn_tenth(positions);
    uint8_t *by_score = alloc_or_die((size_t)positions, 1);
    uint8_t *by_label = alloc_or_die((size_t)positions, 1);
    for (int head = 0; head < kv_heads; head++) {
        int64_t both = 0;
        learn_best(scores, positions, kv_heads, head, count, by_score);
        learn_best(labels, positions, kv_heads, head, count, by_label);
        for (int64_t t = 0; t < positions; t++)
            both += by_score[t] && by_label[t];
        overlap[head] = (double)both / (double)count;
    }
    free(by_score);
    free(by_label);
}
