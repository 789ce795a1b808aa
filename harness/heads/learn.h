/* What retaining heads are to learn and how, after Locret (arXiv
 * 2410.01805, and its published code where the two differ): labels from frozen attention, the loss on
 * scores, and AdamW. Two things differ, since both let heads learn the same from a fraction of the
 * prompts (results/heads): the loss does not ask for a prompt's level, only for what stands out of it, and
 * steps are in units of the features' size. Nothing here knows of a model or a file, and nothing divides its work among
 * threads: a layer is one thread's (observe/pipeline.h), which divides better than single products do. */
#ifndef HARNESS_HEADS_LEARN_H
#define HARNESS_HEADS_LEARN_H
#include <stdint.h>

/* labels [positions, kv_heads]: the largest q . k / sqrt(head_dim) that any of the label rows, in any
 * query head of the group, gives each position's key. q [rows, heads, head_dim] and kv [positions,
 * kv_heads, 2, head_dim] are roped; all label rows come after all positions. Before the softmax, as the
 * published code has it. */
void labels_from_attention(const float *q, int64_t rows, const float *kv, int64_t positions,
                           int heads, int kv_heads, int head_dim, float *labels);

/* The loss of one layer out of `layers`, and its gradient by the scores (both [positions, kv_heads]):
 *     mean over layers, heads, positions of smooth-L1(s - label - c, beta 1)
 *   + smoothness * sum over layers of mean over heads and neighbours of (s[t+1] - s[t])^2
 * with c the mean of s - label over the prompt's positions in that head (Locret: 0): how much a
 * prompt's last rows look at all positions alike cannot be told from a position, and no choice of
 * positions depends on it. gradient may be NULL. Returns this layer's share of the sum. */
double learn_loss(const float *scores, const float *labels, int64_t positions, int kv_heads,
                  int layers, double smoothness, float *gradient);

typedef struct {
    double rate;             /* 5e-4 in Locret */
    int64_t warm_up, steps;  /* 2000 and 3000: linear up, then linear down to 0 */
} schedule;
/* The learning rate of step 0, 1, ... steps - 1. */
double schedule_rate(const schedule *, int64_t step);

/* unit [inputs]: one over the root mean square of each column of the features [rows, inputs], times that
 * of all of them; 1 where a column is zero. */
void learn_units(const float *features, int64_t rows, int64_t inputs, float *unit);

/* One AdamW step (betas 0.9 and 0.95, epsilon 1e-8, weight decay 0.01) of a matrix [rows, columns] after
 * clipping each gradient to [-0.5, 0.5]. Column j moves by unit[j] times as much: as if the matrix were
 * learned for inputs divided by their units, which Adam, blind to a gradient's size, does not do by
 * itself. mean and square are the optimiser's state, zero before step 0. */
void learn_update(float *values, float *mean, float *square, const float *gradient, int64_t rows,
                  int64_t columns, const float *unit, double rate, int64_t step);

/* Share of the top 10 % of positions by label (at least one; ties to the earlier) that are also in the
 * top 10 % by score, for each KV head: overlap [kv_heads]. Random scores reach 0.1. */
void learn_overlap(const float *scores, const float *labels, int64_t positions, int kv_heads,
                   double *overlap);
/* chosen [positions]: whether the position is among the `count` best of column `head`, of equals the
 * earlier. count <= positions. */
void learn_best(const float *scores, int64_t positions, int kv_heads, int head, int64_t count,
                uint8_t *chosen);
int64_t learn_tenth(int64_t positions); /* how many of them are the top 10 %: at least one */
#endif
