/* The training loop and its state file. See train.h. */
#include "harness/heads/train.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "datasets/random.h"
#include "harness/error.h"
#include "harness/folders.h"
#include "harness/heads/observe.h"
#include "harness/sweep/progress.h"
#include "harness/timeline.h"

/* ---- State ---- */

/* Whose state it is: everything that decides the result. Written as it lies in memory: a state is
 * gone on with on the machine that made it. */
typedef struct {
    char magic[8];
    int64_t layers, inputs, width, kv_heads, steps, warm_up;
    double rate;
    uint64_t seed, prompts, model;
} state_identity;

typedef struct {
    const model *model;
    const heads_prompts *prompts;
    const train_settings *settings;
    retaining_heads *heads;
    float *mean, *square; /* AdamW's, as the heads' values */
    int64_t step;
    state_identity identity;
    int64_t *order; /* of the prompts in the epoch in hand */
    int64_t epoch;

    /* of one step */
    heads_work work;
    float *scores, *score_gradient, *gradient;
    double loss, overlap;
    double rate;
} training;

static int64_t value_count(const training *t)
{
    return t->heads->layers * heads_layer_size(t->heads);
}

static uint64_t hash_text(const char *text)
{
    uint64_t hash = 0;
    for (; *text; text++)
        hash = random_mix(hash ^ (unsigned char)*text) + 0x9e3779b97f4a7c15u;
    return hash;
}

static void identify(training *t)
{
    state_identity *id = &t->identity;
    memset(id, 0, sizeof *id);
    memcpy(id->magic, "heads 1", 8);
    id->layers = t->heads->layers;
    id->inputs = t->heads->inputs;
    id->width = t->heads->width;
    id->kv_heads = t->heads->kv_heads;
    id->steps = t->settings->schedule.steps;
    id->warm_up = t->settings->schedule.warm_up;
    id->rate = t->settings->schedule.rate;
    id->seed = t->settings->seed;
    id->prompts = heads_prompts_hash(t->prompts);
    id->model = hash_text(t->model->name);
}

/* A sum over what a state holds, so that a damaged one is not gone on with. */
static uint64_t state_sum(const training *t)
{
    uint64_t sum = (uint64_t)t->step;
    const float *parts[] = {t->heads->values, t->mean, t->square};
    for (int p = 0; p < 3; p++)
        for (int64_t i = 0; i < value_count(t); i++) {
            uint32_t bits;
            memcpy(&bits, parts[p] + i, sizeof bits);
            sum = random_mix(sum ^ bits) + 0x9e3779b97f4a7c15u;
        }
    return sum;
}

static int write_state(const training *t, const char *path)
{
    char *part = format_text("%s.part", path);
    FILE *file = fopen(part, "wb");
    int status = file ? 0 : -1;
    if (file) {
        size_t count = (size_t)value_count(t);
        uint64_t sum = state_sum(t);
        fwrite(&t->identity, sizeof t->identity, 1, file);
        fwrite(&t->step, sizeof t->step, 1, file);
        fwrite(t->heads->values, sizeof(float), count, file);
        fwrite(t->mean, sizeof(float), count, file);
        fwrite(t->square, sizeof(float), count, file);
        fwrite(&sum, sizeof sum, 1, file);
        if (fflush(file) || ferror(file) || fsync(fileno(file)))
            status = -1;
        if (fclose(file) || status || rename(part, path))
            status = -1;
    }
    if (status) {
        fail("%s cannot be written: %s", path, strerror(errno));
        if (file)
            remove(part);
    }
    free(part);
    return status;
}

/* 0 with the state read, or with step 0 when there is none. */
static int read_state(training *t, const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        return errno == ENOENT ? 0 : fail("%s: %s", path, strerror(errno));
    state_identity found;
    size_t count = (size_t)value_count(t);
    uint64_t sum;
    int status = 0;
    if (fread(&found, sizeof found, 1, file) != 1 || memcmp(found.magic, "heads 1", 8))
        status = fail("%s is no state of `heads train`", path);
    else if (memcmp(&found, &t->identity, sizeof found))
        status = fail("%s is the state of another training (settings, prompts or model differ); "
                      "remove it or name another --out", path);
    else if (fread(&t->step, sizeof t->step, 1, file) != 1 ||
             fread(t->heads->values, sizeof(float), count, file) != count ||
             fread(t->mean, sizeof(float), count, file) != count ||
             fread(t->square, sizeof(float), count, file) != count ||
             fread(&sum, sizeof sum, 1, file) != 1 || fgetc(file) != EOF || sum != state_sum(t) ||
             t->step < 0 || t->step > t->settings->schedule.steps)
        status = fail("%s is damaged; remove it to begin anew", path);
    fclose(file);
    return status;
}

/* ---- Steps ---- */

