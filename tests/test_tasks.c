/* Made samples of the needle tasks: structure, counts, depths, lengths, seeds; official files there
 * and back; and files that are broken on purpose. Lengths are counted with a small vocabulary of our
 * own (tests/data/tasks), words and haystack are small too. */
#include "datasets/jsonl.h"
#include "datasets/official.h"
#include "datasets/task.h"
#include "datasets/unicode.h"
#include "harness/error.h"
#include "tests/mutate.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SENTENCES = 3000, MOST_NEEDLES = 400 };
static char folder[64], haystack[96], scratch[96];
static tokenizer *tokens;
static const chat_template chat = {
    "test", "<|im_start|>system\nThey are all kind.<|im_end|>\n<|im_start|>user\n",
    "<|im_end|>\n<|im_start|>assistant\n", "<|im_end|>", NULL};

static void write_file(const char *path, const char *bytes, size_t count)
{
    FILE *file = fopen(path, "wb");
    cr_assert(file);
    cr_assert_eq(fwrite(bytes, 1, count, file), count);
    cr_assert_eq(fclose(file), 0);
}

/* Own words, and an essay of numbered sentences, so that a test sees where a needle lies. */
static void set_up(void)
{
    setenv("APBENCH_CACHE", "tests/data/tasks/cache", 1);
    tokens = tokenizer_open("tests/data/tasks/tokenizer.json");
    cr_assert(tokens, "%s", fail_text());
    strcpy(folder, "/tmp/apbench-tasks-XXXXXX");
    cr_assert(mkdtemp(folder));
    snprintf(haystack, sizeof haystack, "%s/essay.txt", folder);
    snprintf(scratch, sizeof scratch, "%s/rows.jsonl", folder);
    FILE *essay = fopen(haystack, "wb");
    cr_assert(essay);
    for (int i = 0; i < SENTENCES; i++)
        fprintf(essay, "Day %d was calm\n and  plain.\t", i);
    fclose(essay);
}

static void tear_down(void)
{
    remove(haystack);
    remove(scratch);
    rmdir(folder);
    tokenizer_close(tokens);
}

TestSuite(tasks, .init = set_up, .fini = tear_down);

static task_request request_for(const char *name, int64_t length)
{
    return (task_request){.task = task_find(name), .length = length, .seed = 7, .tokens = tokens,
                          .chat = &chat, .haystack = haystack};
}

static task_samples *open_samples(const task_request *request)
{
    task_samples *samples = task_samples_open(request);
    cr_assert(samples, "%s", fail_text());
    return samples;
}

static void next_sample(task_samples *samples, task_sample *sample)
{
    cr_assert_eq(task_samples_next(samples, sample), 1, "%s", fail_text());
}

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

static int64_t count_tokens(sized_text text)
{
    token_list ids = {0};
    cr_assert_eq(tokenizer_encode(tokens, text.bytes, text.count, false, &ids), 0);
    int64_t count = (int64_t)ids.count;
    token_list_free(&ids);
    return count;
}

/* A sample is never longer than asked, and shorter by a step and a unit or two at most: the size is
 * the last that fitted in a probe, and one step less where a sample came out longer than that. */
