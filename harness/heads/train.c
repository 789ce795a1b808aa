/* The training loop and its state file. See train.h. */
#include "harness/heads/train.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "datasets/random.h"
#include "harness/error.h"
#include "harness/heads/observe/pipeline.h"
#include "harness/sweep/progress.h"
#include "harness/timeline.h"
#include "harness/whole_file.h"

/* ---- State ---- */

/* Whose state it is: everything that decides the result. Written as it lies in memory: a state is
 * gone on with on the machine that made it. */
typedef struct {
    char magic[8];
    int64_t layers, inputs, width, kv_heads, steps, warm_up, parts;
    double rate, smoothness;
    uint64_t seed, prompts, model, layout;
} state_identity;

/* Of one prompt that is being learned; layers write each to their own place. */
typedef struct {
    int64_t step;
    double rate;
    double *loss, *overlap; /* [layers] */
} prompt_step;

/* Of one thread. */
typedef struct {
    heads_work work;
    float *scores;                                   /* [positions, kv_heads] */
    float *labels, *part, *score_gradient, *gradient; /* of the positions of one step */
    float *ones;     /* [width]: fc2's units */
    double *overlap; /* [kv_heads] */
} learner;

typedef struct {
    const model *model;
    const heads_prompts *prompts;
    const train_settings *settings;
    retaining_heads *heads;
    float *mean, *square; /* AdamW's, as the heads' values */
    float *unit;          /* [layers, inputs]: learn_units() of the first prompt */
    int64_t step;         /* prompts learned, or under way between two states */
    state_identity identity;
    int64_t *order; /* of the prompts in the epoch in hand */
    int64_t epoch;

    prompt_step steps[PIPELINE_SLOTS];
    learner *learners;
    int threads;

    int64_t first_step; /* of this call */
    double began, said;
    double loss, overlap, weight; /* running means, and what the weights add up to */
} training;

static int64_t value_count(const training *t)
{
    return t->heads->layers * heads_layer_size(t->heads);
}

static uint64_t hash_text(const char *text)
{
    uint64_t hash = 0;
    for (; text && *text; text++)
        hash = random_mix(hash ^ (unsigned char)*text) + 0x9e3779b97f4a7c15u;
    return hash;
}

static void identify(training *t)
{
    state_identity *id = &t->identity;
    memset(id, 0, sizeof *id);
    memcpy(id->magic, "heads 3", 8);
    id->layers = t->heads->layers;
    id->inputs = t->heads->inputs;
    id->width = t->heads->width;
    id->kv_heads = t->heads->kv_heads;
    id->steps = t->settings->schedule.steps;
    id->warm_up = t->settings->schedule.warm_up;
    id->rate = t->settings->schedule.rate;
    id->parts = t->settings->parts;
    id->smoothness = t->settings->smoothness;
    id->seed = t->settings->seed;
    id->prompts = heads_prompts_hash(t->prompts);
    id->model = hash_text(t->model->name);
    id->layout = hash_text(t->settings->layout_text);
}

/* The numbers that a state holds. */
enum { STATE_PARTS = 4 };
typedef struct {
    float *values;
    size_t count;
} state_part;

static void state_parts(const training *t, state_part parts[STATE_PARTS])
{
    size_t count = (size_t)value_count(t);
    parts[0] = (state_part){t->heads->values, count};
    parts[1] = (state_part){t->mean, count};
    parts[2] = (state_part){t->square, count};
    parts[3] = (state_part){t->unit, (size_t)(t->heads->layers * t->heads->inputs)};
}

/* A sum over what a state holds, so that a damaged one is not gone on with. */
static uint64_t state_sum(const training *t)
{
    uint64_t sum = (uint64_t)t->step;
    state_part parts[STATE_PARTS];
    state_parts(t, parts);
    for (int p = 0; p < STATE_PARTS; p++)
        for (size_t i = 0; i < parts[p].count; i++) {
            uint32_t bits;
            memcpy(&bits, parts[p].values + i, sizeof bits);
            sum = random_mix(sum ^ bits) + 0x9e3779b97f4a7c15u;
        }
    return sum;
}

