/* RULER's questions on SQuAD and HotpotQA: which paragraphs a sample has and where, over 200 samples, and
 * files that are refused. */
#include "harness/error.h"
#include "tests/ruler_fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(ruler, .init = set_up_ruler, .fini = tear_down_ruler);

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

/* An article that has a paragraph 5,000 times is no longer than one that has it once: three documents in
 * all, of which a short prompt has two. */
Test(ruler, repeated_paragraphs)
{
    char *path = format_text("%s/squad.json", questions);
    FILE *out = fopen(path, "wb");
    fputs("{\"data\": [{\"paragraphs\": [", out);
    for (int p = 0; p < 5000; p++)
        fprintf(out, "%s{\"context\": \"Place 0-0 lies by the sea.\", \"qas\": [%s]}", p ? ", " : "", p ? "" :
                "{\"question\": \"Where?\", \"answers\": [{\"text\": \"there\"}], \"is_impossible\": false}");
    for (int p = 1; p < 3; p++) {
        fprintf(out, "%s{\"context\": \"Place 0-%d lies", p == 1 ? "]}, {\"paragraphs\": [" : ", ", p);
        for (int w = 0; w < 100; w++)
            fputs(" far", out);
        fputs(".\", \"qas\": []}", out);
    }
    fputs("]}]}", out);
    fclose(out);
    free(path);
    char *documents[MOST_DOCUMENTS];
    task_request request = request_for("qa_1", 512);
    task_samples *samples = open_samples(&request);
    task_sample sample;
    next_sample(samples, &sample);
    cr_expect_eq(read_documents(&sample, documents), sample.size);
    cr_expect_eq(sample.size, 2, "%lld", (long long)sample.size);
    cr_expect_eq(count_text(sample.document.bytes, "Place 0-0"), 1);
    for (int d = 0; d < sample.size; d++)
        free(documents[d]);
    task_sample_free(&sample);
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
