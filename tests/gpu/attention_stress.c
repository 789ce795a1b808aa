/* Attention over random segment lists (support/attention_list.h), many of them: every kernel against the
 * portable one, element by element, and against float64 sums on the host for sampled rows; two runs must
 * agree bit for bit, and nothing beside the outputs may be written. A call that does not end is named by
 * an alarm.
 *
 *     build/tests/gpu/attention_stress [--lists N] [--seed N] [--list I] [--small] [--without WORD]
 *
 * List I of a seed is the same however many are run: --list I runs it alone.
 * Tolerances are those of attention.c against exact sums, and twice as much between two kernels, which
 * may err in opposite ways: 2^-8 of the largest |v| for the probabilities' rounding and the output's own;
 * a whole output's Frobenius distance 2^-6; log-sum-exps a few 2^-20 of the scores' size. They catch a
 * single wrong key: it moves a log-sum-exp by 1e-4 or more of the few thousand keys of a list. */
#include "harness/error.h"
#include "kernels/cuda/cuda.h"
#include "kernels/hash.h"
#include "tests/gpu/support/attention_list.h"
#include "tests/gpu/support/pair.h"

#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { SAMPLES = 16, GUARD = 1024 };
enum { TOLD = 10, WATCHDOG = 30, NO_GPU = 77 };

static const struct {
    const char *name;
    attention_choice choice;
} choices[] = {{"portable", ATTENTION_PORTABLE}, /* the others are held against it */
               {"packed", ATTENTION_PACKED},
               {"hopper", ATTENTION_HOPPER},
               {"hopper_packed", ATTENTION_HOPPER_PACKED},
               {"best", ATTENTION_BEST}};
enum { CHOICES = sizeof choices / sizeof *choices };

static bool left_out[CHOICES];
static int wrong;           /* of all lists */
static int64_t list_number; /* for what is told */
static volatile sig_atomic_t at_choice;

/* Outputs on the GPU, each behind and before GUARD poisoned bytes, and what came back from two runs. */
typedef struct {
    char *gpu;
    char *host[2];
    size_t bytes; /* of this list */
} output;
static output out, lse;
static char *start_acc_gpu, *start_lse_gpu; /* the running result that lists fold into */

