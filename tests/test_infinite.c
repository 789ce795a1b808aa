/* InfiniteBench's rows: what the official files hold becomes a prompt in the official layout and the
 * label that its scorers get; rows are cut in the middle; synthetic rows are what their tasks say;
 * rows that are no good cost themselves only. */
#include "datasets/infinitebench/infinitebench.h"
#include "datasets/official.h"
#include "datasets/task.h"
#include "harness/error.h"
#include "harness/run/prompt.h"
#include "tests/mutate.h"
#include "tests/task_fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(infinite, .init = set_up_tasks, .fini = tear_down_tasks);

/* The sample of a row, and its whole prompt (to be freed); chat may be NULL. */
static char *prompt_of(const char *name, const char *json, const chat_template *template,
                       task_sample *sample)
{
    json_error_t error;
    json_t *row = json_loads(json, JSON_ALLOW_NUL, &error);
    cr_assert(row, "%s: %s", json, error.text);
    int result = infinite_sample(task_find(name), row, template, sample);
    json_decref(row);
    if (result < 0)
        return NULL;
    char *prompt = alloc_or_die(sample->document.count + sample->query.count + 1, 1);
    memcpy(prompt, sample->document.bytes, sample->document.count);
    memcpy(prompt + sample->document.count, sample->query.bytes, sample->query.count);
    return prompt;
}

/* The official layouts (datasets of 2024-06-13, templates for open models): I instruction, C context,
 * Q question, O options, L lead-in. Where the document ends the query begins. And what of it APB's anchors
 * carry: the row's input; for choices the question and the option lines; for code_debug
 * the options and the lead-in, for dialogues the lead-in. */
static const struct {
    const char *task, *document_end, *query, *carried;
} layouts[] = {
    {"passkey", "\n\nCONTEXT\n\n", "The INPUT of\n\nThe pass key is", "The INPUT of"},
    {"number_string", "\n\nCONTEXT\n\n", "The INPUT of\n\nThe sequence of digits is", "The INPUT of"},
    {"kv_retrieval", "\n\nCONTEXT\n\n", "The INPUT of", "The INPUT of"},
    {"longbook_sum_eng", "\n\nCONTEXT\n\n", "Summary:", "The INPUT of"},
    {"longbook_choice_eng", "\n\nCONTEXT\n\n",
     "The INPUT of\nA. w\nB. x\nC. y\nD. z\n\nThe letter of the right answer is",
     "The INPUT of\nA. w\nB. x\nC. y\nD. z"},
    {"longbook_qa_eng", "\n\nCONTEXT\n\n", "The INPUT of\nAnswer:", "The INPUT of"},
    {"longbook_qa_chn", "\n\nCONTEXT\n\n", "The INPUT of\n回答：", "The INPUT of"},
    {"longdialogue_qa_eng", "\n\nCONTEXT\n\n", "The name replaced by $$MASK$$ is",
     "The name replaced by $$MASK$$ is"},
    {"math_find", "is the input of this list?\n\nCONTEXT\n\n", "The INPUT of", "The INPUT of"},
    {"math_calc", "17, 50]\n\nCONTEXT\n", "Values:", "The INPUT of"},
    {"code_debug", "\n\nCONTEXT\n\n", "A. w\nB. x\nC. y\nD. z\n\nThe right option is:",
     "A. w\nB. x\nC. y\nD. z\n\nThe right option is:"},
};
static const char row_of_all[] = "{\"id\": 7, \"context\": \"CONTEXT\", \"input\": \"The INPUT of\", "
                                 "\"answer\": [\"y\"], \"options\": [\"w\", \"x\", \"y\", \"z\"]}";

Test(infinite, layouts_of_prompts)
{
    for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++) {
        task_sample sample;
        char *prompt = prompt_of(layouts[i].task, row_of_all, NULL, &sample);
        cr_assert(prompt, "%s: %s", layouts[i].task, fail_text());
        size_t end = strlen(layouts[i].document_end);
        cr_assert(sample.document.count > end);
        cr_expect_str_eq(sample.document.bytes + sample.document.count - end,
                         layouts[i].document_end, "%s", layouts[i].task);
        cr_expect_str_eq(sample.query.bytes, layouts[i].query, "%s", layouts[i].task);
        cr_expect_str_eq(sample.anchor_query.bytes, layouts[i].carried, "%s", layouts[i].task);
        cr_expect_eq(sample.index, 7);
        cr_expect(sample.official);
        task_sample_free(&sample);
        free(prompt);
    }
}

