/* Samples one after another: made by a task's generator at the size that fills the wanted length, or
 * read from an official file. */
#include "datasets/infinitebench/infinitebench.h"
#include "datasets/jsonl.h"
#include "datasets/official.h"
#include "datasets/ruler/generator.h"
#include "datasets/task.h"
#include "harness/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct task_samples {
    task_request request;
    int64_t next; /* number of the next sample */
    /* made */
    corpus *corpus;
    int64_t step, size;
    /* read */
    jsonl_file lines;
    int64_t broken;
    char *broken_places; /* of the first BROKEN_NAMED, comma between; NULL: none */
};

/* A file of another kind altogether is not told line by line. */
enum { BROKEN_NAMED = 8 };

void task_sample_free(task_sample *sample)
{
    free(sample->document.bytes);
    free(sample->query.bytes);
    free(sample->anchor_query.bytes);
    official_references_free(sample->references, sample->reference_count);
    json_decref(sample->row);
    json_decref(sample->label);
    *sample = (task_sample){0};
}

/* ---- Made samples ---- */

/* Tokens of text, without special tokens of the tokenizer's own; -1 with a sentence. */
static int64_t count_tokens(const tokenizer *tokens, sized_text text)
{
    token_list ids = {0};
    int result = tokenizer_encode(tokens, text.bytes, text.count, false, &ids);
    int64_t count = result < 0 ? -1 : (int64_t)ids.count;
    token_list_free(&ids);
    return count;
}

/* Builds one sample and counts its tokens, the budget for the answer included: sample->length has
 * document and query apart, as they will be run; *longest is that or the prompt taken as one text,
 * as rows of files count it, whichever is more. */
static int build(const task_samples *samples, int64_t number, int64_t size, random_stream *stream,
                 task_sample *sample, int64_t *longest)
{
    const task_request *request = &samples->request;
    const sample_plan plan = {request->task,   samples->corpus, request->chat, request->tokens,
                              request->length, number,          size};
    *sample = (task_sample){0};
    int result = request->task->generator->build(&plan, stream, sample);
    if (result == 0) {
        sized_text document = sample->document, query = sample->query;
        sized_text whole = {alloc_or_die(document.count + query.count + 1, 1),
                            document.count + query.count};
        memcpy(mempcpy(whole.bytes, document.bytes, document.count), query.bytes, query.count);
        int64_t first = count_tokens(request->tokens, document);
        int64_t second = first < 0 ? -1 : count_tokens(request->tokens, query);
        int64_t both = second < 0 ? -1 : count_tokens(request->tokens, whole);
        sample->tokens_to_generate = request->task->tokens_to_generate;
        sample->length = first + second + sample->tokens_to_generate;
        *longest = both + sample->tokens_to_generate;
        if (*longest < sample->length)
            *longest = sample->length;
        result = both < 0 ? -1 : 0;
        free(whole.bytes);
    }
    if (result < 0)
        task_sample_free(sample);
    return result;
}

static int64_t length_of_size(const task_samples *samples, int64_t size, random_stream *stream)
{
    task_sample sample;
    int64_t length;
    if (build(samples, 0, size, stream, &sample, &length) < 0)
        return -1;
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
        return fail("samples of %s are in its official file only (eval --file FILE)", request->task->name);
    if (!request->tokens)
        return fail("%s: samples cannot be made without a tokenizer", request->task->name);
    if (request->length < 1 || request->length > (int64_t)1 << 30)
        return fail("%s: a length of %lld tokens is not between 1 and 1024M", request->task->name,
                    (long long)request->length);
    samples->step = request->task->generator->step(request->task, request->length);
    samples->corpus = request->task->generator->open(request->task, request->haystack);
    return samples->corpus ? fit(samples) : -1;
}

/* The next size to try for a sample whose size `size` took `length` tokens: where its tokens per unit
 * point, between the largest size known to fit and the smallest known not to (0: none known). The
 * fixed parts of the prompt are counted in those tokens per unit, so that a step falls short and the
 * next goes on; from the eighth attempt on the middle is taken. */
static int64_t next_size(const task_samples *samples, int64_t size, int64_t length, int64_t fits,
                         int64_t too_long, int attempt)
{
    int64_t most = samples->request.length;
    if (attempt >= 8 && too_long)
        return fits + (too_long - fits) / 2;
    int64_t tokens = length - samples->request.task->tokens_to_generate;
    int64_t next = size + (most - length) * size / (tokens > 0 ? tokens : 1) + (length <= most);
    if (length > most && next >= size)
        next = size - 1;
    if (too_long && next >= too_long)
        next = too_long - 1;
    return next > fits ? next : fits + 1;
}

/* At the fitted size. A sample that came out too long, or more than 3 % short although another unit
 * has room, gets another size from the same random numbers: samples differ, most of all in QA, where
 * each question has documents of its own. (RULER draws anew, a step smaller, and leaves short ones.) */
