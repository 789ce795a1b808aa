/* Products of rows with the rows of a weight matrix, for so few rows that packing the weights would
 * cost more than the product: every weight is read once, where it lies. */

/* m rows of a against `columns` rows of w, every element of w read once. */
INLINE void few_rows_block(float *c, int64_t ldc, const float *a, int64_t lda, const float *w,
                           const float *bias, int64_t k, int add, const int m, const int columns)
{
    vector sum[FEW_ROWS_MAX][4];
#pragma GCC unroll 8
    for (int i = 0; i < m; i++)
#pragma GCC unroll 4
        for (int j = 0; j < columns; j++)
            sum[i][j] = (vector){0};
    int64_t e = 0;
    for (; e + WIDTH <= k; e += WIDTH) {
        vector weight[4];
#pragma GCC unroll 4
        for (int j = 0; j < columns; j++)
            weight[j] = load(w + j * k + e);
#pragma GCC unroll 8
        for (int i = 0; i < m; i++) {
            vector x = load(a + i * lda + e);
#pragma GCC unroll 4
            for (int j = 0; j < columns; j++)
                sum[i][j] += x * weight[j];
        }
    }
    for (int i = 0; i < m; i++)
        for (int j = 0; j < columns; j++) {
            float total = lane_sum(sum[i][j]);
            for (int64_t t = e; t < k; t++)
                total += a[i * lda + t] * w[j * k + t];
            if (bias)
                total += bias[j];
            c[i * ldc + j] = add ? c[i * ldc + j] + total : total;
        }
}

INLINE void few_rows_columns(float *c, int64_t ldc, const float *a, int64_t lda, const float *w,
                             const float *bias, int64_t n, int64_t k, int add, const int m,
                             const int columns)
{
    int64_t j = 0;
    for (; j + columns <= n; j += columns)
        few_rows_block(c + j, ldc, a, lda, w + j * k, bias ? bias + j : 0, k, add, m, columns);
    for (; j < n; j++)
        few_rows_block(c + j, ldc, a, lda, w + j * k, bias ? bias + j : 0, k, add, m, 1);
}

static void few_rows(float *c, int64_t ldc, const float *a, int64_t lda, const float *w,
                     const float *bias, int m, int64_t n, int64_t k, int add)
{
    const int registers = WIDTH == 16 ? 24 : 9; /* for sums */
    switch (m) {
#define CASE(ROWS, COLUMNS)                                                                        \
    case ROWS:                                                                                     \
        few_rows_columns(c, ldc, a, lda, w, bias, n, k, add, ROWS, COLUMNS);                       \
        break;
        CASE(1, 4)
        CASE(2, 4)
        CASE(3, registers > 9 ? 4 : 3)
        CASE(4, registers > 9 ? 4 : 2)
        CASE(5, registers > 9 ? 3 : 1)
        CASE(6, registers > 9 ? 3 : 1)
        CASE(7, registers > 9 ? 3 : 1)
        CASE(8, registers > 9 ? 3 : 1)
#undef CASE
    }
}

INLINE void many_rows_vectors(float *c, int64_t ldc, const float *lanes, int rows, const float *w,
                              int64_t stride, const float *bias, int64_t n, int64_t k, int add,
                              const int vectors)
{
    enum { LINE = 16 }; /* columns that are written at once: a cache line of every row of c */
    for (int64_t column = 0; column < n; column += LINE) {
        float results[LINE][MAX_LANES];
        int count = n - column < LINE ? (int)(n - column) : LINE;
        for (int first = 0; first < count; first += BLOCK) {
            const float *block[BLOCK];
            for (int j = 0; j < BLOCK; j++) /* the last block repeats the last column */
                block[j] = w + (column + (first + j < count ? first + j : count - 1)) * stride;
            vector sum[BLOCK][MAX_VECTORS];
            multiply_rows(sum, block, lanes, k, vectors);
#pragma GCC unroll 8
            for (int j = 0; j < BLOCK; j++)
#pragma GCC unroll 3
                for (int v = 0; v < vectors; v++)
                    store(results[first + j] + v * WIDTH, sum[j][v]);
        }
        for (int j = 0; bias && j < count; j++)
            for (int v = 0; v < vectors; v++)
                store(results[j] + v * WIDTH, load(results[j] + v * WIDTH) + bias[column + j]);
        if (add)
            transpose_block(c + column, ldc, results[0], MAX_LANES, count, rows, 1.0f, 1);
        else
            transpose_block(c + column, ldc, results[0], MAX_LANES, count, rows, 1.0f, 0);
    }
}

static void many_rows(float *c, int64_t ldc, const float *lanes, int vectors, int rows,
                      const float *w, int64_t stride, const float *bias, int64_t n, int64_t k,
                      int add)
{
    switch (vectors) {
    case 1:
        many_rows_vectors(c, ldc, lanes, rows, w, stride, bias, n, k, add, 1);
        break;
    case 2:
        many_rows_vectors(c, ldc, lanes, rows, w, stride, bias, n, k, add, 2);
        break;
    default:
        many_rows_vectors(c, ldc, lanes, rows, w, stride, bias, n, k, add, 3);
    }
}
