/* RULER's needles in a haystack: sentences that name a key and a value, hidden in repeated noise, in
 * essay text or among other needles; the question asks for the values of some keys. Structure,
 * counts and order follow RULER's niah generator (arXiv 2404.06654); the wording is our own, and
 * keys and values of one sample are kept distinct, so that every question has one answer. */
#include "datasets/ruler/generator.h"

#include "datasets/unicode.h"
#include "harness/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Wording. %1$s: the values' type, %2$s: key or keys, %3$s: value ---- */

static const char *const needle_form = "Here is one of the secret %1$s for %2$s: %3$s.";

/* The same texts for one answer and for several. */
typedef struct {
    const char *instruction, *question, *lead_in;
} wording;
static const wording one_answer = {
    "A secret %1$s is hidden in the text below. Read it with care and remember it. "
    "A question about the %1$s comes after the text.",
    "Which secret %1$s for %2$s does the text mention?",
    " The secret %1$s for %2$s that the text mentions is"};
static const wording several_answers = {
    "Some secret %1$s are hidden in the text below. Read it with care and remember them. "
    "A question about the %1$s comes after the text.",
    "Which secret %1$s for %2$s does the text mention?",
    " The secret %1$s for %2$s that the text mentions are"};

static const char *type_name(niah_kind kind, bool plural)
{
    static const char *const names[][2] = {
        [NIAH_WORDS] = {"word", "words"},
        [NIAH_NUMBERS] = {"number", "numbers"},
        [NIAH_UUIDS] = {"uuid", "uuids"},
    };
    return names[kind][plural];
}

/* ---- Keys and values ---- */

enum { ITEM_BYTES = 256, DEPTHS = 40 };
typedef char item[ITEM_BYTES];

static void draw(niah_kind kind, const corpus *corpus, random_stream *stream, item out)
{
    if (kind == NIAH_WORDS) {
        /* uniform over the pairs, as over their sorted list */
        uint64_t pair = random_below(stream, corpus->adjectives.count * corpus->nouns.count);
        snprintf(out, ITEM_BYTES, "%s-%s", corpus->adjectives.words[pair / corpus->nouns.count],
                 corpus->nouns.words[pair % corpus->nouns.count]);
    } else if (kind == NIAH_NUMBERS) {
        snprintf(out, ITEM_BYTES, "%d", (int)(1000000 + random_below(stream, 9000000)));
    } else {
        uint64_t high = random_next(stream), low = random_next(stream);
        high = (high & ~0xf000ull) | 0x4000;            /* version 4 */
        low = (low & ~(3ull << 62)) | (1ull << 63);     /* variant 10 */
        snprintf(out, ITEM_BYTES, "%08x-%04x-%04x-%04x-%012llx", (unsigned)(high >> 32),
                 (unsigned)(high >> 16 & 0xffff), (unsigned)(high & 0xffff),
                 (unsigned)(low >> 48), (unsigned long long)(low & 0xffffffffffffull));
    }
}

/* Draws until the item is none of the `count` known ones. -1 when there seem to be no others. */
static int draw_distinct(niah_kind kind, const corpus *corpus, random_stream *stream,
                         const item *known, int count, item out)
{
    for (int attempt = 0; attempt < 1000; attempt++) {
        draw(kind, corpus, stream, out);
        int i = 0;
        while (i < count && strcmp(known[i], out))
            i++;
        if (i == count)
            return 0;
    }
    return fail("the word lists hold too few words for distinct keys");
}

static void write_needle(FILE *out, const niah_options *options, const char *key, const char *value)
{
    fprintf(out, needle_form, type_name(options->values, true), key, value);
}

/* ---- Context ---- */

/* The needles of one sample: needle i has key i / values_per_key; order is that of insertion. */
typedef struct {
    int keys, count;
    item *key, *value;
    int *order;
} needle_set;

