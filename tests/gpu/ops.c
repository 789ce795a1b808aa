/* The element-wise operations, copies, weights, random values and merge of the cuda device against
 * the cpu device. Inputs are bf16 values on both, so what may differ is the rounding of the result
 * to bf16 (2^-8 relatively), and float32 rounding of what was summed, named with each case. Copies,
 * conversions and random values must be the same bits. */
#include "harness/error.h"
#include "tests/gpu/support/pair.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define COUNT_OF(array) ((int)(sizeof(array) / sizeof *(array)))

static int rounds(void)
{
    return pair_small ? 4 : 16;
}

/* 1..largest, or 1..9 for --small. */
static int64_t some_rows(int64_t largest)
{
    return pair_between(1, pair_small ? 9 : largest);
}

/* Mostly 0; else an address that wide accesses cannot take. */
static void some_misalignment(void)
{
    pair_misalign(pair_between(0, 3) ? 0 : (int)pair_between(1, 7));
}

static void test_embed(void)
{
    const int sizes[] = {576, 4096, 64, 1, 7, 100, 2048, 5000};
    for (int i = 0; i < rounds(); i++) {
        int hidden = sizes[i % COUNT_OF(sizes)], vocab = (int)pair_between(1, 300);
        int64_t rows = some_rows(700);
        pair_shape("rows %lld, hidden %d, vocab %d", (long long)rows, hidden, vocab);
        some_misalignment();
        pair table = pair_random((int64_t)vocab * hidden, PAIR_ACT, 3);
        pair ids = pair_output(rows, PAIR_I32), x = pair_output(rows * hidden, PAIR_F32);
        for (int64_t r = 0; r < rows; r++)
            ids.cpu_ids[r] = (int32_t)(r == 0 ? vocab - 1 : pair_between(0, vocab - 1));
        gpu->upload(gpu, ids.gpu, ids.cpu_ids, (size_t)rows * 4);
        cpu->embed(cpu, x.cpu, ids.cpu_ids, table.cpu, rows, hidden);
        gpu->embed(gpu, x.gpu, ids.gpu, table.gpu, rows, hidden);
        pair_equal("x", x);
        pair_shape_end();
    }
}

static void test_rmsnorm(void)
{
    const int sizes[] = {576, 4096, 1, 7, 8, 128, 512, 516, 1000, 1024, 2048, 3072, 4100, 8192,
                         11008, 16384, 16392, 20001};
    for (int i = 0; i < (pair_small ? 1 : 2) * COUNT_OF(sizes); i++) {
        int hidden = sizes[i % COUNT_OF(sizes)];
        int64_t rows = some_rows(i < COUNT_OF(sizes) ? 40 : 700);
        pair_shape("rows %lld, hidden %d", (long long)rows, hidden);
        if (i >= COUNT_OF(sizes))
            some_misalignment();
        pair x = pair_random(rows * hidden, PAIR_F32, 1);
        for (int64_t r = 0; r < rows; r++) { /* rows of very different size, one of them zero */
            float size = r == 1 ? 0.0f : exp2f((float)pair_between(-12, 12));
            for (int e = 0; e < hidden; e++)
                x.cpu[r * hidden + e] *= size;
        }
        gpu->upload(gpu, x.gpu, x.cpu, (size_t)x.count * 4);
        pair weight = pair_random(hidden, PAIR_F32, 2), out = pair_output(x.count, PAIR_ACT);
        cpu->rmsnorm(cpu, out.cpu, x.cpu, weight.cpu, rows, hidden, 1e-5f);
        gpu->rmsnorm(gpu, out.gpu, x.gpu, weight.gpu, rows, hidden, 1e-5f);
        /* The sum of squares has only positive terms: its relative error is far below bf16's. */
        pair_close("out", out, hidden, (tolerance){.relative = BF16_ROUNDING});
        pair_shape_end();
    }
}