Test(tasks, lengths_fill_the_budget)
{
    for (int s = 0; s < SHAPES; s++)
        for (int64_t length = 1024; length <= 4096; length *= 2) {
            task_request request = request_for(shapes[s].name, length);
            task_samples *samples = open_samples(&request);
            int64_t step = shapes[s].haystack == 'e' ? (length < 4096 ? 25 : 500)
                                                     : (length < 4096 ? 5 : 25);
            for (int i = 0; i < 8; i++) {
                task_sample sample;
                next_sample(samples, &sample);
                cr_assert_eq(sample.length, count_tokens(sample.document) +
                                                count_tokens(sample.query) + 128);
                cr_assert_leq(sample.length, length);
                /* the most that a unit of this vocabulary takes is 1.25 of the sample's mean one,
                 * since the prompt's fixed part is counted in */
                double unit = (double)(sample.length - 128) / (double)sample.size;
                cr_assert_geq((double)sample.length,
                              (double)length - 1.25 * unit * (double)(step + 2) - 8,
                              "%s at %lld: %lld", shapes[s].name, (long long)length,
                              (long long)sample.length);
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

static bool same_text(sized_text a, sized_text b)
{
    return a.count == b.count && !memcmp(a.bytes, b.bytes, a.count);
}

static void assert_same(const task_sample *a, const task_sample *b)
{
    cr_assert(same_text(a->document, b->document));
    cr_assert(same_text(a->query, b->query));
    cr_assert_eq(a->lead_in, b->lead_in);
    cr_assert_eq(a->reference_count, b->reference_count);
    for (int i = 0; i < a->reference_count; i++)
        cr_assert(same_text(a->references[i], b->references[i]));
    cr_assert_eq(a->number, b->number);
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
    assert_refused(&request, "qa_1", "official file");
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
        write_file(scratch, cases[i].content, strlen(cases[i].content));
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
    write_file(path, jargon, strlen(jargon));
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

/* ---- Files ---- */

/* Rows written and read again are the samples they came from, in both layouts; and what the fields
 * of the RULER layout say holds of the text. */
Test(tasks, written_rows_read_back)
{
    for (int s = 0; s < SHAPES; s++)
        for (int layout = LAYOUT_RULER; layout <= LAYOUT_SPLIT; layout++) {
            task_request request = request_for(shapes[s].name, 1024);
            request.chat = s % 2 ? &chat : NULL;
            task_samples *made = open_samples(&request);
            task_sample samples[5];
            FILE *file = fopen(scratch, "wb");
            for (int i = 0; i < 5; i++) {
                next_sample(made, &samples[i]);
                char *line = official_line(request.task, &samples[i], tokens, layout);
                cr_assert(line, "%s", fail_text());
                for (const char *c = line; *c; c++)
                    cr_assert_lt((unsigned char)*c, 0x80);
                fputs(line, file);
                free(line);
            }
            fclose(file);
            task_request from_file = {.task = request.task, .file = scratch};
            task_samples *read = open_samples(&from_file);
            for (int i = 0; i < 5; i++) {
                task_sample sample;
                next_sample(read, &sample);
                if (layout == LAYOUT_SPLIT)
                    sample.lead_in = samples[i].lead_in; /* the file does not say it */
                assert_same(&sample, &samples[i]);
                cr_assert_not(sample.official);
                cr_assert_leq(sample.length, 1024);
                if (layout == LAYOUT_RULER) { /* `index` is where the first answer is */
                    const char *answer =
                        strstr(samples[i].document.bytes, samples[i].references[0].bytes);
                    cr_assert_eq(sample.index,
                                 (int64_t)utf8_characters(
                                     samples[i].document.bytes,
                                     (size_t)(answer - samples[i].document.bytes)));
                }
                task_sample_free(&sample);
                task_sample_free(&samples[i]);
            }
            task_sample sample;
            cr_assert_eq(task_samples_next(read, &sample), 0);
            task_samples_close(read);
            task_samples_close(made);
        }
}

static json_t *written_row(const char *name, task_sample *sample)
{
    task_request request = request_for(name, 1024);
    task_samples *samples = open_samples(&request);
    next_sample(samples, sample);
    task_samples_close(samples);
    char *line = official_line(request.task, sample, tokens, LAYOUT_RULER);
    json_t *row = json_loads(line, 0, NULL);
    cr_assert(row);
    free(line);
    return row;
}

/* Field names and meanings of RULER's own files. */
Test(tasks, rows_have_the_official_fields)
{
    task_sample sample;
    json_t *row = written_row("niah_multiquery", &sample);
    const char *input = json_string_value(json_object_get(row, "input"));
    const char *prefix = json_string_value(json_object_get(row, "answer_prefix"));
    static const char *const fields[] = {"index", "input", "outputs", "length",
                                         "length_w_model_temp", "answer_prefix",
                                         "token_position_answer", "generator"};
    size_t i = 0;
    const char *key;
    json_t *value;
    json_object_foreach(row, key, value) {
        cr_assert_lt(i, sizeof fields / sizeof *fields);
        cr_assert_str_eq(key, fields[i++]);
    }
    cr_assert_eq(i, sizeof fields / sizeof *fields);
    /* prompt = input + answer_prefix, cut at the last place of the prefix's first 10 characters */
    char *prompt = format_text("%s%s", input, prefix);
    char *whole = format_text("%s%s", sample.document.bytes, sample.query.bytes);
    cr_assert_str_eq(prompt, whole);
    char ten[11] = "";
    memcpy(ten, prefix, 10);
    cr_assert_null(strstr(prefix + 1, ten));
    int64_t length = count_tokens((sized_text){whole, strlen(whole)}) + 128;
    cr_assert_eq(json_integer_value(json_object_get(row, "length")), length);
    cr_assert_eq(json_integer_value(json_object_get(row, "length_w_model_temp")), length);
    const char *answer = strstr(input, sample.references[0].bytes);
    cr_assert_eq(json_integer_value(json_object_get(row, "token_position_answer")),
                 count_tokens((sized_text){whole, (size_t)(answer - input)}));
    free(prompt);
    free(whole);
    json_decref(row);
    task_sample_free(&sample);
}

/* Where the document of a row ends, for texts of several chat templates. */
Test(tasks, rows_are_cut_before_the_question)
{
    static const struct {
        const char *row, *document, *query;
        size_t lead_in;
    } cases[] = {
        {"{'input': 'I\\nC1\\nC2\\nWhat?', 'answer_prefix': ' It is', 'outputs': ['x'], 'index': 3}",
         "I\nC1\nC2\n", "What? It is", 5},
        {"{'input': 'I\\nC\\nWhat?<|im_end|>\\n<|im_start|>assistant\\n', 'answer_prefix': ' It is', "
         "'outputs': ['x']}",
         "I\nC\n", "What?<|im_end|>\n<|im_start|>assistant\n It is", 38},
        {"{'input': 'I\\nC\\nWhat?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\\n\\n', "
         "'answer_prefix': ' It is', 'outputs': ['x']}",
         "I\nC\n", "What?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n It is", 62},
        {"{'input': 'I\\n\\nDocument 1:\\nC\\n\\nI\\n\\nQuestion: who?', 'answer_prefix': ' Answer:', "
         "'outputs': ['x', 'y']}",
         "I\n\nDocument 1:\nC\n\nI\n\n", "Question: who? Answer:", 14},
        {"{'input': 'C\\nWhat?', 'outputs': ['x']}", "C\n", "What?", 5},
        {"{'input_context': 'C\\n', 'input_query': 'Q L', 'outputs': ['x'], 'length': 9}", "C\n",
         "Q L", 3},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *json = copy_text(cases[i].row);
        for (char *c = json; *c; c++)
            *c = *c == '\'' ? '"' : *c;
        json_t *row = json_loads(json, 0, NULL);
        cr_assert(row);
        task_sample sample;
        cr_assert_eq(official_sample(row, NULL, &sample), 0, "%s", fail_text());
        cr_expect_str_eq(sample.document.bytes, cases[i].document);
        cr_expect_str_eq(sample.query.bytes, cases[i].query);
        cr_expect_eq(sample.lead_in, cases[i].lead_in);
        cr_expect(sample.official);
        task_sample_free(&sample);
        if (i == 0) { /* the chat template goes around the text, the lead-in behind it */
            cr_assert_eq(official_sample(row, &chat, &sample), 0);
            char *document = format_text("%sI\nC1\nC2\n", chat.head);
            char *query = format_text("What?%s It is", chat.tail);
            cr_expect_str_eq(sample.document.bytes, document);
            cr_expect_str_eq(sample.query.bytes, query);
            cr_expect_eq(sample.index, 3);
            free(document);
            free(query);
            task_sample_free(&sample);
        }
        json_decref(row);
        free(json);
    }
}

/* Each broken line is passed over with its place and reason; good ones around it survive. */
Test(tasks, broken_lines_are_named_and_skipped)
{
    static const struct {
        const char *line, *reason;
    } broken[] = {
        {"{\"input\": \"C\\nQ\", \"outputs\": [\"x\"", "']' expected near end"},
        {"[1, 2]", "not a JSON object"},
        {"{\"input\": \"C\\nQ\"}", "there is no `outputs`"},
        {"{\"input\": \"C\\nQ\", \"outputs\": []}", "`outputs` is empty"},
        {"{\"input\": \"C\\nQ\", \"outputs\": [7]}", "not a string"},
        {"{\"input\": \"C\\nQ\", \"outputs\": {}}", "not a list"},
        {"{\"input\": \"only a question\", \"outputs\": [\"x\"]}", "no document"},
        {"{\"input\": 5, \"outputs\": [\"x\"]}", "no string `input`"},
        {"{\"input\": \"C\\nQ\", \"answer_prefix\": 1, \"outputs\": [\"x\"]}", "`answer_prefix`"},
        {"{\"input_context\": \"C\", \"outputs\": [\"x\"]}", "not both strings"},
        {"{\"input\": \"C\\nQ \\ud800\", \"outputs\": [\"x\"]}", "invalid Unicode"},
        {"{\"input\": \"C\\nQ\", \"outputs\": [\"x\"], \"index\": NaN}", "invalid token"},
        {"{\"input\": \"C\\nQ\", \"outputs\": [\"x\"], \"index\": 99999999999999999999}", "too big"},
        {"{\"input\": \"C\\nQ \xff\", \"outputs\": [\"x\"]}", "unable to decode byte 0xff"},
        {"{\"input\": \"C\\nQ\", \"outputs\": [\"x\"]} trailing", "end of file expected"},
    };
    enum { BROKEN = sizeof broken / sizeof *broken };
    FILE *file = fopen(scratch, "wb");
    for (int i = 0; i < BROKEN; i++)
        fprintf(file, "%s\n \t\r\n{\"input\": \"C\\nQ %d\", \"outputs\": [\"x\"]}\n", broken[i].line, i);
    for (int i = 0; i < 100000; i++)
        fputc('[', file);
    fclose(file);

    jsonl_file lines;
    cr_assert_eq(jsonl_open(&lines, scratch), 0);
    json_t *row;
    for (int i = 0; i < BROKEN; i++) {
        int found = jsonl_next(&lines, &row);
        task_sample sample;
        if (found == JSONL_ROW)
            cr_assert_eq(official_sample(row, NULL, &sample), -1, "line %lld", (long long)lines.number);
        cr_expect(strstr(fail_text(), broken[i].reason), "%s", fail_text());
        cr_expect_eq(lines.number, 3 * i + 1);
        json_decref(row);
        cr_assert_eq(jsonl_next(&lines, &row), JSONL_ROW);
        json_decref(row);
    }
    cr_assert_eq(jsonl_next(&lines, &row), JSONL_BROKEN);
    char *place = format_text("%s:%d: nested deeper than 64", scratch, 3 * BROKEN + 1);
    cr_expect_str_eq(fail_text(), place);
    free(place);
    cr_assert_eq(jsonl_next(&lines, &row), JSONL_END);
    jsonl_close(&lines);

    task_request request = {.task = task_find("niah_single_1"), .file = scratch};
    task_samples *samples = open_samples(&request);
    task_sample sample;
    for (int i = 0; i < BROKEN; i++) {
        next_sample(samples, &sample);
        cr_assert_eq(sample.number, i);
        cr_assert_eq(atoi(sample.query.bytes + 2), i);
        task_sample_free(&sample);
    }
    cr_assert_eq(task_samples_next(samples, &sample), 0);
    cr_assert_eq(task_samples_broken(samples), BROKEN + 1);
    task_samples_close(samples);
}

/* A string of 16 MB, a NUL in it, is read whole; two million values are refused before they are
 * believed. */
Test(tasks, large_lines)
{
    size_t bytes = 16 << 20;
    char *text = alloc_or_die(bytes + 1, 1);
    memset(text, 'a', bytes);
    FILE *file = fopen(scratch, "wb");
    fprintf(file, "{\"input\": \"%s\\u0000\\nQ\", \"outputs\": [\"x\"]}\n", text);
    fputs("{\"input\": \"C\\nQ\", \"outputs\": [\"x\"], \"more\": [", file);
    for (int i = 0; i < 2000000; i++)
        fputs("0,", file);
    fputs("0]}\n", file);
    fclose(file);
    free(text);
    task_request request = {.task = task_find("niah_single_1"), .file = scratch};
    task_samples *samples = open_samples(&request);
    task_sample sample;
    next_sample(samples, &sample);
    cr_assert_eq(sample.document.count, bytes + 2);
    cr_assert_eq(sample.document.bytes[bytes], 0);
    cr_assert_str_eq(sample.query.bytes, "Q");
    task_sample_free(&sample);
    cr_assert_eq(task_samples_next(samples, &sample), 0);
    cr_assert_eq(task_samples_broken(samples), 1);
    cr_assert(strstr(fail_text(), "over a million values"));
    task_samples_close(samples);
}

/* Rows with random damage are samples or broken lines; every line is accounted for. */
Test(tasks, mutated_rows)
{
    static const char row[] =
        "{\"index\": 5, \"input\": \"I\\nC \\u00e9\\ud83d\\ude00 \\\"x\\\"\\nQ?<|im_end|>\\n\", "
        "\"outputs\": [\"8152736\", \"7\"], \"length\": 77, \"answer_prefix\": \" It is\"}";
    mutate_seed(11);
    enum { ROWS = 4000 };
    FILE *file = fopen(scratch, "wb");
    for (int i = 0; i < ROWS; i++) {
        char copy[sizeof row + 256];
        memcpy(copy, row, sizeof row);
        size_t length = mutate(copy, sizeof row - 1, sizeof copy);
        for (size_t c = 0; c < length; c++)
            copy[c] = copy[c] == '\n' ? ' ' : copy[c];
        fwrite(copy, 1, length, file);
        fputc('\n', file);
    }
    fclose(file);
    cr_assert(freopen("/dev/null", "w", stderr)); /* a sentence for each */
    task_request request = {.task = task_find("niah_single_1"), .file = scratch};
    task_samples *samples = open_samples(&request);
    task_sample sample;
    int good = 0;
    while (task_samples_next(samples, &sample) == 1) {
        cr_assert(sample.document.count && sample.query.count && sample.reference_count > 0);
        cr_assert_leq(sample.lead_in, sample.query.count);
        good++;
        task_sample_free(&sample);
    }
    cr_assert_eq(good + task_samples_broken(samples), ROWS);
    cr_assert(good > ROWS / 20 && good < ROWS, "%d", good);
    task_samples_close(samples);
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
