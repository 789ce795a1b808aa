/* The cpu device's row of the table: opening, memory, time, and which function does what. It is
 * float32 throughout, needs nothing but Debian's packages, and is what other devices are held
 * against. Everything is done when a call returns, so sync() has nothing to wait for. */
#include "harness/error.h"
#include "kernels/cpu/cpu.h"

#include <dnnl_version.h>
#include <omp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define TEXT(x) #x
#define VERSION(major, minor, patch) TEXT(major) "." TEXT(minor) "." TEXT(patch)
#define DNNL_VERSION VERSION(DNNL_VERSION_MAJOR, DNNL_VERSION_MINOR, DNNL_VERSION_PATCH)

enum { CACHE_LINE = 64, HUGE_PAGE = 2 << 20 };

const cpu_lanes *cpu_lanes_choose(void)
{
    const cpu_lanes *best = &cpu_lanes_sse2;
#ifdef __x86_64__
    const char *wanted = getenv("APBENCH_LANES");
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                  __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
    if (wanted && !strcmp(wanted, "sse2"))
        return best;
    if (avx2)
        best = &cpu_lanes_avx2;
    if (avx512 && !(wanted && !strcmp(wanted, "avx2")))
        best = &cpu_lanes_avx512;
#endif
    return best;
}

cpu_state *cpu_begin(device *d)
{
    cpu_state *state = d->state;
    omp_set_num_threads(state->threads);
    return state;
}

int cpu_thread(void)
{
    return omp_get_thread_num();
}

void *cpu_scratch(cpu_state *state, size_t bytes)
{
    if (bytes > state->scratch_bytes) {
        free(state->scratch);
        bytes = (bytes + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
        state->scratch = aligned_alloc(CACHE_LINE, bytes);
        if (!state->scratch) {
            fprintf(stderr, "apbench: out of host memory (%zu bytes of scratch wanted)\n", bytes);
            exit(1);
        }
        state->scratch_bytes = bytes;
    }
    return state->scratch;
}

/* GCC's OpenMP lets threads that wait spin on their core for milliseconds before they sleep, which
 * starves whoever else wants the core; sleeping at once costs a wake-up for every product. So they
 * spin for some microseconds. The one-row products of 30 layers took, spinning 0, 1000 and (the
 * default) 300000 times: on an idle machine 19, 15 and 15 ms, beside two other programs 46, 32 and
 * 56 ms, on one with ten 108, 137 and 720 ms. OpenMP reads this before main() or any constructor of
 * the program runs, so the program starts itself again once; what the user has set stands. */
void cpu_prepare(char **arguments)
{
    if (getenv("OMP_WAIT_POLICY") || getenv("GOMP_SPINCOUNT"))
        return;
    setenv("OMP_WAIT_POLICY", "passive", 1); /* for other compilers' OpenMP */
    setenv("GOMP_SPINCOUNT", "1000", 1);
    execv("/proc/self/exe", arguments);
    /* Without /proc the program goes on as it is, only slower beside others. */
}

static int open_cpu(device *d, int threads)
{
    if (d->state)
        return fail("device cpu is open already");
    cpu_state *state = alloc_or_die(1, sizeof *state);
    d->threads = state->threads = threads > 0 ? threads : omp_get_num_procs();
    state->lanes = cpu_lanes_choose();
    d->state = state;
    size_t free_bytes;
    cpu_memory(d, &free_bytes, &state->total_bytes);
    d->flops = 0;
    return 0;
}

static void close_cpu(device *d)
{
    cpu_state *state = d->state;
    if (state)
        free(state->scratch);
    free(state);
    d->state = NULL;
}

/* More than the machine has is refused here: Linux itself would promise it and end the program
 * later. Smaller overruns are the plan's to predict, with memory(). Large blocks ask for huge
 * pages: weights of 113 MB then stream in 6.9 ms rather than 7.7 (one thread, median of six). */
static void *alloc_cpu(device *d, size_t bytes)
{
    cpu_state *state = d->state;
    if (bytes > state->total_bytes)
        return NULL;
    size_t alignment = bytes >= 2 * HUGE_PAGE ? HUGE_PAGE : CACHE_LINE;
    size_t rounded = bytes ? (bytes + alignment - 1) / alignment * alignment : alignment;
    void *memory = aligned_alloc(alignment, rounded);
    if (memory && alignment == HUGE_PAGE)
        madvise(memory, rounded, MADV_HUGEPAGE);
    return memory;
}

static void free_cpu(device *d, void *memory)
{
    (void)d;
    free(memory);
}

static void *alloc_host_cpu(device *d, size_t bytes)
{
    (void)d;
    return alloc_or_die(bytes ? bytes : 1, 1);
}

static void sync_cpu(device *d)
{
    (void)d;
}

static device_mark mark_cpu(device *d)
{
    (void)d;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (device_mark){.seconds = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec};
}

static double between_cpu(device *d, device_mark from, device_mark to)
{
    (void)d;
    return to.seconds - from.seconds;
}

static void profile_cpu(device *d, bool on)
{
    (void)d, (void)on;
}

static void describe_cpu(device *d, device_identity *identity)
{
    (void)d;
    *identity = (device_identity){.libraries = "oneDNN " DNNL_VERSION};
}

device cpu_device = {
    .name = "cpu",
    .title = "CPU, float32 (oneDNN GEMM, OpenMP)",
    .act_bytes = sizeof(float),
    .chunk_rows = 512,
    .on_cores = true,
    .open = open_cpu,
    .close = close_cpu,
    .alloc = alloc_cpu,
    .free = free_cpu,
    .alloc_host = alloc_host_cpu,
    .free_host = free_cpu,
    .memory = cpu_memory,
    .upload = cpu_copy,
    .download = cpu_copy,
    .copy = cpu_copy,
    .copy_rows = cpu_copy_rows,
    .upload_weights = cpu_upload_weights,
    .random = cpu_random,
    .sync = sync_cpu,
    .mark = mark_cpu,
    .between = between_cpu,
    .forget_marks = sync_cpu,
    .profile = profile_cpu,
    .describe = describe_cpu,
    .embed = cpu_embed,
    .rmsnorm = cpu_rmsnorm,
    .gemm = cpu_gemm,
    .rope = cpu_rope,
    .swiglu = cpu_swiglu,
    .silu = cpu_silu,
    .attention = cpu_attention,
    .from_f32 = cpu_from_f32,
    .merge = cpu_merge,
    .score_query = cpu_score_query,
    .weigh_by_norm = cpu_weigh_by_norm,
    .max_pool5 = cpu_max_pool5,
    .top_k = cpu_top_k,
    .gather_kv = cpu_gather_kv,
    .argmax = cpu_argmax,
};