static int ascending(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* n noise blocks or n other needles, a line each; the needles before distinct lines. */
static int write_lines(FILE *out, const niah_options *options, const corpus *corpus,
                       const needle_set *needles, int64_t lines, random_stream *stream)
{
    if (lines < needles->count)
        return fail("%d needles do not fit between %lld lines", needles->count, (long long)lines);
    uint64_t at[DEPTHS];
    random_choose(stream, (uint64_t)lines, needles->count, at);
    qsort(at, (size_t)needles->count, sizeof *at, ascending);
    int next = 0;
    for (int64_t line = 0; line < lines; line++) {
        if (line)
            fputc('\n', out);
        if (next < needles->count && at[next] == (uint64_t)line) {
            /* RULER inserts from the highest index down: the last line gets the first needle */
            int needle = needles->order[needles->count - 1 - next++];
            write_needle(out, options, needles->key[needle / options->values_per_key],
                         needles->value[needle]);
            fputc('\n', out);
        }
        if (options->haystack == HAYSTACK_NOISE) {
            fputs(noise_block, out);
            continue;
        }
        item key, value;
        if (draw_distinct(options->keys, corpus, stream, needles->key, needles->keys, key) < 0 ||
            draw_distinct(options->values, corpus, stream, needles->value, needles->count,
                          value) < 0)
            return -1;
        write_needle(out, options, key, value);
    }
    return 0;
}

/* n words of essay; the needles at sentence boundaries of distinct depths of 0..100 %. Pieces are
 * joined by single spaces, empty pieces too, so a needle at depth 0 has a space before it. */
static int write_essay(FILE *out, const niah_options *options, const corpus *corpus,
                       const needle_set *needles, int64_t words, random_stream *stream)
{
    size_t bytes, count, *ends;
    char *essay = corpus_essay(corpus, words, &bytes);
    if (sentence_ends(essay, bytes, &ends, &count) < 0) {
        free(essay);
        return -1;
    }
    uint64_t depth[DEPTHS];
    random_choose(stream, DEPTHS, needles->count, depth);
    qsort(depth, (size_t)needles->count, sizeof *depth, ascending);
    size_t from = 0;
    for (int i = 0; i <= needles->count; i++) {
        /* depth j of 0..39 is round(100 j / 39) percent; no j lies half-way */
        size_t sentence = count;
        if (i < needles->count)
            sentence = count * ((2 * 100 * depth[i] + 39) / (2 * 39)) / 100;
        size_t to = sentence ? ends[sentence - 1] : 0;
        size_t end = to;
        while (end > from && essay[end - 1] == ' ')
            end--;
        fwrite(essay + from, 1, end - from, out);
        from = to;
        if (i == needles->count)
            break;
        int needle = needles->order[i];
        fputc(' ', out);
        write_needle(out, options, needles->key[needle / options->values_per_key],
                     needles->value[needle]);
        fputc(' ', out);
    }
    free(ends);
    free(essay);
    return 0;
}

/* ---- Sample ---- */

static int draw_needles(const niah_options *options, const corpus *corpus, random_stream *stream,
                        needle_set *needles)
{
    for (int i = 0; i < needles->keys; i++)
        if (draw_distinct(options->keys, corpus, stream, needles->key, i, needles->key[i]) < 0)
            return -1;
    for (int i = 0; i < needles->count; i++)
        if (draw_distinct(options->values, corpus, stream, needles->value, i,
                          needles->value[i]) < 0)
            return -1;
    uint64_t order[DEPTHS];
    random_choose(stream, (uint64_t)needles->count, needles->count, order);
    for (int i = 0; i < needles->count; i++)
        needles->order[i] = (int)order[i];
    return 0;
}

/* "a", or "a, b, c, and d". */
static char *list_keys(const needle_set *needles, const uint64_t *asked, int count)
{
    char *list = NULL;
    size_t bytes;
    FILE *out = open_memstream(&list, &bytes);
    for (int i = 0; i < count; i++)
        fprintf(out, "%s%s%s", i ? ", " : "", i && i == count - 1 ? "and " : "",
                needles->key[asked[i]]);
    fclose(out);
    return list;
}

static int write_sample(const sample_plan *plan, random_stream *stream, const needle_set *needles,
                        task_sample *sample)
{
    const niah_options *options = plan->task->options;
    int answers = options->queries * options->values_per_key;
    const wording *wording = answers == 1 ? &one_answer : &several_answers;
    const char *type = type_name(options->values, answers != 1);
    uint64_t asked[DEPTHS];
    random_choose(stream, (uint64_t)needles->keys, options->queries, asked);

    FILE *out = open_memstream(&sample->document.bytes, &sample->document.count);
    fputs(plan->chat ? plan->chat->head : "", out);
    fprintf(out, wording->instruction, type);
    fputc('\n', out);
    int result = options->haystack == HAYSTACK_ESSAY
                     ? write_essay(out, options, plan->corpus, needles, plan->size, stream)
                     : write_lines(out, options, plan->corpus, needles, plan->size, stream);
    fputc('\n', out);
    fclose(out);

    char *keys = list_keys(needles, asked, options->queries);
    char *question = format_text(wording->question, type, keys);
    char *lead_in = format_text(wording->lead_in, type, keys);
    write_query(plan, question, lead_in, sample);
    free(question);
    free(lead_in);
    free(keys);
    for (int i = 0; i < answers; i++)
        add_reference(sample, needles->value[asked[i / options->values_per_key] *
                                                 (uint64_t)options->values_per_key +
                                             (uint64_t)(i % options->values_per_key)]);
    return result;
}

static int niah_build(const sample_plan *plan, random_stream *stream, task_sample *sample)
{
    const niah_options *options = plan->task->options;
    needle_set needles = {0};
    needles.keys = options->key_count > options->queries ? options->key_count : options->queries;
    needles.count = needles.keys * options->values_per_key;
    if (needles.count > DEPTHS)
        return fail("%s: more than %d needles", plan->task->name, DEPTHS);
    needles.key = alloc_or_die((size_t)needles.keys, sizeof *needles.key);
    needles.value = alloc_or_die((size_t)needles.count, sizeof *needles.value);
    needles.order = alloc_or_die((size_t)needles.count, sizeof *needles.order);
    int result = draw_needles(options, plan->corpus, stream, &needles);
    if (result == 0)
        result = write_sample(plan, stream, &needles, sample);
    free(needles.key);
    free(needles.value);
    free(needles.order);
    return result;
}

static corpus *niah_open(const task *task, const char *haystack)
{
    const niah_options *options = task->options;
    return corpus_open(options->keys == NIAH_WORDS || options->values == NIAH_WORDS,
                       options->haystack == HAYSTACK_ESSAY, haystack);
}

/* RULER's steps; below 4096 tokens its 500 words of essay would be most of the length: 25 there. */
static int64_t niah_step(const task *task, int64_t length)
{
    const niah_options *options = task->options;
    if (options->haystack == HAYSTACK_ESSAY)
        return length < 4096 ? 25 : 500;
    return length < 4096 ? 5 : 25;
}

const generator niah_generator = {"niah", true, niah_open, niah_step, niah_build};
