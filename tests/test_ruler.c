/* Made samples of RULER's tasks beside the needle tasks: structure, counts, places, lengths and
 * seeds over 200 samples each, and the questions' files. Words and questions are of our own making. */
#include "datasets/official.h"
#include "datasets/task.h"
#include "harness/error.h"
#include "tests/task_fixture.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SAMPLES = 200 };
static char questions[96]; /* a folder of the test's own cache */

/* ---- Questions of our own ---- */

enum { ARTICLES = 6, PARAGRAPHS = 5, HOTPOT = 30, OWN = 10 };

/* Paragraph p of article a: the text tells which it is; lengths differ by up to eight times. */
static char *paragraph_text(int a, int p)
{
    char *text = format_text("Place %d-%d lies by the sea.", a, p);
    for (int i = 0; i < (a * 7 + p * 3) % 8 + 1; i++) {
        char *longer = format_text("%s Its \\\"river\\\" number %d is long and deep.", text, i);
        free(text);
        text = longer;
    }
    return text;
}

static void write_squad(const char *path)
{
    FILE *out = fopen(path, "wb");
    cr_assert(out);
    fputs("{\"version\": \"v2.0\", \"data\": [", out);
    for (int a = 0; a < ARTICLES; a++) {
        fprintf(out, "%s{\"title\": \"T\", \"paragraphs\": [", a ? "," : "");
        for (int p = 0; p < PARAGRAPHS; p++) {
            char *text = paragraph_text(a, p);
            fprintf(out, "%s{\"context\": \"%s\", \"qas\": [", p ? "," : "", text);
            for (int q = 0; q < 10; q++) /* the first of each three cannot be answered */
                fprintf(out, "%s{\"question\": \"Where is %d-%d, asked %d?\", \"id\": \"x\", "
                        "\"answers\": [%s], \"is_impossible\": %s}", q ? "," : "", a, p, q,
                        q % 3 ? "{\"text\": \"by the sea\", \"answer_start\": 0}, "
                                "{\"text\": \"the sea\", \"answer_start\": 0}, "
                                "{\"text\": \"by the sea\", \"answer_start\": 0}" : "",
                        q % 3 ? "false" : "true");
            fputs("]}", out);
            free(text);
        }
        fputs("]}", out);
    }
    fputs("]}", out);
    cr_assert_eq(fclose(out), 0);
}

/* Question q has the paragraphs 7q .. 7q+9 of 7 HOTPOT + 3: neighbours share three. */
static void write_hotpotqa(const char *path)
{
    FILE *out = fopen(path, "wb");
    cr_assert(out);
    fputc('[', out);
    for (int q = 0; q < 8 * HOTPOT; q++) {
        fprintf(out, "%s{\"_id\": \"x\", \"answer\": \"yes %d\", \"question\": \"Is it %d?\", "
                "\"context\": [", q ? "," : "", q, q);
        for (int p = 0; p < OWN; p++)
            fprintf(out, "%s[\"Title %d\", [\"One of %d.\", \" Two.\"]]", p ? "," : "",
                    7 * q + p, 7 * q + p);
        fputs("]}", out);
    }
    fputs("]", out);
    cr_assert_eq(fclose(out), 0);
}

static void set_up(void)
{
    set_up_tasks();
    char *words = format_text("%s/words", folder), *here = realpath("tests/data/tasks/cache/words", NULL);
    snprintf(questions, sizeof questions, "%s/questions", folder);
    cr_assert(here && !symlink(here, words) && !mkdir(questions, 0777));
    setenv("APBENCH_CACHE", folder, 1);
    char *squad = format_text("%s/squad.json", questions);
    char *hotpotqa = format_text("%s/hotpotqa.json", questions);
    write_squad(squad);
    write_hotpotqa(hotpotqa);
    free(squad);
    free(hotpotqa);
    free(words);
    free(here);
}

static void tear_down(void)
{
    char *remove_all = format_text("rm -rf '%s'", folder);
    cr_assert_eq(system(remove_all), 0);
    free(remove_all);
    tokenizer_close(tokens);
}

TestSuite(ruler, .init = set_up, .fini = tear_down);

