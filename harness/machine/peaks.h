/* The machine's measured peaks, against which utilisation is reported: matrix products, copy and
 * attention. Each is the median of a few repetitions after a warm-up; a product's rate is also taken
 * over a second without a pause, since a hot GPU lowers its clocks. */
#ifndef HARNESS_PEAKS_H
#define HARNESS_PEAKS_H
#include "kernels/device.h"

/* FLOP/s of a square product in the activation type. 0 when the device has no memory for it. */
double peak_gemm(device *);
/* FLOP/s of c [m, n] = a [m, k] w [n, k]^T: median of single products, and sustained for a second. Both 0
 * when the device has no memory for it. */
typedef struct {
    double single, sustained;
} gemm_rate;
gemm_rate peak_gemm_shape(device *, gemm_mode mode, int64_t m, int64_t n, int64_t k);
/* The size of peak_gemm's product. */
int64_t peak_gemm_size(const device *);
/* Bytes a second of a device copy, read and written both counted. */
double peak_copy(device *);
/* Random q, k, v (as the cache has them) and out of one causal call over `rows` rows, for the caller to
 * make and to free; NULL when the device has no memory for it. */
char *causal_attention(device *, int64_t rows, int heads, int kv_heads, int head_dim,
                       attn_segment *, attn_call *);
/* FLOP/s (visible pairs only) of one causal call over `rows` rows with these heads. */
double peak_attention(device *, int64_t rows, int heads, int kv_heads, int head_dim);
#endif
