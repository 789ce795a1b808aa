/* RULER's common and frequent words: lists, counts and answers over 200 samples, and the dictionary
 * behind the lists of words. */
#include "harness/error.h"
#include "tests/ruler_fixture.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

TestSuite(ruler, .init = set_up_ruler, .fini = tear_down_ruler);

/* ---- Common words ---- */

enum { MOST_ITEMS = 4000, MOST_WORDS = 600 };

typedef struct {
    char word[MOST_WORDS][24];
    int times[MOST_WORDS], words, items;
} tally;

static int tally_find(const tally *counts, const char *word)
{
    int w = 0;
    while (w < counts->words && strcmp(counts->word[w], word))
        w++;
    return w;
}

static void tally_add(tally *counts, const char *word)
{
    int w = tally_find(counts, word);
    cr_assert_lt(w, MOST_WORDS);
    if (w == counts->words)
        strcpy(counts->word[counts->words++], word);
    counts->times[w]++;
    counts->items++;
}

static int words_with(const tally *counts, int times)
{
    int found = 0;
    for (int w = 0; w < counts->words; w++)
        found += counts->times[w] == times;
    return found;
}

/* "1. w 2. w ..." on one line. */
static void read_list(const char *line, tally *counts)
{
    *counts = (tally){0};
    while (*line) { /* a word may hold a space */
        char word[24] = "", *number = format_text("%d. ", counts->items + 1);
        char *next = format_text(" %d. ", counts->items + 2);
        cr_assert(!strncmp(line, number, strlen(number)), "%.40s", line);
        line += strlen(number);
        const char *end = strstr(line, next);
        size_t bytes = end ? (size_t)(end - line) : strlen(line);
        cr_assert(bytes > 0 && bytes < sizeof word);
        memcpy(word, line, bytes);
        tally_add(counts, word);
        line += bytes + (end != NULL);
        free(number);
        free(next);
    }
}

static void check_common_words(int64_t length, int common, int other, int example_words,
                               int example_common, int example_other)
{
    static tally example, counts, answers;
    static char last[48];
    task_request request = request_for("cwe", length);
    task_samples *samples = open_samples(&request);
    double place = 0;
    for (int i = 0; i < SAMPLES; i++) {
        task_sample sample;
        next_sample(samples, &sample);
        check_frame(&sample);
        const char *text = sample.document.bytes + strlen(chat.head);
        char *instruction = take_line(&text), *line = take_line(&text);
        read_list(line, &example);
        free(line);
        /* the question, chat tail and lead-in as in the query, then the numbered answers */
        cr_assert(!strncmp(text, sample.query.bytes, sample.query.count));
        text += sample.query.count;
        cr_assert_eq(*text++, ' ');
        line = take_line(&text);
        read_list(line, &answers);
        free(line);
        cr_assert_eq(example.words, example_words);
        cr_assert_eq(example.items, 10 * example_common + (example_words - 10) * example_other);
        cr_assert_eq(words_with(&example, example_common), 10);
        cr_assert_eq(words_with(&example, example_other), example_words - 10);
        cr_assert(answers.items == 10 && answers.words == 10);
        for (int w = 0; w < 10; w++)
            cr_assert_eq(example.times[tally_find(&example, answers.word[w])], example_common);

        cr_assert(!strncmp(text, chat.head, strlen(chat.head)), "the example is a whole prompt");
        text += strlen(chat.head);
        line = take_line(&text);
        cr_assert_str_eq(line, instruction);
        free(line);
        free(instruction);
        line = take_line(&text);
        cr_assert_str_eq(text, "");
        read_list(line, &counts);
        free(line);
        cr_assert_eq(counts.words, sample.size);
        cr_assert_eq(counts.items, 10 * common + (sample.size - 10) * other);
        cr_assert_eq(words_with(&counts, common), 10);
        cr_assert_eq(words_with(&counts, other), sample.size - 10);
        for (int w = 0; w < example.words; w++)
            cr_assert_eq(tally_find(&counts, example.word[w]), counts.words, "words of its own");
        cr_assert_eq(sample.reference_count, 10);
        for (int r = 0; r < 10; r++) {
            cr_assert_eq(counts.times[tally_find(&counts, sample.references[r].bytes)], common);
            for (int s = 0; s < r; s++)
                cr_assert_not(same_text(sample.references[r], sample.references[s]));
            /* in which order the words of the list first occur, 0..1 */
            place += tally_find(&counts, sample.references[r].bytes) / (double)counts.words / SAMPLES / 10;
        }
        char first[48];
        snprintf(first, sizeof first, "%s %s", sample.references[0].bytes, sample.references[1].bytes);
        cr_assert_str_neq(last, first, "samples differ");
        strcpy(last, first);
        task_sample_free(&sample);
    }
    /* shuffled: frequent words turn up early, but not all at the front (0.0 to 0.09 of the list) */
    cr_expect(place > 0.02 && place < 0.5, "%g", place);
    task_samples_close(samples);
}

