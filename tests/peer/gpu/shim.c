/* The cuda device as a shared library with a plain C interface, for the Python scripts beside it:
 * they hand it the addresses of torch's own tensors, so that peers and ours are timed in turn on the
 * same memory, on one stream, with the same events. It links only the cuda device's files, so that a
 * machine with nothing but a driver and PyTorch can load it.
 *
 * Calls return 0, or -1 with a sentence in peer_error(). Pointers are device addresses; strides are
 * in elements (bfloat16). One device is open at a time. */
#include "harness/error.h"
#include "kernels/cuda/cuda.h"

static cudaStream_t own_stream;

const char *peer_error(void)
{
    return fail_text();
}

const char *peer_title(void)
{
    return cuda_device.title;
}

/* Opens GPU `ordinal` of the process; all later work goes to `stream`, the caller's. */
int peer_open(int ordinal, void *stream)
{
    cuda_device.ordinal = ordinal;
    if (cuda_device.open(&cuda_device, 0))
        return -1;
    own_stream = cuda_of(&cuda_device)->stream;
    cuda_of(&cuda_device)->stream = stream;
    return 0;
}

void peer_close(void)
{
    if (!cuda_device.state)
        return;
    cuda_device.sync(&cuda_device);
    cuda_of(&cuda_device)->stream = own_stream; /* the other is not ours to destroy */
    cuda_device.close(&cuda_device);
}

/* attn_call as in kernels/device.h, field by field: ours.py has the same structure. */
int peer_attend(const attn_call *call)
{
    if (!cuda_device.state)
        return fail("peer_attend: the device is not open");
    cuda_device.attention(&cuda_device, call);
    return 0;
}

/* For ours.py to compare with its own idea of the structures. */
size_t peer_call_bytes(void)
{
    return sizeof(attn_call);
}

size_t peer_segment_bytes(void)
{
    return sizeof(attn_segment);
}

/* c [m, n] = or += a [m, k] w [n, k]^T, all packed; mode as in device.h (0 store, 1 store float32,
 * 2 add to float32). */
int peer_gemm(int mode, void *c, const void *a, const void *w, int64_t m, int64_t n, int64_t k)
{
    if (!cuda_device.state)
        return fail("peer_gemm: the device is not open");
    if (mode < GEMM_STORE || mode > GEMM_ADD_F32)
        return fail("peer_gemm: there is no mode %d", mode);
    cuda_device.gemm(&cuda_device, (gemm_mode)mode, c, n, a, k, w, NULL, m, n, k);
    return 0;
}
