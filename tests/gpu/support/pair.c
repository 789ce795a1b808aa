/* Buffers on two devices, comparisons and verdicts. See pair.h. */
#include "tests/gpu/support/pair.h"

#include "harness/error.h"
#include "kernels/hash.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

device *cpu, *gpu;
bool pair_small;

enum { GUARD = 1024, GUARD_BYTE = 0xA5, POISON_BYTE = 0xFF, TOLD_MAX = 6, NO_GPU = 77 };

/* ---- The case that runs, and what became of it ---- */

static struct {
    const char *name;
    uint64_t seed, draws;
    char shape[400], skipped[400], note[400];
    int shapes, wrong, told;
    double worst_share;     /* largest error, as a share of what was allowed */
    double worst_error;     /* that error */
    double worst_frobenius; /* |got - want| / |want| of a whole buffer */
} now;

static void tell(const char *format, va_list arguments)
{
    now.wrong++;
    if (now.told++ >= TOLD_MAX)
        return;
    printf("  %s [%s]: ", now.name, now.shape);
    vprintf(format, arguments);
    printf("\n");
}

void pair_wrong(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    tell(format, arguments);
    va_end(arguments);
}

void pair_skip(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(now.skipped, sizeof now.skipped, format, arguments);
    va_end(arguments);
}

void pair_note(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(now.note, sizeof now.note, format, arguments);
    va_end(arguments);
}

/* ---- Draws ---- */

uint64_t pair_seed(void)
{
    return hash_bits(now.seed, now.draws++);
}

double pair_uniform(void)
{
    return (double)(pair_seed() >> 11) * 0x1p-53;
}

int64_t pair_between(int64_t low, int64_t high)
{
    return low + (int64_t)(pair_uniform() * (double)(high - low + 1));
}

float round_to_bf16(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if (isnan(x))
        bits |= 0x400000u;
    else
        bits += 0x7fffu + (bits >> 16 & 1);
    bits &= 0xffff0000u;
    memcpy(&x, &bits, sizeof bits);
    return x;
}

/* ---- Buffers ---- */

static struct {
    void *cpu, *gpu;     /* what to free */
    size_t before, bytes; /* where the buffer lies in the gpu's block */
} blocks[64];
static int block_count, misalignment;

void pair_misalign(int elements)
{
    misalignment = elements;
}

static size_t size_of(pair_type type)
{
    return type == PAIR_ACT ? gpu->act_bytes : 4;
}

static void *host_memory(size_t bytes)
{
    return alloc_or_die(bytes ? bytes : 1, 1);
}

/* A buffer with its guards; all its bytes are poison. */
static pair take(int64_t count, pair_type type)
{
    if (block_count == sizeof blocks / sizeof blocks[0]) {
        fprintf(stderr, "%s: too many buffers in one shape\n", now.name);
        exit(1);
    }
    size_t bytes = (size_t)count * size_of(type);
    size_t before = GUARD + (type == PAIR_I32 ? 0 : (size_t)misalignment * size_of(type));
    size_t whole = before + bytes + GUARD;
    char *block = gpu->alloc(gpu, whole);
    if (!block) {
        fprintf(stderr, "%s [%s]: the GPU has no %zu bytes\n", now.name, now.shape, whole);
        exit(1);
    }
    unsigned char *fill = host_memory(whole);
    memset(fill, GUARD_BYTE, whole);
    memset(fill + before, POISON_BYTE, bytes);
    gpu->upload(gpu, block, fill, whole);
    gpu->sync(gpu);
    free(fill);
    pair p = {.count = count, .type = type, .gpu = block + before};
    p.cpu = host_memory((size_t)count * 4);
    memset(p.cpu, POISON_BYTE, (size_t)count * 4);
    blocks[block_count].cpu = p.cpu;
    blocks[block_count].gpu = block;
    blocks[block_count].before = before;
    blocks[block_count++].bytes = bytes;
    return p;
}

