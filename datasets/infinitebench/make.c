/* Synthetic rows. See make.h. */
#include "datasets/infinitebench/make.h"

#include "datasets/ruler/generator.h"
#include "datasets/infinitebench/infinitebench.h"
#include "harness/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A text that grows, and at its end becomes a row's context. */
typedef struct {
    FILE *out;
    char *bytes;
    size_t count;
} context;

static void context_open(context *context)
{
    context->out = open_memstream(&context->bytes, &context->count);
}

/* The row; the answer is taken over. */
static json_t *make_row(context *context, int64_t k, const char *input, json_t *answer)
{
    fclose(context->out);
    json_t *row = json_pack("{s:I, s:s#, s:s, s:o, s:[], s:s}", "id", (json_int_t)k, "context",
                            context->bytes, (int)context->count, "input", input, "answer", answer,
                            "options", "generator", "apbench");
    free(context->bytes);
    return row;
}

/* ---- Digits in noise ---- */

enum { DEPTHS = 59 };

/* `key` behind block j of `blocks`: k steps through all depths in an order that is even from the
 * start (23 / 59 is near the golden section). Extra field `len`, as the official script has it. */
static json_t *hide(int64_t blocks, int64_t k, const char *line, const char *input, const char *key)
{
    int64_t before = k * 23 % DEPTHS * blocks / (DEPTHS - 1);
    context context;
    context_open(&context);
    for (int64_t i = 0; i < blocks; i++) {
        if (i == before)
            fprintf(context.out, line, key, key);
        fprintf(context.out, "%s\n", noise_block);
    }
    if (before == blocks)
        fprintf(context.out, line, key, key);
    json_t *row = make_row(&context, k, input, json_pack("[s]", key));
    json_object_set_new(row, "len", json_integer(26 * (blocks - before)));
    return row;
}

static void draw_digits(random_stream *stream, char *digits, int count)
{
    for (int i = 0; i < count; i++)
        digits[i] = (char)('0' + random_below(stream, 10));
    digits[count] = 0;
}

json_t *make_passkey(int64_t size, int64_t k, random_stream *stream)
{
    char key[8];
    draw_digits(stream, key, 5);
    return hide(size, k, "The pass key is %s. Keep it in mind: %s is the pass key.\n",
                "What is the pass key?", key);
}

json_t *make_number_string(int64_t size, int64_t k, random_stream *stream)
{
    char key[16];
    draw_digits(stream, key, 5);
    for (int i = 0; i < 5; i++) { /* ten digits with repeats, which a model must not lose */
        size_t place = random_below(stream, (uint64_t)(5 + i));
        memmove(key + place + 1, key + place, strlen(key + place) + 1);
    }
    return hide(size, k, "The sequence of digits is %s. Keep it in mind: %s is the sequence of "
                         "digits.\n",
                "What is the sequence of digits?", key);
}

/* ---- Keys and values ---- */

typedef char uuid[40];

static void draw_uuid(random_stream *stream, uuid out)
{
    uint64_t high = random_next(stream), low = random_next(stream);
    high = (high & ~0xf000ull) | 0x4000;        /* version 4 */
    low = (low & ~(3ull << 62)) | (1ull << 63); /* variant 10 */
    snprintf(out, sizeof(uuid), "%08x-%04x-%04x-%04x-%012llx", (unsigned)(high >> 32),
             (unsigned)(high >> 16 & 0xffff), (unsigned)(high & 0xffff), (unsigned)(low >> 48),
             (unsigned long long)(low & 0xffffffffffffull));
}

json_t *make_kv_retrieval(int64_t size, int64_t k, random_stream *stream)
{
    int64_t target = k * 191 % 500 * size / 500;
    uuid key, value, asked = "", answer = "";
    context context;
    context_open(&context);
    fputs("JSON data:\n{", context.out);
    for (int64_t i = 0; i < size; i++) {
        draw_uuid(stream, key);
        draw_uuid(stream, value);
        fprintf(context.out, "%s\"%s\": \"%s\"", i ? ", " : "", key, value);
        if (i == target) {
            memcpy(asked, key, sizeof asked);
            memcpy(answer, value, sizeof answer);
        }
    }
    fputc('}', context.out);
    char *input = format_text("Key: \"%s\"\nThe value that belongs to this key is:", asked);
    json_t *row = make_row(&context, k, input, json_pack("[s]", answer));
    free(input);
    return row;
}

/* ---- Numbers ---- */

enum { KINDS = 7, MEDIAN = 6 };

/* The r-th (0, 1, 2) largest or smallest of the values 0..99 that occur, -1 when there is none. */
static int extreme(const int64_t *counts, int r, bool largest)
{
    for (int i = 0; i < 100; i++) {
        int value = largest ? 99 - i : i;
        if (counts[value] && r-- == 0)
            return value;
    }
    return -1;
}

/* The mean of the two middle numbers, or the middle one. */
static double median(const int64_t *counts, int64_t size)
{
    int64_t below = 0;
    int low = -1, high = -1;
    for (int value = 0; value < 100; value++) {
        below += counts[value];
        if (low < 0 && below > (size - 1) / 2)
            low = value;
        if (high < 0 && below > size / 2)
            high = value;
    }
    return (low + high) / 2.0;
}

