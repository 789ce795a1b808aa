/* Official files of tasks there and back, where their documents end, and files that are broken on
 * purpose. */
#include "datasets/official.h"
#include "datasets/jsonl.h"
#include "datasets/task.h"
#include "datasets/unicode.h"
#include "harness/error.h"
#include "tests/mutate.h"
#include "tests/task_fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(official, .init = set_up_tasks, .fini = tear_down_tasks);

/* Rows written and read again are the samples they came from, in both layouts; and what the fields
 * of the RULER layout say holds of the text. */
Test(official, written_rows_read_back)
{
    for (int t = 0; t < 8; t++)
        for (int layout = LAYOUT_RULER; layout <= LAYOUT_SPLIT; layout++) {
            task_request request = request_for(tasks[t].name, 1024);
            request.chat = t % 2 ? &chat : NULL;
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
Test(official, rows_have_the_official_fields)
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
Test(official, rows_are_cut_before_the_question)
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
        /* no `answer_prefix`: the lead-in is in `input`, behind the chat tail or the question */
        {"{'input': 'I\\nC\\nWhat?<|im_end|>\\n<|im_start|>assistant\\n It is', 'outputs': ['x']}", "I\nC\n",
         "What?<|im_end|>\n<|im_start|>assistant\n It is", 44},
        {"{'input': 'I\\nC\\nWhat?\\n<|im_end|>\\n<|im_start|>assistant\\n It is', 'outputs': ['x']}",
         "I\nC\n", "What?\n<|im_end|>\n<|im_start|>assistant\n It is", 45},
        {"{'input': '<|im_start|>user\\nI\\nC\\nWhat? It is', 'outputs': ['x']}",
         "<|im_start|>user\nI\nC\n", "What? It is", 11},
        {"{'input': 'I\\nC\\nWhat?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\\n\\n It is', "
         "'outputs': ['x']}",
         "I\nC\n", "What?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n It is", 68},
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

/* A row that was written with its chat template keeps that one; others get the model's. */
Test(official, templates_are_not_put_around_templates)
{
    task_request request = request_for("niah_single_2", 1024);
    for (int layout = LAYOUT_RULER; layout <= LAYOUT_SPLIT; layout++)
        for (int has = 0; has < 2; has++) {
            request.chat = has ? &chat : NULL;
            task_samples *made = open_samples(&request);
            task_sample sample, read;
            next_sample(made, &sample);
            char *line = official_line(request.task, &sample, tokens, layout);
            json_t *row = json_loads(line, 0, NULL);
            int result = official_sample(row, &chat, &read);
            if (has || layout == LAYOUT_RULER) {
                cr_assert_eq(result, 0, "%s", fail_text());
                char *document = format_text("%s%s", has ? "" : chat.head, sample.document.bytes);
                cr_expect_str_eq(read.document.bytes, document);
                const char *tail = strstr(read.query.bytes, chat.tail);
                cr_assert(tail, "%s", read.query.bytes);
                cr_expect_null(strstr(tail + 1, chat.tail));
                free(document);
                task_sample_free(&read);
            } else {
                cr_expect_eq(result, -1);
                cr_expect(strstr(fail_text(), "where its lead-in starts"), "%s", fail_text());
            }
            json_decref(row);
            free(line);
            task_sample_free(&sample);
            task_samples_close(made);
        }
}

/* The answer's place is counted in characters, of which some have several bytes. */
Test(official, places_are_in_characters)
{
    FILE *essay = fopen(haystack, "wb");
    for (int i = 0; i < 300; i++)
        fprintf(essay, "\u00c9t\u00e9 %d \u00e9tait l\u00e0. ", i);
    fclose(essay);
    for (int i = 0, found = 0; !found; i++) { /* one whose needle has a text before it */
        cr_assert_lt(i, 100);
        task_request request = request_for("niah_single_2", 1024);
        request.seed = (uint64_t)i;
        task_samples *samples = open_samples(&request);
        task_sample sample;
        next_sample(samples, &sample);
        char *line = official_line(request.task, &sample, tokens, LAYOUT_RULER);
        json_t *row = json_loads(line, 0, NULL);
        cr_assert(row);
        const char *text = sample.document.bytes, *answer = strstr(text, sample.references[0].bytes);
        size_t before = (size_t)(answer - text), characters = utf8_characters(text, before);
        cr_expect_eq(json_integer_value(json_object_get(row, "index")), (json_int_t)characters);
        found = characters < before;
        json_decref(row);
        free(line);
        task_sample_free(&sample);
        task_samples_close(samples);
    }
}

/* Brackets are counted up to 64 deep, and not in texts, which a quote behind a backslash does not end. */
Test(official, how_deep_a_row_may_be)
{
    FILE *file = fopen(scratch, "wb");
    for (int deep = 63; deep <= 64; deep++) { /* in the row's object */
        fputs("{\"input\": \"C\\nQ\", \"outputs\": [\"x\"], \"more\": ", file);
        for (int i = 0; i < 2 * deep; i++)
            fputc(i < deep ? '[' : ']', file);
        fputs("}\n", file);
    }
    fputs("{\"outputs\": [\"x\"], \"input\": \"C\\nQ \\\"", file);
    for (int i = 0; i < 70; i++)
        fputc('[', file);
    fputs("\"}\n", file);
    fclose(file);
    jsonl_file lines;
    json_t *row;
    cr_assert_eq(jsonl_open(&lines, scratch), 0);
    cr_expect_eq(jsonl_next(&lines, &row), JSONL_ROW, "%s", fail_text());
    json_decref(row);
    cr_expect_eq(jsonl_next(&lines, &row), JSONL_BROKEN);
    cr_expect(strstr(fail_text(), ":2: nested deeper than 64"), "%s", fail_text());
    cr_expect_eq(jsonl_next(&lines, &row), JSONL_ROW, "%s", fail_text());
    json_decref(row);
    cr_expect_eq(jsonl_next(&lines, &row), JSONL_END);
    jsonl_close(&lines);
}

/* Each broken line is passed over with its place and reason; good ones around it survive. */
Test(official, broken_lines_are_named_and_skipped)
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
    char *told = task_samples_broken_text(samples);
    place = format_text("16 broken lines of %s skipped: 1, 4, 7, 10, 13, 16, 19, 22 ...", scratch);
    cr_expect_str_eq(told, place);
    free(place);
    free(told);
    task_samples_close(samples);
}

static void write_chunk(int number, const char *content)
{
    char *path = format_text("%s/chunks-%d.jsonl", folder, number);
    write_test_file(path, content, strlen(content));
    free(path);
}

/* Files that RULER's scripts leave in chunks are read as one, in the order of their numbers; what is
 * wrong is named with its chunk. */
Test(official, chunks_are_read_as_one_file)
{
    char *whole = format_text("%s/chunks.jsonl", folder);
    task_request request = {.task = task_find("vt"), .file = whole};
    cr_assert_null(task_samples_open(&request));
    char *sentence = format_text("cannot open %s: No such file or directory", whole);
    cr_expect_str_eq(fail_text(), sentence);
    free(sentence);
    static const char row[] = "{\"input\": \"C\\nQ %d\", \"outputs\": [\"x\"]}";
    char lines[11][256];
    for (int c = 0; c < 11; c++) { /* two rows each, the last without its newline */
        char one[100], two[100];
        snprintf(one, sizeof one, row, 2 * c);
        snprintf(two, sizeof two, row, 2 * c + 1);
        snprintf(lines[c], sizeof lines[c], "%s\n%s%s", one, two, c % 2 ? "" : "\n");
        if (c)
            write_chunk(c, lines[c]);
    }
    cr_assert_null(task_samples_open(&request));
    cr_expect(strstr(fail_text(), "chunks-0.jsonl is missing, but there is a chunk"), "%s", fail_text());
    write_chunk(0, lines[0]);
    write_chunk(3, ""); /* an empty one is no end */
    task_samples *samples = open_samples(&request);
    for (int i = 0; i < 22; i++) {
        task_sample sample;
        if (i / 2 == 3)
            continue;
        next_sample(samples, &sample);
        cr_expect_eq(atoi(sample.query.bytes + 2), i);
        task_sample_free(&sample);
    }
    task_sample sample;
    cr_assert_eq(task_samples_next(samples, &sample), 0);
    task_samples_close(samples);
    /* a chunk that is missing before another is not passed over in silence */
    write_chunk(12, lines[0]);
    samples = open_samples(&request);
    int found, read = 0;
    while ((found = task_samples_next(samples, &sample)) == 1) {
        read++;
        task_sample_free(&sample);
    }
    cr_expect_eq(found, -1);
    cr_expect_eq(read, 20);
    cr_expect(strstr(fail_text(), "chunks-11.jsonl is missing, but there is a chunk 12"), "%s", fail_text());
    task_samples_close(samples);
    /* the whole file goes before chunks; a broken line is named with its chunk */
    write_chunk(0, "{}\n");
    jsonl_file rows;
    json_t *value;
    write_chunk(1, "\n[\n");
    cr_assert_eq(jsonl_open(&rows, whole), 0);
    cr_assert_eq(jsonl_next(&rows, &value), JSONL_ROW);
    json_decref(value);
    cr_assert_eq(jsonl_next(&rows, &value), JSONL_BROKEN);
    cr_expect(strstr(fail_text(), "chunks-1.jsonl:2: "), "%s", fail_text());
    jsonl_close(&rows);
    write_test_file(whole, "[5]\n", 4);
    cr_assert_eq(jsonl_open(&rows, whole), 0);
    cr_assert_eq(jsonl_next(&rows, &value), JSONL_ROW);
    cr_assert(json_is_array(value));
    json_decref(value);
    cr_assert_eq(jsonl_next(&rows, &value), JSONL_END);
    jsonl_close(&rows);
    for (int c = 0; c <= 12; c++) {
        char *path = format_text("%s/chunks-%d.jsonl", folder, c);
        remove(path);
        free(path);
    }
    remove(whole);
    free(whole);
}

/* A string of 16 MB, a NUL in it, is read whole; two million values are refused before they are
 * believed. */
Test(official, large_lines)
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
Test(official, mutated_rows)
{
    static const char row[] =
        "{\"index\": 5, \"input\": \"I\\nC \\u00e9\\ud83d\\ude00 \\\"x\\\"\\nQ?<|im_end|>\\n\", "
        "\"outputs\": [\"8152736\", \"7\"], \"length\": 77, \"answer_prefix\": \" It is\"}";
    mutate_seed(11);
    enum { ROWS = 4000 };
    FILE *file = fopen(scratch, "wb");
    mutate_rows(file, row, ROWS);
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