static int write_state(const training *t, const char *path)
{
    whole_file out;
    if (whole_file_open(&out, path))
        return -1;
    state_part parts[STATE_PARTS];
    state_parts(t, parts);
    uint64_t sum = state_sum(t);
    fwrite(&t->identity, sizeof t->identity, 1, out.file);
    fwrite(&t->step, sizeof t->step, 1, out.file);
    for (int p = 0; p < STATE_PARTS; p++)
        fwrite(parts[p].values, sizeof(float), parts[p].count, out.file);
    fwrite(&sum, sizeof sum, 1, out.file);
    return whole_file_close(&out, 0);
}

/* What follows the identity; whether it is whole and fits. */
static bool read_parts(training *t, FILE *file)
{
    state_part parts[STATE_PARTS];
    state_parts(t, parts);
    uint64_t sum;
    bool whole = fread(&t->step, sizeof t->step, 1, file) == 1;
    for (int p = 0; p < STATE_PARTS && whole; p++)
        whole = fread(parts[p].values, sizeof(float), parts[p].count, file) == parts[p].count;
    return whole && fread(&sum, sizeof sum, 1, file) == 1 && fgetc(file) == EOF && sum == state_sum(t) &&
           t->step >= 0 && t->step <= t->settings->schedule.steps;
}

/* 0 with the state read, or with step 0 when there is none. */
static int read_state(training *t, const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        return errno == ENOENT ? 0 : fail("%s: %s", path, strerror(errno));
    state_identity found;
    int status = 0;
    if (fread(&found, sizeof found, 1, file) != 1 || memcmp(found.magic, "heads 3", 8))
        status = fail("%s is no state of `heads train`", path);
    else if (memcmp(&found, &t->identity, sizeof found))
        status = fail("%s is the state of another training (settings, prompts or model differ); "
                      "remove it or name another --out", path);
    else if (!read_parts(t, file))
        status = fail("%s is damaged; remove it to begin anew", path);
    fclose(file);
    return status;
}

/* ---- Steps ---- */

/* Before the first step: the features' units, and first weights as if features were in them. */
static void take_units(training *t, const shown_layer *shown)
{
    const retaining_heads *h = t->heads;
    float *unit = t->unit + (int64_t)shown->layer * h->inputs, *fc1 = heads_layer(h, shown->layer);
    learn_units(shown->features, shown->positions, h->inputs, unit);
    for (int64_t i = 0; i < (int64_t)h->width * h->inputs; i++)
        fc1[i] *= unit[i % h->inputs];
}

/* One step from every parts-th position, beginning at `first`; scores of these before it go to their places in
 * l->scores. Returns the loss. */
static double learn_part(training *t, learner *l, const shown_layer *shown, const prompt_step *now, int first)
{
    retaining_heads *h = t->heads;
    int parts = t->settings->parts, kv_heads = h->kv_heads, layer = shown->layer;
    int64_t rows = (shown->positions - first + parts - 1) / parts, stride = (int64_t)parts * h->inputs;
    const float *features = shown->features + (int64_t)first * h->inputs;
    for (int64_t i = 0; i < rows; i++)
        memcpy(l->labels + i * kv_heads, shown->labels + (first + i * parts) * kv_heads,
               (size_t)kv_heads * sizeof(float));
    heads_forward(h, layer, features, stride, rows, &l->work, l->part);
    for (int64_t i = 0; i < rows; i++)
        memcpy(l->scores + (first + i * parts) * kv_heads, l->part + i * kv_heads,
               (size_t)kv_heads * sizeof(float));
    double loss = learn_loss(l->part, l->labels, rows, kv_heads, h->layers, t->settings->smoothness,
                             l->score_gradient);
    heads_backward(h, layer, features, stride, rows, &l->work, l->score_gradient, l->gradient);
    int64_t at = layer * heads_layer_size(h), fc2 = at + (int64_t)h->width * h->inputs;
    int64_t step = now->step * parts + first;
    learn_update(h->values + at, t->mean + at, t->square + at, l->gradient, h->width, h->inputs,
                 t->unit + (int64_t)layer * h->inputs, now->rate, step);
    learn_update(h->values + fc2, t->mean + fc2, t->square + fc2, l->gradient + (fc2 - at), kv_heads,
                 h->width, l->ones, now->rate, step);
    return loss;
}