static void test_rope(void)
{
    const struct {
        int heads, kv_heads, head_dim;
    } shapes[] = {{9, 3, 64}, {32, 8, 128}, {4, 4, 64},  {8, 1, 128}, {6, 2, 80},
                  {5, 5, 36}, {1, 1, 2},    {3, 1, 256}, {64, 8, 128}, {7, 7, 16}};
    for (int i = 0; i < 2 * COUNT_OF(shapes); i++) {
        int heads = shapes[i / 2].heads, kv_heads = shapes[i / 2].kv_heads;
        int head_dim = shapes[i / 2].head_dim, all = heads + 2 * kv_heads;
        bool still = i % 2; /* no turn at all: every bit must come through */
        int64_t rows = some_rows(300), positions = pair_between(1, 500);
        pair_shape("rows %lld, heads %d/%d of %d, %lld positions%s", (long long)rows, heads,
                   kv_heads, head_dim, (long long)positions, still ? ", unturned" : "");
        some_misalignment();
        pair qkv = pair_random(rows * all * head_dim, PAIR_ACT, 2);
        pair table = pair_random(positions * head_dim, PAIR_F32, 1);
        for (int64_t e = 0; still && e < table.count; e++)
            table.cpu[e] = e % 2 ? 0.0f : 1.0f;
        gpu->upload(gpu, table.gpu, table.cpu, (size_t)table.count * 4);
        pair at = pair_output(rows, PAIR_I32);
        for (int64_t r = 0; r < rows; r++)
            at.cpu_ids[r] = (int32_t)pair_between(0, positions - 1);
        gpu->upload(gpu, at.gpu, at.cpu_ids, (size_t)rows * 4);
        pair q = pair_output(rows * heads * head_dim, PAIR_ACT);
        pair kv = pair_output(rows * kv_heads * 2 * head_dim, PAIR_ACT);
        cpu->rope(cpu, q.cpu, kv.cpu, qkv.cpu, at.cpu_ids, table.cpu, rows, heads, kv_heads,
                  head_dim);
        gpu->rope(gpu, q.gpu, kv.gpu, qkv.gpu, at.gpu, table.gpu, rows, heads, kv_heads, head_dim);
        /* A difference of two float32 products: their rounding is relative to the larger. */
        tolerance allowed = {.relative = BF16_ROUNDING, .absolute = 4 * 0x1p-23};
        pair_close("q", q, head_dim, allowed);
        pair_close("kv", kv, head_dim, allowed);
        if (still) {
            pair_equal("q", q);
            pair_equal("kv", kv);
        }
        pair_shape_end();
    }
}

/* SiLU's exponential is off by 2 + 1.2 |x| units of 2^-23 at most, below 2^-16 for |x| < 87; beyond,
 * the result is smaller than 1e-35 and may be 0. */
static const tolerance silu_tolerance = {.relative = BF16_ROUNDING + 0x1p-16, .absolute = 1e-30};

static void test_swiglu(void)
{
    const int sizes[] = {1536, 14336, 8, 1, 7, 100, 1000, 1024, 11008, 4104};
    const float bounds[] = {1, 10, 30, 120};
    for (int i = 0; i < 2 * COUNT_OF(sizes); i++) {
        int ffn = sizes[i % COUNT_OF(sizes)];
        int64_t rows = some_rows(100);
        pair_shape("rows %lld, ffn %d", (long long)rows, ffn);
        some_misalignment();
        pair gate_up = pair_random(rows * 2 * ffn, PAIR_ACT, bounds[i % COUNT_OF(bounds)]);
        pair out = pair_output(rows * ffn, PAIR_ACT);
        cpu->swiglu(cpu, out.cpu, gate_up.cpu, rows, ffn);
        gpu->swiglu(gpu, out.gpu, gate_up.gpu, rows, ffn);
        pair_close("out", out, ffn, silu_tolerance);
        pair_shape_end();
    }
}

static void test_silu(void)
{
    const float bounds[] = {1, 10, 30, 120};
    for (int i = 0; i < rounds(); i++) {
        int64_t count = i < 9 ? i + 1 : pair_between(1, pair_small ? 5000 : 300000);
        pair_shape("count %lld", (long long)count);
        pair_misalign(i % 3 ? 0 : (int)pair_between(0, 7));
        pair x = pair_random(count, PAIR_ACT, bounds[i % COUNT_OF(bounds)]);
        cpu->silu(cpu, x.cpu, count);
        gpu->silu(gpu, x.gpu, count);
        pair_close("x", x, count, silu_tolerance);
        pair_shape_end();
    }
}

/* Bytes that mean nothing in particular: every kind of float32, float16 or bf16 value. */
static void *random_bytes(size_t bytes)
{
    unsigned char *memory = alloc_or_die(bytes + 8, 1);
    for (size_t i = 0; i < bytes; i += 8) {
        uint64_t bits = pair_seed();
        memcpy(memory + i, &bits, 8);
    }
    return memory;
}