static void learn_layer(void *argument, const shown_layer *shown)
{
    training *t = argument;
    retaining_heads *h = t->heads;
    int64_t at = shown->layer * heads_layer_size(h);
    heads_forward(h, shown->layer, shown->features, shown->positions, &t->work, t->scores);
    t->loss += learn_loss(t->scores, shown->labels, shown->positions, h->kv_heads, h->layers,
                          t->score_gradient);
    double *overlap = alloc_or_die((size_t)h->kv_heads, sizeof *overlap);
    learn_overlap(t->scores, shown->labels, shown->positions, h->kv_heads, overlap);
    for (int i = 0; i < h->kv_heads; i++)
        t->overlap += overlap[i] / (h->kv_heads * h->layers);
    free(overlap);
    heads_backward(h, shown->layer, shown->features, shown->positions, &t->work, t->score_gradient,
                   t->gradient);
    learn_update(h->values + at, t->mean + at, t->square + at, t->gradient, heads_layer_size(h),
                 t->rate, t->step);
}

/* The prompt of a step: every epoch goes through all of them, in its own order. */
static const heads_prompt *prompt_of_step(training *t)
{
    int64_t count = t->prompts->count, epoch = t->step / count;
    if (!t->order || epoch != t->epoch) {
        t->order = realloc_or_die(t->order, (size_t)count, sizeof *t->order);
        random_stream draw = random_stream_for(t->settings->seed, "heads order", (uint64_t)epoch, 0);
        for (int64_t i = 0; i < count; i++) { /* Fisher and Yates, from the inside out */
            int64_t at = (int64_t)random_below(&draw, (uint64_t)i + 1);
            t->order[i] = t->order[at];
            t->order[at] = i;
        }
        t->epoch = epoch;
    }
    return &t->prompts->items[t->order[t->step % count]];
}

enum { LATELY = 50 }; /* steps that a line of progress averages, about */

/* Says how it goes, at most every ten seconds; the overlap is taken before a prompt is learned from, so
 * in the first epoch it is that of unseen prompts. */
static void report(const training *t, int64_t first_step, double began, double loss, double overlap,
                   double *said)
{
    double now = monotonic_seconds();
    int64_t steps = t->settings->schedule.steps;
    if (now - *said < 10 && t->step < steps)
        return;
    *said = now;
    char left[64];
    format_seconds((now - began) / (double)(t->step - first_step) * (double)(steps - t->step), left,
                   sizeof left);
    fprintf(stderr, "[%lld/%lld] loss %.4f, overlap %.3f, rate %.2e; about %s left\n",
            (long long)t->step, (long long)steps, loss, overlap, t->rate, left);
}

static int train_steps(training *t, const char *state)
{
    const train_settings *s = t->settings;
    double began = monotonic_seconds(), said = began, loss = 0, overlap = 0, weight = 0;
    int64_t first_step = t->step;
    while (t->step < s->schedule.steps) {
        t->loss = t->overlap = 0;
        t->rate = schedule_rate(&s->schedule, t->step);
        if (observe_prompt(t->model, prompt_of_step(t), learn_layer, t))
            return -1;
        t->step++;
        weight += (1 - weight) / LATELY;
        loss += (t->loss - loss) / LATELY;
        overlap += (t->overlap - overlap) / LATELY;
        report(t, first_step, began, loss / weight, overlap / weight, &said);
        bool leave = s->stop_after && t->step - first_step == s->stop_after;
        if ((leave || t->step % s->save_every == 0) && write_state(t, state))
            return -1;
        if (leave)
            return 1;
    }
    return 0;
}

static void take_buffers(training *t)
{
    int64_t most = 0;
    for (int64_t i = 0; i < t->prompts->count; i++)
        most = t->prompts->items[i].positions > most ? t->prompts->items[i].positions : most;
    most = most < MOST_SHOWN ? most : MOST_SHOWN;
    size_t scores = (size_t)most * (size_t)t->heads->kv_heads;
    t->mean = alloc_or_die((size_t)value_count(t), sizeof(float));
    t->square = alloc_or_die((size_t)value_count(t), sizeof(float));
    t->scores = alloc_or_die(scores, sizeof(float));
    t->score_gradient = alloc_or_die(scores, sizeof(float));
    t->gradient = alloc_or_die((size_t)heads_layer_size(t->heads), sizeof(float));
}

int heads_train(const model *m, const heads_prompts *prompts, const train_settings *s,
                retaining_heads *heads)
{
    training t = {.model = m, .prompts = prompts, .settings = s, .heads = heads};
    heads_make(heads, &m->config.shape, m->layers, s->width);
    heads_fill(heads, s->seed);
    take_buffers(&t);
    identify(&t);
    char *state = format_text("%s.state", s->out);
    int status = make_folder_of(s->out);
    if (!status)
        status = read_state(&t, state);
    if (!status && t.step)
        fprintf(stderr, "apbench: goes on from step %lld of %s\n", (long long)t.step, state);
    if (!status)
        status = train_steps(&t, state);
    if (!status)
        status = heads_save(heads, s->out);
    if (!status) {
        heads_round(heads);
        remove(state);
    }
    free(state);
    heads_work_free(&t.work);
    free(t.order);
    free(t.mean);
    free(t.square);
    free(t.scores);
    free(t.score_gradient);
    free(t.gradient);
    return status;
}