static int make(task_samples *samples, task_sample *sample)
{
    const task_request *request = &samples->request;
    const random_stream start = random_stream_for(request->seed, request->task->name,
                                                  (uint64_t)request->length,
                                                  (uint64_t)samples->next);
    int64_t most = request->length, enough = most - 3 * most / 100;
    int64_t size = samples->size, fits = 0, too_long = 0;
    for (int attempt = 0;; attempt++) {
        random_stream stream = start;
        int64_t length;
        if (build(samples, samples->next, size, &stream, sample, &length) < 0)
            return -1;
        if (length <= most &&
            (length >= enough || size + 1 == too_long || size == fits || attempt >= 64))
            return 1;
        task_sample_free(sample);
        if (length <= most)
            fits = size;
        else
            too_long = size;
        if (length > most && size <= samples->step)
            return fail("%s: the smallest prompt of sample %lld takes %lld of %lld tokens",
                        request->task->name, (long long)samples->next, (long long)length,
                        (long long)most);
        if (attempt >= 64 || (fits && too_long == fits + 1))
            size = fits ? fits : samples->step;
        else
            size = next_size(samples, size, length, fits, too_long, attempt);
        if (size < samples->step)
            size = samples->step;
    }
}

/* ---- Samples of a file ---- */

/* A row of the file. InfiniteBench's become prompts here, and are cut to the length where there is a
 * tokenizer to count with. */
static int read_row(const task_request *request, json_t *row, task_sample *sample)
{
    if (!request->task->infinite)
        return official_sample(row, request->chat, sample);
    if (infinite_sample(request->task, row, request->chat, sample) < 0)
        return -1;
    if (!request->tokens || !request->length)
        return 0;
    int64_t most = request->length - request->task->tokens_to_generate;
    if (infinite_truncate(request->tokens, most, sample) == 0)
        return 0;
    task_sample_free(sample);
    return -1;
}

static int open_file(task_samples *samples)
{
    const task_request *request = &samples->request;
    const task *task = request->task;
    bool cuts = task->infinite && request->tokens && request->length;
    if (cuts && request->length <= task->tokens_to_generate)
        return fail("%s: of %lld tokens the answer takes %d, which leaves no room for a prompt",
                    task->name, (long long)request->length, task->tokens_to_generate);
    return jsonl_open(&samples->lines, request->file);
}

/* fail_text() says what is wrong with the line in hand. */
static void pass_over_line(task_samples *samples)
{
    const jsonl_file *lines = &samples->lines;
    if (samples->broken++ >= BROKEN_NAMED)
        return;
    if (!samples->request.quiet)
        fprintf(stderr, "apbench: skipped %s\n", fail_text());
    const char *slash = strrchr(lines->path, '/');
    const char *chunk = lines->stem ? slash ? slash + 1 : lines->path : "";
    char *before = samples->broken_places;
    samples->broken_places = format_text("%s%s%s%s%lld", before ? before : "", before ? ", " : "",
                                         chunk, *chunk ? ":" : "", (long long)lines->number);
    free(before);
}

static int read_next(task_samples *samples, task_sample *sample)
{
    for (;;) {
        json_t *row;
        int found = jsonl_next(&samples->lines, &row);
        if (found == JSONL_END || found == JSONL_FAILED)
            return found;
        if (found == JSONL_ROW) {
            const task *task = samples->request.task;
            int result = read_row(&samples->request, row, sample);
            json_decref(row);
            sample->tokens_to_generate = sample->split_layout && task->split_tokens
                                             ? task->split_tokens
                                             : task->tokens_to_generate;
            if (result == 0)
                return 1;
            fail_within("%s:%lld", samples->lines.path, (long long)samples->lines.number);
        }
        pass_over_line(samples);
    }
}

/* ---- Both ---- */

int task_texts_check(const task *task, const char *haystack)
{
    corpus *corpus = task->generator ? task->generator->open(task, haystack) : NULL;
    int status = task->generator && !corpus ? -1 : 0;
    corpus_close(corpus);
    return status;
}

task_samples *task_samples_open(const task_request *request)
{
    task_samples *samples = alloc_or_die(1, sizeof *samples);
    samples->request = *request;
    int result = request->file ? open_file(samples) : open_made(samples);
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

char *task_samples_broken_text(const task_samples *samples)
{
    if (!samples->broken)
        return NULL;
    return format_text("%lld broken line%s of %s skipped: %s%s", (long long)samples->broken,
                       samples->broken == 1 ? "" : "s", samples->request.file,
                       samples->broken_places, samples->broken > BROKEN_NAMED ? " ..." : "");
}

void task_samples_close(task_samples *samples)
{
    if (!samples)
        return;
    corpus_close(samples->corpus);
    jsonl_close(&samples->lines);
    free(samples->broken_places);
    free(samples);
}