static void test_from_f32(void)
{
    const float special[] = {0.0f,      -0.0f,   INFINITY,     -INFINITY,   NAN,
                             1.00390625f, 1.01171875f, 3.4e38f, 0x1p-140f, -0x1.01p-127f};
    for (int i = 0; i < rounds(); i++) {
        int64_t count = i < 9 ? i + 1 : pair_between(1, pair_small ? 9000 : 300000);
        pair_shape("count %lld", (long long)count);
        pair_misalign(i % 3 ? 0 : (int)pair_between(0, 7));
        float *values = random_bytes((size_t)count * 4);
        for (int64_t e = 0; e < count; e += 3)
            values[e] = special[pair_between(0, COUNT_OF(special) - 1)];
        pair in = pair_given(values, count, PAIR_F32), out = pair_output(count, PAIR_ACT);
        free(values);
        cpu->from_f32(cpu, out.cpu, in.cpu, count);
        gpu->from_f32(gpu, out.gpu, in.gpu, count);
        pair_equal("out", out);
        pair_shape_end();
    }
}

static void test_copy(void)
{
    for (int i = 0; i < rounds(); i++) {
        int64_t count = pair_between(1, pair_small ? 999 : 100000);
        int64_t from = pair_between(0, count - 1), to = pair_between(0, count - 1);
        int64_t length = pair_between(0, count - (from > to ? from : to));
        pair_shape("%lld of %lld elements", (long long)length, (long long)count);
        pair in = pair_random(count, PAIR_ACT, 1), out = pair_output(count, PAIR_ACT);
        size_t act = gpu->act_bytes;
        cpu->copy(cpu, out.cpu + to, in.cpu + from, (size_t)length * 4);
        gpu->copy(gpu, (char *)out.gpu + (size_t)to * act, (char *)in.gpu + (size_t)from * act,
                  (size_t)length * act);
        pair_equal("to", out);
        pair_shape_end();
    }
}

static void test_copy_rows(void)
{
    const int widths[] = {576, 1, 7, 128, 4096, 20, 1026, 8, 14336, 5000};
    for (int i = 0; i < 3 * COUNT_OF(widths); i++) {
        int64_t width = widths[i % COUNT_OF(widths)], rows = some_rows(200);
        int64_t steps[] = {0, 8, 1, 576, 2}, to_stride = width + steps[pair_between(0, 4)];
        int64_t from_stride = width + steps[pair_between(0, 4)];
        pair_type type = i % 2 ? PAIR_ACT : PAIR_F32;
        pair_shape("%lld rows of %lld %s elements, strides %lld <- %lld", (long long)rows,
                   (long long)width, type == PAIR_ACT ? "bf16" : "float32", (long long)to_stride,
                   (long long)from_stride);
        some_misalignment();
        pair in = pair_random(rows * from_stride, type, 1);
        pair out = pair_output(rows * to_stride, type);
        size_t size = type == PAIR_ACT ? gpu->act_bytes : 4;
        cpu->copy_rows(cpu, out.cpu, (size_t)to_stride * 4, in.cpu, (size_t)from_stride * 4,
                       (size_t)width * 4, rows);
        gpu->copy_rows(gpu, out.gpu, (size_t)to_stride * size, in.gpu, (size_t)from_stride * size,
                       (size_t)width * size, rows);
        pair_equal("to", out);
        pair_shape_end();
    }
}

static void test_upload_weights(void)
{
    const char *names[] = {"float32", "float16", "bf16"};
    for (int i = 0; i < 24; i++) {
        dtype type = (dtype)(i % 3);
        bool to_f32 = i / 3 % 2;
        int64_t count = i < 6 ? i + 1 : pair_between(1, pair_small ? 3000 : 200000);
        if (i >= 22 && !pair_small) /* longer than the staging buffer */
            count = ((int64_t)(type == DTYPE_F32 ? 64 : 128) << 20) + pair_between(1, 9999);
        pair_shape("%lld elements from %s to %s", (long long)count, names[type],
                   to_f32 ? "float32" : "bf16");
        size_t bytes = (size_t)count * (type == DTYPE_F32 ? 4 : 2);
        int shift = (int)pair_between(0, 3); /* bytes of a file: not always aligned */
        char *file = random_bytes(bytes + (size_t)shift);
        some_misalignment();
        pair out = pair_output(count, to_f32 ? PAIR_F32 : PAIR_ACT);
        cpu->upload_weights(cpu, out.cpu, to_f32, file + shift, type, count);
        gpu->upload_weights(gpu, out.gpu, to_f32, file + shift, type, count);
        memset(file, 0, bytes); /* the caller's memory may change once the call is back */
        pair_equal("to", out);
        free(file);
        pair_shape_end();
    }
}

