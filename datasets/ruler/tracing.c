/* RULER's variable tracking (vt): one chain of five assignments in repeated noise, the first of a
 * number, each next one of the variable before; the question gives the number and asks for all five
 * names. A solved example with names of its own always comes first and is part of the length.
 * Structure, counts and order follow RULER's generator (arXiv 2404.06654); the wording is our own,
 * and no name or number occurs twice in a sample, so that every question has one answer. */
#include "datasets/ruler/generator.h"

#include "harness/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    CHAIN = 5, /* names: one assigned a number, four hops */
    NAME_LETTERS = 5,
    EXAMPLE_LETTERS = 3,
    EXAMPLE_TOKENS = 500, /* most */
    EXAMPLE_STEP = 5
};

/* %1$s: the number */
static const char instruction[] =
    "Some lines of the text below let a variable have a number or the value of another variable. "
    "Follow each variable to its number and remember it.";
static const char question_form[] =
    "Which variables have the value %1$s, given directly or through other variables, in the text "
    "above?";
static const char lead_in_form[] = " By following the text above, %2$d variables have the value "
                                   "%1$s. Their names are:";

typedef struct {
    char names[CHAIN][NAME_LETTERS + 1];
    char value[8];
} chain;

static void draw_name(random_stream *stream, int letters, char *name)
{
    for (int i = 0; i < letters; i++)
        name[i] = (char)('A' + random_below(stream, 26));
    name[letters] = 0;
}

/* Five distinct names of this many letters and a number of 10000..99998 that is not `other`. */
static void draw_chain(random_stream *stream, int letters, const char *other, chain *chain)
{
    for (int i = 0; i < CHAIN; i++) {
        int same;
        do {
            draw_name(stream, letters, chain->names[i]);
            for (same = 0; strcmp(chain->names[same], chain->names[i]); same++)
                ;
        } while (same < i);
    }
    do
        snprintf(chain->value, sizeof chain->value, "%d", (int)(10000 + random_below(stream, 89999)));
    while (other && !strcmp(chain->value, other));
}

static int ascending(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* `blocks` blocks of noise, a line each, and the chain's statements in order before distinct ones.
 * A statement ends in a space. */
static void write_context(FILE *out, const chain *chain, int64_t blocks, random_stream *stream)
{
    uint64_t at[CHAIN];
    random_choose(stream, (uint64_t)blocks, CHAIN, at);
    qsort(at, CHAIN, sizeof *at, ascending);
    int next = 0;
    for (int64_t block = 0; block < blocks; block++) {
        if (next < CHAIN && at[next] == (uint64_t)block) {
            fprintf(out, "LET %s = %s \n", chain->names[next],
                    next ? chain->names[next - 1] : chain->value);
            next++;
        }
        fprintf(out, "%s%s", noise_block, block + 1 < blocks ? "\n" : "");
    }
}

/* The example: the task's text without chat template, its answer, and a newline. */
static char *example_text(const chain *chain, int64_t blocks, random_stream stream)
{
    char *text = NULL;
    size_t bytes;
    FILE *out = open_memstream(&text, &bytes);
    fprintf(out, "%s\n\n", instruction);
    write_context(out, chain, blocks, &stream);
    fputc('\n', out);
    fprintf(out, question_form, chain->value);
    fprintf(out, lead_in_form, chain->value, CHAIN);
    for (int i = 0; i < CHAIN; i++)
        fprintf(out, " %s", chain->names[i]);
    fputc('\n', out);
    fclose(out);
    return text;
}

/* The longest example of at most EXAMPLE_TOKENS, in steps; the smallest where none is, as in RULER's
 * search. NULL with a sentence. */
static char *write_example(const sample_plan *plan, const chain *chain, random_stream *stream)
{
    char *best = NULL;
    const random_stream places = random_stream_for(random_next(stream), "example", 0, 0);
    for (int64_t blocks = EXAMPLE_STEP;; blocks += EXAMPLE_STEP) {
        char *text = example_text(chain, blocks, places);
        token_list ids = {0};
        int failed = tokenizer_encode(plan->tokens, text, strlen(text), false, &ids);
        bool fits = ids.count <= EXAMPLE_TOKENS && blocks < EXAMPLE_TOKENS;
        token_list_free(&ids);
        if (!failed && !fits && best) {
            free(text);
            return best;
        }
        free(best);
        best = text;
        if (failed) {
            free(best);
            return NULL;
        }
        if (!fits)
            return best;
    }
}

static int tracing_build(const sample_plan *plan, random_stream *stream, task_sample *sample)
{
    if (plan->size < CHAIN)
        return fail("%d statements do not fit between %lld blocks", CHAIN, (long long)plan->size);
    chain example, traced;
    draw_chain(stream, EXAMPLE_LETTERS, NULL, &example);
    draw_chain(stream, NAME_LETTERS, example.value, &traced);
    char *solved = write_example(plan, &example, stream);
    if (!solved)
        return -1;
    FILE *out = open_memstream(&sample->document.bytes, &sample->document.count);
    fprintf(out, "%s%s\n%s\n\n", plan->chat ? plan->chat->head : "", solved, instruction);
    write_context(out, &traced, plan->size, stream);
    fputc('\n', out);
    fclose(out);
    free(solved);
    char *question = format_text(question_form, traced.value);
    char *lead_in = format_text(lead_in_form, traced.value, CHAIN);
    write_query(plan, question, lead_in, sample);
    free(question);
    free(lead_in);
    for (int i = 0; i < CHAIN; i++)
        add_reference(sample, traced.names[i]);
    return 0;
}

static corpus *tracing_open(const task *task, const char *haystack)
{
    (void)task;
    (void)haystack;
    return corpus_open(false, false, NULL); /* all is drawn */
}

static int64_t tracing_step(const task *task, int64_t length)
{
    (void)task;
    return length < 4096 ? 5 : 10;
}

const generator tracing_generator = {"vt", false, tracing_open, tracing_step, tracing_build};