Test(ruler, common_words)
{
    check_common_words(8192, 30, 3, 40, 10, 3);
    check_common_words(2048, 6, 1, 20, 3, 1);
    /* 4096 tokens have RULER's frequencies, and of this vocabulary no room for them. */
    task_request request = request_for("cwe", 4095);
    task_samples_close(open_samples(&request));
    request.length = 4096;
    cr_expect_null(task_samples_open(&request));
    cr_expect(strstr(fail_text(), "cwe does not fit into 4096 tokens: its smallest"), "%s", fail_text());
}

/* Past the words of the lists a dictionary takes their place; without one the sentence says so. */
Test(ruler, common_words_of_a_dictionary)
{
    char *words = format_text("%s/words", folder), *cache = format_text("%s/small", folder);
    char *folder_of_words = format_text("%s/words", cache);
    cr_assert(!mkdir(cache, 0777) && !mkdir(folder_of_words, 0777));
    static const char *const lists[] = {"adjectives", "nouns", "verbs"};
    for (int i = 0; i < 3; i++) {
        char *path = format_text("%s/%s.txt", folder_of_words, lists[i]), content[600] = "";
        for (int w = 0; w < 9; w++) /* one is in all lists, and one is there twice */
            sprintf(content + strlen(content), "%s%c\r\n", w % 8 ? lists[i] : "same", "amnopqrs"[w % 8]);
        write_test_file(path, content, strlen(content));
        free(path);
    }
    setenv("APBENCH_CACHE", cache, 1);
    task_request request = request_for("cwe", 2048);
    cr_assert_null(task_samples_open(&request));
    cr_assert(strstr(fail_text(), "distinct words are wanted"), "%s", fail_text());
    cr_assert(strstr(fail_text(), "hold 22 and the dictionary 0"), "%s", fail_text());
    char *path = format_text("%s/dictionary.txt", folder_of_words);
    FILE *dictionary = fopen(path, "wb");
    for (int w = 0; w < 3000; w++)
        fprintf(dictionary, "w%c%c%c\n", 'a' + w / 676, 'a' + w / 26 % 26, 'a' + w % 26);
    fclose(dictionary);
    task_samples *samples = open_samples(&request);
    task_sample sample;
    next_sample(samples, &sample);
    cr_assert_gt(sample.size, 22);
    for (int r = 0; r < 10; r++)
        cr_assert(sample.references[r].count == 4 && sample.references[r].bytes[0] == 'w');
    task_sample_free(&sample);
    task_samples_close(samples);
    free(path);
    free(words);
    free(cache);
    free(folder_of_words);
}

/* ---- Frequent words ---- */

static int descending(const void *a, const void *b)
{
    return *(const int *)b - *(const int *)a;
}

/* Counts are the floors of the zeta law, the dots first; ranks 2, 3 and 4 are the answers. */
Test(ruler, frequent_words)
{
    static tally counts;
    for (int64_t length = 1024; length <= 4096; length += 3072) {
        task_request request = request_for("fwe", length);
        task_samples *samples = open_samples(&request);
        for (int i = 0; i < SAMPLES; i++) {
            task_sample sample;
            next_sample(samples, &sample);
            check_frame(&sample);
            char *text = copy_text(strstr(sample.document.bytes, "out of account. ") + 16);
            cr_assert_eq(count_text(text, "\n"), 1);
            counts = (tally){0};
            for (char *rest = text, *word; (word = strsep(&rest, " \n"));)
                if (*word) {
                    cr_assert(!strcmp(word, "...") || (strlen(word) == 6 &&
                              strspn(word, "abcdefghijklmnopqrstuvwxyz") == 6), "%s", word);
                    tally_add(&counts, word);
                }
            free(text);
            double words = (double)sample.size, zeta = M_PI * M_PI / 6;
            cr_assert_eq(counts.times[tally_find(&counts, "...")], (int)(words / zeta));
            cr_assert_eq(sample.reference_count, 3);
            for (int r = 0; r < 3; r++)
                cr_assert_eq(counts.times[tally_find(&counts, sample.references[r].bytes)],
                             (int)(words / ((r + 2) * (r + 2)) / zeta));
            qsort(counts.times, (size_t)counts.words, sizeof *counts.times, descending);
            int ranks = (int)((length - 50) / 50), expected = 0;
            for (int rank = 1; rank <= ranks; rank++) {
                int times = (int)(words / rank / rank / zeta);
                expected += times > 0;
                if (times > 0)
                    cr_assert_eq(counts.times[rank - 1], times, "rank %d of %g words", rank, words);
            }
            cr_assert_eq(counts.words, expected);
            cr_assert_gt(counts.times[3], counts.times[4], "the fourth rank is an answer alone");
            task_sample_free(&sample);
        }
        task_samples_close(samples);
    }
}