/* The cpu's values to the gpu; activations are bf16 already, so their upper half is the value. */
static void send(pair p)
{
    if (p.type != PAIR_ACT) {
        gpu->upload(gpu, p.gpu, p.cpu, (size_t)p.count * 4);
        gpu->sync(gpu);
        return;
    }
    uint16_t *halves = host_memory((size_t)p.count * 2);
    const uint32_t *words = (const uint32_t *)p.cpu;
    for (int64_t i = 0; i < p.count; i++)
        halves[i] = (uint16_t)(words[i] >> 16);
    gpu->upload(gpu, p.gpu, halves, (size_t)p.count * 2);
    gpu->sync(gpu);
    free(halves);
}

pair pair_random(int64_t count, pair_type type, float bound)
{
    pair p = take(count, type);
    uint64_t seed = pair_seed();
    for (int64_t i = 0; i < count; i++)
        p.cpu[i] = round_to_bf16(hash_uniform(seed, (uint64_t)i, bound));
    send(p);
    return p;
}

pair pair_given(const void *values, int64_t count, pair_type type)
{
    pair p = take(count, type);
    memcpy(p.cpu, values, (size_t)count * 4);
    for (int64_t i = 0; type == PAIR_ACT && i < count; i++)
        p.cpu[i] = round_to_bf16(p.cpu[i]);
    send(p);
    return p;
}

pair pair_output(int64_t count, pair_type type)
{
    return take(count, type);
}

void pair_shape(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(now.shape, sizeof now.shape, format, arguments);
    va_end(arguments);
    now.shapes++;
    misalignment = 0;
}

static void check_guard(const unsigned char *bytes, size_t count, const char *where, size_t size)
{
    for (size_t i = 0; i < count; i++)
        if (bytes[i] != GUARD_BYTE) {
            pair_wrong("a byte %zu %s of a buffer of %zu bytes was overwritten with 0x%02x", i,
                       where, size, bytes[i]);
            return;
        }
}

void pair_shape_end(void)
{
    gpu->sync(gpu);
    for (int i = 0; i < block_count; i++) {
        size_t before = blocks[i].before, bytes = blocks[i].bytes;
        unsigned char *guard = host_memory(before + GUARD);
        gpu->download(gpu, guard, blocks[i].gpu, before);
        gpu->download(gpu, guard + before, (char *)blocks[i].gpu + before + bytes, GUARD);
        check_guard(guard, before, "into the guard before the start", bytes);
        check_guard(guard + before, GUARD, "behind the end", bytes);
        free(guard);
        gpu->free(gpu, blocks[i].gpu);
        free(blocks[i].cpu);
    }
    block_count = 0;
    misalignment = 0;
}

/* ---- Comparisons ---- */

/* A buffer of the gpu as float32. */
static float *fetch(const void *from, pair_type type, int64_t count)
{
    float *values = host_memory((size_t)count * 4);
    if (type != PAIR_ACT) {
        gpu->download(gpu, values, from, (size_t)count * 4);
        return values;
    }
    uint16_t *halves = host_memory((size_t)count * 2);
    gpu->download(gpu, halves, from, (size_t)count * 2);
    for (int64_t i = 0; i < count; i++) {
        uint32_t bits = (uint32_t)halves[i] << 16;
        memcpy(&values[i], &bits, sizeof bits);
    }
    free(halves);
    return values;
}

double pair_close_to(const char *what, const void *got_on_gpu, pair_type type, const float *want,
                     int64_t count, int64_t row_length, tolerance allowed)
{
    float *got = fetch(got_on_gpu, type, count);
    double square_error = 0, square = 0;
    for (int64_t begin = 0; begin < count; begin += row_length) {
        int64_t end = begin + row_length < count ? begin + row_length : count;
        double largest = 0;
        for (int64_t i = begin; i < end; i++)
            if (isfinite(want[i]) && fabs(want[i]) > largest)
                largest = fabs(want[i]);
        for (int64_t i = begin; i < end; i++) {
            double error = fabs((double)got[i] - want[i]);
            double limit = allowed.relative * fabs(want[i]) + allowed.of_row * largest +
                           allowed.absolute;
            bool special = !isfinite(want[i]);
            bool right = isnan(want[i])   ? isnan(got[i])
                         : isinf(want[i]) ? got[i] == want[i]
                                          : error <= limit;
            if (!right)
                pair_wrong("%s: element %lld of row %lld is %.9g, not %.9g (tolerance %.2g)", what,
                           (long long)(i - begin), (long long)(begin / row_length), got[i], want[i],
                           special ? 0.0 : limit);
            if (special)
                continue;
            square_error += error * error;
            square += (double)want[i] * want[i];
            if (limit > 0 && error / limit > now.worst_share) {
                now.worst_share = error / limit;
                now.worst_error = error;
            }
        }
    }
    double frobenius = square > 0 ? sqrt(square_error / square) : 0;
    if (frobenius > now.worst_frobenius)
        now.worst_frobenius = frobenius;
    free(got);
    return frobenius;
}

