/* Random calls of attention on the cuda device: lists of segments drawn from a seed, the keys, values and
 * queries that they read, and what sampled rows of them are in exact arithmetic. The same seed always
 * gives the same list. Sizes lie about the kernels' tiles (64, 128, 160, 192). Keys, values and queries
 * are places in one pool of random bf16 values, so that a list costs no upload of its own. */
#ifndef TESTS_GPU_SUPPORT_ATTENTION_LIST_H
#define TESTS_GPU_SUPPORT_ATTENTION_LIST_H
#include "kernels/device.h"

enum { LIST_SEGMENTS = 6, LIST_ROWS = 700, LIST_LENGTH = 900, LIST_HEADS = 32, LIST_HEAD_DIM = 128 };
static const int64_t LIST_POOL = (int64_t)1 << 23;

extern bool list_small;        /* few rows, keys and heads, for compute-sanitizer */
extern float *list_pool;       /* [LIST_POOL] uniform in [-1, 1), exact in bf16 */
extern char *list_pool_on_gpu; /* the same; the program uploads it */
/* A running result for lists that fold into one: a tenth of it of rows that saw nothing so far. */
extern float *list_start_acc; /* [LIST_ROWS * LIST_HEADS * LIST_HEAD_DIM] */
extern float *list_start_lse; /* [LIST_ROWS * LIST_HEADS] */
/* Makes the pool and the running result on the host. */
void lists_prepare(uint64_t seed);

typedef struct {
    attn_call cpu, gpu; /* the same, with places in `list_pool` and in `list_pool_on_gpu` */
    attn_segment cpu_segments[LIST_SEGMENTS], gpu_segments[LIST_SEGMENTS];
    bool to_acc; /* into acc and lse in float32; else into out */
    bool with_lse;
    double score_size; /* about the largest |score| */
} list;

/* Draws all of a call but where it writes (out, acc, lse), which the program sets in `gpu`. */
void draw_list(list *, uint64_t seed);
/* Goes on with the draws of the list; both ends included. */
int64_t list_between(int64_t low, int64_t high);
/* Rows at the ends of ranges and of tiles, and others. */
int64_t list_sampled_row(const list *);

typedef struct {
    int64_t pair; /* row * heads + head */
    double lse, values[LIST_HEAD_DIM];
} exact_row;
/* Fills in lse and values of x->pair in float64; a list that folds starts from the running result. */
void compute_exact(const list *, exact_row *x);
#endif
