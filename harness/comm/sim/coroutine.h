/* Coroutines: bodies that share one OS thread, each on its own stack, and hand the turn over only
 * where they say so. Virtual hosts are coroutines and not threads, because then there is one OpenMP
 * pool, one deterministic order and no wake-up cost, and a thousand hosts are cheap. */
#ifndef HARNESS_COMM_SIM_COROUTINE_H
#define HARNESS_COMM_SIM_COROUTINE_H
#include <stdbool.h>

typedef struct coroutine coroutine;

/* A coroutine that will execute body(argument) on a fresh stack of 1 MB with a guard page below it.
 * NULL with a sentence in fail_text() when there is no address space for the stack. */
coroutine *coroutine_new(void (*body)(void *argument), void *argument);

/* Gives it the turn; returns when it yields or its body has returned. */
void coroutine_resume(coroutine *);

/* Called inside the coroutine: gives the turn back to whoever resumed it. */
void coroutine_yield(coroutine *);

bool coroutine_ended(const coroutine *);

/* Its stack goes; what an unfinished body holds on the heap is lost. NULL is allowed. */
void coroutine_free(coroutine *);
#endif