/* ---- Reading samples ---- */

static int count_text(const char *in, const char *what)
{
    int count = 0;
    for (; (in = strstr(in, what)); in += strlen(what))
        count++;
    return count;
}

/* The line at *text without its newline, fresh; *text moves behind it. */
static char *take_line(const char **text)
{
    const char *end = strchr(*text, '\n');
    cr_assert(end);
    char *line = copy_bytes(*text, (size_t)(end - *text));
    *text = end + 1;
    return line;
}

static int64_t text_tokens(const char *text)
{
    return count_tokens((sized_text){(char *)text, strlen(text)});
}

/* What holds of every sample: texts end where they say, the question is one line with the chat tail
 * behind it, the lead-in starts with one space and its first ten characters occur in it only. */
static void check_frame(const task_sample *sample)
{
    const char *document = sample->document.bytes, *query = sample->query.bytes;
    cr_assert_eq(strlen(document), sample->document.count);
    cr_assert_eq(strlen(query), sample->query.count);
    cr_assert(!strncmp(document, chat.head, strlen(chat.head)));
    cr_assert_eq(document[sample->document.count - 1], '\n');
    const char *tail = strstr(query, chat.tail), *lead_in = query + sample->lead_in;
    cr_assert(tail && tail + strlen(chat.tail) == lead_in);
    cr_assert(!memchr(query, '\n', (size_t)(tail - query)));
    cr_assert(lead_in[0] == ' ' && lead_in[1] != ' ' && query[sample->query.count - 1] == ':');
    char ten[11] = "";
    memcpy(ten, lead_in, strnlen(lead_in, 10));
    cr_assert_null(strstr(lead_in + 1, ten));
    cr_assert_not(sample->official);
}

/* ---- Variable tracking ---- */

static const char noise[] = "The snow is white. The sea is deep. The fire is warm. "
                            "On we walk. Over and under again.";

typedef struct {
    char names[5][8], value[8];
    int statements, blocks, before[5]; /* blocks before each statement */
} trace;

/* Lines of noise and statements up to any other line, which *text is left at. */
static void read_trace(const char **text, trace *found)
{
    *found = (trace){0};
    bool statement_before = false;
    for (;;) {
        const char *start = *text;
        char *line = take_line(text), name[8], value[8], end[4];
        if (!strcmp(line, noise)) {
            found->blocks++;
            statement_before = false;
        } else if (sscanf(line, "LET %7[A-Z] = %7[A-Z0-9]%3[ ]", name, value, end) == 3) {
            int s = found->statements++;
            cr_assert_lt(s, 5);
            cr_assert_str_eq(end, " ", "a statement ends in a space");
            cr_assert_not(statement_before, "positions are distinct");
            statement_before = true;
            strcpy(found->names[s], name);
            found->before[s] = found->blocks;
            if (s)
                cr_assert_str_eq(value, found->names[s - 1]);
            else
                strcpy(found->value, value);
            for (int other = 0; other < s; other++)
                cr_assert_str_neq(name, found->names[other]);
        } else {
            free(line);
            *text = start;
            break;
        }
        free(line);
    }
    cr_assert_eq(found->statements, 5);
    cr_assert(strlen(found->value) == 5 && found->value[0] != '0' &&
              strspn(found->value, "0123456789") == 5);
}

/* A solved example with three-letter names, of at most 500 tokens although another five blocks would
 * not fit; then the task. Places: the k-th of 5 sorted draws has mean k/6 and variance 5/252 for 200
 * samples, so 5 standard deviations of the mean are 0.05; 0.06 with the blocks' own width. */