static void learn_layer(void *argument, int thread, int slot, const shown_layer *shown)
{
    training *t = argument;
    learner *l = &t->learners[thread];
    prompt_step *now = &t->steps[slot];
    int layer = shown->layer, kv_heads = t->heads->kv_heads, parts = t->settings->parts;
    if (now->step == 0)
        take_units(t, shown);
    now->loss[layer] = now->overlap[layer] = 0;
    for (int first = 0; first < parts && first < shown->positions; first++)
        now->loss[layer] += learn_part(t, l, shown, now, first) / parts;
    learn_overlap(l->scores, shown->labels, shown->positions, kv_heads, l->overlap);
    for (int i = 0; i < kv_heads; i++)
        now->overlap[layer] += l->overlap[i] / (kv_heads * t->heads->layers);
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

/* A prompt is learned. Says how it goes, at most every ten seconds; the overlap is of scores before they are
 * learned from, so in the first epoch it is that of unseen prompts. */
static void prompt_learned(void *argument, int slot)
{
    training *t = argument;
    const prompt_step *now = &t->steps[slot];
    double loss = 0, overlap = 0, time = monotonic_seconds();
    for (int i = 0; i < t->heads->layers; i++) {
        loss += now->loss[i];
        overlap += now->overlap[i];
    }
    t->weight += (1 - t->weight) / LATELY;
    t->loss += (loss - t->loss) / LATELY;
    t->overlap += (overlap - t->overlap) / LATELY;
    int64_t steps = t->settings->schedule.steps, done = now->step + 1;
    if (time - t->said < 10 && done < steps)
        return;
    t->said = time;
    char left[64];
    format_seconds((time - t->began) / (double)(done - t->first_step) * (double)(steps - done), left,
                   sizeof left);
    fprintf(stderr, "[%lld/%lld] loss %.4f, overlap %.3f, rate %.2e; about %s left\n",
            (long long)done, (long long)steps, t->loss / t->weight, t->overlap / t->weight, now->rate,
            left);
}

/* ---- Leaving early ---- */

static volatile sig_atomic_t signal_caught; /* its number; 0: none */

static void catch_signal(int number)
{
    signal_caught = number;
}

/* One that the shell has this program ignore stays so; a second one does as it always did. */
static void listen_to(int number, struct sigaction *before)
{
    struct sigaction ours = {.sa_handler = catch_signal, .sa_flags = SA_RESETHAND | SA_RESTART};
    sigaction(number, NULL, before);
    if (before->sa_handler != SIG_IGN)
        sigaction(number, &ours, NULL);
}

/* What makes the training leave before its end, or NULL. */
static const char *reason_to_leave(const training *t)
{
    const train_settings *s = t->settings;
    if (t->step == s->schedule.steps)
        return NULL;
    if (signal_caught)
        return signal_caught == SIGINT ? "SIGINT" : "SIGTERM";
    if (s->stop_after && t->step - t->first_step == s->stop_after)
        return "--stop-after";
    if (s->time_limit > 0 && monotonic_seconds() - t->began > s->time_limit)
        return "--time-limit";
    return NULL;
}

static int train_steps(training *t, pipeline *line, const char *state)
{
    const train_settings *s = t->settings;
    while (t->step < s->schedule.steps) {
        prompt_step *now = &t->steps[pipeline_slot(line)];
        now->step = t->step;
        now->rate = schedule_rate(&s->schedule, t->step);
        if (pipeline_run(line, prompt_of_step(t)))
            return -1;
        t->step++;
        const char *reason = reason_to_leave(t);
        if (reason || t->step % s->save_every == 0) {
            pipeline_finish(line);
            if (write_state(t, state))
                return -1;
        }
        if (reason) {
            fail("stopped by %s: %lld of %lld prompts are learned from, and the same command goes on "
                 "from %s", reason, (long long)t->step, (long long)s->schedule.steps, state);
            return 1;
        }
    }
    pipeline_finish(line);
    return 0;
}

/* Where the seconds went. What threads did is given as the mean of a thread, which is how long the learning
 * took if all of them were busy. */
static void say_times(const training *t, const pipeline_times *times)
{
    int64_t steps = t->step - t->first_step;
    if (!steps)
        return;
    double all = monotonic_seconds() - t->began, each = 1000 / (double)steps;
    fprintf(stderr,
            "apbench: %lld prompts in %.1f s, %.1f ms each: the model's runs %.1f, waiting for learners "
            "%.1f; on each of %d threads features and labels %.1f, learning %.1f\n",
            (long long)steps, all, all * each, times->model * each, times->waiting * each, t->threads,
            times->showing / t->threads * each, times->working / t->threads * each);
}

static int run_steps(training *t, const char *state)
{
    pipeline_work work = {.model = t->model,
                          .layout = t->settings->layout,
                          .threads = t->threads,
                          .on_layer = learn_layer,
                          .on_prompt = prompt_learned,
                          .argument = t};
    pipeline *line = pipeline_open(&work);
    if (!line)
        return -1;
    t->first_step = t->step;
    t->began = t->said = monotonic_seconds();
    struct sigaction interrupt, terminate;
    signal_caught = 0;
    listen_to(SIGINT, &interrupt);
    listen_to(SIGTERM, &terminate);
    int status = train_steps(t, line, state);
    sigaction(SIGINT, &interrupt, NULL);
    sigaction(SIGTERM, &terminate, NULL);
    if (status >= 0)
        say_times(t, pipeline_seconds(line));
    pipeline_close(line);
    return status;
}

static void take_buffers(training *t)
{
    int64_t most = 0;
    for (int64_t i = 0; i < t->prompts->count; i++)
        most = t->prompts->items[i].positions > most ? t->prompts->items[i].positions : most;
    most = most < MOST_SHOWN ? most : MOST_SHOWN;
    size_t scores = (size_t)most * (size_t)t->heads->kv_heads, layers = (size_t)t->heads->layers;
    t->mean = alloc_or_die((size_t)value_count(t), sizeof(float));
    t->square = alloc_or_die((size_t)value_count(t), sizeof(float));
    t->unit = alloc_or_die(layers * (size_t)t->heads->inputs, sizeof(float));
    for (int i = 0; i < PIPELINE_SLOTS; i++) {
        t->steps[i].loss = alloc_or_die(layers, sizeof(double));
        t->steps[i].overlap = alloc_or_die(layers, sizeof(double));
    }
    t->learners = alloc_or_die((size_t)t->threads, sizeof *t->learners);
    for (int i = 0; i < t->threads; i++) {
        learner *l = &t->learners[i];
        l->scores = alloc_or_die(scores, sizeof(float));
        l->labels = alloc_or_die(scores, sizeof(float));
        l->part = alloc_or_die(scores, sizeof(float));
        l->score_gradient = alloc_or_die(scores, sizeof(float));
        l->gradient = alloc_or_die((size_t)heads_layer_size(t->heads), sizeof(float));
        l->ones = alloc_or_die((size_t)t->heads->width, sizeof(float));
        for (int w = 0; w < t->heads->width; w++)
            l->ones[w] = 1;
        l->overlap = alloc_or_die((size_t)t->heads->kv_heads, sizeof(double));
    }
}

static void free_buffers(training *t)
{
    for (int i = 0; i < t->threads; i++) {
        heads_work_free(&t->learners[i].work);
        free(t->learners[i].scores);
        free(t->learners[i].labels);
        free(t->learners[i].part);
        free(t->learners[i].score_gradient);
        free(t->learners[i].gradient);
        free(t->learners[i].ones);
        free(t->learners[i].overlap);
    }
    free(t->learners);
    for (int i = 0; i < PIPELINE_SLOTS; i++) {
        free(t->steps[i].loss);
        free(t->steps[i].overlap);
    }
    free(t->order);
    free(t->mean);
    free(t->square);
    free(t->unit);
}

int heads_train(const model *m, const heads_prompts *prompts, const train_settings *s,
                retaining_heads *heads)
{
    training t = {.model = m, .prompts = prompts, .settings = s, .heads = heads, .threads = s->threads};
    heads_make(heads, &m->config.shape, m->layers, s->width);
    heads_fill(heads, s->seed);
    take_buffers(&t);
    identify(&t);
    char *state = format_text("%s.state", s->out);
    int status = whole_file_check(s->out); /* not hours later */
    if (!status)
        status = read_state(&t, state);
    if (!status && t.step)
        fprintf(stderr, "apbench: goes on from step %lld of %s\n", (long long)t.step, state);
    if (!status)
        status = run_steps(&t, state);
    if (!status)
        status = heads_save(heads, s->out);
    if (!status) {
        heads_round(heads);
        remove(state);
    }
    free(state);
    free_buffers(&t);
    return status;
}
