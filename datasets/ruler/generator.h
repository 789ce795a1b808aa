/* What a generator of samples is to the rest: how it builds one prompt of a given size. The search
 * for the size that fills a length is the same for all (samples.c). */
#ifndef DATASETS_GENERATOR_H
#define DATASETS_GENERATOR_H
#include "datasets/ruler/corpus.h"
#include "datasets/ruler/question_set.h"
#include "datasets/task.h"

/* What one sample is made from. */
typedef struct {
    const task *task;
    const corpus *corpus;
    const chat_template *chat; /* may be NULL */
    const tokenizer *tokens;
    int64_t length; /* most tokens, generated budget included */
    int64_t number; /* of the sample; probes of the search have 0 */
    int64_t size;   /* units (words, blocks, needles, documents) */
} sample_plan;

typedef struct generator {
    const char *group; /* several tasks by one name on the command line */
    bool locates_answer; /* rows of files say where the first answer is, in place of a number */
    /* Words, haystack or questions that the task needs; NULL with a sentence. */
    corpus *(*open)(const task *, const char *haystack);
    /* Units by which sizes are tried for this length in tokens; the smallest size too. */
    int64_t (*step)(const task *, int64_t length);
    /* Fills document, query, lead_in, references and size of a zeroed sample. From the same stream, a
     * larger size gives a longer prompt. */
    int (*build)(const sample_plan *, random_stream *, task_sample *);
} generator;

extern const generator niah_generator;           /* needles in a haystack (niah.c) */
extern const generator tracing_generator;        /* vt: variable tracking (tracing.c) */
extern const generator common_words_generator;   /* cwe (common_words.c) */
extern const generator frequent_words_generator; /* fwe (frequent_words.c) */
extern const generator questions_generator;      /* qa_1, qa_2 (questions.c) */

/* Options of questions_generator. */
typedef struct {
    question_format format;
    int own_documents; /* the least that a question is asked of */
} question_options;

/* ---- What the generators share (assemble.c) ---- */

/* RULER's five-sentence filler, in our own words. */
extern const char noise_block[];
/* Question and chat tail, then the lead-in of the answer. */
void write_query(const sample_plan *, const char *question, const char *lead_in, task_sample *);
void add_reference(task_sample *, const char *answer);

/* ---- Options of niah_generator ---- */

typedef enum { HAYSTACK_NOISE, HAYSTACK_ESSAY, HAYSTACK_NEEDLES } niah_haystack;
typedef enum { NIAH_WORDS, NIAH_NUMBERS, NIAH_UUIDS } niah_kind;

typedef struct {
    niah_haystack haystack;
    niah_kind keys, values;
    int key_count, values_per_key, queries; /* keys: max(key_count, queries) */
} niah_options;
#endif
