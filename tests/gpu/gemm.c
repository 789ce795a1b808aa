/* Matrix products of the cuda device (cuBLASLt) against the cpu device (oneDNN, float32): all modes,
 * with and without bias, rows of c longer than n, odd sizes. */
#include "harness/error.h"
#include "tests/gpu/support/pair.h"

#include <math.h>

#define COUNT_OF(array) ((int)(sizeof(array) / sizeof *(array)))

typedef struct {
    int64_t m, n, k;
} gemm_shape;

/* A product of values in [-1, 1): float32 sums of k terms of at most 1 are off by k 2^-24 times
 * a partial sum of about sqrt(k / 9), in whatever order; a bf16 result also by its rounding. */
static tolerance allowed_of(gemm_mode mode, int64_t k)
{
    double sums = (double)k * 0x1p-24 * (4 + 2 * sqrt((double)k / 9));
    return (tolerance){.relative = mode == GEMM_STORE ? BF16_ROUNDING : 0x1p-22, .absolute = sums};
}

static void one_product(gemm_shape s, gemm_mode mode, bool with_bias, int64_t lda, int64_t ldc)
{
    static const char *modes[] = {"store bf16", "store float32", "add float32"};
    pair_shape("m %lld, n %lld, k %lld, lda %lld, ldc %lld, %s%s", (long long)s.m, (long long)s.n,
               (long long)s.k, (long long)lda, (long long)ldc, modes[mode],
               with_bias ? ", bias" : "");
    pair a = pair_random(s.m * lda, PAIR_ACT, 1), w = pair_random(s.n * s.k, PAIR_ACT, 1);
    pair bias = pair_random(with_bias ? s.n : 0, PAIR_ACT, 4);
    pair_type type = mode == GEMM_STORE ? PAIR_ACT : PAIR_F32;
    pair c = mode == GEMM_ADD_F32 ? pair_random(s.m * ldc, type, 30) : pair_output(s.m * ldc, type);
    uint64_t before = gpu->flops;
    cpu->gemm(cpu, mode, c.cpu, ldc, a.cpu, lda, w.cpu, with_bias ? bias.cpu : NULL, s.m, s.n, s.k);
    gpu->gemm(gpu, mode, c.gpu, ldc, a.gpu, lda, w.gpu, with_bias ? bias.gpu : NULL, s.m, s.n, s.k);
    tolerance allowed = allowed_of(mode, s.k);
    /* Where rows do not begin at 16 bytes (no model has such sizes), cuBLASLt rounds a sum, of a size of
     * about sqrt(k) / 3, to bf16 before it adds the bias and rounds again. */
    if (with_bias && mode == GEMM_STORE && (s.n | s.k | lda | ldc) % 8)
        allowed.absolute += BF16_ROUNDING * 4 * sqrt((double)s.k) / 3;
    pair_close("c", c, ldc, allowed);
    if (gpu->flops - before != (uint64_t)(2 * s.m * s.n * s.k))
        pair_wrong("%llu operations were counted", (unsigned long long)(gpu->flops - before));
    pair_shape_end();
}

static void test_models(void)
{
    const gemm_shape shapes[] = {{1, 960, 576},     {50, 576, 576},   {333, 3072, 576},
                                 {64, 576, 1536},   {7, 6144, 4096},  {128, 4096, 4096},
                                 {40, 4096, 14336}, {16, 28672, 4096}, {1, 49152, 576}};
    for (int i = 0; i < COUNT_OF(shapes); i++)
        for (int mode = 0; mode < 3; mode++) {
            gemm_shape s = shapes[i];
            if (pair_small)
                s = (gemm_shape){(s.m + 7) / 8, s.n / 16, s.k / 16 / 8 * 8};
            one_product(s, (gemm_mode)mode, (i + mode) % 2, s.k, s.n);
        }
}

/* Sizes that are multiples of 8, as the core's are, and rows that lie apart. */
static void test_even(void)
{
    for (int i = 0; i < (pair_small ? 6 : 30); i++) {
        int64_t most = pair_small ? 8 : i % 5 == 0 ? 400 : 60;
        gemm_shape s = {pair_between(1, pair_small ? 40 : i % 5 == 0 ? 2500 : 300),
                        8 * pair_between(1, most), 8 * pair_between(1, most)};
        one_product(s, (gemm_mode)(i % 3), pair_between(0, 1), s.k + 8 * pair_between(0, 3),
                    s.n + 8 * pair_between(0, 3));
    }
}

/* Sizes and strides that fit no wide access. */
static void test_odd(void)
{
    for (int i = 0; i < (pair_small ? 6 : 30); i++) {
        int64_t most = pair_small ? 40 : 700;
        gemm_shape s = {pair_between(1, most), pair_between(1, most), pair_between(1, most)};
        int64_t lda = s.k + pair_between(0, 5), ldc = s.n + pair_between(0, 5);
        one_product(s, (gemm_mode)(i % 3), pair_between(0, 1), lda, ldc);
    }
}

/* The first two kinds again, in one stream without waiting, twice: the same bits. */
static void test_repeat(void)
{
    gemm_shape s = {pair_small ? 33 : 1000, 64, 512};
    pair_shape("m %lld, n 64, k 512, twice", (long long)s.m);
    pair a = pair_random(s.m * s.k, PAIR_ACT, 1), w = pair_random(s.n * s.k, PAIR_ACT, 1);
    pair first = pair_output(s.m * s.n, PAIR_F32), second = pair_output(s.m * s.n, PAIR_F32);
    gpu->gemm(gpu, GEMM_STORE_F32, first.gpu, s.n, a.gpu, s.k, w.gpu, NULL, s.m, s.n, s.k);
    gpu->gemm(gpu, GEMM_STORE_F32, second.gpu, s.n, a.gpu, s.k, w.gpu, NULL, s.m, s.n, s.k);
    gpu->download(gpu, first.cpu, first.gpu, (size_t)first.count * 4);
    for (int64_t i = 0; i < first.count; i++)
        second.cpu[i] = first.cpu[i];
    pair_equal("the second time", second);
}

static const pair_case cases[] = {
    {"gemm_models", test_models},
    {"gemm_even", test_even},
    {"gemm_repeat", test_repeat},
    {"gemm_odd", test_odd},
};

int main(int argc, char **argv)
{
    return pair_main(argc, argv, cases, COUNT_OF(cases));
}
