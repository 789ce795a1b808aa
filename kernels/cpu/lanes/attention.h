/* Attention of one lane group against one tile of keys; see lanes.h for what the groups are. The
 * sums of BLOCK keys (then of BLOCK dimensions) by MAX_VECTORS vectors of lanes stay in
 * registers. */

/* Scores of the keys in rows[], the first of them key number `first` of the tile, into s. The
 * largest go to `top` in memory: in registers they would push operands of the sums out. */
INLINE void score_block(float *s, const float *q, const float *const rows[BLOCK], int head_dim,
                        float *top, const int32_t *limit, int first, const int vectors)
{
    vector sum[BLOCK][MAX_VECTORS];
    multiply_rows(sum, rows, q, head_dim, vectors);
    if (limit)
#pragma GCC unroll 8
        for (int j = 0; j < BLOCK; j++)
#pragma GCC unroll 3
            for (int v = 0; v < vectors; v++) {
                integers seen = *(const loose_integers *)(limit + v * WIDTH) > first + j;
                sum[j][v] = choose(seen, sum[j][v], splat(-INFINITY));
            }
#pragma GCC unroll 8
    for (int j = 0; j < BLOCK; j++)
#pragma GCC unroll 3
        for (int v = 0; v < vectors; v++)
            store(s + (j * vectors + v) * WIDTH, sum[j][v]);
#pragma GCC unroll 3
    for (int v = 0; v < vectors; v++) {
        vector most = larger(larger(sum[0][v], sum[1][v]), larger(sum[2][v], sum[3][v]));
        if (BLOCK == 8)
            most = larger(most, larger(larger(sum[BLOCK - 4][v], sum[BLOCK - 3][v]),
                                       larger(sum[BLOCK - 2][v], sum[BLOCK - 1][v])));
        store(top + v * WIDTH, larger(most, load(top + v * WIDTH)));
    }
}

/* acc[e] = acc[e] * scale + sum over keys of weight[j] * v[j][e], for e < dims <= BLOCK. */
INLINE void value_block(float *acc, const float *weights, const float *v, int64_t stride, int keys,
                        const vector *scale, const int dims, const int vectors)
{
    vector sum[BLOCK][MAX_VECTORS];
#pragma GCC unroll 8
    for (int e = 0; e < dims; e++)
#pragma GCC unroll 3
        for (int i = 0; i < vectors; i++)
            sum[e][i] = load(acc + (e * vectors + i) * WIDTH) * scale[i];
    for (int j = 0; j < keys; j++) {
        vector weight[MAX_VECTORS];
#pragma GCC unroll 3
        for (int i = 0; i < vectors; i++)
            weight[i] = load(weights + (j * vectors + i) * WIDTH);
#pragma GCC unroll 8
        for (int e = 0; e < dims; e++) {
            vector value = splat(v[e]);
#pragma GCC unroll 3
            for (int i = 0; i < vectors; i++)
                sum[e][i] += value * weight[i];
        }
        v += stride;
    }
#pragma GCC unroll 8
    for (int e = 0; e < dims; e++)
#pragma GCC unroll 3
        for (int i = 0; i < vectors; i++)
            store(acc + (e * vectors + i) * WIDTH, sum[e][i]);
}

INLINE void attend_vectors(const lane_group *group, const float *k, const float *v, int64_t stride,
                           int keys, const int32_t *limit, float *scratch, const int vectors)
{
    vector scale[MAX_VECTORS], sum[MAX_VECTORS], base[MAX_VECTORS];
    float *tops = scratch + KEY_TILE * MAX_LANES;
    for (int i = 0; i < vectors; i++)
        store(tops + i * WIDTH, load(group->top + i * WIDTH));
    for (int first = 0; first < keys; first += BLOCK) {
        const float *rows[BLOCK];
        int count = keys - first < BLOCK ? keys - first : BLOCK;
        for (int j = 0; j < BLOCK; j++) /* the last block repeats the last key */
            rows[j] = k + (first + (j < count ? j : count - 1)) * stride;
        score_block(scratch + first * vectors * WIDTH, group->q, rows, group->head_dim, tops, limit,
                    first, vectors);
    }
    for (int i = 0; i < vectors; i++) {
        /* A lane that has seen nothing keeps -inf; any finite base gives its scores weight 0. */
        vector top = load(tops + i * WIDTH);
        base[i] = choose(top == splat(-INFINITY), splat(0), top);
        scale[i] = exp2_lanes(load(group->top + i * WIDTH) - base[i]);
        sum[i] = load(group->sum + i * WIDTH) * scale[i];
        store(group->top + i * WIDTH, top);
    }
    for (int j = 0; j < keys; j++)
        for (int i = 0; i < vectors; i++) {
            float *score = scratch + (j * vectors + i) * WIDTH;
            vector weight = exp2_lanes(load(score) - base[i]);
            sum[i] += weight;
            store(score, weight);
        }
    for (int i = 0; i < vectors; i++)
        store(group->sum + i * WIDTH, sum[i]);
    int e = 0;
    for (; e + BLOCK <= group->head_dim; e += BLOCK)
        value_block(group->acc + e * vectors * WIDTH, scratch, v + e, stride, keys, scale, BLOCK,
                    vectors);
    for (; e < group->head_dim; e += 2)
        value_block(group->acc + e * vectors * WIDTH, scratch, v + e, stride, keys, scale, 2,
                    vectors);
}

