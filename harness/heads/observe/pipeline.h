/* Prompts one after another: while the model runs one on its device, threads work on the layers of
 * those before it. Layers are independent of each other, so each is one thread's, with products of one
 * thread: products this small (1,000 x 960 x 144) and what is between them would leave many threads
 * waiting for each other. Of a layer, prompts come in order and one at a time, so that results do not
 * depend on how many threads there are. At most PIPELINE_SLOTS prompts are held. */
#ifndef HARNESS_HEADS_PIPELINE_H
#define HARNESS_HEADS_PIPELINE_H
#include "harness/heads/observe/observe.h"

enum { PIPELINE_SLOTS = 2 };

typedef struct {
    const model *model;
    const heads_layout *layout; /* NULL: features of the exact run */
    bool notes_passing;         /* what the layout passes on is noted too */
    int threads;                /* at least 1 */
    /* One layer of the prompt in the slot, on one of the threads 0 .. threads - 1. */
    void (*on_layer)(void *argument, int thread, int slot, const shown_layer *);
    /* All layers of the slot's prompt are done: in the caller's thread, in the prompts' order. May be
     * NULL. */
    void (*on_prompt)(void *argument, int slot);
    void *argument;
} pipeline_work;

typedef struct {
    double model;   /* seconds of the caller's thread in the model's runs */
    double waiting; /* and until a slot was free */
    double showing, working; /* on cores, of all threads together: features and labels; on_layer */
} pipeline_times;

typedef struct pipeline pipeline;
pipeline *pipeline_open(const pipeline_work *);
/* Waits until the slot that the next prompt gets is free and returns it. */
int pipeline_slot(pipeline *);
/* Runs the prompt into the next slot, once it is free. -1 with a sentence. */
int pipeline_run(pipeline *, const heads_prompt *);
/* Waits until all prompts are done. */
void pipeline_finish(pipeline *);
const pipeline_times *pipeline_seconds(const pipeline *); /* once finished */
void pipeline_close(pipeline *);
#endif
