/* How far one run's logits are from another's: fidelity to exact attention, which needs no answer
 * key. */
#ifndef HARNESS_COMPARE_H
#define HARNESS_COMPARE_H
#include <stdint.h>

/* A run's logits, step by step. Hand logits_trace_token and the trace to run_request.on_token; set
 * vocab and `most` (steps to keep) before. */
typedef struct {
    int vocab, most;
    int steps;      /* kept */
    int32_t *ids;   /* [steps] */
    float *logits;  /* [steps, vocab] */
} logits_trace;
void logits_trace_token(void *trace, int step, int32_t id, const float *logits);
void logits_trace_free(logits_trace *);

/* Largest |a - b| over the steps that both have, divided by the largest |b|. */
double logits_difference(const logits_trace *a, const logits_trace *b);
/* KL(p || q) in nats of the softmax distributions of two rows of logits. */
double logits_kl(const float *p, const float *q, int vocab);
/* log(sum(exp(logits))). */
double logits_log_total(const float *logits, int vocab);
/* The first index of the largest. */
int32_t logits_best(const float *logits, int vocab);
#endif
