/* RULER's variable tracking: the solved example, the chain of statements and where they lie, over 200
 * samples. */
#include "harness/error.h"
#include "tests/ruler_fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(ruler, .init = set_up_ruler, .fini = tear_down_ruler);

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
