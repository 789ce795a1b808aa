/* Every operation of the cpu device but attention (test_attention.c) and compressors'
 * (test_kernels_select.c), against float64 on random inputs, with outputs poisoned by NaN before and the
 * gaps between rows checked behind; for each of the three compilations of the vector code, with one
 * thread and with several.
 *
 * Tolerances are in float32 epsilons (1.2e-7), of the sum of the absolute values of what was added:
 * a product of length k adds in some k / 16 to k steps whose rounding errors partly cancel, so
 * 2 + sqrt(k) epsilons are held; element-wise results are within a few roundings, 8 epsilons. What
 * only moves values (copies, gathers, conversions to a wider type) must be equal bit for bit. */
#include "harness/error.h"
#include "kernels/hash.h"
#include "tests/kernels_fixture.h"
#include "tests/reference_ops.h"

#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check_gemm(int64_t m, int64_t n, int64_t k, gemm_mode mode, bool with_bias)
{
    int64_t lda = k + draw_between(0, 5), ldc = n + draw_between(0, 5);
    float *a = random_values(m * lda, 1), *w = random_values(n * k + 1, 1);
    float *bias = with_bias ? random_values(n, 1) : NULL;
    float *c = poisoned(m * ldc), *before = poisoned(m * ldc);
    for (int64_t i = 0; mode == GEMM_ADD_F32 && i < m * ldc; i++)
        before[i] = c[i] = i % ldc < n ? draw(1) : NAN;
    double *want = alloc_or_die((size_t)(m * n), sizeof *want);
    double *weight = alloc_or_die((size_t)(m * n), sizeof *weight);
    reference_gemm(want, weight, mode == GEMM_ADD_F32 ? before : NULL, ldc, a, lda, w, bias, m, n,
                   k);
    dev->flops = 0;
    dev->gemm(dev, mode, c, ldc, a, lda, w, bias, m, n, k);
    dev->sync(dev);
    cr_assert_eq(dev->flops, (uint64_t)(2 * m * n * k));
    char what[100];
    snprintf(what, sizeof what, "gemm %lld x %lld x %lld, mode %d, bias %d", (long long)m,
             (long long)n, (long long)k, mode, with_bias);
    for (int64_t i = 0; i < m; i++) {
        expect_close(c + i * ldc, want + i * n, weight + i * n, n, 2 + sqrt((double)k), what);
        for (int64_t j = n; j < ldc; j++)
            cr_assert(isnan(c[i * ldc + j]), "%s: wrote between rows", what);
    }
    free(a);
    free(w);
    free(bias);
    free(c);
    free(before);
    free(want);
    free(weight);
}

Test(kernels, gemm)
{
    FOR_ALL_LANES
    {
        for (int m = 1; m <= 70; m += m < 20 ? 1 : 7)
            check_gemm(m, draw_between(1, 150), draw_between(1, 130), (gemm_mode)(m % 3), m % 2);
        for (int trial = 0; trial < 40; trial++)
            check_gemm(draw_between(1, 60), draw_between(1, 60), draw_between(1, 60),
                       (gemm_mode)draw_between(0, 2), draw_between(0, 1));
        check_gemm(50, 67, 3100, GEMM_ADD_F32, true); /* more than one depth */
        check_gemm(37, 67, 3100, GEMM_STORE, true);
        check_gemm(257, 40, 33, GEMM_STORE, true);
        check_gemm(512, 64, 64, GEMM_ADD_F32, true);
        check_gemm(513, 40, 33, GEMM_STORE, true);    /* the library's part */
        check_gemm(513, 40, 33, GEMM_STORE_F32, false);
        check_gemm(600, 64, 64, GEMM_ADD_F32, true);
        check_gemm(600, 64, 64, GEMM_ADD_F32, false);
        check_gemm(1, 3000, 40, GEMM_STORE_F32, false);
        dev->gemm(dev, GEMM_STORE, NULL, 0, NULL, 0, NULL, NULL, 0, 5, 5); /* no rows */
    }
}

