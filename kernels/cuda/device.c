/* The cuda device's row of the table: opening, memory, time, and which function does what. One GPU,
 * one stream. Marks are events from a pool, so that a run records thousands of them without a wait
 * and without making any anew. */
#include "kernels/cuda/cuda.h"

#include "harness/error.h"

#include <stdio.h>
#include <stdlib.h>

void cuda_must(cudaError_t code, const char *what)
{
    if (code == cudaSuccess)
        return;
    fprintf(stderr, "apbench: device cuda: %s: %s\n", what, cudaGetErrorString(code));
    exit(1);
}

int cuda_no_gpu(const char *who, cudaError_t code)
{
    const char *why = code == cudaSuccess ? "the driver lists none"
                      : code == cudaErrorInsufficientDriver /* said of a machine without one, too */
                          ? "an NVIDIA driver is missing, or older than the CUDA toolkit wants"
                          : cudaGetErrorString(code);
    return fail("%s: no GPU can be used here: %s", who, why);
}

void cuda_launched(const char *kernel)
{
    cuda_must(cudaGetLastError(), kernel);
}

/* Before the device is open, and after. */
static const char plain_title[] = "NVIDIA GPU, bfloat16 (cuBLASLt GEMM, own kernels)";

static int read_properties(cuda_state *state)
{
    struct cudaDeviceProp properties;
    cudaError_t code = cudaGetDeviceProperties(&properties, state->ordinal);
    if (code != cudaSuccess)
        return fail("device cuda: GPU %d: %s", state->ordinal, cudaGetErrorString(code));
    state->multiprocessors = properties.multiProcessorCount;
    state->capability = properties.major * 10 + properties.minor;
    state->cache_bytes = (size_t)properties.l2CacheSize;
    if (state->capability < 80)
        return fail("device cuda: %s has compute capability %d.%d; 8.0 (A100) or later is needed",
                    properties.name, properties.major, properties.minor);
    int driver = 0, runtime = 0;
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    snprintf(state->title, sizeof state->title, "%s, bfloat16 (CUDA %d.%d, driver for %d.%d)",
             properties.name, runtime / 1000, runtime % 1000 / 10, driver / 1000,
             driver % 1000 / 10);
    return 0;
}

static void close_cuda(device *d)
{
    cuda_state *state = d->state;
    if (!state)
        return;
    if (state->stream)
        cudaStreamSynchronize(state->stream);
    cuda_gemm_close(state);
    for (int i = 0; i < state->event_count; i++)
        cudaEventDestroy(state->events[i]);
    free(state->events);
    cudaFree(state->scratch);
    cudaFree(state->lt_workspace);
    if (state->stream)
        cudaStreamDestroy(state->stream);
    free(state);
    d->state = NULL;
    d->title = plain_title;
}

static int open_cuda(device *d, int threads)
{
    (void)threads;
    if (d->state)
        return fail("device cuda is open already");
    int gpus = 0;
    cudaError_t code = cudaGetDeviceCount(&gpus);
    if (code != cudaSuccess || gpus == 0)
        return cuda_no_gpu("device cuda", code);
    cuda_state *state = alloc_or_die(1, sizeof *state);
    state->ordinal = d->ordinal % gpus;
    d->state = state;
    d->threads = 1;
    d->flops = 0;
    if (read_properties(state))
        goto failed;
    code = cudaSetDevice(state->ordinal);
    if (code == cudaSuccess)
        code = cudaStreamCreateWithFlags(&state->stream, cudaStreamNonBlocking);
    if (code == cudaSuccess)
        code = cudaMalloc(&state->lt_workspace, CUDA_LT_WORKSPACE);
    if (code == cudaSuccess)
        code = cudaMalloc(&state->scratch, CUDA_SCRATCH + CUDA_ALIGNMENT);
    if (code == cudaSuccess) {
        state->turn = (int32_t *)((char *)state->scratch + CUDA_SCRATCH);
        code = cudaMemsetAsync(state->turn, 0, 2 * sizeof *state->turn, state->stream);
    }
    if (code == cudaSuccess)
        code = cudaStreamSynchronize(state->stream);
    if (code != cudaSuccess) {
        fail("device cuda: opening GPU %d: %s", state->ordinal, cudaGetErrorString(code));
        goto failed;
    }
    if (cuda_gemm_open(state))
        goto failed;
    d->title = state->title;
    return 0;
failed:
    close_cuda(d);
    return -1;
}

/* ---- Memory ---- */

