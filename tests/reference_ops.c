/* Float64 reference of every operation of a device. See reference_ops.h. */
#include "tests/reference_ops.h"

#include "harness/error.h"

#include <math.h>
#include <stdlib.h>

void reference_gemm(double *c, double *weight, const float *before, int64_t ldc, const float *a,
                    int64_t lda, const float *w, const float *bias, int64_t m, int64_t n, int64_t k)
{
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            double sum = 0, size = 0;
            for (int64_t e = 0; e < k; e++) {
                double term = (double)a[i * lda + e] * w[j * k + e];
                sum += term;
                size += fabs(term);
            }
            double rest[] = {bias ? bias[j] : 0.0, before ? before[i * ldc + j] : 0.0};
            c[i * n + j] = sum + rest[0] + rest[1];
            weight[i * n + j] = size + fabs(rest[0]) + fabs(rest[1]);
        }
}

/* The header's sentence, word for word. */
static bool sees(const attn_segment *segment, int64_t row, int64_t key)
{
    return row >= segment->row_begin && row < segment->row_end && key < segment->length &&
           key - (row - segment->row_begin) <= segment->causal_offset;
}

int64_t reference_attention(double *out, double *lse, double *magnitude, const attn_call *call)
{
    int group = call->heads / call->kv_heads, dim = call->head_dim;
    int64_t pairs = 0;
    for (int64_t row = 0; row < call->rows; row++)
        for (int head = 0; head < call->heads; head++) {
            const float *q = (const float *)call->q + row * call->q_row_stride + head * dim;
            double *o = out + (row * call->heads + head) * dim, top = -INFINITY, sum = 0, size = 0;
            for (int e = 0; e < dim; e++)
                o[e] = 0;
            for (int pass = 0; pass < 2; pass++) /* the largest score, then the sums */
                for (int s = 0; s < call->segment_count; s++) {
                    const attn_segment *segment = &call->segments[s];
                    int64_t at = head / group * segment->head_stride;
                    for (int64_t key = 0; key < segment->length; key++) {
                        if (!sees(segment, row, key))
                            continue;
                        const float *k = (const float *)segment->k + key * segment->row_stride + at;
                        const float *v = (const float *)segment->v + key * segment->row_stride + at;
                        double score = 0, absolute = 0;
                        for (int e = 0; e < dim; e++) {
                            score += (double)q[e] * k[e];
                            absolute += fabs((double)q[e] * k[e]);
                        }
                        score *= call->scale;
                        if (pass == 0) {
                            top = fmax(top, score);
                            size = fmax(size, absolute * call->scale);
                            pairs += head == 0;
                            continue;
                        }
                        double p = exp(score - top);
                        sum += p;
                        for (int e = 0; e < dim; e++)
                            o[e] += p * v[e];
                    }
                }
            for (int e = 0; e < dim && sum > 0; e++)
                o[e] /= sum;
            lse[row * call->heads + head] = sum > 0 ? top + log(sum) : -INFINITY;
            magnitude[row * call->heads + head] = size;
        }
    return pairs;
}

void reference_merge(double *out, const float *parts_out, const float *lse, int parts, int64_t rows,
                     int heads, int head_dim)
{
    int64_t pairs = rows * heads;
    for (int64_t i = 0; i < pairs; i++) {
        double top = -INFINITY, sum = 0;
        for (int p = 0; p < parts; p++)
            top = fmax(top, lse[p * pairs + i]);
        for (int e = 0; e < head_dim; e++)
            out[i * head_dim + e] = 0;
        for (int p = 0; p < parts; p++) {
            if (lse[p * pairs + i] == -INFINITY)
                continue;
            double weight = exp((double)lse[p * pairs + i] - top);
            sum += weight;
            for (int e = 0; e < head_dim; e++)
                out[i * head_dim + e] += weight * parts_out[(p * pairs + i) * head_dim + e];
        }
        for (int e = 0; e < head_dim && sum > 0; e++)
            out[i * head_dim + e] /= sum;
    }
}

void reference_rmsnorm(double *out, const float *x, const float *weight, int64_t rows, int hidden,
                       double epsilon)
{
    for (int64_t i = 0; i < rows; i++) {
        double squares = 0;
        for (int e = 0; e < hidden; e++)
            squares += (double)x[i * hidden + e] * x[i * hidden + e];
        double rms = sqrt(squares / hidden + epsilon);
        for (int e = 0; e < hidden; e++)
            out[i * hidden + e] = x[i * hidden + e] / rms * weight[e];
    }
}