double pair_close(const char *what, pair output, int64_t row_length, tolerance allowed)
{
    return pair_close_to(what, output.gpu, output.type, output.cpu, output.count, row_length, allowed);
}

void pair_equal(const char *what, pair output)
{
    float *got = fetch(output.gpu, output.type, output.count);
    for (int64_t i = 0; i < output.count; i++) {
        uint32_t bits;
        memcpy(&bits, &got[i], sizeof bits);
        float want = output.type == PAIR_ACT ? round_to_bf16(output.cpu[i]) : output.cpu[i];
        uint32_t want_bits;
        memcpy(&want_bits, &want, sizeof want_bits);
        if (output.type == PAIR_I32) {
            if (bits != want_bits)
                pair_wrong("%s: element %lld is %d, not %d", what, (long long)i, (int32_t)bits,
                           (int32_t)want_bits);
        } else if (bits != want_bits && !(isnan(want) && isnan(got[i]))) {
            pair_wrong("%s: element %lld is %.9g (0x%08x), not %.9g (0x%08x)", what, (long long)i,
                       got[i], bits, want, want_bits);
        }
    }
    free(got);
}

/* ---- The program ---- */

static bool run_case(const pair_case *one, uint64_t seed)
{
    memset(&now, 0, sizeof now);
    now.name = one->name;
    now.seed = seed;
    for (const char *c = one->name; *c; c++) /* each case draws alike whether others ran or not */
        now.seed = hash_bits(now.seed, (unsigned char)*c);
    one->run();
    pair_shape_end();
    if (now.skipped[0]) {
        printf("skip %s: %s\n", now.name, now.skipped);
    } else {
        if (now.told > TOLD_MAX)
            printf("  ... and %d more\n", now.told - TOLD_MAX);
        printf("%s %s: %d shapes from seed %llu", now.wrong ? "not ok" : "ok", now.name, now.shapes,
               (unsigned long long)seed);
        if (now.wrong)
            printf(", %d wrong", now.wrong);
        if (now.worst_share > 0)
            printf(", largest error %.3g (%.2f of the tolerance), Frobenius %.2g", now.worst_error,
                   now.worst_share, now.worst_frobenius);
        printf("%s%s\n", now.note[0] ? "; " : "", now.note);
    }
    fflush(stdout);
    return now.wrong == 0;
}

int pair_main(int argc, char **argv, const pair_case *cases, int count)
{
    device_prepare(argv);
    const char *word = "", *without = NULL;
    uint64_t seed = 1;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--small")) {
            pair_small = true;
        } else if (!strcmp(argv[i], "--case") && i + 1 < argc) {
            word = argv[++i];
        } else if (!strcmp(argv[i], "--without") && i + 1 < argc) {
            without = argv[++i];
        } else if (!strcmp(argv[i], "--seed") && i + 1 < argc) {
            seed = strtoull(argv[++i], NULL, 0);
        } else {
            fprintf(stderr, "usage: %s [--case WORD] [--without WORD] [--small] [--seed N]\n", argv[0]);
            return 2;
        }
    }
    cpu = device_find("cpu");
    gpu = device_find("cuda");
    if (!cpu || !gpu || cpu->open(cpu, 0) || gpu->open(gpu, 0)) {
        printf("skip %s: %s\n", argv[0], fail_text());
        return NO_GPU;
    }
    int failed = 0, ran = 0;
    for (int i = 0; i < count; i++)
        if (strstr(cases[i].name, word) && !(without && strstr(cases[i].name, without))) {
            ran++;
            failed += !run_case(&cases[i], seed);
        }
    if (!ran)
        printf("not ok %s: no case is called \"%s\"\n", argv[0], word);
    gpu->close(gpu);
    cpu->close(cpu);
    return failed || !ran;
}