static void attend(const lane_group *group, const float *k, const float *v, int64_t stride,
                   int keys, const int32_t *limit, float *scratch)
{
    switch (group->lanes / WIDTH) {
    case 1:
        attend_vectors(group, k, v, stride, keys, limit, scratch, 1);
        break;
    case 2:
        attend_vectors(group, k, v, stride, keys, limit, scratch, 2);
        break;
    default:
        attend_vectors(group, k, v, stride, keys, limit, scratch, 3);
    }
}

/* Asks for a row of keys or values before its turn. */
INLINE void prefetch_row(const float *row, int count)
{
    for (int e = 0; e < count; e += 16)
        __builtin_prefetch(row + e);
}

INLINE void attend_few_lanes(const lane_group *group, const float *k, const float *v,
                             int64_t stride, int keys, const int32_t *limit, float *scratch,
                             const int lanes)
{
    enum { AHEAD = 16 }; /* keys */
    int dim = group->head_dim, whole = dim / WIDTH * WIDTH;
    float(*weights)[KEY_TILE] = (float(*)[KEY_TILE])scratch; /* [lanes, KEY_TILE] */
    for (int j = 0; j < keys; j++) {
        const float *key = k + j * stride;
        prefetch_row(key + AHEAD * stride, dim);
        prefetch_row(v + j * stride, dim);
        vector sum[FEW_LANES_MAX];
#pragma GCC unroll 8
        for (int i = 0; i < lanes; i++)
            sum[i] = (vector){0};
        for (int e = 0; e < whole; e += WIDTH) {
            vector part = load(key + e);
#pragma GCC unroll 8
            for (int i = 0; i < lanes; i++)
                sum[i] += part * load(group->q + i * dim + e);
        }
#pragma GCC unroll 8
        for (int i = 0; i < lanes; i++) {
            float score = lane_sum(sum[i]);
            for (int e = whole; e < dim; e++)
                score += key[e] * group->q[i * dim + e];
            weights[i][j] = score;
        }
    }
    float scale[FEW_LANES_MAX];
    for (int i = 0; i < lanes; i++) {
        for (int j = limit && limit[i] < keys ? limit[i] : keys; j < KEY_TILE; j++)
            weights[i][j] = -INFINITY;
        vector most = splat(group->top[i]);
        for (int j = 0; j < KEY_TILE; j += WIDTH)
            most = larger(load(weights[i] + j), most);
        float top = -INFINITY;
        for (int j = 0; j < WIDTH; j++)
            top = most[j] > top ? most[j] : top;
        float base = top == -INFINITY ? 0.0f : top;
        scale[i] = exp2_lanes(splat(group->top[i] - base))[0];
        group->top[i] = top;
        vector sum = {0};
        for (int j = 0; j < KEY_TILE; j += WIDTH) {
            vector weight = exp2_lanes(load(weights[i] + j) - base);
            store(weights[i] + j, weight);
            sum += weight;
        }
        group->sum[i] = group->sum[i] * scale[i] + lane_sum(sum);
    }
    enum { PARTS = 2 }; /* vectors of dimensions at once */
    int e = 0;
    for (; e + PARTS * WIDTH <= dim; e += PARTS * WIDTH) {
        vector acc[FEW_LANES_MAX][PARTS];
#pragma GCC unroll 8
        for (int i = 0; i < lanes; i++)
#pragma GCC unroll 2
            for (int p = 0; p < PARTS; p++)
                acc[i][p] = load(group->acc + i * dim + e + p * WIDTH) * scale[i];
        for (int j = 0; j < keys; j++)
#pragma GCC unroll 2
            for (int p = 0; p < PARTS; p++) {
                vector value = load(v + j * stride + e + p * WIDTH);
#pragma GCC unroll 8
                for (int i = 0; i < lanes; i++)
                    acc[i][p] += value * weights[i][j];
            }
#pragma GCC unroll 8
        for (int i = 0; i < lanes; i++)
#pragma GCC unroll 2
            for (int p = 0; p < PARTS; p++)
                store(group->acc + i * dim + e + p * WIDTH, acc[i][p]);
    }
    for (; e < dim; e++)
        for (int i = 0; i < lanes; i++) {
            float acc = group->acc[i * dim + e] * scale[i];
            for (int j = 0; j < keys; j++)
                acc += v[j * stride + e] * weights[i][j];
            group->acc[i * dim + e] = acc;
        }
}

static void attend_few(const lane_group *group, const float *k, const float *v, int64_t stride,
                       int keys, const int32_t *limit, float *scratch)
{
    switch (group->lanes) {
#define CASE(LANES)                                                                                \
    case LANES:                                                                                    \
        attend_few_lanes(group, k, v, stride, keys, limit, scratch, LANES);                        \
        break;
        CASE(1)
        CASE(2)
        CASE(3)
        CASE(4)
        CASE(5)
        CASE(6)
        CASE(7)
        CASE(8)
#undef CASE
    }
}