/* The chat head opens the document; the tail stands between question and lead-in, for the break. */
Test(infinite, chat_goes_around)
{
    for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++) {
        task_sample sample;
        char *prompt = prompt_of(layouts[i].task, row_of_all, &chat, &sample);
        cr_assert(prompt, "%s: %s", layouts[i].task, fail_text());
        cr_expect_eq(strncmp(prompt, chat.head, strlen(chat.head)), 0);
        size_t tail = strlen(chat.tail);
        cr_assert(sample.lead_in >= tail);
        cr_expect_eq(strncmp(sample.query.bytes + sample.lead_in - tail, chat.tail, tail), 0,
                     "%s: %s", layouts[i].task, sample.query.bytes);
        cr_expect_str_eq(sample.anchor_query.bytes, layouts[i].carried, "%s", layouts[i].task);
        task_sample_free(&sample);
        free(prompt);
    }
}

Test(infinite, code_run_asks_for_the_call)
{
    task_sample sample;
    char *prompt = prompt_of("code_run",
                             "{\"context\": \"C\", \"input\": \"of func_x(1) func_12(-3) func_4(1)\","
                             " \"answer\": [5]}", NULL, &sample);
    cr_assert(prompt, "%s", fail_text());
    cr_expect(strstr(sample.document.bytes, "what func_12 returns"));
    cr_expect_str_eq(sample.query.bytes, "What is the value of func_12(-3)? The value is:");
    cr_expect_str_eq(sample.anchor_query.bytes, "of func_x(1) func_12(-3) func_4(1)");
    cr_expect_eq(json_integer_value(json_array_get(sample.label, 0)), 5);
    task_sample_free(&sample);
    free(prompt);
}

/* The span is greedy, stays on one line and is lower-cased by Python's rules. */
Test(infinite, math_find_draws_the_span)
{
    static const char *const cases[][2] = {
        {"Now. The Median of", "the median"},
        {"The largest of all of this", "the largest of all"},
        {"The of it\\nof The second \\u0130 of the list", "the second i\u0307"},
        {"The  of", NULL}, {"the largest of", NULL}, {"The largest\\n of", NULL}, {"", NULL}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *row = format_text("{\"context\": \"[1]\", \"input\": \"%s\", \"answer\": 1}",
                                cases[i][0]);
        task_sample sample;
        char *prompt = prompt_of("math_find", row, NULL, &sample);
        cr_expect_eq(prompt != NULL, cases[i][1] != NULL, "%s", cases[i][0]);
        if (prompt) {
            char *wanted = format_text("Which number is %s of this list?", cases[i][1]);
            cr_expect_eq(strncmp(prompt, wanted, strlen(wanted)), 0, "%s", prompt);
            free(wanted);
            task_sample_free(&sample);
        }
        free(prompt);
        free(row);
    }
}

/* What the scorer is given: [answer, letter] for choices whatever of the three forms the file has;
 * else the answer with its type. */
