/* The machine's measured peaks, against which utilisation is reported: matrix product, copy and
 * attention. Each is the median of a few repetitions after a warm-up. */
#ifndef HARNESS_PEAKS_H
#define HARNESS_PEAKS_H
#include "kernels/device.h"

/* FLOP/s of a square product in the activation type. 0 when the device has no memory for it. */
double peak_gemm(device *);
/* Bytes a second of a device copy, read and written both counted. */
double peak_copy(device *);
/* FLOP/s (visible pairs only) of one causal call over `rows` rows with these heads. */
double peak_attention(device *, int64_t rows, int heads, int kv_heads, int head_dim);
#endif
