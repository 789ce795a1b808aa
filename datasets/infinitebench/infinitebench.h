/* InfiniteBench's part of a task (arXiv 2402.13718): how its rows become prompts, how its synthetic
 * rows are made, how its answers are scored. A row is a JSON object of the official files: `id`,
 * `context`, `input`, `answer`, `options`. Prompts follow the official layouts in our own words. */
#ifndef DATASETS_INFINITEBENCH_H
#define DATASETS_INFINITEBENCH_H
#include "datasets/infinitebench/scorers.h"
#include "datasets/ruler/generator.h"
#include "datasets/task.h"
#include <jansson.h>

/* Where a prompt's parts stand. All start with instruction, blank line, context; the document ends
 * there, with the blank line or newline behind the context, and the query is what is left. */
typedef struct {
    /* %s in the instruction: what find_word() draws from the row's `input`. */
    const char *instruction;
    const char *gap;     /* between context and query: "\n\n" or "\n" */
    enum { ASKS_NOTHING, ASKS_INPUT, ASKS_CALL } asks; /* the question: none, `input`, a call in it */
    const char *ask;     /* ASKS_CALL: the question with %s for the call */
    bool options;        /* option lines `A. ...` behind the question */
    const char *lead_gap; /* between question and lead-in where no chat template parts them */
    const char *lead_in; /* "" = none */
    enum { DRAWS_NOTHING, DRAWS_SPAN, DRAWS_FUNCTION } draws; /* for the instruction */
    /* What of it APB's anchors carry: the row's `input`; the whole question with its
     * options; the options and the lead-in; the lead-in alone. */
    enum { CARRIES_INPUT, CARRIES_QUESTION, CARRIES_OPTIONS_LEAD_IN, CARRIES_LEAD_IN } carries;
} infinite_prompt;

struct infinite_task {
    label_scorer *score;
    bool letter;  /* the label is [answer, its letter among the options] */
    bool unwrap;  /* the official scorer wants the one string that the file has in a list */
    const infinite_prompt *prompt;
    /* A synthetic row of this size, the k-th of its file; NULL = from official files only. */
    json_t *(*make)(int64_t size, int64_t k, random_stream *);
    int64_t step, short_step; /* units by which sizes are tried; below 4096 tokens */
};

/* A row as a sample: prompt, label, the row itself (which it holds on to). chat: a template to put
 * around the text, or NULL. -1 with a sentence saying what is wrong with the row. */
int infinite_sample(const task *, json_t *row, const chat_template *chat, task_sample *);

/* Leaves the prompt as it is where it has at most `most` tokens; else keeps the first and the last
 * floor(most / 2), as the official code does, and where re-tokenising the cut text gives more, a few
 * less. -1 with a sentence when the query alone does not leave room. */
int infinite_truncate(const tokenizer *, int64_t most, task_sample *);

extern const generator infinite_generator; /* generate.c */
extern const struct infinite_task infinite_passkey, infinite_number_string, infinite_kv_retrieval,
    infinite_sum, infinite_choice, infinite_qa_english, infinite_qa_chinese, infinite_dialogue,
    infinite_math_find, infinite_math_calc, infinite_code_run, infinite_code_debug;
#endif
