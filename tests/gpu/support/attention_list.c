/* See attention_list.h. */
#include "tests/gpu/support/attention_list.h"

#include "harness/error.h"
#include "kernels/hash.h"
#include "kernels/visible.h"
#include "tests/gpu/support/pair.h"

#include <math.h>
#include <string.h>

bool list_small;
float *list_pool, *list_start_acc, *list_start_lse;
char *list_pool_on_gpu;

/* ---- What lists read ---- */

void lists_prepare(uint64_t seed)
{
    int64_t pairs = (int64_t)LIST_ROWS * LIST_HEADS, values = pairs * LIST_HEAD_DIM;
    list_pool = alloc_or_die((size_t)LIST_POOL, sizeof *list_pool);
#pragma omp parallel for
    for (int64_t i = 0; i < LIST_POOL; i++)
        list_pool[i] = round_to_bf16(hash_uniform(seed, (uint64_t)i, 1));
    list_start_acc = alloc_or_die((size_t)values, sizeof *list_start_acc);
    list_start_lse = alloc_or_die((size_t)pairs, sizeof *list_start_lse);
    for (int64_t i = 0; i < pairs; i++)
        list_start_lse[i] = hash_bits(seed + 1, (uint64_t)i) % 10
                                ? hash_uniform(seed + 2, (uint64_t)i, 8) : -INFINITY;
    /* Which head size reads a row is not known yet: all values that belong to an empty row of either
     * size are 0. */
    for (int64_t i = 0; i < values; i++) {
        bool empty = list_start_lse[i / 128] == -INFINITY ||
                     (i / 64 < pairs && list_start_lse[i / 64] == -INFINITY);
        list_start_acc[i] = empty ? 0 : hash_uniform(seed + 3, (uint64_t)i, 1);
    }
}

/* ---- Draws ---- */

static uint64_t draw_seed, draws;

int64_t list_between(int64_t low, int64_t high)
{
    return low + (int64_t)(hash_bits(draw_seed, draws++) % (uint64_t)(high - low + 1));
}

/* 0 or 1 to most; half of them near a multiple of a tile's size. */
static int64_t some_size(int64_t least, int64_t most)
{
    static const int64_t tiles[] = {16, 64, 128, 160, 192};
    if (list_between(0, 1)) {
        int64_t tile = tiles[list_between(0, 4)];
        int64_t size = tile * list_between(1, 1 + most / tile) + list_between(-2, 2);
        return size < least ? least : size > most ? most : size;
    }
    return list_between(least, most);
}

/* `count` elements somewhere in the pool; 16-byte aligned. */
static int64_t place_of(int64_t count)
{
    return 8 * list_between(0, (LIST_POOL - count) / 8);
}

static void draw_segment(list *l)
{
    int d = l->cpu.head_dim, kv_heads = l->cpu.kv_heads;
    int64_t rows = l->cpu.rows;
    int64_t length = list_between(0, 9) ? some_size(0, list_small ? 100 : LIST_LENGTH) : 0;
    int64_t begin = list_between(0, rows), end = list_between(begin, rows);
    if (list_between(0, 2) == 0)
        begin = 0, end = rows;
    int64_t offsets[] = {list_between(-20, 20), list_between(-2 * rows - 3, length + 5), length, 0,
                         INT64_MAX, INT64_MIN, length - 1};
    bool as_cache = list_between(0, 1);
    attn_segment s = {.length = length, .row_begin = begin, .row_end = end,
                      .causal_offset = offsets[list_between(0, 6)]};
    s.head_stride = as_cache ? 2 * d : d + 8 * list_between(0, 2);
    s.row_stride = s.head_stride * kv_heads + (as_cache ? 0 : 8 * list_between(0, 3));
    int64_t k = place_of(length * s.row_stride);
    int64_t v = as_cache ? k + d : place_of(length * s.row_stride);
    int i = l->cpu.segment_count++;
    l->gpu.segment_count++;
    l->cpu_segments[i] = l->gpu_segments[i] = s;
    l->cpu_segments[i].k = list_pool + k, l->cpu_segments[i].v = list_pool + v;
    l->gpu_segments[i].k = list_pool_on_gpu + 2 * k, l->gpu_segments[i].v = list_pool_on_gpu + 2 * v;
}

