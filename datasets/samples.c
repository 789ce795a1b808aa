/* Samples one after another: made by a task's generator at the size that fills the wanted length, or
 * read from an official file. */
#include "datasets/jsonl.h"
#include "datasets/official.h"
#include "datasets/ruler/generator.h"
#include "datasets/task.h"
#include "harness/error.h"

#include <stdio.h>
#include <stdlib.h>

struct task_samples {
    task_request request;
    int64_t next; /* number of the next sample */
    /* made */
    corpus *corpus;
    int64_t step, size;
    /* read */
    jsonl_file lines;
    int64_t broken;
};

void task_sample_free(task_sample *sample)
{
    free(sample->document.bytes);
    free(sample->query.bytes);
    official_references_free(sample->references, sample->reference_count);
    *sample = (task_sample){0};
}

/* ---- Made samples ---- */

/* Builds one sample and counts its tokens: document and query apart, as they will be run, without
 * special tokens of the tokenizer's own, and the generated budget. */
static int build(const task_samples *samples, int64_t size, random_stream *stream,
                 task_sample *sample)
{
    const task_request *request = &samples->request;
    *sample = (task_sample){0};
    token_list ids = {0};
    int result = request->task->generator->build(request->task, samples->corpus, request->chat,
                                                 size, stream, sample);
    if (result == 0)
        result = tokenizer_encode(request->tokens, sample->document.bytes, sample->document.count,
                                  false, &ids);
    if (result == 0)
        result = tokenizer_encode(request->tokens, sample->query.bytes, sample->query.count, false,
                                  &ids);
    sample->length = (int64_t)ids.count + request->task->tokens_to_generate;
    token_list_free(&ids);
    if (result < 0)
        task_sample_free(sample);
    return result;
}

static int64_t length_of_size(const task_samples *samples, int64_t size, random_stream *stream)
{
    task_sample sample;
    if (build(samples, size, stream, &sample) < 0)
        return -1;
    int64_t length = sample.length;
    task_sample_free(&sample);
    return length;
}

/* RULER's search: tokens per unit from one prompt of `step` units give an upper bound; bisection
 * between keeps the last size that fitted. Every probe has fresh content. With small steps the fixed
 * parts of the prompt weigh in those tokens per unit and the bound is too low: a bound that fits is
 * doubled. */
static int fit(task_samples *samples)
{
    const task_request *request = &samples->request;
    int64_t most = request->length, step = samples->step;
    random_stream stream = random_stream_for(request->seed, request->task->name, (uint64_t)most,
                                             UINT64_MAX);
    int64_t first = length_of_size(samples, step, &stream);
    if (first < 0)
        return -1;
    if (first > most)
        return fail("%s does not fit into %lld tokens: its smallest prompt with the %d tokens to "
                    "generate takes %lld",
                    request->task->name, (long long)most, request->task->tokens_to_generate,
                    (long long)first);
    int64_t first_tokens = first - request->task->tokens_to_generate;
    int64_t lower = step, upper = 3 * most * step / (first_tokens > 0 ? first_tokens : 1);
    if (upper < 2 * step)
        upper = 2 * step;
    samples->size = step;
    while (lower <= upper) {
        int64_t middle = lower + (upper - lower) / 2;
        int64_t length = length_of_size(samples, middle, &stream);
        if (length < 0)
            return -1;
        if (length <= most) {
            samples->size = middle;
            lower = middle + 1;
            if (middle == upper && middle > 16 * most)
                return fail("%s cannot be fitted to %lld tokens: the tokenizer makes no more than "
                            "%lld of %lld units of text", request->task->name, (long long)most,
                            (long long)length, (long long)middle);
            if (middle == upper)
                upper *= 2;
        } else {
            upper = middle - 1;
        }
    }
    return 0;
}

static int open_made(task_samples *samples)
{
    const task_request *request = &samples->request;
    if (!request->task->generator)
        return fail("%s has no generator here; give its official file", request->task->name);
    if (!request->tokens)
        return fail("%s: samples cannot be made without a tokenizer", request->task->name);
    if (request->length < 1 || request->length > (int64_t)1 << 30)
        return fail("%s: a length of %lld tokens is not between 1 and 1024M", request->task->name,
                    (long long)request->length);
    samples->step = request->task->generator->step(request->task, request->length);
    samples->corpus = request->task->generator->open(request->task, request->haystack);
    return samples->corpus ? fit(samples) : -1;
}

/* At the fitted size; one that came out too long is made anew, a step smaller while it can be. */
static int make(task_samples *samples, task_sample *sample)
{
    const task_request *request = &samples->request;
    random_stream stream = random_stream_for(request->seed, request->task->name,
                                             (uint64_t)request->length, (uint64_t)samples->next);
    int64_t size = samples->size;
    for (int attempt = 0; attempt < 100; attempt++) {
        if (build(samples, size, &stream, sample) < 0)
            return -1;
        if (sample->length <= request->length)
            return 1;
        task_sample_free(sample);
        if (size > samples->step)
            size = size - samples->step < samples->step ? samples->step : size - samples->step;
    }
    return fail("%s: no sample of at most %lld tokens came out in 100 attempts",
                request->task->name, (long long)request->length);
}

/* ---- Samples of a file ---- */

static int read_next(task_samples *samples, task_sample *sample)
{
    for (;;) {
        json_t *row;
        int found = jsonl_next(&samples->lines, &row);
        if (found == JSONL_END || found == JSONL_FAILED)
            return found;
        if (found == JSONL_ROW) {
            int result = official_sample(row, samples->request.chat, sample);
            json_decref(row);
            if (result == 0)
                return 1;
            fail_within("%s:%lld", samples->lines.path, (long long)samples->lines.number);
        }
        samples->broken++;
        fprintf(stderr, "apbench: skipped %s\n", fail_text());
    }
}

/* ---- Both ---- */

task_samples *task_samples_open(const task_request *request)
{
    task_samples *samples = alloc_or_die(1, sizeof *samples);
    samples->request = *request;
    int result = request->file ? jsonl_open(&samples->lines, request->file) : open_made(samples);
    if (result < 0) {
        task_samples_close(samples);
        return NULL;
    }
    return samples;
}

int task_samples_next(task_samples *samples, task_sample *sample)
{
    *sample = (task_sample){0};
    int found = samples->request.file ? read_next(samples, sample) : make(samples, sample);
    if (found == 1) {
        sample->number = samples->next++;
        if (!samples->request.file)
            sample->index = sample->number;
    }
    return found;
}

int task_samples_skip(task_samples *samples, int64_t count)
{
    if (!samples->request.file) {
        samples->next += count;
        return 0;
    }
    for (; count > 0; count--) {
        task_sample sample;
        int found = task_samples_next(samples, &sample);
        task_sample_free(&sample);
        if (found <= 0)
            return found;
    }
    return 0;
}

int64_t task_samples_broken(const task_samples *samples)
{
    return samples->broken;
}

void task_samples_close(task_samples *samples)
{
    if (!samples)
        return;
    corpus_close(samples->corpus);
    jsonl_close(&samples->lines);
    free(samples);
}
