/* RULER's common words (cwe): a numbered list in which ten words occur 30 times and all others 3
 * times, in random order; the question asks for the ten. A solved example (ten words 10 times, thirty
 * 3 times) always comes first, as a whole prompt with its chat template, and is part of the length.
 * Below 4096 tokens: 6 times and once, the example 3 times and once with ten others. Structure,
 * counts and order follow RULER's generator (arXiv 2404.06654); the wording is our own. */
#include "datasets/ruler/generator.h"

#include "harness/error.h"

#include <stdio.h>
#include <stdlib.h>

enum { COMMON = 10, SHORT_LENGTH = 4096 };

static const char instruction[] =
    "The numbered list below names some words much more often than others. Remember the words that "
    "it names most often.";
static const char question_text[] = "Which 10 words does the list above name most often?";
static const char lead_in[] = " Counted over the whole list, these 10 words are named most often:";

/* How often words of a list occur. */
typedef struct {
    int64_t words; /* distinct ones, the first COMMON of them common */
    int common_times, other_times;
} frequencies;

/* "1. w 2. w ..." with every word as often as it should be, in random order. */
static void write_list(FILE *out, const frequencies *list, const char *const *words,
                       const uint32_t *chosen, random_stream *stream)
{
    size_t most = (size_t)(COMMON * list->common_times + (list->words - COMMON) * list->other_times);
    uint32_t *items = alloc_or_die(most, sizeof *items);
    size_t count = 0;
    for (int64_t w = 0; w < list->words; w++)
        for (int i = 0; i < (w < COMMON ? list->common_times : list->other_times); i++)
            items[count++] = chosen[w];
    random_shuffle(stream, items, count);
    for (size_t i = 0; i < count; i++)
        fprintf(out, "%s%zu. %s", i ? " " : "", i + 1, words[items[i]]);
    free(items);
}

/* Head, instruction and list: all before the question. */
static void write_document(FILE *out, const sample_plan *plan, const frequencies *list,
                           const char *const *words, const uint32_t *chosen, random_stream *stream)
{
    fprintf(out, "%s%s\n", plan->chat ? plan->chat->head : "", instruction);
    write_list(out, list, words, chosen, stream);
    fputc('\n', out);
}

static void write_example(FILE *out, const sample_plan *plan, const frequencies *list,
                          const char *const *words, const uint32_t *chosen, random_stream *stream)
{
    write_document(out, plan, list, words, chosen, stream);
    fprintf(out, "%s%s%s", question_text, plan->chat ? plan->chat->tail : "", lead_in);
    for (int i = 0; i < COMMON; i++)
        fprintf(out, " %d. %s", i + 1, words[chosen[i]]);
    fputc('\n', out);
}

static int common_words_build(const sample_plan *plan, random_stream *stream, task_sample *sample)
{
    bool is_short = plan->length < SHORT_LENGTH;
    const frequencies example = {is_short ? 20 : 40, is_short ? 3 : 10, is_short ? 1 : 3};
    const frequencies list = {plan->size, is_short ? 6 : 30, is_short ? 1 : 3};
    const word_list *pool = &plan->corpus->vocabulary;
    if ((uint64_t)list.words > pool->count)
        pool = &plan->corpus->dictionary;
    if ((uint64_t)list.words > pool->count || (uint64_t)example.words > pool->count)
        return fail("%s: %lld distinct words are wanted, the word lists hold %zu and the dictionary "
                    "%zu (`make setup` fetches them)",
                    plan->task->name, (long long)list.words, plan->corpus->vocabulary.count,
                    plan->corpus->dictionary.count);
    /* The list takes the front of the shuffled words, so that a longer one adds words; the example
     * takes the end: words of its own while there are enough. */
    uint32_t *order = alloc_or_die(pool->count, sizeof *order);
    for (size_t i = 0; i < pool->count; i++)
        order[i] = (uint32_t)i;
    random_shuffle(stream, order, pool->count);

    FILE *out = open_memstream(&sample->document.bytes, &sample->document.count);
    write_example(out, plan, &example, pool->words, order + pool->count - example.words, stream);
    write_document(out, plan, &list, pool->words, order, stream);
    fclose(out);
    write_query(plan, question_text, lead_in, sample);
    for (int i = 0; i < COMMON; i++)
        add_reference(sample, pool->words[order[i]]);
    free(order);
    return 0;
}

static corpus *common_words_open(const task *task, const char *haystack)
{
    (void)task;
    (void)haystack;
    return corpus_open_vocabulary();
}

static int64_t common_words_step(const task *task, int64_t length)
{
    (void)task;
    (void)length;
    return COMMON;
}

const generator common_words_generator = {"cwe", false, common_words_open, common_words_step,
                                          common_words_build};