json_t *make_math_find(int64_t size, int64_t k, random_stream *stream)
{
    static const char *const names[KINDS] = {
        "largest number", "second largest number", "third largest number", "smallest number",
        "second smallest number", "third smallest number", "median"};
    int kind = (int)(k % KINDS);
    bool largest = kind < 3 || (kind == MEDIAN && random_below(stream, 2));
    context context;
    json_t *answer = NULL;
    while (!answer) { /* a list of a few numbers may lack a third value */
        uint64_t lowest = largest ? 0 : random_below(stream, 20);
        uint64_t highest = largest ? 79 + random_below(stream, 21) : 99;
        int64_t counts[100] = {0};
        context_open(&context);
        fputc('[', context.out);
        for (int64_t i = 0; i < size; i++) {
            uint64_t number = lowest + random_below(stream, highest - lowest + 1);
            counts[number]++;
            fprintf(context.out, "%s%d", i ? ", " : "", (int)number);
        }
        fputc(']', context.out);
        int found = extreme(counts, kind % 3, largest);
        if (kind == MEDIAN)
            answer = json_pack("[f]", median(counts, size));
        else if (found >= 0)
            answer = json_pack("[i]", found);
        if (!answer) {
            fclose(context.out);
            free(context.bytes);
        }
    }
    char *input = format_text("Answer with the number alone. The %s of the list is:", names[kind]);
    json_t *row = make_row(&context, k, input, answer);
    free(input);
    return row;
}

json_t *make_math_calc(int64_t size, int64_t k, random_stream *stream)
{
    json_t *answer = json_array();
    int value = (int)random_below(stream, 100);
    context context;
    context_open(&context);
    fprintf(context.out, "Expression: %d", value);
    for (int64_t i = 1; i < size; i++) {
        int operand, next;
        bool minus;
        do { /* the running value stays in 0..99 */
            operand = (int)random_below(stream, 100);
            minus = random_below(stream, 2);
            next = minus ? value - operand : value + operand;
        } while (next < 0 || next > 99);
        value = next;
        fprintf(context.out, " %c %d", minus ? '-' : '+', operand);
        json_array_append_new(answer, json_integer(value));
    }
    return make_row(&context, k, "", answer);
}

/* ---- Functions ---- */

typedef struct {
    int64_t id, next; /* next: what it calls, as an index into the functions; -1: it returns x */
    int constant;
} function;

static int by_id(const void *a, const void *b)
{
    const function *x = *(const function *const *)a, *y = *(const function *const *)b;
    return (x->id > y->id) - (x->id < y->id);
}

/* Distinct ids of 1 .. 2 count, in random order. */
static void draw_ids(function *functions, int64_t count, random_stream *stream)
{
    int64_t *ids = alloc_or_die((size_t)(2 * count), sizeof *ids);
    for (int64_t i = 0; i < 2 * count; i++)
        ids[i] = i + 1;
    for (int64_t i = 0; i < count; i++) {
        int64_t other = i + (int64_t)random_below(stream, (uint64_t)(2 * count - i));
        functions[i].id = ids[other];
        ids[other] = ids[i];
    }
    free(ids);
}

static void write_function(FILE *out, const function *functions, const function *one)
{
    fprintf(out, "def func_%lld(x):\n    return ", (long long)one->id);
    if (one->next >= 0)
        fprintf(out, "func_%lld(x)", (long long)functions[one->next].id);
    else
        fputc('x', out);
    if (one->constant)
        fprintf(out, " %c %d", one->constant < 0 ? '-' : '+', abs(one->constant));
    fputs("\n\n", out);
}

json_t *make_code_run(int64_t size, int64_t k, random_stream *stream)
{
    int64_t layers = 2 + 2 * (k % 5), width = size / layers, count = layers * width;
    function *functions = alloc_or_die((size_t)count, sizeof *functions);
    const function **sorted = alloc_or_die((size_t)count, sizeof *sorted);
    draw_ids(functions, count, stream);
    for (int64_t i = 0; i < count; i++) {
        int64_t layer = i / width;
        functions[i].next = layer + 1 < layers ? (layer + 1) * width +
                                                     (int64_t)random_below(stream, (uint64_t)width)
                                               : -1;
        functions[i].constant = (int)random_below(stream, 30) - 12;
        sorted[i] = &functions[i];
    }
    qsort(sorted, (size_t)count, sizeof *sorted, by_id);
    context context;
    context_open(&context);
    for (int64_t i = 0; i < count; i++)
        write_function(context.out, functions, sorted[i]);
    int64_t at = (int64_t)random_below(stream, (uint64_t)width);
    int x = (int)random_below(stream, 21) - 10, value = x;
    char *input = format_text("What does func_%lld(%d) return?", (long long)functions[at].id, x);
    for (; at >= 0; at = functions[at].next)
        value += functions[at].constant;
    json_t *row = make_row(&context, k, input, json_pack("[i]", value));
    free(input);
    free(sorted);
    free(functions);
    return row;
}

/* ---- As a generator of samples ---- */

static corpus *infinite_open(const task *task, const char *haystack)
{
    (void)task;
    (void)haystack;
    return corpus_open(false, false, NULL); /* needs no texts */
}

static int64_t infinite_step(const task *task, int64_t length)
{
    return length < 4096 ? task->infinite->short_step : task->infinite->step;
}

static int infinite_build(const sample_plan *plan, random_stream *stream, task_sample *sample)
{
    json_t *row = plan->task->infinite->make(plan->size, plan->number, stream);
    int result = infinite_sample(plan->task, row, plan->chat, sample);
    json_decref(row);
    sample->size = plan->size;
    return result;
}

const generator infinite_generator = {"infinitebench", false, infinite_open, infinite_step,
                                      infinite_build};
