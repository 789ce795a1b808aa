/* Comparing logits. See compare.h. */
#include "harness/sweep/compare.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "harness/error.h"

void logits_trace_token(void *argument, int step, int32_t id, const float *logits)
{
    logits_trace *t = argument;
    if (step >= t->most)
        return;
    t->steps = step + 1;
    t->ids = realloc_or_die(t->ids, (size_t)t->steps, sizeof *t->ids);
    t->logits = realloc_or_die(t->logits, (size_t)t->steps * (size_t)t->vocab, sizeof(float));
    t->ids[step] = id;
    memcpy(t->logits + (size_t)step * (size_t)t->vocab, logits, (size_t)t->vocab * sizeof(float));
}

void logits_trace_free(logits_trace *t)
{
    free(t->ids);
    free(t->logits);
    t->ids = NULL;
    t->logits = NULL;
    t->steps = 0;
}

double logits_difference(const logits_trace *a, const logits_trace *b)
{
    double most = 0, largest = 0;
    int steps = a->steps < b->steps ? a->steps : b->steps;
    for (size_t i = 0; i < (size_t)steps * (size_t)b->vocab; i++) {
        double difference = fabs((double)a->logits[i] - b->logits[i]);
        most = difference > most || isnan(difference) ? difference : most;
        largest = fmax(largest, fabs(b->logits[i]));
    }
    return most / largest;
}

double logits_log_total(const float *logits, int vocab)
{
    double most = -INFINITY, sum = 0;
    for (int i = 0; i < vocab; i++)
        most = logits[i] > most ? logits[i] : most;
    for (int i = 0; i < vocab; i++)
        sum += exp(logits[i] - most);
    return most + log(sum);
}

double logits_kl(const float *p, const float *q, int vocab)
{
    double p_total = logits_log_total(p, vocab), q_total = logits_log_total(q, vocab), kl = 0;
    for (int i = 0; i < vocab; i++) {
        double log_p = p[i] - p_total;
        kl += exp(log_p) * (log_p - (q[i] - q_total));
    }
    return kl > 0 ? kl : 0; /* equal distributions may round to just below 0 */
}

int32_t logits_best(const float *logits, int vocab)
{
    int32_t best = 0;
    for (int32_t i = 1; i < vocab; i++)
        if (logits[i] > logits[best])
            best = i;
    return best;
}