void reference_rope(double *q, double *kv, const float *qkv, const int32_t *positions,
                    const float *table, int64_t rows, int heads, int kv_heads, int head_dim)
{
    int half = head_dim / 2;
    for (int64_t i = 0; i < rows; i++)
        for (int h = 0; h < heads + 2 * kv_heads; h++) {
            const float *in = qkv + (i * (heads + 2 * kv_heads) + h) * head_dim;
            double *to;
            if (h < heads)
                to = q + (i * heads + h) * head_dim;
            else if (h < heads + kv_heads)
                to = kv + (i * kv_heads + h - heads) * 2 * head_dim;
            else
                to = kv + ((i * kv_heads + h - heads - kv_heads) * 2 + 1) * head_dim;
            for (int e = 0; e < head_dim; e++)
                to[e] = in[e];
            if (h >= heads + kv_heads)
                continue;
            for (int e = 0; e < half; e++) {
                double cosine = table[((int64_t)positions[i] * half + e) * 2];
                double sine = table[((int64_t)positions[i] * half + e) * 2 + 1];
                to[e] = in[e] * cosine - in[e + half] * sine;
                to[e + half] = in[e + half] * cosine + in[e] * sine;
            }
        }
}

double reference_silu(double x)
{
    return x / (1 + exp(-x));
}

void reference_score_query(double *scores, double *weight, const float *q, int64_t query_rows,
                           const float *kv, int64_t rows, int heads, int kv_heads, int head_dim)
{
    int group = heads / kv_heads;
    for (int64_t t = 0; t < rows; t++)
        for (int h = 0; h < kv_heads; h++) {
            double sum = 0, size = 0;
            for (int64_t i = 0; i < query_rows; i++)
                for (int g = 0; g < group; g++)
                    for (int e = 0; e < head_dim; e++) {
                        double term = (double)q[(i * heads + h * group + g) * head_dim + e] *
                                      kv[(t * kv_heads + h) * 2 * head_dim + e];
                        sum += term;
                        size += fabs(term);
                    }
            scores[t * kv_heads + h] = sum / (double)(query_rows * group);
            weight[t * kv_heads + h] = size / (double)(query_rows * group);
        }
}

void reference_weigh_by_norm(double *scores, const float *before, const float *kv, int64_t rows,
                             int kv_heads, int head_dim)
{
    for (int64_t t = 0; t < rows; t++)
        for (int h = 0; h < kv_heads; h++) {
            double squares = 0;
            for (int e = 0; e < head_dim; e++) {
                double v = kv[((t * kv_heads + h) * 2 + 1) * head_dim + e];
                squares += v * v;
            }
            scores[t * kv_heads + h] = log(exp(before[t * kv_heads + h]) * sqrt(squares));
        }
}

typedef struct {
    float score;
    int32_t row;
} ranked;

static int by_rank(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (isnan(x->score) != isnan(y->score))
        return isnan(x->score) ? 1 : -1;
    if (x->score > y->score || x->score < y->score)
        return x->score > y->score ? -1 : 1;
    return x->row < y->row ? -1 : x->row > y->row;
}

static int by_row(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    return x->row < y->row ? -1 : x->row > y->row;
}

void reference_top_k(int32_t *index, const float *scores, int64_t rows, int kv_heads, int64_t k)
{
    ranked *all = alloc_or_die((size_t)rows, sizeof *all);
    for (int h = 0; h < kv_heads; h++) {
        for (int64_t t = 0; t < rows; t++)
            all[t] = (ranked){scores[t * kv_heads + h], (int32_t)t};
        qsort(all, (size_t)rows, sizeof *all, by_rank);
        qsort(all, (size_t)k, sizeof *all, by_row);
        for (int64_t i = 0; i < k; i++)
            index[i * kv_heads + h] = all[i].row;
    }
    free(all);
}

double reference_f16(uint16_t bits)
{
    int exponent = bits >> 10 & 31, mantissa = bits & 1023;
    double sign = bits & 0x8000 ? -1 : 1;
    if (exponent == 31)
        return mantissa ? NAN : sign * INFINITY;
    return sign * (exponent ? ldexp(1024 + mantissa, exponent - 25) : ldexp(mantissa, -24));
}

double reference_bf16(uint16_t bits)
{
    int exponent = bits >> 7 & 255, mantissa = bits & 127;
    double sign = bits & 0x8000 ? -1 : 1;
    if (exponent == 255)
        return mantissa ? NAN : sign * INFINITY;
    return sign * (exponent ? ldexp(128 + mantissa, exponent - 134) : ldexp(mantissa, -133));
}