Test(infinite, labels)
{
    static const struct {
        const char *task, *answer, *label;
    } cases[] = {{"longbook_choice_eng", "\"y\"", "[\"y\", \"C\"]"},
                 {"longbook_choice_eng", "[\"w\"]", "[\"w\", \"A\"]"},
                 {"code_debug", "[\"other\", \"B\"]", "[\"other\", \"B\"]"},
                 {"code_debug", "[\"other\", \"E\"]", NULL},
                 {"code_debug", "[\"other\", \"\\u0000\"]", NULL},
                 {"code_debug", "[\"other\"]", NULL},
                 {"code_debug", "[]", NULL},
                 {"math_find", "[48]", "[48]"},
                 {"math_find", "48.0", "48.0"},
                 {"passkey", "\"01234\"", "\"01234\""},
                 {"longbook_qa_eng", "[\"a\", \"b\"]", "[\"a\", \"b\"]"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *row = format_text("{\"context\": \"C\", \"input\": \"The X of\", \"answer\": %s, "
                                "\"options\": [\"w\", \"x\", \"y\", \"z\"]}", cases[i].answer);
        task_sample sample;
        char *prompt = prompt_of(cases[i].task, row, NULL, &sample);
        cr_expect_eq(prompt != NULL, cases[i].label != NULL, "%s", cases[i].answer);
        if (prompt && cases[i].label) {
            char *label = json_dumps(sample.label, JSON_ENCODE_ANY);
            cr_expect_str_eq(label, cases[i].label);
            free(label);
        }
        if (prompt)
            task_sample_free(&sample);
        free(prompt);
        free(row);
    }
}

/* Most tokens of answers, and which tasks can be made. */
Test(infinite, table_of_tasks)
{
    static const struct {
        const char *task;
        int tokens;
        bool made;
    } wanted[] = {{"passkey", 6, true}, {"number_string", 12, true}, {"kv_retrieval", 50, true},
                  {"longbook_sum_eng", 1200, false}, {"longbook_choice_eng", 40, false},
                  {"longbook_qa_eng", 40, false}, {"longbook_qa_chn", 40, false},
                  {"longdialogue_qa_eng", 40, false}, {"math_find", 3, true}, {"math_calc", 30000, true},
                  {"code_run", 5, true}, {"code_debug", 5, false}};
    int found = 0;
    for (int t = 0; t < task_count; t++)
        found += !strcmp(tasks[t].benchmark, "infinitebench");
    cr_expect_eq(found, 12);
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        const task *task = task_find(wanted[i].task);
        cr_assert(task && task->infinite, "%s", wanted[i].task);
        cr_expect_eq(task->tokens_to_generate, wanted[i].tokens, "%s", task->name);
        cr_expect_eq(task->generator != NULL, wanted[i].made, "%s", task->name);
    }
}

/* ---- Files ---- */

static void write_rows(const char *text)
{
    write_test_file(scratch, text, strlen(text));
}

Test(infinite, broken_rows_cost_themselves)
{
    write_rows("{\"context\": \"C\", \"input\": \"Q\", \"answer\": \"1\"}\n"
               "[]\n{\"context\": \"\", \"input\": \"Q\", \"answer\": \"1\"}\n"
               "{\"context\": 5, \"input\": \"Q\", \"answer\": \"1\"}\n"
               "{\"context\": \"C\", \"input\": \"Q\"}\n{\"context\": \"C\", \"answer\": \"1\"}\n"
               "{\"input\": \"Q\", \"answer\": \"1\"}\n{\"context\": \"C\", \"inp\n\n"
               "{\"context\": \"C\\ud83d\", \"input\": \"Q\", \"answer\": \"1\"}\n"
               "{\"context\": \"D\\u0000D\", \"input\": \"Q\", \"answer\": \"1\"}\n");
    cr_assert(freopen("/dev/null", "w", stderr)); /* a sentence for each */
    task_request request = {.task = task_find("passkey"), .file = scratch};
    task_samples *samples = open_samples(&request);
    task_sample sample;
    next_sample(samples, &sample);
    task_sample_free(&sample);
    next_sample(samples, &sample);
    cr_expect(memmem(sample.document.bytes, sample.document.count, "D\0D", 3));
    cr_expect_eq(sample.number, 1);
    cr_expect_eq(sample.tokens_to_generate, 6);
    task_sample_free(&sample);
    cr_assert_eq(task_samples_next(samples, &sample), 0);
    cr_expect_eq(task_samples_broken(samples), 8);
    char *all = format_text("8 broken lines of %s skipped: 2, 3, 4, 5, 6, 7, 8, 10", scratch);
    char *text = task_samples_broken_text(samples);
    cr_expect_str_eq(text, all);
    free(text);
    free(all);
    task_samples_close(samples);
    write_rows("1\n2\n3\n4\n5\n6\n7\n8\n9\n");
    samples = open_samples(&request);
    cr_assert_eq(task_samples_next(samples, &sample), 0);
    text = task_samples_broken_text(samples);
    cr_expect(strstr(text, "9 broken lines of ") && strstr(text, ": 1, 2, 3, 4, 5, 6, 7, 8 ..."), "%s", text);
    free(text);
    task_samples_close(samples);
}