Test(kernels, gemm_same_bits_every_time)
{
    open_with("avx512", 4);
    for (int m = 1; m < 400; m = m * 3 + 2) {
        float *a = random_values(m * 300, 1), *w = random_values(200 * 300, 1);
        float *first = poisoned(m * 200), *again = poisoned(m * 200);
        dev->gemm(dev, GEMM_STORE, first, 200, a, 300, w, NULL, m, 200, 300);
        for (int trial = 0; trial < 10; trial++) {
            dev->gemm(dev, GEMM_STORE, again, 200, a, 300, w, NULL, m, 200, 300);
            cr_assert_eq(memcmp(first, again, (size_t)m * 200 * sizeof *first), 0);
        }
        free(a);
        free(w);
        free(first);
        free(again);
    }
    dev->close(dev);
}

Test(kernels, rmsnorm)
{
    FOR_ALL_LANES for (int hidden = 1; hidden < 700; hidden = hidden * 2 + (hidden % 3)) {
        int rows = hidden < 300 ? 7 : 90;
        float *x = random_values(rows * hidden, 3), *weight = random_values(hidden, 2);
        float *out = poisoned(rows * hidden);
        double *want = alloc_or_die((size_t)(rows * hidden), sizeof *want);
        reference_rmsnorm(want, x, weight, rows, hidden, 1e-5f);
        dev->rmsnorm(dev, out, x, weight, rows, hidden, 1e-5f);
        expect_close(out, want, NULL, rows * hidden, 8, "rmsnorm");
        free(x);
        free(weight);
        free(out);
        free(want);
    }
}

Test(kernels, rope)
{
    FOR_ALL_LANES for (int head_dim = 2; head_dim <= 256; head_dim = head_dim * 2 + 2) {
        int rows = 19, heads = 6, kv_heads = 2, positions = 40;
        int64_t width = (heads + 2 * kv_heads) * head_dim;
        float *qkv = random_values(rows * width, 2);
        float *table = random_values(positions * head_dim, 1);
        int32_t position[19];
        for (int i = 0; i < rows; i++)
            position[i] = (int32_t)draw_between(0, positions - 1);
        int64_t q_count = rows * heads * head_dim, kv_count = rows * kv_heads * 2 * head_dim;
        float *q = poisoned(q_count), *kv = poisoned(kv_count);
        double *want_q = alloc_or_die((size_t)q_count, sizeof *want_q);
        double *want_kv = alloc_or_die((size_t)kv_count, sizeof *want_kv);
        reference_rope(want_q, want_kv, qkv, position, table, rows, heads, kv_heads, head_dim);
        dev->rope(dev, q, kv, qkv, position, table, rows, heads, kv_heads, head_dim);
        for (int64_t i = 0; i < q_count; i++) /* |value| <= 2, |cos|, |sin| <= 1: sums up to 4 */
            cr_assert_float_eq(q[i], want_q[i], 8 * FLT_EPSILON);
        for (int64_t i = 0; i < kv_count; i++)
            cr_assert(i / head_dim % 2 ? kv[i] == want_kv[i]
                                       : fabs(kv[i] - want_kv[i]) <= 8 * FLT_EPSILON);
        free(qkv);
        free(table);
        free(q);
        free(kv);
        free(want_q);
        free(want_kv);
    }
}

/* found is silu of x, but for what is lost below 2^-126, where float32 itself has no full precision. */
static void expect_silu(const float *found, const float *x, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        double want = reference_silu(x[i]);
        cr_assert(fabs(found[i] - want) <= 8 * FLT_EPSILON * fabs(want) + 256 * FLT_MIN,
                  "silu(%g) is %.9g, not %.9g", x[i], found[i], want);
    }
}

/* Over the whole range of float32: where exp overflows, subnormal results, both ends. The result
 * may be lost below 2^-126, where float32 itself has no full precision. */