void draw_list(list *l, uint64_t seed)
{
    draw_seed = seed, draws = 0;
    *l = (list){0};
    attn_call *c = &l->cpu;
    c->head_dim = list_between(0, 1) ? 128 : 64;
    c->kv_heads = (int)list_between(1, list_small ? 2 : 4);
    c->heads = c->kv_heads * (int)list_between(1, 8);
    c->rows = list_between(0, 3) ? some_size(1, list_small ? 70 : LIST_ROWS) : list_between(1, 8);
    /* Scores of up to 16 and mostly 2; every fifth list has them 16 times as large. */
    float factor = list_between(0, 4) ? 2 : 32;
    c->scale = factor / sqrtf((float)c->head_dim);
    l->score_size = factor * sqrt((double)c->head_dim);
    c->q_row_stride = c->heads * c->head_dim + 8 * list_between(0, 3);
    int kind = (int)list_between(0, 3); /* out, out, acc, fold */
    l->to_acc = kind >= 2;
    l->with_lse = kind > 0;
    c->fold = kind == 3;
    c->out_row_stride = c->heads * c->head_dim + 8 * list_between(0, 3);
    int64_t q = place_of(c->rows * c->q_row_stride);
    l->gpu = *c;
    c->q = list_pool + q, l->gpu.q = list_pool_on_gpu + 2 * q;
    c->segments = l->cpu_segments, l->gpu.segments = l->gpu_segments;
    for (int64_t segments = list_between(0, LIST_SEGMENTS); segments > 0; segments--)
        draw_segment(l);
}

int64_t list_sampled_row(const list *l)
{
    int64_t rows = l->cpu.rows, row = list_between(0, rows - 1);
    if (list_between(0, 1) && l->cpu.segment_count) {
        const attn_segment *s = &l->cpu_segments[list_between(0, l->cpu.segment_count - 1)];
        row = (list_between(0, 1) ? s->row_begin : s->row_end) - list_between(0, 1);
    } else if (list_between(0, 1)) {
        row = row / 64 * 64 - list_between(0, 1);
    }
    return row < 0 ? 0 : row >= rows ? rows - 1 : row;
}

/* ---- Exact sums ---- */

void compute_exact(const list *l, exact_row *x)
{
    const attn_call *c = &l->cpu;
    int d = c->head_dim, head = (int)(x->pair % c->heads), kv_head = head / (c->heads / c->kv_heads);
    int64_t row = x->pair / c->heads;
    const float *q = (const float *)c->q + row * c->q_row_stride + head * d;
    double top = -INFINITY, sum = 0;
    memset(x->values, 0, sizeof x->values);
    if (c->fold && list_start_lse[x->pair] != -INFINITY) {
        top = list_start_lse[x->pair], sum = 1;
        for (int e = 0; e < d; e++)
            x->values[e] = list_start_acc[x->pair * d + e];
    }
    for (int i = 0; i < c->segment_count; i++) {
        const attn_segment *s = &c->segments[i];
        int64_t seen = visible_keys(s, row);
        for (int64_t key = 0; key < seen; key++) {
            int64_t skip = key * s->row_stride + kv_head * s->head_stride;
            const float *k = (const float *)s->k + skip, *v = (const float *)s->v + skip;
            double score = 0;
            for (int e = 0; e < d; e++)
                score += (double)q[e] * k[e];
            score *= c->scale;
            if (score > top) {
                double factor = exp(top - score);
                sum *= factor;
                for (int e = 0; e < d; e++)
                    x->values[e] *= factor;
                top = score;
            }
            double weight = exp(score - top);
            sum += weight;
            for (int e = 0; e < d; e++)
                x->values[e] += weight * v[e];
        }
    }
    x->lse = sum > 0 ? top + log(sum) : -INFINITY;
    for (int e = 0; e < d && sum > 0; e++)
        x->values[e] /= sum;
}
