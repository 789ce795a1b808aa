/* Made samples of the needle tasks: structure, counts, depths, lengths and seeds. */
#include "datasets/task.h"
#include "harness/error.h"
#include "tests/task_fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOST_NEEDLES = 400 };

TestSuite(tasks, .init = set_up_tasks, .fini = tear_down_tasks);

/* ---- What a sample says ---- */

typedef struct {
    char type[16], key[64], value[64];
    const char *start, *end;
} needle;

static int find_needles(const char *document, needle *needles)
{
    static const char opening[] = "Here is one of the secret ";
    int count = 0;
    for (const char *at = document; (at = strstr(at, opening)); count++) {
        cr_assert_lt(count, MOST_NEEDLES);
        needle *n = &needles[count];
        int bytes = 0;
        cr_assert_eq(sscanf(at + sizeof opening - 1, "%15[a-z] for %63[^:]: %63[0-9a-f-].%n", n->type,
                            n->key, n->value, &bytes),
                     3);
        cr_assert_gt(bytes, 0, "a full stop follows the value");
        n->start = at;
        at = n->end = at + sizeof opening - 1 + bytes;
    }
    return count;
}

static int count_text(const char *in, const char *what)
{
    int count = 0;
    for (; (in = strstr(in, what)); in += strlen(what))
        count++;
    return count;
}

static bool is_number(const char *value)
{
    return strlen(value) == 7 && strspn(value, "0123456789") == 7 && value[0] != '0';
}

static bool is_uuid(const char *value)
{
    return strlen(value) == 36 && strspn(value, "0123456789abcdef-") == 36 && value[8] == '-' &&
           value[13] == '-' && value[14] == '4' && value[18] == '-' && strchr("89ab", value[19]) &&
           value[23] == '-' && count_text(value, "-") == 4;
}