/* A row is cut in the middle of its prompt: its front, its end and the question stay, and the budget
 * for the answer is kept free. */
Test(infinite, cut_in_the_middle)
{
    char *context = NULL;
    size_t bytes;
    FILE *out = open_memstream(&context, &bytes);
    for (int i = 0; i < 3000; i++)
        fprintf(out, "%d caf\u00e9 ", i);
    fclose(out);
    char *row = format_text("{\"context\": \"%s\", \"input\": \"Who?\", \"answer\": \"1\"}\n", context);
    write_rows(row);
    for (int64_t length = 200; length <= 1001; length += 267) {
        task_request request = {.task = task_find("longbook_qa_eng"), .length = length,
                                .tokens = tokens, .chat = &chat, .file = scratch};
        task_samples *samples = open_samples(&request);
        task_sample sample;
        next_sample(samples, &sample);
        int64_t count = count_tokens(sample.document) + count_tokens(sample.query);
        cr_expect(count <= length - 40 && count > length - 50, "%lld of %lld", (long long)count,
                  (long long)length);
        cr_expect_eq(count, sample.length);
        cr_expect_eq(strncmp(sample.document.bytes, chat.head, strlen(chat.head)), 0);
        cr_expect(strstr(sample.document.bytes, "\n\n0 caf\u00e9 1 caf\u00e9"));
        cr_expect_not(strstr(sample.document.bytes, " 1500 "), "the middle");
        const char *end = "2999 caf\u00e9 \n\n";
        cr_expect_str_eq(sample.document.bytes + sample.document.count - strlen(end), end);
        cr_expect_eq(strncmp(sample.query.bytes, "Who?", 4), 0);
        /* the front has half of all tokens, give or take what parts at the cut */
        const char *whole = strstr(sample.document.bytes, "0 caf\u00e9 ");
        size_t same = 0;
        while (whole[same] == context[same])
            same++;
        sized_text front = {sample.document.bytes, (size_t)(whole - sample.document.bytes) + same};
        int64_t half = (length - 40) / 2, counted = count_tokens(front);
        cr_expect(counted >= half - 4 && counted <= half + 4, "%lld of %lld", (long long)counted,
                  (long long)half);
        task_sample_free(&sample);
        task_samples_close(samples);
    }
    task_request request = {.task = task_find("longbook_qa_eng"), .length = 60, .tokens = tokens,
                            .chat = &chat, .file = scratch};
    task_samples *samples = open_samples(&request);
    task_sample sample;
    cr_assert(freopen("/dev/null", "w", stderr));
    cr_expect_eq(task_samples_next(samples, &sample), 0);
    cr_expect(strstr(fail_text(), "does not leave room"), "%s", fail_text());
    task_samples_close(samples);
    request.length = 40;
    cr_assert_null(task_samples_open(&request));
    cr_expect_str_eq(fail_text(), "longbook_qa_eng: of 40 tokens the answer takes 40, which leaves no "
                                  "room for a prompt");
    free(row);
    free(context);
}

/* What is kept is one text, as if the tokens between had never been: a word of its end keeps the space
 * before it with a tokenizer whose decoder takes a space from where a text begins. */
Test(infinite, cut_text_is_decoded_as_one)
{
    static const char *const kinds[] = {"llama-2", "metaspace", "yi", "qwen2.5"};
    for (size_t kind = 0; kind < sizeof kinds / sizeof *kinds; kind++) {
        char *path = format_text("tests/data/tokenizer/%s.json", kinds[kind]), *context = NULL;
        tokenizer *t = tokenizer_open(path);
        cr_assert(t, "%s", fail_text());
        size_t bytes;
        FILE *out = open_memstream(&context, &bytes);
        for (int i = 0; i < 300; i++)
            fprintf(out, "the a in ");
        fclose(out);
        char *row = format_text("{\"context\": \"%s\", \"input\": \"Who?\", \"answer\": \"1\"}", context);
        for (int64_t most = 200; most < 212; most++) { /* cuts at every word and within */
            task_sample sample;
            free(prompt_of("longbook_qa_eng", row, NULL, &sample));
            cr_assert_eq(infinite_truncate(t, most, &sample), 0, "%s", fail_text());
            const char *text = strstr(sample.document.bytes, "\n\n");
            for (const char *c = text; *c; c++) /* no two words are one now */
                cr_assert(c[0] == '\n' || c[0] == ' ' || strchr(" \n", c[1]) || !strncmp(c, "the ", 4) ||
                          !strncmp(c, "he ", 3) || !strncmp(c, "in ", 3), "%s: %.40s", kinds[kind], c);
            task_sample_free(&sample);
        }
        free(row);
        free(context);
        tokenizer_close(t);
        free(path);
    }
}

