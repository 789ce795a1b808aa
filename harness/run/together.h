/* What every process of a launch opens for itself before a run. When one of them cannot, all must know:
 * the others would wait for it in the next transfer for ever. */
#ifndef HARNESS_RUN_TOGETHER_H
#define HARNESS_RUN_TOGETHER_H
#include "harness/comm.h"
#include "harness/model/model.h"

/* model_open() on every process. NULL on all of them when one cannot, with "host R: ..." of the first
 * (model_open()'s own sentence in a launch of one process). Neighbours load at the same time: whether a
 * machine has memory for the weights of all is known before any begins. */
model *model_open_together(const comm_driver *, const char *name, device *, int layers,
                           uint64_t seed, const char *retaining_heads);

/* Whether that failed for want of device memory on some host: a result, not an error. */
bool model_lacked_memory(void);
#endif