static void test_random(void)
{
    const uint64_t seeds[] = {0, 1, UINT64_MAX, 1u << 31};
    for (int i = 0; i < rounds(); i++) {
        int64_t count = i < 6 ? i + 1 : pair_between(1, pair_small ? 3000 : 300000);
        uint64_t seed = i < COUNT_OF(seeds) ? seeds[i] : pair_seed();
        float bound = (float)(pair_uniform() * (i % 2 ? 1 : 0.04));
        pair_shape("%lld elements, seed %llu, bound %.9g", (long long)count,
                   (unsigned long long)seed, bound);
        pair_misalign(i % 3 ? 0 : (int)pair_between(0, 7));
        pair wide = pair_output(count, PAIR_F32), act = pair_output(count, PAIR_ACT);
        cpu->random(cpu, wide.cpu, true, count, seed, bound);
        gpu->random(gpu, wide.gpu, true, count, seed, bound);
        cpu->random(cpu, act.cpu, false, count, seed, bound);
        gpu->random(gpu, act.gpu, false, count, seed, bound);
        pair_equal("float32", wide);
        pair_equal("activations", act);
        pair_shape_end();
    }
}

static void test_merge(void)
{
    const int dims[] = {128, 64, 36, 8, 1};
    for (int i = 0; i < 2 * rounds(); i++) {
        int parts = i % 8 == 7 ? 33 : (int)pair_between(1, 9), heads = (int)pair_between(1, 32);
        int head_dim = dims[i % COUNT_OF(dims)];
        int64_t rows = some_rows(60), pairs = rows * heads, size = pairs * head_dim;
        pair_shape("%d parts of %lld rows, %d heads of %d", parts, (long long)rows, heads,
                   head_dim);
        some_misalignment();
        pair lse = pair_random(parts * pairs, PAIR_F32, 20);
        pair out_parts = pair_random(parts * size, PAIR_ACT, 2);
        pair out = pair_output(size, PAIR_ACT);
        for (int64_t j = 0; j < parts * pairs; j++) /* empty parts; some rows have no other */
            if (pair_between(0, 3) == 0 || j % pairs % 11 == 5) {
                lse.cpu[j] = -INFINITY;
                for (int e = 0; e < head_dim; e++) /* whatever an empty part holds */
                    out_parts.cpu[j * head_dim + e] = NAN;
            }
        pair with_nan = pair_given(out_parts.cpu, parts * size, PAIR_ACT);
        gpu->upload(gpu, lse.gpu, lse.cpu, (size_t)lse.count * 4);
        cpu->merge(cpu, out.cpu, with_nan.cpu, lse.cpu, parts, rows, heads, head_dim);
        gpu->merge(gpu, out.gpu, with_nan.gpu, lse.gpu, parts, rows, heads, head_dim);
        /* Weights add up to 1 and are off by some 2^-20 each at most; values are below 2. */
        pair_close("out", out, head_dim,
                   (tolerance){.relative = BF16_ROUNDING, .absolute = 2 * 0x1p-20 * parts});
        pair_shape_end();
    }
}