Test(infinite, mutated_rows)
{
    static const char row[] = "{\"id\": 1, \"context\": \"C \\u00e9\\ud83d\\ude00\", \"input\": \"The "
                              "x of func_1(-2) of\", \"answer\": [\"w\"], "
                              "\"options\": [\"w\", \"x\", \"y\", \"z\"]}";
    static const char *const names[] = {"code_run", "math_find", "code_debug", "kv_retrieval"};
    mutate_seed(12);
    enum { ROWS = 2000 };
    FILE *file = fopen(scratch, "wb");
    mutate_rows(file, row, ROWS);
    fclose(file);
    cr_assert(freopen("/dev/null", "w", stderr)); /* a sentence for each */
    for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
        task_request request = {.task = task_find(names[n]), .file = scratch};
        task_samples *samples = open_samples(&request);
        task_sample sample;
        int good = 0;
        while (task_samples_next(samples, &sample) == 1) {
            scorer both = {(scorer_kind)(good % 2), NULL};
            double score = 0;
            bool null;
            if (!task_score_sample(request.task, &both, "12 w", 4, &sample, &score, &null))
                cr_assert(score >= 0 && score <= 1);
            good++;
            task_sample_free(&sample);
        }
        cr_assert_eq(good + task_samples_broken(samples), ROWS);
        cr_assert(good > ROWS / 20 && good < ROWS, "%s: %d", names[n], good);
        task_samples_close(samples);
    }
}

/* ---- Files of both benchmarks: traps of reading them ---- */

/* InfiniteBench writes UTF-8 as it is and RULER ASCII escapes, beyond U+FFFF in pairs: both are read as
 * the same text, and a row is written as its benchmark does. */
Test(infinite, escapes_and_utf8)
{
    static const char plain[] = "{\"context\": \"C \xf0\xa0\xae\xb7 \xc3\xa9\", \"input\": \"Q\", "
                                "\"answer\": [\"1\"]}\n";
    static const char escaped[] = "{\"context\": \"C \\ud842\\udfb7 \\u00e9\", \"input\": \"Q\", "
                                  "\"answer\": [\"1\"]}\n";
    char *both = format_text("%s%s", plain, escaped);
    write_rows(both);
    free(both);
    task_request request = {.task = task_find("passkey"), .file = scratch};
    task_samples *samples = open_samples(&request);
    for (int i = 0; i < 2; i++) {
        task_sample sample;
        next_sample(samples, &sample);
        cr_expect(strstr(sample.document.bytes, "C \xf0\xa0\xae\xb7 \xc3\xa9\n\n"));
        char *line = official_line(request.task, &sample, tokens, LAYOUT_RULER);
        cr_expect_str_eq(line, plain);
        free(line);
        task_sample_free(&sample);
    }
    task_samples_close(samples);
    task_sample ruler = {.document = {(char *)"C \xf0\xa0\xae\xb7\n", 7}, .query = {(char *)"Q", 1},
                         .lead_in = 1};
    sized_text reference = {(char *)"C", 1};
    ruler.references = &reference;
    ruler.reference_count = 1;
    char *line = official_line(task_find("niah_single_1"), &ruler, tokens, LAYOUT_RULER);
    cr_assert(line, "%s", fail_text());
    cr_expect(strstr(line, "\\uD842\\uDFB7") || strstr(line, "\\ud842\\udfb7"), "%s", line);
    free(line);
}