static void tell(const list *l, const char *choice, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void tell(const list *l, const char *choice, const char *format, ...)
{
    if (wrong++ >= TOLD)
        return;
    va_list arguments;
    va_start(arguments, format);
    printf("  list %lld, %s: rows %lld, heads %d/%d of %d, %d segments, %s: ", (long long)list_number,
           choice, (long long)l->cpu.rows, l->cpu.heads, l->cpu.kv_heads, l->cpu.head_dim,
           l->cpu.segment_count, l->gpu.out ? "out" : l->gpu.fold ? "fold" : "acc");
    vprintf(format, arguments);
    printf("\n");
    va_end(arguments);
    fflush(stdout);
}

/* ---- Results ---- */

static bool poisoned(const char *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (bytes[i] != (char)0xFF)
            return false;
    return true;
}

/* The call writes behind the guards. */
static void set_outputs(list *l)
{
    int64_t pairs = l->cpu.rows * l->cpu.heads;
    if (l->to_acc)
        l->gpu.acc = (float *)(out.gpu + GUARD);
    else
        l->gpu.out = out.gpu + GUARD;
    l->gpu.lse = l->with_lse ? (float *)(lse.gpu + GUARD) : NULL;
    out.bytes = (size_t)(l->to_acc ? pairs * l->cpu.head_dim * 4
                                   : l->cpu.rows * l->cpu.out_row_stride * 2);
    lse.bytes = (size_t)pairs * 4;
}

static void fetch(output *o, int run)
{
    gpu->download(gpu, o->host[run], o->gpu, o->bytes + 2 * GUARD);
}

static void run_call(const list *l, int run)
{
    cudaStream_t stream = cuda_of(gpu)->stream;
    cuda_must(cudaMemsetAsync(out.gpu, 0xFF, out.bytes + 2 * GUARD, stream), "poison");
    cuda_must(cudaMemsetAsync(lse.gpu, 0xFF, lse.bytes + 2 * GUARD, stream), "poison");
    if (l->gpu.fold) {
        gpu->copy(gpu, l->gpu.acc, start_acc_gpu, out.bytes);
        gpu->copy(gpu, l->gpu.lse, start_lse_gpu, lse.bytes);
    }
    gpu->attention(gpu, &l->gpu);
    fetch(&out, run);
    fetch(&lse, run);
}

static double element(const list *l, const char *host, int64_t pair, int e)
{
    if (!l->gpu.out)
        return ((const float *)(host + GUARD))[pair * l->cpu.head_dim + e];
    int64_t row = pair / l->cpu.heads, head = pair % l->cpu.heads;
    uint32_t bits = ((const uint16_t *)(host + GUARD))[row * l->cpu.out_row_stride +
                                                       head * l->cpu.head_dim + e];
    bits <<= 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static double lse_of(const char *host, int64_t pair)
{
    return ((const float *)(host + GUARD))[pair];
}

static double allowed(const list *l, double want, double times)
{
    return times * ((l->gpu.out ? BF16_ROUNDING * fabs(want) : 0) + 0x1p-8 * (1 + l->gpu.fold));
}

static bool lse_near(const list *l, double got, double want, double times)
{
    if (isinf(want))
        return got == want;
    double size = 4 + l->score_size;
    return fabs(got - want) <=
           times * (0x1p-21 * fabs(want) + (1 + l->gpu.fold) * 0x1p-20 * size);
}

/* Guards and the gaps between rows of run 0. */
static void expect_untouched(const list *l, const char *choice)
{
    const char *host = out.host[0];
    if (!poisoned(host, GUARD) || !poisoned(host + GUARD + out.bytes, GUARD))
        tell(l, choice, "memory beside the output was written");
    if (!poisoned(lse.host[0], GUARD) || !poisoned(lse.host[0] + GUARD + lse.bytes, GUARD) ||
        (!l->with_lse && !poisoned(lse.host[0] + GUARD, lse.bytes)))
        tell(l, choice, "memory beside the log-sum-exps was written");
    int64_t used = 2 * (int64_t)l->cpu.heads * l->cpu.head_dim, stride = 2 * l->cpu.out_row_stride;
    for (int64_t row = 0; l->gpu.out && row < l->cpu.rows; row++)
        if (!poisoned(host + GUARD + row * stride + used, (size_t)(stride - used))) {
            tell(l, choice, "the gap behind row %lld was written", (long long)row);
            return;
        }
}

static void expect_same_bits(const list *l, const char *choice)
{
    bool alike = !memcmp(out.host[0] + GUARD, out.host[1] + GUARD, out.bytes);
    for (size_t i = 0; i < out.bytes && !alike; i++)
        if (out.host[0][GUARD + i] != out.host[1][GUARD + i]) {
            tell(l, choice, "byte %zu of the output differs between two runs", i);
            return;
        }
    if (l->with_lse && memcmp(lse.host[0] + GUARD, lse.host[1] + GUARD, lse.bytes))
        tell(l, choice, "log-sum-exps differ between two runs");
}

/* Run 0 against the portable kernel's. */
static void expect_like(const list *l, const char *choice, const char *want_out, const char *want_lse)
{
    int64_t pairs = l->cpu.rows * l->cpu.heads, first_bad = INT64_MAX;
    double error = 0, norm = 0;
#pragma omp parallel for reduction(+ : error, norm) reduction(min : first_bad)
    for (int64_t pair = 0; pair < pairs; pair++) {
        bool good = !l->with_lse ||
                    lse_near(l, lse_of(lse.host[0], pair), lse_of(want_lse, pair), 2);
        for (int e = 0; e < l->cpu.head_dim; e++) {
            double got = element(l, out.host[0], pair, e), want = element(l, want_out, pair, e);
            good &= fabs(got - want) <= allowed(l, want, 2);
            error += (got - want) * (got - want), norm += want * want;
        }
        if (!good && pair < first_bad)
            first_bad = pair;
    }
    if (first_bad < INT64_MAX) {
        int worst = 0;
        for (int e = 1; e < l->cpu.head_dim; e++)
            if (!(fabs(element(l, out.host[0], first_bad, e) - element(l, want_out, first_bad, e)) <=
                  fabs(element(l, out.host[0], first_bad, worst) -
                       element(l, want_out, first_bad, worst))))
                worst = e;
        tell(l, choice, "row %lld head %d: element %d is %.7g, lse %.7g; the portable kernel has %.7g, "
             "%.7g",
             (long long)(first_bad / l->cpu.heads), (int)(first_bad % l->cpu.heads), worst,
             element(l, out.host[0], first_bad, worst), lse_of(lse.host[0], first_bad),
             element(l, want_out, first_bad, worst), lse_of(want_lse, first_bad));
    } else if (!(sqrt(error) <= 0x1p-6 * sqrt(norm))) {
        tell(l, choice, "the Frobenius distance to the portable kernel is %.3g of its norm",
             sqrt(error / norm));
    }
}

/* ---- Exact sums of sampled rows ---- */

static void expect_exact(const list *l, const char *choice, const exact_row *exact)
{
    for (int i = 0; i < SAMPLES; i++) {
        const exact_row *x = &exact[i];
        long long row = (long long)(x->pair / l->cpu.heads);
        int head = (int)(x->pair % l->cpu.heads);
        if (l->with_lse && !lse_near(l, lse_of(lse.host[0], x->pair), x->lse, 1))
            tell(l, choice, "row %lld head %d: the log-sum-exp is %.7g, not %.9g", row, head,
                 lse_of(lse.host[0], x->pair), x->lse);
        for (int e = 0; e < l->cpu.head_dim; e++) {
            double got = element(l, out.host[0], x->pair, e), want = x->values[e];
            if (isinf(x->lse) ? got != 0 : !(fabs(got - want) <= allowed(l, want, 1))) {
                tell(l, choice, "row %lld head %d: element %d is %.7g, not %.9g%s", row, head, e, got,
                     want, isinf(x->lse) ? ": the row sees nothing" : "");
                break;
            }
        }
    }
}

/* ---- The program ---- */

static void hung(int signal)
{
    (void)signal;
    char text[200];
    int length = snprintf(text, sizeof text, "not ok attention_stress: list %lld with %s has not ended "
                          "after %d s\n", (long long)list_number, choices[at_choice].name, WATCHDOG);
    if (write(STDOUT_FILENO, text, (size_t)length) < 0)
        _exit(2);
    _exit(1);
}

static void run_list(uint64_t seed, char *want_out, char *want_lse)
{
    list l;
    exact_row exact[SAMPLES];
    draw_list(&l, hash_bits(seed, (uint64_t)list_number));
    set_outputs(&l);
    for (int i = 0; i < SAMPLES; i++)
        exact[i].pair = list_sampled_row(&l) * l.cpu.heads + list_between(0, l.cpu.heads - 1);
#pragma omp parallel for schedule(dynamic)
    for (int i = 0; i < SAMPLES; i++)
        compute_exact(&l, &exact[i]);
    for (int i = 0; i < CHOICES; i++) {
        if (left_out[i])
            continue;
        alarm(WATCHDOG);
        at_choice = i;
        cuda_attention_choice = choices[i].choice;
        for (int run = 0; run < 2; run++)
            run_call(&l, run);
        alarm(0);
        expect_untouched(&l, choices[i].name);
        expect_same_bits(&l, choices[i].name);
        expect_exact(&l, choices[i].name, exact);
        if (i == 0) {
            memcpy(want_out, out.host[0], out.bytes + 2 * GUARD);
            memcpy(want_lse, lse.host[0], lse.bytes + 2 * GUARD);
        } else {
            expect_like(&l, choices[i].name, want_out, want_lse);
        }
    }
}

static void *gpu_memory(size_t bytes)
{
    void *memory = gpu->alloc(gpu, bytes);
    if (!memory) {
        printf("not ok attention_stress: the GPU has no %zu bytes\n", bytes);
        exit(1);
    }
    return memory;
}

static void *pinned(size_t bytes)
{
    void *memory = NULL;
    cuda_must(cudaMallocHost(&memory, bytes), "cudaMallocHost");
    return memory;
}

/* What lists read, and places for what they write, on the GPU. */
static void prepare(uint64_t seed)
{
    int64_t pairs = (int64_t)LIST_ROWS * LIST_HEADS, values = pairs * LIST_HEAD_DIM;
    lists_prepare(seed);
    uint16_t *halves = alloc_or_die((size_t)LIST_POOL, sizeof *halves);
#pragma omp parallel for
    for (int64_t i = 0; i < LIST_POOL; i++) {
        uint32_t bits;
        memcpy(&bits, &list_pool[i], sizeof bits);
        halves[i] = (uint16_t)(bits >> 16);
    }
    list_pool_on_gpu = gpu_memory((size_t)LIST_POOL * 2);
    gpu->upload(gpu, list_pool_on_gpu, halves, (size_t)LIST_POOL * 2);
    start_acc_gpu = gpu_memory((size_t)values * 4);
    start_lse_gpu = gpu_memory((size_t)pairs * 4);
    gpu->upload(gpu, start_acc_gpu, list_start_acc, (size_t)values * 4);
    gpu->upload(gpu, start_lse_gpu, list_start_lse, (size_t)pairs * 4);
    gpu->sync(gpu);
    free(halves);
    out.gpu = gpu_memory((size_t)values * 4 + 2 * GUARD);
    lse.gpu = gpu_memory((size_t)pairs * 4 + 2 * GUARD);
    for (int run = 0; run < 2; run++) {
        out.host[run] = pinned((size_t)values * 4 + 2 * GUARD);
        lse.host[run] = pinned((size_t)pairs * 4 + 2 * GUARD);
    }
}

static int usage(const char *program)
{
    fprintf(stderr, "usage: %s [--lists N] [--seed N] [--list I] [--small] [--without WORD]\n",
            program);
    return 2;
}

int main(int argc, char **argv)
{
    device_prepare(argv);
    int64_t first = 0, lists = 300;
    uint64_t seed = 1;
    bool given = false;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--small")) {
            list_small = true;
            continue;
        }
        if (i + 1 == argc)
            return usage(argv[0]);
        const char *name = argv[i], *value = argv[++i];
        if (!strcmp(name, "--lists"))
            lists = atoll(value), given = true;
        else if (!strcmp(name, "--list"))
            first = atoll(value), lists = 1, given = true;
        else if (!strcmp(name, "--seed"))
            seed = strtoull(value, NULL, 0);
        else if (!strcmp(name, "--without"))
            for (int c = 1; c < CHOICES; c++)
                left_out[c] |= strstr(choices[c].name, value) != NULL;
        else
            return usage(argv[0]);
    }
    if (list_small && !given)
        lists = 5;
    gpu = device_find("cuda");
    if (!gpu || gpu->open(gpu, 0)) {
        printf("skip attention_stress: %s\n", fail_text());
        return NO_GPU;
    }
    for (int c = 0; c < CHOICES; c++)
        left_out[c] |= strstr(choices[c].name, "hopper") && cuda_of(gpu)->capability != 90;
    prepare(seed);
    signal(SIGALRM, hung);
    size_t values = (size_t)LIST_ROWS * LIST_HEADS * LIST_HEAD_DIM * 4;
    char *want_out = alloc_or_die(values + 2 * GUARD, 1);
    char *want_lse = alloc_or_die((size_t)LIST_ROWS * LIST_HEADS * 4 + 2 * GUARD, 1);
    struct timespec begun, now;
    clock_gettime(CLOCK_MONOTONIC, &begun);
    for (list_number = first; list_number < first + lists; list_number++)
        run_list(seed, want_out, want_lse);
    clock_gettime(CLOCK_MONOTONIC, &now);
    printf("%s attention_stress: %lld lists from seed %llu", wrong ? "not ok" : "ok", (long long)lists,
           (unsigned long long)seed);
    if (wrong)
        printf(", %d wrong (--list I runs one alone)", wrong);
#ifdef ATTENTION_DELAYS
    printf(", with delays");
#endif
    printf(", %.1f s\n",
           (double)(now.tv_sec - begun.tv_sec) + 1e-9 * (double)(now.tv_nsec - begun.tv_nsec));
    free(want_out);
    free(want_lse);
    gpu->close(gpu);
    return wrong > 0;
}