Test(kernels, silu_and_swiglu)
{
    FOR_ALL_LANES for (int ffn = 1; ffn < 5000; ffn = ffn * 3 + 1) {
        int rows = 5;
        float *gate_up = random_values(rows * 2 * ffn, 100), *out = poisoned(rows * ffn);
        static const float special[] = {0, -0.0f, 88, -88, -87, -100, 127, -127, 1e30f, -1e30f,
                                        FLT_MAX, -FLT_MAX, 1e-30f, -1e-40f, -104, -600};
        for (int i = 0; i < ffn && i < 16; i++)
            gate_up[i] = special[i];
        for (int64_t i = 0; i < rows * 2 * ffn; i++)
            if (i % (2 * ffn) >= ffn)
                gate_up[i] *= 0.01f;
        dev->swiglu(dev, out, gate_up, rows, ffn);
        for (int64_t i = 0; i < rows * ffn; i++) {
            const float *row = gate_up + i / ffn * 2 * ffn;
            double want = reference_silu(row[i % ffn]) * row[ffn + i % ffn];
            cr_assert(fabs(out[i] - want) <= 8 * FLT_EPSILON * fabs(want) + 256 * FLT_MIN,
                      "swiglu(%g, %g) is %.9g, not %.9g", row[i % ffn], row[ffn + i % ffn], out[i],
                      want);
        }
        float *x = random_values(ffn, 30);
        for (int i = 0; i < ffn && i < 16; i++)
            x[i] = special[i];
        float *before = alloc_or_die((size_t)ffn, sizeof *before);
        memcpy(before, x, (size_t)ffn * sizeof *x);
        dev->silu(dev, x, ffn);
        expect_silu(x, before, ffn);
        float broken[] = {NAN, INFINITY};
        dev->silu(dev, broken, 2);
        cr_assert(isnan(broken[0]) && broken[1] == INFINITY);
        free(gate_up);
        free(out);
        free(x);
        free(before);
    }
}

/* More than a thread takes at once, and no more than that. */
Test(kernels, silu_of_a_long_range)
{
    FOR_ALL_LANES
    {
        int64_t count = 2 * 65536 + 77, room = 3 * 65536;
        float *x = random_values(room, 30), *before = alloc_or_die((size_t)room, sizeof *before);
        memcpy(before, x, (size_t)room * sizeof *x);
        dev->silu(dev, x, count);
        expect_silu(x, before, count);
        cr_expect_arr_eq(x + count, before + count, (size_t)(room - count) * sizeof *x);
        free(before);
        free(x);
    }
}

/* Those behind the first 65536 are not the same once more. */
static uint16_t value_at(int i)
{
    return (uint16_t)(i + (i >> 16));
}

/* Every bit pattern of both half-width types, from an odd address. */
Test(kernels, upload_weights)
{
    FOR_ALL_LANES
    {
        int64_t count = 65536 + 3000; /* every value, and more than a thread takes at once */
        char *bytes = alloc_or_die((size_t)count * 4 + 1, 1);
        float *out = poisoned(count);
        for (int type = DTYPE_F16; type <= DTYPE_BF16; type++) {
            for (int i = 0; i < count; i++)
                memcpy(bytes + 1 + 2 * i, &(uint16_t){value_at(i)}, 2);
            dev->upload_weights(dev, out, type == DTYPE_F16, bytes + 1, (dtype)type, count);
            for (int i = 0; i < count; i++) {
                double want = type == DTYPE_F16 ? reference_f16(value_at(i))
                                                : reference_bf16(value_at(i));
                cr_assert(isnan(want) ? isnan(out[i])
                                      : out[i] == want && !signbit(out[i]) == !signbit(want),
                          "type %d, bits %x: %g, not %g", type, (unsigned)value_at(i), out[i], want);
            }
        }
        float *values = random_values(count, 1);
        memcpy(bytes + 1, values, (size_t)count * 4);
        dev->upload_weights(dev, out, true, bytes + 1, DTYPE_F32, count);
        cr_assert_eq(memcmp(out, values, (size_t)count * 4), 0);
        free(bytes);
        free(out);
        free(values);
    }
}