static void *alloc_cuda(device *d, size_t bytes)
{
    (void)d;
    void *memory = NULL;
    cudaError_t code = cudaMalloc(&memory, bytes ? bytes : CUDA_ALIGNMENT);
    if (code == cudaErrorMemoryAllocation) {
        cudaGetLastError(); /* it would show up at the next launch */
        return NULL;
    }
    cuda_must(code, "cudaMalloc");
    return memory;
}

static void free_cuda(device *d, void *memory)
{
    (void)d;
    cuda_must(cudaFree(memory), "cudaFree");
}

static void *alloc_host_cuda(device *d, size_t bytes)
{
    (void)d;
    void *memory = NULL;
    cuda_must(cudaMallocHost(&memory, bytes ? bytes : CUDA_ALIGNMENT), "host memory for copies");
    return memory;
}

static void free_host_cuda(device *d, void *memory)
{
    (void)d;
    cuda_must(cudaFreeHost(memory), "cudaFreeHost");
}

static void memory_cuda(device *d, size_t *free_bytes, size_t *total_bytes)
{
    (void)d;
    cuda_must(cudaMemGetInfo(free_bytes, total_bytes), "cudaMemGetInfo");
}

static void upload_cuda(device *d, void *to, const void *from_host, size_t bytes)
{
    cuda_must(cudaMemcpyAsync(to, from_host, bytes, cudaMemcpyHostToDevice, cuda_of(d)->stream),
              "upload");
}

static void download_cuda(device *d, void *to_host, const void *from, size_t bytes)
{
    cuda_must(cudaMemcpyAsync(to_host, from, bytes, cudaMemcpyDeviceToHost, cuda_of(d)->stream),
              "download");
    cuda_must(cudaStreamSynchronize(cuda_of(d)->stream), "download");
}

static void copy_cuda(device *d, void *to, const void *from, size_t bytes)
{
    cuda_must(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, cuda_of(d)->stream),
              "copy");
}

/* ---- Time ---- */

static void sync_cuda(device *d)
{
    cuda_must(cudaStreamSynchronize(cuda_of(d)->stream), "waiting for the device");
}

static device_mark mark_cuda(device *d)
{
    cuda_state *state = d->state;
    if (state->marks == state->event_count) {
        int count = state->event_count ? 2 * state->event_count : 256;
        state->events = realloc_or_die(state->events, (size_t)count, sizeof *state->events);
        while (state->event_count < count)
            cuda_must(cudaEventCreate(&state->events[state->event_count++]), "cudaEventCreate");
    }
    cudaEvent_t event = state->events[state->marks++];
    cuda_must(cudaEventRecord(event, state->stream), "cudaEventRecord");
    return (device_mark){.event = event};
}

static double between_cuda(device *d, device_mark from, device_mark to)
{
    (void)d;
    float milliseconds = 0;
    cuda_must(cudaEventElapsedTime(&milliseconds, from.event, to.event), "cudaEventElapsedTime");
    return milliseconds * 1e-3;
}

static void forget_marks_cuda(device *d)
{
    cuda_of(d)->marks = 0;
}

device cuda_device = {
    .name = "cuda",
    .title = plain_title,
    .act_bytes = 2,
    .chunk_rows = 16384,
    .head_dims = {64, 128},
    .open = open_cuda,
    .close = close_cuda,
    .alloc = alloc_cuda,
    .free = free_cuda,
    .alloc_host = alloc_host_cuda,
    .free_host = free_host_cuda,
    .memory = memory_cuda,
    .upload = upload_cuda,
    .download = download_cuda,
    .copy = copy_cuda,
    .copy_rows = cuda_copy_rows,
    .upload_weights = cuda_upload_weights,
    .random = cuda_random,
    .sync = sync_cuda,
    .mark = mark_cuda,
    .between = between_cuda,
    .forget_marks = forget_marks_cuda,
    .profile = cuda_profile,
    .describe = cuda_describe,
    .embed = cuda_embed,
    .rmsnorm = cuda_rmsnorm,
    .gemm = cuda_gemm,
    .rope = cuda_rope,
    .swiglu = cuda_swiglu,
    .silu = cuda_silu,
    .attention = cuda_attention,
    .from_f32 = cuda_from_f32,
    .merge = cuda_merge,
    .score_query = cuda_score_query,
    .weigh_by_norm = cuda_weigh_by_norm,
    .max_pool5 = cuda_max_pool5,
    .top_k = cuda_top_k,
    .gather_kv = cuda_gather_kv,
    .argmax = cuda_argmax,
};