/* What the table of RULER says of a task. */
typedef struct {
    const char *name, *type;
    int needles, answers; /* needles beside those that are haystack */
    char haystack;        /* e(ssay), n(oise), d(istractors) */
    bool uuid_keys;
} shape;
static const shape shapes[] = {
    {"niah_single_1", "numbers", 1, 1, 'n', false},   {"niah_single_2", "numbers", 1, 1, 'e', false},
    {"niah_single_3", "uuids", 1, 1, 'e', false},     {"niah_multikey_1", "numbers", 4, 1, 'e', false},
    {"niah_multikey_2", "numbers", 1, 1, 'd', false}, {"niah_multikey_3", "uuids", 1, 1, 'd', true},
    {"niah_multivalue", "numbers", 4, 4, 'e', false}, {"niah_multiquery", "numbers", 4, 4, 'e', false},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static void check_sample(const shape *shape, const task_sample *sample)
{
    static needle needles[MOST_NEEDLES];
    const char *document = sample->document.bytes, *query = sample->query.bytes;
    cr_assert_eq(strlen(document), sample->document.count);
    cr_assert_eq(strlen(query), sample->query.count);
    cr_assert(!strncmp(document, chat.head, strlen(chat.head)), "the chat head is left as it is");
    cr_assert_eq(document[sample->document.count - 1], '\n');

    int count = find_needles(document, needles);
    cr_assert_eq(count, shape->needles + (shape->haystack == 'd' ? (int)sample->size : 0));
    for (int i = 0; i < count; i++) {
        cr_assert_str_eq(needles[i].type, shape->type, "the type is plural in needles");
        cr_assert_eq(is_uuid(needles[i].value), !strcmp(shape->type, "uuids"));
        cr_assert_eq(is_number(needles[i].value), !strcmp(shape->type, "numbers"));
        cr_assert_eq(is_uuid(needles[i].key), shape->uuid_keys);
    }
    cr_assert_eq(count_text(document, "The sea is deep."),
                 shape->haystack == 'n' ? (int)sample->size : 0);
    cr_assert_eq(count_text(document, "was calm and plain") > 10, shape->haystack == 'e');

    /* the question and the lead-in */
    bool one = shape->answers == 1;
    char singular[16] = "";
    memcpy(singular, shape->type, strlen(shape->type) - 1);
    char *lead_in = copy_text(query + sample->lead_in), *question = copy_bytes(query, sample->lead_in);
    cr_assert_eq(lead_in[0], ' ');
    cr_assert_eq(count_text(lead_in, shape->type), !one);
    cr_assert_eq(count_text(lead_in, singular), 1);
    cr_assert_eq(count_text(question, shape->type), !one);
    cr_assert(!strcmp(lead_in + strlen(lead_in) - 3, one ? " is" : "are"));
    cr_assert(strstr(question, chat.tail) && !strstr(question, chat.tail)[strlen(chat.tail)]);
    cr_assert_eq(count_text(document, "Some secret"), !one);

    /* the answers: values of the keys asked for, in the order of the question */
    cr_assert_eq(sample->reference_count, shape->answers);
    const char *asked = question;
    for (int r = 0; r < sample->reference_count; r++) {
        int found = -1;
        for (int i = 0; i < count; i++)
            if (!strcmp(needles[i].value, sample->references[r].bytes)) {
                cr_assert_eq(found, -1, "a value is in one needle only");
                found = i;
            }
        cr_assert_neq(found, -1);
        const char *key = strstr(asked, needles[found].key);
        cr_assert(key, "%s not in %s", needles[found].key, asked);
        cr_assert(strstr(lead_in, needles[found].key));
        if (!strcmp(shape->name, "niah_multiquery"))
            asked = key + 1;
        int same_key = 0;
        for (int i = 0; i < count; i++)
            same_key += !strcmp(needles[i].key, needles[found].key);
        cr_assert_eq(same_key, strcmp(shape->name, "niah_multivalue") ? 1 : 4);
    }
    if (!strcmp(shape->name, "niah_multiquery"))
        cr_assert_eq(count_text(lead_in, ", "), 3, "a, b, c, and d");
    cr_assert_eq(count_text(lead_in, ", and "), !strcmp(shape->name, "niah_multiquery"));
    free(lead_in);
    free(question);
}

Test(tasks, samples_have_their_tasks_structure)
{
    for (int s = 0; s < SHAPES; s++) {
        task_request request = request_for(shapes[s].name, 2048);
        task_samples *samples = open_samples(&request);
        for (int i = 0; i < 25; i++) {
            task_sample sample;
            next_sample(samples, &sample);
            check_sample(&shapes[s], &sample);
            cr_assert_eq(sample.number, i);
            cr_assert_not(sample.official);
            task_sample_free(&sample);
        }
        task_samples_close(samples);
    }
}

/* 200 samples a task and length: never longer than asked, and no more than a unit or 3 % shorter. A
 * unit takes at most 1.25 of the sample's mean tokens per unit, which count the prompt's fixed part. */
Test(tasks, lengths_fill_the_budget)
{
    for (int s = 0; s < SHAPES; s++)
        for (int64_t length = 1024; length <= 4096; length *= 2) {
            task_request request = request_for(shapes[s].name, length);
            task_samples *samples = open_samples(&request);
            for (int i = 0; i < 200; i++) {
                task_sample sample;
                next_sample(samples, &sample);
                cr_assert_eq(sample.length, count_tokens(sample.document) +
                                                count_tokens(sample.query) + 128);
                cr_assert_leq(sample.length, length);
                cr_assert_leq(count_prompt_tokens(&sample) + sample.tokens_to_generate, length);
                double unit = 1.25 * (double)(sample.length - 128) / (double)sample.size;
                double slack = 0.03 * (double)length > unit ? 0.03 * (double)length : unit;
                cr_assert_geq((double)sample.length, (double)length - slack, "%s at %lld: %lld",
                              shapes[s].name, (long long)length, (long long)sample.length);
                task_sample_free(&sample);
            }
            task_samples_close(samples);
        }
}

/* Depths of one needle in 40 x 50 samples: each of the 40 places is met. A place has 50 expected
 * hits; none outside 15..100, which is over 5 standard deviations (7) away. And of four needles:
 * ascending, at distinct places. */
Test(tasks, needles_lie_at_the_forty_depths)
{
    static needle needles[MOST_NEEDLES];
    static const char *const names[] = {"niah_single_2", "niah_multikey_1"};
    for (int t = 0; t < 2; t++) {
        task_request request = request_for(names[t], 2048);
        task_samples *samples = open_samples(&request);
        int hits[40] = {0};
        for (int i = 0; i < (t ? 100 : 2000); i++) {
            task_sample sample;
            next_sample(samples, &sample);
            const char *document = sample.document.bytes;
            int count = find_needles(document, needles);
            int sentences = count_text(document, "Day"); /* the last may be just that word */
            int64_t last = -1;
            for (int n = 0; n < count; n++) {
                char saved = *needles[n].start;
                *(char *)needles[n].start = 0;
                int before = count_text(document, "Day");
                *(char *)needles[n].start = saved;
                int place = -1;
                for (int d = 0; d < 40; d++) {
                    int percent = (int)(100.0 * d / 39 + 0.5);
                    if (sentences * percent / 100 == before)
                        place = d;
                }
                cr_assert_neq(place, -1, "%d of %d sentences before it", before, sentences);
                cr_assert_gt(place, last);
                last = place;
                hits[place]++;
            }
            task_sample_free(&sample);
        }
        for (int d = 0; t == 0 && d < 40; d++)
            cr_expect(hits[d] >= 15 && hits[d] <= 100, "depth %d: %d of 2000", d, hits[d]);
        task_samples_close(samples);
    }
}

/* The essay is as many of the haystack's words as the sample says, from the start again past its end, and
 * the needle between two sentences of it stands between single spaces; so it does before the first and
 * behind the last. */
Test(tasks, essays_repeat_and_needles_part_them)
{
    static const char text[] = "One day was calm. Two  were\nnot. Three came\u00a0late.";
    static const char *const words[] = {"One", "day", "was", "calm.", "Two", "were", "not.", "Three", "came",
                                        "late."};
    static needle needles[MOST_NEEDLES];
    write_test_file(haystack, text, strlen(text));
    task_request request = request_for("niah_single_2", 1024);
    task_samples *samples = open_samples(&request);
    int at_start = 0, at_end = 0;
    for (int i = 0; i < 300; i++) {
        task_sample sample;
        next_sample(samples, &sample);
        cr_assert_eq(find_needles(sample.document.bytes, needles), 1);
        const char *context = strchr(sample.document.bytes + strlen(chat.head), '\n') + 1;
        const char *end = sample.document.bytes + sample.document.count - 1;
        char *before = copy_bytes(context, (size_t)(needles->start - context));
        char *after = copy_bytes(needles->end, (size_t)(end - needles->end));
        cr_assert(before[strlen(before) - 1] == ' ' && after[0] == ' ');
        before[strlen(before) - 1] = 0;
        at_start += !*before;
        at_end += !after[1];
        cr_assert(!*before || !after[1] || before[strlen(before) - 1] == '.');
        char *essay = format_text("%s%s%s", before, *before && after[1] ? " " : "", after + 1), *rest = essay;
        int64_t count = 0;
        for (char *word; (word = strsep(&rest, " ")); count++)
            cr_assert_str_eq(word, words[count % 10], "word %lld", (long long)count);
        cr_assert_eq(count, sample.size);
        cr_assert_gt(count, 100);
        free(essay);
        free(before);
        free(after);
        task_sample_free(&sample);
    }
    cr_expect(at_start > 0 && at_end > 0, "%d and %d", at_start, at_end);
    task_samples_close(samples);
}

/* Sample k is the same whatever was made before it; another seed, task or k gives another. */
Test(tasks, samples_depend_on_seed_and_number_only)
{
    task_request request = request_for("niah_multikey_2", 1024);
    task_samples *first = open_samples(&request), *second = open_samples(&request);
    request.seed = 8;
    task_samples *other = open_samples(&request);
    task_sample a, b, c;
    for (int i = 0; i < 5; i++) {
        next_sample(first, &a);
        next_sample(other, &c);
        cr_assert_not(same_text(a.document, c.document));
        task_sample_free(&c);
        if (i < 4)
            task_sample_free(&a);
    }
    cr_assert_eq(task_samples_skip(second, 4), 0);
    next_sample(second, &b);
    assert_same(&a, &b);
    task_sample_free(&a);
    next_sample(second, &a);
    cr_assert_not(same_text(a.document, b.document));
    task_sample_free(&a);
    task_sample_free(&b);
    task_samples_close(first);
    task_samples_close(second);
    task_samples_close(other);
}

static void assert_refused(const task_request *request, const char *word, const char *second)
{
    cr_assert_null(task_samples_open(request));
    cr_assert(strstr(fail_text(), word), "%s", fail_text());
    cr_assert(strstr(fail_text(), second), "%s", fail_text());
}

Test(tasks, what_is_missing_is_named)
{
    task_request request = request_for("niah_single_2", 200);
    assert_refused(&request, "niah_single_2", "200 tokens");
    request = request_for("niah_single_2", 0);
    assert_refused(&request, "niah_single_2", "length of 0");
    request = request_for("qa_1", 2048);
    assert_refused(&request, "cache/questions/squad.json is missing", "SQuAD");
    request = request_for("qa_2", 2048);
    assert_refused(&request, "cache/questions/hotpotqa.json is missing", "HotpotQA");
    request = request_for("niah_single_2", 1024);
    request.haystack = "/nonexistent/essay.txt";
    assert_refused(&request, "/nonexistent/essay.txt", "No such file");
    request.haystack = NULL; /* the test's cache holds words only */
    assert_refused(&request, "tests/data/tasks/cache/text/jargon.txt", "make setup");
    setenv("APBENCH_CACHE", folder, 1);
    assert_refused(&request, "words/adjectives.txt", "make setup");
    request.file = "/nonexistent/rows.jsonl";
    assert_refused(&request, "/nonexistent/rows.jsonl", "No such file");
    cr_assert_null(task_find("niah_single_9"));
    cr_assert(strstr(fail_text(), "niah_single_9") && strstr(fail_text(), "niah_multiquery"));
}

Test(tasks, haystack_files)
{
    static const struct {
        const char *content, *refusal; /* NULL: fine */
    } cases[] = {
        {" {\"text\": \"Essay\\u00e9 one.\\nIt has words. \\ud83d\\ude00\"}", NULL},
        {"Only\xc2\xa0one sentence", NULL},
        {"{\"text\": 5}", "no string under the key `text`"},
        {"{\"txt\": \"a\"}", "no string under the key `text`"},
        {"{\"text\": \"a\"", "line 1"},
        {" \n\t \xe3\x80\x80", "no words"},
        {"", "no words"},
        {"abc \xff def", "byte 4 is no UTF-8"},
        {"abc \xed\xa0\x80", "byte 4 is no UTF-8"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_test_file(scratch, cases[i].content, strlen(cases[i].content));
        task_request request = request_for("niah_multivalue", 1024);
        request.haystack = scratch;
        if (cases[i].refusal) {
            assert_refused(&request, scratch, cases[i].refusal);
            continue;
        }
        task_samples *samples = open_samples(&request);
        task_sample sample;
        next_sample(samples, &sample);
        static needle needles[MOST_NEEDLES];
        cr_assert_eq(find_needles(sample.document.bytes, needles), 4);
        cr_assert_gt(sample.length, 1024 - 128);
        task_sample_free(&sample);
        task_samples_close(samples);
    }
}

/* The default haystack starts behind the Jargon File's table of contents. */
Test(tasks, jargon_starts_at_its_first_chapter)
{
    char *text = format_text("%s/text", folder), *path = format_text("%s/jargon.txt", text);
    char *words = format_text("%s/words", folder), *here = realpath("tests/data/tasks/cache/words", NULL);
    cr_assert(here && !mkdir(text, 0777) && !symlink(here, words));
    static const char jargon[] = "Contents\n  1. Slang\n  2. Style\n\nChapter\u00a01.\u00a0Slang\n\n"
                                 "Day one was calm and plain. Day two was not.\n";
    write_test_file(path, jargon, strlen(jargon));
    setenv("APBENCH_CACHE", folder, 1);
    task_request request = request_for("niah_single_2", 1024);
    request.haystack = NULL;
    task_samples *samples = open_samples(&request);
    task_sample sample;
    next_sample(samples, &sample);
    cr_assert(strstr(sample.document.bytes, "Slang Day one was calm"));
    cr_assert_eq(count_text(sample.document.bytes, "Contents"), 0);
    task_sample_free(&sample);
    task_samples_close(samples);
    remove(path);
    rmdir(text);
    remove(words);
    free(here);
    free(words);
    free(path);
    free(text);
}

Test(tasks, groups_are_generated_tasks_in_order)
{
    const task **found;
    char *names[] = {"niah_multikey_3", "niah", "vt", "vt"};
    cr_assert_eq(task_find_all(names, 4, &found), 9);
    cr_assert_str_eq(found[0]->name, "niah_multikey_3");
    cr_assert_str_eq(found[1]->name, "niah_single_1");
    cr_assert_str_eq(found[8]->name, "vt");
    free(found);
    char *wrong[] = {"niah", "niahx"};
    cr_assert_eq(task_find_all(wrong, 2, &found), -1);
    cr_assert(strstr(fail_text(), "\"niahx\""));
    for (int i = 0; i < 8; i++)
        cr_assert(tasks[i].tokens_to_generate == 128 && tasks[i].generator);
}

/* 60,000 draws below 6: 10,000 expected each, standard deviation 91; within 5 of them. And chosen
 * numbers are distinct, the whole range a permutation. */
Test(tasks, random_numbers)
{
    random_stream stream = random_stream_for(1, "dice", 2, 3);
    int hits[6] = {0};
    for (int i = 0; i < 60000; i++)
        hits[random_below(&stream, 6)]++;
    for (int i = 0; i < 6; i++)
        cr_expect(abs(hits[i] - 10000) < 5 * 91, "%d", hits[i]);
    for (int round = 0; round < 100; round++) {
        uint64_t chosen[12], seen = 0;
        random_choose(&stream, 12, 12, chosen);
        for (int i = 0; i < 12; i++)
            seen |= 1u << chosen[i];
        cr_expect_eq(seen, 0xfff);
    }
    random_stream a = random_stream_for(1, "dice", 2, 3), b = random_stream_for(1, "dice", 3, 2);
    random_stream c = random_stream_for(2, "dice", 2, 3), d = random_stream_for(1, "dic", 2, 3);
    uint64_t x = random_next(&a);
    cr_expect(x != random_next(&b) && x != random_next(&c) && x != random_next(&d));
}