/* The values are those of the formula, whatever the count, and look uniform. Known answers of
 * SplitMix64 from seed 0: e220a8397b1dcdaf, 6e789e6aa1b965f4, 06c45d188009454f. */
Test(kernels, random)
{
    cr_assert_eq(hash_bits(0, 0), UINT64_C(0xe220a8397b1dcdaf));
    cr_assert_eq(hash_bits(0, 1), UINT64_C(0x6e789e6aa1b965f4));
    cr_assert_eq(hash_bits(0, 2), UINT64_C(0x06c45d188009454f));
    FOR_ALL_LANES
    {
        int64_t count = 200001;
        float *out = poisoned(count);
        dev->random(dev, out, false, count, 12345, 0.02f);
        double sum = 0, squares = 0;
        for (int64_t i = 0; i < count; i++) {
            cr_assert_eq(out[i], hash_uniform(12345, (uint64_t)i, 0.02f));
            cr_assert(out[i] >= -0.02f && out[i] < 0.02f);
            sum += out[i] / 0.02;
            squares += out[i] / 0.02 * out[i] / 0.02;
        }
        cr_assert(fabs(sum / (double)count) < 0.01); /* standard error 0.0013 */
        cr_assert(fabs(squares / (double)count - 1.0 / 3) < 0.01);
        free(out);
    }
}

Test(kernels, copies_embed_and_gather)
{
    FOR_ALL_LANES for (int size = 1; size < 700; size = size * 3 + 1) {
        int rows = 300, vocab = 50;
        float *table = random_values(vocab * size, 1), *out = poisoned(rows * (size + 3));
        int32_t ids[300];
        for (int i = 0; i < rows; i++)
            ids[i] = (int32_t)draw_between(0, vocab - 1);
        dev->embed(dev, out, ids, table, rows, size);
        for (int i = 0; i < rows * size; i++)
            cr_assert_eq(out[i], table[ids[i / size] * size + i % size]);

        float *strided = poisoned(rows * (size + 3)), *packed = poisoned(rows * size);
        dev->copy_rows(dev, strided, (size_t)(size + 3) * 4, out, (size_t)size * 4,
                       (size_t)size * 4, rows);
        for (int i = 0; i < rows * (size + 3); i++) {
            int row = i / (size + 3), column = i % (size + 3);
            cr_assert(column < size ? strided[i] == out[row * size + column] : isnan(strided[i]));
        }
        dev->copy_rows(dev, packed, (size_t)size * 4, strided, (size_t)(size + 3) * 4,
                       (size_t)size * 4, rows);
        cr_assert_eq(memcmp(packed, out, (size_t)(rows * size) * 4), 0);
        float *device_copy = dev->alloc(dev, (size_t)(rows * size) * 4);
        float *home = poisoned(rows * size);
        cr_assert_eq((uintptr_t)device_copy % 64, 0);
        dev->upload(dev, device_copy, packed, (size_t)(rows * size) * 4);
        dev->copy(dev, packed, device_copy, (size_t)(rows * size) * 4);
        dev->download(dev, home, device_copy, (size_t)(rows * size) * 4);
        cr_assert_eq(memcmp(home, out, (size_t)(rows * size) * 4), 0);
        cr_assert_eq(memcmp(packed, out, (size_t)(rows * size) * 4), 0);
        dev->free(dev, device_copy);

        int kv_heads = 3, pair = 2 * size, k = 40;
        float *kv = random_values(vocab * kv_heads * pair, 1);
        float *slab = poisoned(k * kv_heads * pair);
        int32_t index[120];
        for (int i = 0; i < k * kv_heads; i++)
            index[i] = (int32_t)draw_between(0, vocab - 1);
        dev->gather_kv(dev, slab, kv, index, k, kv_heads, size);
        for (int i = 0; i < k * kv_heads * pair; i++) {
            int at = i / pair, head = at % kv_heads;
            cr_assert_eq(slab[i], kv[(index[at] * kv_heads + head) * pair + i % pair]);
        }
        free(table);
        free(out);
        free(strided);
        free(packed);
        free(home);
        free(kv);
        free(slab);
    }
}

