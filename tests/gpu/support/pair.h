/* The cpu device (float32, the oracle) and the cuda device (bf16) side by side, for tests that run an
 * operation on both and compare. Values are drawn from a seed and rounded to bf16 first, so that
 * both devices see the same ones. Every buffer of the cuda device lies between guard zones, and
 * outputs are poisoned with bytes 0xFF (NaN, or index -1): a write outside, or none inside, shows.
 *
 * A program is a table of cases and a call of pair_main(). Options: --case WORD runs those whose name
 * holds the word, --small sizes for compute-sanitizer, --seed N. Each case prints one line:
 * `ok NAME: ...`, `skip NAME: why` or `not ok NAME: ...`; wrong results are told element by element
 * (a few of them) and the next shape goes on. Exit status 1 when a case failed, 77 when no GPU can be
 * used. */
#ifndef TESTS_GPU_SUPPORT_PAIR_H
#define TESTS_GPU_SUPPORT_PAIR_H
#include "kernels/device.h"

extern device *cpu, *gpu;
extern bool pair_small; /* tiny sizes only */

/* Error of rounding to bf16 (8 bits of significand), relative; a hair more for the float32 result
 * that was rounded, which is not the exact one. */
#define BF16_ROUNDING 0x1.02p-8

typedef enum { PAIR_ACT, PAIR_F32, PAIR_I32 } pair_type;

/* A buffer on both devices. On the cpu device activations are float32. */
typedef struct {
    int64_t count;
    pair_type type;
    union {
        float *cpu; /* ordinary memory: tests read and write it */
        int32_t *cpu_ids;
    };
    void *gpu;
} pair;

/* All are freed, and their guard zones checked, at the end of the shape (pair_shape_end). */
pair pair_random(int64_t count, pair_type type, float bound); /* uniform in [-bound, bound) */
pair pair_given(const void *values, int64_t count, pair_type type); /* float or int32_t on the host */
pair pair_output(int64_t count, pair_type type);

/* From now on activation and float32 buffers of the cuda device lie `elements` off a 256-byte
 * boundary; 0 at the start of each shape. */
void pair_misalign(int elements);

/* Draws from the seed. */
double pair_uniform(void);                        /* [0, 1) */
int64_t pair_between(int64_t low, int64_t high);  /* both included */
uint64_t pair_seed(void);                         /* a fresh seed */
float round_to_bf16(float);

/* A shape: what is said about it when something is wrong. */
void pair_shape(const char *format, ...) __attribute__((format(printf, 1, 2)));
void pair_shape_end(void);

/* |got - want| may be relative * |want| + of_row * (largest |want| of the row) + absolute. */
typedef struct {
    double relative, of_row, absolute;
} tolerance;

/* Compares the cuda device's buffer with the cpu device's, in rows of row_length. NaN must meet NaN
 * and infinities themselves. The second form compares with values on the host. Both return the
 * Frobenius error of the whole, |got - want| / |want|. */
double pair_close(const char *what, pair output, int64_t row_length, tolerance allowed);
double pair_close_to(const char *what, const void *got_on_gpu, pair_type type, const float *want,
                     int64_t count, int64_t row_length, tolerance allowed);
/* The same bits, or for activations: the cpu device's value rounded to bf16. */
void pair_equal(const char *what, pair output);

/* For cases that compare by themselves: counts a failure and prints it (a few for each case). */
void pair_wrong(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The case cannot run here; call before any shape. */
void pair_skip(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Said behind the verdict of the case. */
void pair_note(const char *format, ...) __attribute__((format(printf, 1, 2)));

typedef struct {
    const char *name;
    void (*run)(void);
} pair_case;

int pair_main(int argc, char **argv, const pair_case *cases, int count);
#endif
