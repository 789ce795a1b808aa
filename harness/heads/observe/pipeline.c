/* The threads behind the model's runs. See pipeline.h. */
#include "harness/heads/observe/pipeline.h"

#include <omp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "harness/error.h"
#include "harness/timeline.h"

typedef struct {
    int slot, layer;
} job;

typedef struct {
    observation seen;
    int left;     /* layers posted and not done */
    bool pending; /* on_prompt is still to be called */
} slot;

struct pipeline {
    pipeline_work work;
    slot slots[PIPELINE_SLOTS];
    int next; /* the slot that the next prompt gets */

    pthread_mutex_t lock; /* of all below, and of slots' `left` */
    pthread_cond_t posted, done;
    job *jobs; /* [PIPELINE_SLOTS * layers], oldest first */
    int job_count;
    bool *busy; /* [layers]: a thread works on it */
    bool ended;
    pipeline_times times;

    pthread_t *threads;
    int started;
};

typedef struct {
    pipeline *line;
    int number;
} crew_member;

/* Takes the oldest job whose layer nobody works on. The lock is held. */
static bool take_job(pipeline *p, job *taken)
{
    for (int i = 0; i < p->job_count; i++)
        if (!p->busy[p->jobs[i].layer]) {
            *taken = p->jobs[i];
            memmove(p->jobs + i, p->jobs + i + 1, (size_t)(--p->job_count - i) * sizeof *p->jobs);
            p->busy[taken->layer] = true;
            return true;
        }
    return false;
}

/* Seconds that this thread has had a core for. */
static double thread_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void *work_on_layers(void *argument)
{
    crew_member *self = argument;
    pipeline *p = self->line;
    shown_buffers buffers = {0};
    job mine;
    omp_set_num_threads(1); /* of this thread's products */
    pthread_mutex_lock(&p->lock);
    for (;;) {
        if (!take_job(p, &mine)) {
            if (p->ended)
                break;
            pthread_cond_wait(&p->posted, &p->lock);
            continue;
        }
        pthread_mutex_unlock(&p->lock);
        double began = thread_seconds();
        shown_layer shown;
        observation_show(&p->slots[mine.slot].seen, mine.layer, &buffers, &shown);
        double at = thread_seconds();
        p->work.on_layer(p->work.argument, self->number, mine.slot, &shown);
        double ended = thread_seconds();
        pthread_mutex_lock(&p->lock);
        p->times.showing += at - began;
        p->times.working += ended - at;
        p->busy[mine.layer] = false;
        if (--p->slots[mine.slot].left == 0)
            pthread_cond_broadcast(&p->done);
        pthread_cond_signal(&p->posted); /* the layer's next job may have been passed over */
    }
    pthread_mutex_unlock(&p->lock);
    shown_buffers_free(&buffers);
    free(self);
    return NULL;
}

static void post_layer(void *argument, int layer)
{
    pipeline *p = argument;
    pthread_mutex_lock(&p->lock);
    p->jobs[p->job_count++] = (job){p->next, layer};
    p->slots[p->next].left++;
    pthread_cond_signal(&p->posted);
    pthread_mutex_unlock(&p->lock);
}

pipeline *pipeline_open(const pipeline_work *work)
{
    pipeline *p = alloc_or_die(1, sizeof *p);
    size_t layers = (size_t)work->model->layers;
    p->work = *work;
    for (int i = 0; i < PIPELINE_SLOTS; i++)
        p->slots[i].seen.notes_passing = work->notes_passing;
    p->jobs = alloc_or_die(PIPELINE_SLOTS * layers, sizeof *p->jobs);
    p->busy = alloc_or_die(layers, sizeof *p->busy);
    p->threads = alloc_or_die((size_t)work->threads, sizeof *p->threads);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->posted, NULL);
    pthread_cond_init(&p->done, NULL);
    for (int i = 0; i < work->threads; i++) {
        crew_member *one = alloc_or_die(1, sizeof *one);
        *one = (crew_member){p, i};
        int code = pthread_create(&p->threads[i], NULL, work_on_layers, one);
        if (code) {
            free(one);
            fail("thread %d of %d cannot be started: %s", i + 1, work->threads, strerror(code));
            pipeline_close(p);
            return NULL;
        }
        p->started++;
    }
    return p;
}

static void finish_slot(pipeline *p, int number)
{
    slot *s = &p->slots[number];
    double began = monotonic_seconds();
    pthread_mutex_lock(&p->lock);
    while (s->left)
        pthread_cond_wait(&p->done, &p->lock);
    pthread_mutex_unlock(&p->lock);
    p->times.waiting += monotonic_seconds() - began;
    if (s->pending && p->work.on_prompt)
        p->work.on_prompt(p->work.argument, number);
    s->pending = false;
}

int pipeline_slot(pipeline *p)
{
    finish_slot(p, p->next);
    return p->next;
}

int pipeline_run(pipeline *p, const heads_prompt *prompt)
{
    slot *s = &p->slots[pipeline_slot(p)];
    double began = monotonic_seconds();
    int status = observe_prompt(p->work.model, p->work.layout, prompt, &s->seen, post_layer, p);
    p->times.model += monotonic_seconds() - began;
    if (status)
        return -1;
    s->pending = true;
    p->next = (p->next + 1) % PIPELINE_SLOTS;
    return 0;
}

void pipeline_finish(pipeline *p)
{
    for (int i = 0; i < PIPELINE_SLOTS; i++) /* the oldest first */
        finish_slot(p, (p->next + i) % PIPELINE_SLOTS);
}

const pipeline_times *pipeline_seconds(const pipeline *p)
{
    return &p->times;
}

void pipeline_close(pipeline *p)
{
    pthread_mutex_lock(&p->lock);
    p->ended = true; /* once no job is left */
    pthread_cond_broadcast(&p->posted);
    pthread_mutex_unlock(&p->lock);
    for (int i = 0; i < p->started; i++)
        pthread_join(p->threads[i], NULL);
    for (int i = 0; i < PIPELINE_SLOTS; i++)
        observation_free(&p->slots[i].seen);
    pthread_cond_destroy(&p->done);
    pthread_cond_destroy(&p->posted);
    pthread_mutex_destroy(&p->lock);
    free(p->threads);
    free(p->busy);
    free(p->jobs);
    free(p);
}