/* Parts of -inf hold NaN and must count for nothing; rows where all parts are so give 0. */
Test(kernels, merge)
{
    FOR_ALL_LANES for (int head_dim = 2; head_dim <= 130; head_dim = head_dim * 2 + 2) {
        int parts = 5, rows = 40, heads = 3;
        int64_t pairs = rows * heads;
        float *out_parts = random_values(parts * pairs * head_dim, 1);
        float *lse = random_values(parts * pairs, 40), *out = poisoned(pairs * head_dim);
        for (int64_t i = 0; i < parts * pairs; i++)
            if (i % pairs < heads || draw_between(0, 3) == 0) {
                lse[i] = -INFINITY;
                for (int e = 0; e < head_dim; e++)
                    out_parts[i * head_dim + e] = NAN;
            }
        double *want = alloc_or_die((size_t)(pairs * head_dim), sizeof *want);
        reference_merge(want, out_parts, lse, parts, rows, heads, head_dim);
        dev->merge(dev, out, out_parts, lse, parts, rows, heads, head_dim);
        for (int64_t i = 0; i < pairs * head_dim; i++) /* |values| <= 1 */
            cr_assert_float_eq(out[i], want[i], 8 * FLT_EPSILON);
        for (int64_t i = 0; i < heads * head_dim; i++)
            cr_assert_eq(out[i], 0);
        free(out_parts);
        free(lse);
        free(out);
        free(want);
    }
}

Test(kernels, argmax)
{
    FOR_ALL_LANES for (int vocab = 1; vocab < 50000; vocab = vocab * 3 + 1) {
        int rows = 4;
        float *logits = random_values(rows * vocab, 5);
        int32_t ids[4];
        for (int i = 0; i < vocab; i++) {
            logits[i] = roundf(logits[i]);  /* ties */
            logits[3 * vocab + i] = NAN;
        }
        if (vocab > 2)
            logits[2 * vocab + 1] = NAN;
        dev->argmax(dev, ids, logits, rows, vocab);
        for (int i = 0; i < rows; i++) {
            int32_t best = 0;
            for (int32_t j = 1; j < vocab; j++)
                if (logits[i * vocab + j] > logits[i * vocab + best] ||
                    (isnan(logits[i * vocab + best]) && !isnan(logits[i * vocab + j])))
                    best = j;
            cr_assert_eq(ids[i], best, "vocab %d row %d: %d, not %d", vocab, i, ids[i], best);
        }
        free(logits);
    }
}

Test(kernels, device_row)
{
    cr_assert_null(device_find("gpu"));
    cr_assert(strstr(fail_text(), "gpu") && strstr(fail_text(), "cpu"), "%s", fail_text());
    open_with("avx512", 2);
    cr_assert_eq(dev->open(dev, 2), -1, "opened twice");
    size_t free_bytes = 0, total_bytes = 0;
    dev->memory(dev, &free_bytes, &total_bytes);
    cr_assert(free_bytes > 0 && free_bytes <= total_bytes && total_bytes < (size_t)1 << 50);
    cr_assert_null(dev->alloc(dev, SIZE_MAX));
    cr_assert_null(dev->alloc(dev, total_bytes + 1));
    void *nothing = dev->alloc(dev, 0);
    cr_assert_not_null(nothing);
    dev->free(dev, nothing);
    device_mark from = dev->mark(dev), to = dev->mark(dev);
    cr_assert(dev->between(dev, from, to) >= 0 && dev->between(dev, from, to) < 1);
    dev->forget_marks(dev);
    dev->close(dev);
}