Test(ruler, variable_tracking)
{
    task_request request = request_for("vt", 3000);
    task_samples *samples = open_samples(&request);
    double place[5] = {0};
    char values[SAMPLES][8];
    for (int i = 0; i < SAMPLES; i++) {
        task_sample sample;
        next_sample(samples, &sample);
        check_frame(&sample);
        const char *text = sample.document.bytes + strlen(chat.head), *start = text;
        trace example, traced;
        char *instruction = take_line(&text), *line = take_line(&text);
        cr_assert_str_eq(line, "");
        free(line);
        read_trace(&text, &example);
        line = take_line(&text);
        char *answer = format_text(": %s %s %s %s %s", example.names[0], example.names[1],
                                   example.names[2], example.names[3], example.names[4]);
        cr_assert(strstr(line, answer) && !strcmp(strstr(line, answer), answer), "%s", line);
        cr_assert_eq(count_text(line, example.value), 2, "question and lead-in");
        char *whole = copy_bytes(start, (size_t)(text - start));
        int64_t length = text_tokens(whole);
        cr_assert_leq(length, 500);
        cr_assert_gt(length + 5 * (text_tokens(noise) + 1), 500);
        cr_assert_eq(example.blocks % 5, 0);
        free(whole);
        free(answer);
        free(line);
        line = take_line(&text);
        cr_assert_str_eq(line, "", "another newline behind the example");
        free(line);
        line = take_line(&text);
        cr_assert_str_eq(line, instruction);
        free(line);
        free(instruction);
        line = take_line(&text);
        cr_assert_str_eq(line, "");
        free(line);
        /* the task's lines run up to the document's end */
        char *rest = format_text("%send\n", text);
        const char *cursor = rest;
        read_trace(&cursor, &traced);
        cr_assert_str_eq(cursor, "end\n");
        free(rest);
        cr_assert_eq(traced.blocks, sample.size);
        cr_assert_str_neq(traced.value, example.value);
        cr_assert_eq(sample.reference_count, 5);
        for (int s = 0; s < 5; s++) {
            cr_assert_eq(strlen(traced.names[s]), 5);
            cr_assert_eq(strlen(example.names[s]), 3);
            cr_assert_str_eq(sample.references[s].bytes, traced.names[s]);
            place[s] += (traced.before[s] + 0.5) / (double)traced.blocks / SAMPLES;
        }
        cr_assert_eq(count_text(sample.query.bytes, traced.value), 2);
        cr_assert_eq(count_text(sample.query.bytes + sample.lead_in, " 5 variables"), 1);
        strcpy(values[i], traced.value);
        cr_assert(i == 0 || strcmp(values[i], values[i - 1]), "samples differ");
        task_sample_free(&sample);
    }
    for (int s = 0; s < 5; s++)
        cr_expect_float_eq(place[s], (s + 1) / 6.0, 0.06, "statement %d lies at %g", s, place[s]);
    task_samples_close(samples);
}

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

/* ---- Questions ---- */

enum { MOST_DOCUMENTS = 400 };

/* The documents of a sample, in order; returns how many. */
static int read_documents(const task_sample *sample, char **documents)
{
    const char *text = sample->document.bytes + strlen(chat.head);
    char *instruction = take_line(&text), *line;
    free(take_line(&text));
    free(take_line(&text)); /* header */
    free(take_line(&text));
    int count = 0, number;
    while (sscanf(text, "Document %d:", &number) == 1) {
        cr_assert_eq(number, count + 1);
        cr_assert_lt(count, MOST_DOCUMENTS);
        free(take_line(&text));
        const char *end = strstr(text, "\n\n");
        cr_assert(end);
        documents[count++] = copy_bytes(text, (size_t)(end - text));
        text = end + 2;
    }
    line = take_line(&text);
    cr_assert_str_eq(line, instruction, "the instruction comes again");
    cr_assert_str_eq(text, "\n");
    free(line);
    free(instruction);
    return count;
}

/* Sample i asks the i-th question that can be answered; its paragraph is there once; other articles'
 * paragraphs only where its own article's are all there. */
