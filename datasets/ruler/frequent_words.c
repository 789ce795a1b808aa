/* RULER's frequent words (fwe): a text of coded words whose counts follow a zeta law of exponent 2;
 * the most frequent rank is a noise token of dots, and the question asks for the three words behind
 * it. Counts are floors of a formula, not draws. Structure and counts follow RULER's generator (arXiv
 * 2404.06654); the wording is our own. */
#include "datasets/ruler/generator.h"

#include "harness/error.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { WORD_LETTERS = 6, ANSWERS = 3 };
/* Words of text, at least: ranks 2, 3, 4 and 5 then have different counts (15, 6, 3 and 2 %). */
enum { SMALLEST = 100 };

static const char instruction[] = "The text below is in code. Count how often each coded word occurs "
                                  "in it, and leave the dots out of account.";
static const char question_text[] = "Which 3 coded words occur most often in the text above? The dots do "
                               "not count.";
static const char lead_in[] = " Counted over the whole coded text, the 3 words that occur most often "
                              "are:";

static int ascending(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void write_word(uint32_t code, char *word)
{
    for (int i = 0; i < WORD_LETTERS; i++, code /= 26)
        word[i] = (char)('a' + code % 26);
    word[WORD_LETTERS] = 0;
}

/* `count` distinct words in random order, as numbers below 26^6. */
static uint32_t *draw_words(random_stream *stream, size_t count)
{
    uint32_t *words = alloc_or_die(count, sizeof *words);
    size_t have = 0;
    while (have < count) {
        for (; have < count; have++)
            words[have] = (uint32_t)random_below(stream, 308915776);
        qsort(words, count, sizeof *words, ascending);
        have = 0;
        for (size_t i = 0; i < count; i++)
            if (!i || words[i] != words[have - 1])
                words[have++] = words[i];
    }
    random_shuffle(stream, words, count);
    return words;
}

/* All occurrences, as ranks from 0, in random order. */
static uint32_t *draw_text(random_stream *stream, size_t ranks, int64_t words, size_t *count)
{
    const double zeta_of_2 = M_PI * M_PI / 6;
    uint32_t *text = alloc_or_die((size_t)words, sizeof *text);
    *count = 0;
    for (size_t rank = 1; rank <= ranks; rank++) {
        int64_t times = (int64_t)((double)words / ((double)rank * (double)rank) / zeta_of_2);
        for (int64_t i = 0; i < times; i++)
            text[(*count)++] = (uint32_t)(rank - 1);
    }
    random_shuffle(stream, text, *count);
    return text;
}

static int frequent_words_build(const sample_plan *plan, random_stream *stream, task_sample *sample)
{
    /* RULER's budget for the text and its vocabulary; the search for the size is that of all tasks */
    int64_t ranks = (plan->length - plan->task->tokens_to_generate) / 50;
    if (ranks < 1 + ANSWERS)
        ranks = 1 + ANSWERS;
    uint32_t *words = draw_words(stream, (size_t)ranks);
    size_t count;
    uint32_t *text = draw_text(stream, (size_t)ranks, plan->size, &count);
    FILE *out = open_memstream(&sample->document.bytes, &sample->document.count);
    fprintf(out, "%s%s", plan->chat ? plan->chat->head : "", instruction);
    char word[WORD_LETTERS + 1];
    for (size_t i = 0; i < count; i++) {
        write_word(words[text[i]], word);
        fprintf(out, " %s", text[i] == 0 ? "..." : word);
    }
    fputc('\n', out);
    fclose(out);
    write_query(plan, question_text, lead_in, sample);
    for (int i = 1; i <= ANSWERS; i++) {
        write_word(words[i], word);
        add_reference(sample, word);
    }
    free(words);
    free(text);
    return 0;
}

static corpus *frequent_words_open(const task *task, const char *haystack)
{
    (void)task;
    (void)haystack;
    return corpus_open(false, false, NULL); /* all is drawn */
}

static int64_t frequent_words_step(const task *task, int64_t length)
{
    int64_t step = (length - task->tokens_to_generate) / 32;
    return step < SMALLEST ? SMALLEST : step;
}

const generator frequent_words_generator = {"fwe", false, frequent_words_open, frequent_words_step,
                                            frequent_words_build};