/* RULER's `index` repeats: rows are told apart by their place in the file. */
Test(infinite, rows_with_the_same_index)
{
    write_rows("{\"index\": 5, \"input\": \"C\\nQ\", \"outputs\": [\"1\"]}\n"
               "{\"index\": 5, \"input\": \"D\\nQ\", \"outputs\": [\"2\"]}\n");
    task_request request = {.task = task_find("niah_single_1"), .file = scratch};
    task_samples *samples = open_samples(&request);
    for (int i = 0; i < 2; i++) {
        task_sample sample;
        next_sample(samples, &sample);
        cr_expect_eq(sample.number, i);
        cr_expect_eq(sample.index, 5);
        cr_expect_eq(sample.references[0].bytes[0], '1' + i);
        task_sample_free(&sample);
    }
    task_samples_close(samples);
}

static size_t tokens_of(const tokenizer *t, const char *text)
{
    token_list ids = {0};
    cr_assert_eq(tokenizer_encode(t, text, strlen(text), false, &ids), 0);
    size_t count = ids.count;
    token_list_free(&ids);
    return count;
}

/* Anchors keep the chat head in front of the query, that of a template with another system prompt too. */
Test(infinite, heads_of_other_templates)
{
    static const struct {
        const char *tokenizer, *head, *text;
    } cases[] = {
        {"llama-3", "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nYou are kind.<|eot_id|>"
                    "<|start_header_id|>user<|end_header_id|>\n\n", "Some words.\nMore.\n"},
        {"llama-3", "<|begin_of_text|>", "Some words.\nMore.\n"},
        {"qwen2.5", "<|im_start|>system\nYou are kind.<|im_end|>\n<|im_start|>user\n", "Some words.\nMore.\n"},
        {"qwen2.5", "", "Some words.\n<|im_end|>\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *path = format_text("tests/data/tokenizer/%s.json", cases[i].tokenizer);
        tokenizer *t = tokenizer_open(path);
        cr_assert(t, "%s", fail_text());
        const model m = {.tokens = t, .chat = chat_template_for(t)};
        char *document = format_text("%s%s", cases[i].head, cases[i].text);
        prompt p;
        cr_assert_eq(prompt_from_parts(&m, document, strlen(document), "Who?", 4, &p), 0);
        cr_expect_eq(p.head_tokens, (int64_t)tokens_of(t, cases[i].head), "%s: %lld", cases[i].head,
                     (long long)p.head_tokens);
        prompt_free(&p);
        free(document);
        tokenizer_close(t);
        free(path);
    }
}

/* A chat head that brings its own begin-of-text, or a text without any, and a tokenizer that adds one:
 * prompts begin with one. */
Test(infinite, begins_once)
{
    tokenizer *llama = tokenizer_open("tests/data/tokenizer/llama-3.json");
    cr_assert(llama, "%s", fail_text());
    const chat_template *template = chat_template_for(llama);
    cr_assert_str_eq(template->family, "llama-3");
    const model m = {.tokens = llama, .chat = template};
    int32_t begin = tokenizer_id(llama, "<|begin_of_text|>");
    for (int with_head = 0; with_head < 2; with_head++) {
        task_sample sample;
        free(prompt_of("passkey", row_of_all, with_head ? template : NULL, &sample));
        prompt p;
        cr_assert_eq(prompt_from_parts(&m, sample.document.bytes, sample.document.count,
                                       sample.query.bytes, sample.query.count, &p), 0);
        int begins = 0;
        for (int64_t i = 0; i < p.document + p.query; i++)
            begins += p.ids[i] == begin;
        cr_expect_eq(p.ids[0], begin);
        cr_expect_eq(begins, 1);
        cr_expect_eq(p.head_tokens, with_head ? (int64_t)tokens_of(llama, template->head) : 1);
        token_list query = {0};
        tokenizer_encode(llama, sample.query.bytes, sample.query.count, false, &query);
        cr_expect_eq((int64_t)query.count, p.query);
        cr_expect_eq(memcmp(query.ids, p.ids + p.document, query.count * sizeof *query.ids), 0);
        token_list_free(&query);
        int64_t count = p.document + p.query;
        prompt_free(&p);
        char *whole = format_text("%s%s", sample.document.bytes, sample.query.bytes);
        cr_assert_eq(prompt_from_text(&m, whole, strlen(whole), false, 0, &p), 0);
        cr_expect(p.ids[0] == begin && p.ids[1] != begin && p.document + p.query <= count);
        free(whole);
        prompt_free(&p);
        task_sample_free(&sample);
    }
    tokenizer_close(llama);
}
