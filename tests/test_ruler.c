/* What holds of all of RULER's tasks beside the needle tasks: lengths, seeds, rows that read back, and
 * what cannot fit; what each task's samples are made of is tested in test_ruler_*.c. */
#include "datasets/official.h"
#include "datasets/ruler/generator.h"
#include "harness/error.h"
#include "tests/ruler_fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(ruler, .init = set_up_ruler, .fini = tear_down_ruler);

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

/* Units by which sizes are tried: small below 4096 tokens, RULER's own from there on. */
Test(ruler, steps_by_length)
{
    static const struct {
        const char *task;
        int64_t shorter, longer; /* at 4095 and 4096 tokens */
    } steps[] = {{"niah_single_1", 5, 25}, {"niah_single_2", 25, 500}, {"vt", 5, 10}, {"cwe", 10, 10},
                 {"fwe", 126, 126}, {"qa_1", 1, 10}, {"qa_2", 10, 10}};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        const task *task = task_find(steps[i].task);
        cr_expect_eq(task->generator->step(task, 4095), steps[i].shorter, "%s: %d", steps[i].task,
                     (int)task->generator->step(task, 4095));
        cr_expect_eq(task->generator->step(task, 4096), steps[i].longer, "%s: %d", steps[i].task,
                     (int)task->generator->step(task, 4096));
    }
    const task *fwe = task_find("fwe"); /* ranks must differ in their counts */
    cr_expect_eq(fwe->generator->step(fwe, 1000), 100);
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