/* Operations on nothing write nothing and fail nothing. */
static void test_nothing(void)
{
    pair_shape("zero rows");
    pair a = pair_random(1024, PAIR_ACT, 1), f = pair_random(1024, PAIR_F32, 1);
    pair ids = pair_output(16, PAIR_I32);
    gpu->embed(gpu, f.gpu, ids.gpu, a.gpu, 0, 64);
    gpu->rmsnorm(gpu, a.gpu, f.gpu, f.gpu, 0, 64, 1e-5f);
    gpu->gemm(gpu, GEMM_STORE, a.gpu, 16, a.gpu, 16, a.gpu, NULL, 0, 16, 16);
    gpu->rope(gpu, a.gpu, a.gpu, a.gpu, ids.gpu, f.gpu, 0, 4, 2, 64);
    gpu->swiglu(gpu, a.gpu, a.gpu, 0, 64);
    gpu->silu(gpu, a.gpu, 0);
    gpu->from_f32(gpu, a.gpu, f.gpu, 0);
    gpu->copy(gpu, a.gpu, f.gpu, 0);
    gpu->copy_rows(gpu, a.gpu, 64, f.gpu, 64, 32, 0);
    gpu->upload_weights(gpu, a.gpu, false, f.cpu, DTYPE_F16, 0);
    gpu->random(gpu, a.gpu, false, 0, 1, 1);
    gpu->merge(gpu, a.gpu, a.gpu, f.gpu, 4, 0, 4, 64);
    gpu->score_query(gpu, f.gpu, a.gpu, 2, a.gpu, 0, 4, 2, 64);
    gpu->weigh_by_norm(gpu, f.gpu, a.gpu, 0, 2, 64);
    gpu->max_pool5(gpu, f.gpu, f.gpu, 0, 2);
    gpu->top_k(gpu, ids.gpu, f.gpu, 10, 2, 0);
    gpu->gather_kv(gpu, a.gpu, a.gpu, ids.gpu, 0, 2, 64);
    gpu->argmax(gpu, ids.gpu, f.gpu, 0, 100);
    attn_call call = {.rows = 0, .heads = 4, .kv_heads = 2, .head_dim = 64, .scale = 1};
    call.q = a.gpu, call.out = a.gpu, call.q_row_stride = call.out_row_stride = 256;
    gpu->attention(gpu, &call);
    pair_equal("activations", a);
    pair_equal("float32", f);
    pair_equal("ids", ids);
}

/* Marks are a clock of the stream: parts add up to the whole, and longer work takes longer. */
static void test_marks(void)
{
    int64_t count = pair_small ? 100000 : 16 << 20;
    pair_shape("random values, %lld and twice as many", (long long)count);
    float *memory = gpu->alloc(gpu, (size_t)count * 8);
    if (!memory) {
        pair_wrong("no memory for %lld floats", (long long)count);
        return;
    }
    for (int i = 0; i < 300; i++) /* more than the first pool of events */
        gpu->mark(gpu);
    gpu->random(gpu, memory, true, 2 * count, 1, 1);
    device_mark a = gpu->mark(gpu);
    gpu->random(gpu, memory, true, count, 1, 1);
    device_mark b = gpu->mark(gpu);
    for (int i = 0; i < 4; i++)
        gpu->random(gpu, memory, true, 2 * count, 1, 1);
    device_mark c = gpu->mark(gpu);
    gpu->sync(gpu);
    double ab = gpu->between(gpu, a, b), bc = gpu->between(gpu, b, c), ac = gpu->between(gpu, a, c);
    if (!(ab > 0 && bc > ab && fabs(ab + bc - ac) < 1e-5 + 0.01 * ac))
        pair_wrong("%.3g s and %.3g s make %.3g s", ab, bc, ac);
    gpu->forget_marks(gpu);
    gpu->free(gpu, memory);

    size_t free_bytes, total_bytes;
    gpu->memory(gpu, &free_bytes, &total_bytes);
    if (free_bytes > total_bytes || total_bytes < (size_t)1 << 30)
        pair_wrong("%zu bytes free of %zu", free_bytes, total_bytes);
    if (gpu->alloc(gpu, 2 * total_bytes))
        pair_wrong("%zu bytes were given on a device of %zu", 2 * total_bytes, total_bytes);
    pair x = pair_random(100, PAIR_ACT, 1); /* the next launch does not see that failure */
    gpu->silu(gpu, x.gpu, 100);
    pair_note("%.0f and %.0f us", ab * 1e6, bc * 1e6);
}

static const pair_case cases[] = {
    {"embed", test_embed},       {"rmsnorm", test_rmsnorm},
    {"rope", test_rope},         {"swiglu", test_swiglu},
    {"silu", test_silu},         {"from_f32", test_from_f32},
    {"copy", test_copy},         {"copy_rows", test_copy_rows},
    {"upload_weights", test_upload_weights}, {"random", test_random},
    {"merge", test_merge},       {"nothing", test_nothing},
    {"marks", test_marks},
};

int main(int argc, char **argv)
{
    return pair_main(argc, argv, cases, COUNT_OF(cases));
}