Test(ruler, questions_on_squad)
{
    char *documents[MOST_DOCUMENTS];
    for (int64_t length = 512; length <= 4096; length *= 2) {
        task_request request = request_for("qa_1", length);
        task_samples *samples = open_samples(&request);
        int places = 0, all_places = 0;
        double place = 0;
        for (int i = 0; i < ARTICLES * PARAGRAPHS * 6 && i < SAMPLES; i++) {
            task_sample sample;
            next_sample(samples, &sample);
            check_frame(&sample);
            int count = read_documents(&sample, documents);
            cr_assert_eq(count, sample.size);
            int a = i / 6 / PARAGRAPHS, p = i / 6 % PARAGRAPHS, q = i % 6 + i % 6 / 2 + 1;
            char *asked = format_text("Question: Where is %d-%d, asked %d?%s Answer:", a, p, q, chat.tail);
            cr_assert_str_eq(sample.query.bytes, asked);
            free(asked);
            cr_assert_eq(sample.reference_count, 3, "repeats are kept");
            cr_assert_str_eq(sample.references[0].bytes, "by the sea");
            cr_assert_str_eq(sample.references[1].bytes, "the sea");
            cr_assert_str_eq(sample.references[2].bytes, "by the sea");
            int own = 0, article = 0;
            for (int d = 0; d < count; d++) {
                int of, number;
                cr_assert_eq(sscanf(documents[d], "Place %d-%d lies", &of, &number), 2);
                article += of == a;
                if (of == a && number == p) {
                    own++;
                    place += (d + 0.5) / count;
                    places++;
                }
                int same = 0;
                for (int e = 0; e < d; e++)
                    same += !strcmp(documents[d], documents[e]);
                all_places += same;
                cr_assert(same == 0 || count > ARTICLES * PARAGRAPHS);
            }
            cr_assert_geq(own, 1);
            cr_assert(own == 1 || count > ARTICLES * PARAGRAPHS);
            if (count < ARTICLES * PARAGRAPHS)
                cr_assert_eq(article, count < PARAGRAPHS ? count : PARAGRAPHS);
            for (int d = 0; d < count; d++)
                free(documents[d]);
            task_sample_free(&sample);
        }
        /* uniform places: a standard deviation of 0.29 each; 5 of the mean of 180 are 0.11 */
        cr_expect_float_eq(place / places, 0.5, 0.11, "at %lld", (long long)length);
        cr_expect_eq(all_places > 0, length == 4096, "all of them twice only past their number");
        /* there are no more questions */
        task_samples_close(samples);
        samples = open_samples(&request);
        cr_assert_eq(task_samples_skip(samples, 180), 0);
        task_sample sample;
        cr_assert_eq(task_samples_next(samples, &sample), -1);
        cr_assert(strstr(fail_text(), "holds 180 questions") && strstr(fail_text(), "squad.json"), "%s",
                  fail_text());
        task_samples_close(samples);
    }
}

Test(ruler, questions_on_hotpotqa)
{
    char *documents[MOST_DOCUMENTS];
    task_request request = request_for("qa_2", 3000);
    task_samples *samples = open_samples(&request);
    for (int i = 0; i < SAMPLES; i++) {
        task_sample sample;
        next_sample(samples, &sample);
        check_frame(&sample);
        int count = read_documents(&sample, documents), own = 0;
        cr_assert_eq(count, sample.size);
        cr_assert_gt(count, OWN);
        for (int d = 0; d < count; d++) {
            int title, one;
            cr_assert_eq(sscanf(documents[d], "Title %d\nOne of %d. Two.", &title, &one), 2);
            cr_assert_eq(title, one);
            own += title >= 7 * i && title < 7 * i + OWN;
            for (int e = 0; e < d; e++)
                cr_assert_str_neq(documents[d], documents[e]);
        }
        cr_assert_eq(own, OWN);
        char *answer = format_text("yes %d", i);
        cr_assert_eq(sample.reference_count, 1);
        cr_assert_str_eq(sample.references[0].bytes, answer);
        free(answer);
        for (int d = 0; d < count; d++)
            free(documents[d]);
        task_sample_free(&sample);
    }
    task_samples_close(samples);
}

/* Files that are no such files are refused with what is wrong and where. */
Test(ruler, broken_question_files)
{
    static const struct {
        const char *task, *content, *reason;
    } cases[] = {
        {"qa_1", "{\"data\": [", "line 1"},
        {"qa_1", "[]", "no list `data`"},
        {"qa_1", "{\"data\": [{\"title\": \"T\"}]}", "article 0 has no list `paragraphs`"},
        {"qa_1", "{\"data\": [{\"paragraphs\": [{\"context\": 5, \"qas\": []}]}]}", "paragraph 0 of article 0"},
        {"qa_1", "{\"data\": [{\"paragraphs\": [{\"context\": \"c\"}]}]}", "paragraph 0 of article 0"},
        {"qa_1", "{\"data\": [{\"paragraphs\": [{\"context\": \"c\", \"qas\": [7]}]}]}", "question 0"},
        {"qa_1", "{\"data\": [{\"paragraphs\": [{\"context\": \"c\", \"qas\": [{\"question\": \"q\", "
                 "\"answers\": []}]}]}]}", "question 0"},
        {"qa_1", "{\"data\": [{\"paragraphs\": [{\"context\": \"c\", \"qas\": [{\"question\": \"q\", "
                 "\"answers\": [{\"text\": 1}]}]}]}]}", "an answer of question 0"},
        {"qa_1", "{\"data\": []}", "holds no question"},
        {"qa_2", "{\"data\": []}", "not a list of questions"},
        {"qa_2", "[5]", "question 0 lacks"},
        {"qa_2", "[{\"question\": \"q\", \"answer\": \"a\", \"context\": [[\"t\", \"s\"]]}]", "of question 0 is not"},
        {"qa_2", "[{\"question\": \"q\", \"answer\": \"a\", \"context\": [[\"t\", [1]]]}]", "of question 0 is not"},
        {"qa_2", "[{\"question\": \"q\", \"answer\": \"a\", \"context\": []}]", "question 0 lacks"},
        {"qa_2", "[]", "holds no question"},
        {"qa_2", "", "line 1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *path = format_text("%s/%s.json", questions, cases[i].task[3] == '1' ? "squad" : "hotpotqa");
        write_test_file(path, cases[i].content, strlen(cases[i].content));
        task_request request = request_for(cases[i].task, 2048);
        cr_expect_null(task_samples_open(&request), "%s", cases[i].content);
        cr_expect(strstr(fail_text(), path) && strstr(fail_text(), cases[i].reason), "%s",
                  fail_text());
        free(path);
    }
}

/* ---- All of them ---- */

static const char *const names[] = {"vt", "cwe", "fwe", "qa_1", "qa_2"};
enum { NAMES = sizeof names / sizeof *names };

/* Tokens that one more unit can take in a sample of this one's texts: an upper bound. */
static int64_t unit_tokens(const char *task, int64_t length)
{
    if (!strcmp(task, "vt"))
        return text_tokens(noise) + 1;
    if (!strcmp(task, "cwe")) /* a word once or three times, its numbers and dots too */
        return (length < 4096 ? 1 : 3) * 16;
    if (!strcmp(task, "fwe"))
        return 8 * 8; /* of one word more, floors of up to eight ranks can rise */
    if (!strcmp(task, "qa_2"))
        return text_tokens("Document 100:\nTitle 1000\nOne of 1000. Two.\n\n");
    int64_t most = 0;
    for (int a = 0; a < ARTICLES; a++)
        for (int p = 0; p < PARAGRAPHS; p++) {
            char *text = paragraph_text(a, p);
            int64_t taken = text_tokens(text) + text_tokens("Document 100:\n\n\n");
            most = taken > most ? taken : most;
            free(text);
        }
    return most;
}

/* 200 samples a task and length: within the budget, and no more than a unit or 3 % below it. */
Test(ruler, lengths_fill_the_budget)
{
    for (int t = 0; t < NAMES; t++)
        for (int64_t length = 1536; length <= 6144; length *= 2) {
            task_request request = request_for(names[t], length);
            task_samples *samples = open_samples(&request);
            int64_t unit = unit_tokens(names[t], length);
            int64_t slack = unit > 3 * length / 100 ? unit : 3 * length / 100;
            int wanted = strcmp(names[t], "qa_1") ? SAMPLES : 180;
            for (int i = 0; i < wanted; i++) {
                task_sample sample;
                next_sample(samples, &sample);
                cr_assert_eq(sample.length, count_tokens(sample.document) + count_tokens(sample.query) +
                                                request.task->tokens_to_generate);
                cr_assert_eq(sample.tokens_to_generate, request.task->tokens_to_generate);
                cr_assert_leq(sample.length, length);
                cr_assert_leq(count_prompt_tokens(&sample) + sample.tokens_to_generate, length);
                cr_assert_geq(sample.length, length - slack, "%s at %lld, sample %d: %lld of %lld units",
                              names[t], (long long)length, i, (long long)sample.length,
                              (long long)sample.size);
                task_sample_free(&sample);
            }
            task_samples_close(samples);
        }
}

Test(ruler, what_cannot_fit_is_refused)
{
    for (int t = 0; t < NAMES; t++) {
        task_request request = request_for(names[t], 64);
        cr_expect_null(task_samples_open(&request), "%s", names[t]);
        cr_expect(strstr(fail_text(), names[t]) && strstr(fail_text(), "64 tokens"), "%s", fail_text());
    }
}

/* Sample k is the same whatever was made before it; another seed gives another. */
Test(ruler, samples_depend_on_seed_and_number_only)
{
    for (int t = 0; t < NAMES; t++) {
        task_request request = request_for(names[t], 2048);
        task_samples *first = open_samples(&request), *second = open_samples(&request);
        request.seed = 8;
        task_samples *other = open_samples(&request);
        task_sample a, b, c;
        for (int i = 0; i < 4; i++) {
            next_sample(first, &a);
            task_sample_free(&a);
        }
        next_sample(first, &a);
        cr_assert(!task_samples_skip(second, 4) && !task_samples_skip(other, 4));
        next_sample(second, &b);
        next_sample(other, &c);
        assert_same(&a, &b);
        cr_assert_not(same_text(a.document, c.document));
        task_sample_free(&a);
        task_sample_free(&b);
        task_sample_free(&c);
        task_samples_close(first);
        task_samples_close(second);
        task_samples_close(other);
    }
}

/* Rows written and read again are the samples they came from; `index` is the sample's number and
 * there is no place of an answer. A split row of fwe says by its layout that 120 tokens are wanted. */
Test(ruler, written_rows_read_back)
{
    for (int t = 0; t < NAMES; t++)
        for (int layout = LAYOUT_RULER; layout <= LAYOUT_SPLIT; layout++) {
            task_request request = request_for(names[t], 2048);
            task_samples *made = open_samples(&request);
            task_sample samples[3];
            FILE *file = fopen(scratch, "wb");
            for (int i = 0; i < 3; i++) {
                next_sample(made, &samples[i]);
                char *line = official_line(request.task, &samples[i], tokens, layout);
                cr_assert(line, "%s", fail_text());
                cr_assert_eq(count_text(line, "\"token_position_answer\""), 0);
                fputs(line, file);
                free(line);
            }
            fclose(file);
            task_request from_file = {.task = request.task, .file = scratch};
            task_samples *read = open_samples(&from_file);
            for (int i = 0; i < 3; i++) {
                task_sample sample;
                next_sample(read, &sample);
                if (layout == LAYOUT_SPLIT)
                    sample.lead_in = samples[i].lead_in;
                assert_same(&sample, &samples[i]);
                cr_assert_eq(sample.index, i);
                cr_assert_leq(sample.length, 2048);
                cr_assert_eq(sample.tokens_to_generate,
                             layout == LAYOUT_SPLIT && !strcmp(names[t], "fwe")
                                 ? 120 : request.task->tokens_to_generate);
                task_sample_free(&sample);
                task_sample_free(&samples[i]);
            }
            task_samples_close(read);
            task_samples_close(made);
        }
}

Test(ruler, the_group_has_thirteen_tasks)
{
    static const int tokens_wanted[] = {128, 128, 128, 128, 128, 128, 128, 128, 30, 120, 50, 32, 32};
    const task **found;
    char *group[] = {"ruler"}, *qa[] = {"qa"};
    cr_assert_eq(task_find_all(group, 1, &found), 13);
    for (int i = 0; i < 13; i++) {
        cr_expect_eq(found[i]->tokens_to_generate, tokens_wanted[i], "%s", found[i]->name);
        cr_expect_eq(found[i]->score, i < 11 ? string_match_all : string_match_part);
    }
    cr_assert_str_eq(found[12]->name, "qa_2");
    free(found);
    cr_assert_eq(task_find_all(qa, 1, &found), 2);
    free(found);
}
