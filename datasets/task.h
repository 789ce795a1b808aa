/* The tasks that models are scored on, as a table: a row says how a task's samples are made, how
 * long its answers may be and how they are scored. A sample comes from our own generator or from a
 * file of the official layouts; either way it is a document and a query (tokenised apart, since
 * methods prefill the document only) and the reference answers. A new task is a new row in task.c. */
#ifndef DATASETS_TASK_H
#define DATASETS_TASK_H
#include "datasets/random.h"
#include "datasets/tokenizer/tokenizer.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* UTF-8 with its length: texts of files may hold U+0000. bytes[count] is a NUL besides. */
typedef struct {
    char *bytes;
    size_t count;
} sized_text;

typedef struct {
    sized_text document;       /* chat head, instruction, context, newline(s) */
    sized_text query;         /* question, chat tail, lead-in of the answer */
    /* What APB puts into the anchors of its blocks where that is not the query up to its end of turn:
     * InfiniteBench's; bytes NULL: it is. */
    sized_text anchor_query;
    size_t lead_in;      /* where in `query` the lead-in starts (== query.count: there is none) */
    sized_text *references;    /* the answers looked for */
    int reference_count; /* at least 1; 0 where there is a label */
    int64_t number;      /* 0, 1, 2 .. in the order of making or of the file's good rows */
    int64_t index;       /* the file's own `index`; of made samples, the number */
    int64_t length;      /* tokens of document and query plus the task's tokens_to_generate; of
                          * official rows what the row says (0: nothing), of InfiniteBench's that were
                          * cut to a length the tokens of document and query alone */
    int tokens_to_generate; /* at most, in answer to this sample */
    int64_t size;        /* units of haystack that went in (0 for files) */
    bool split_layout;   /* it was read from a row of the split layout */
    bool official;       /* generator=official; else generator=apbench */
    struct json_t *row;  /* InfiniteBench: the row as its files have it, owned; else NULL */
    struct json_t *label; /* and what its scorers are given, in place of references, owned */
} task_sample;

void task_sample_free(task_sample *); /* leaves it zeroed */

typedef struct task task;
typedef struct task_samples task_samples;

/* Where samples come from. */
typedef struct {
    const task *task;
    int64_t length;            /* most tokens, generated budget included. Made samples fill it,
                                * InfiniteBench's rows are cut to it (0: left whole) */
    uint64_t seed;             /* sample k depends on (task, length, seed, k) and the texts only */
    const tokenizer *tokens;   /* counts lengths; not needed for files that nothing is cut from */
    const chat_template *chat; /* made samples: NULL = plain text. Files: NULL = the text is used
                                * as it is, else head and tail are put around it (of RULER's rows
                                * only where the text has no template yet: official.h) */
    const char *haystack;      /* essay text for made samples: plain text or JSON with key `text`;
                                * NULL = text/jargon.txt under the cache */
    const char *file;          /* an official file of the task's benchmark; NULL = make samples */
    bool quiet;                /* nothing on stderr about a file's broken lines */
} task_request;

/* Readies samples; for made ones this fits the size of the haystack to the length (some twenty
 * probes). NULL with a sentence in fail_text(). The request's pointers must outlive the result. */
task_samples *task_samples_open(const task_request *);
/* Whether the texts that a task's samples are made of (haystack as in a request) are there: -1 with the
 * sentence when one is missing or broken, which somebody may mend. */
int task_texts_check(const task *, const char *haystack);
/* The next sample: 1 filled in (free it with task_sample_free), 0 the file has ended (made samples
 * never do), -1 failed. Broken lines of a file are skipped, the first few with a word on stderr. */
int task_samples_next(task_samples *, task_sample *);
/* Passes over `count` samples: at no cost for made ones; a file that ends earlier is no error. */
int task_samples_skip(task_samples *, int64_t count);
int64_t task_samples_broken(const task_samples *); /* lines of the file skipped so far */
/* "2 broken lines of FILE skipped: 3, 17", which the caller frees; NULL when none is. */
char *task_samples_broken_text(const task_samples *);
void task_samples_close(task_samples *);

/* ---- The table ---- */

struct generator;     /* datasets/ruler/generator.h */
struct infinite_task; /* datasets/infinitebench/infinitebench.h */

struct task {
    const char *name, *benchmark, *summary;
    int tokens_to_generate;
    const struct generator *generator; /* NULL: its samples come from official files only */
    const void *options;               /* the generator's, for this task */
    /* The share of the references that the prediction (postprocessed) names, 0..1. */
    double (*score)(sized_text prediction, const sized_text *references, int count);
    int split_tokens; /* to generate for rows of the split layout, where that differs; else 0 */
    const struct infinite_task *infinite; /* rows, prompt and scorer of InfiniteBench's tasks, which
                                           * have labels for references; NULL: RULER's */
};
extern const task tasks[];
extern const int task_count;

/* By name; NULL with a sentence that lists the names. */
const task *task_find(const char *name);
/* Names and groups ("niah", "ruler": every generated task of it) into fresh pointers, in the order
 * given, without repeats. Returns the count or -1 with a sentence. */
int task_find_all(char *const *names, int name_count, const task ***found);

/* ---- Scores (score.c), as the official scorers give them ---- */

/* Whose copy of InfiniteBench's scorers: its own of 2024-06-13, or APB's. RULER has one. */
typedef enum { SCORER_OFFICIAL, SCORER_APB } scorer_kind;
typedef struct {
    scorer_kind kind;
    const char *model; /* who made the predictions: "gpt4" has a rule of its own; NULL = none said */
} scorer;
/* By name, official or apb; -1 with a sentence. */
int scorer_find(const char *name, scorer_kind *kind);
extern const char *const scorer_names[]; /* by kind */

/* One prediction against one label of an InfiniteBench task: 0..1. -1 as below. */
int task_score_label(const task *, const scorer *, const char *prediction, size_t bytes,
                     const struct json_t *label, double *score);
/* One answer to a sample, by references or label. null: nothing but whitespace is in the answer. */
int task_score_sample(const task *, const scorer *, const char *prediction, size_t bytes,
                      const task_sample *, double *score, bool *null);

/* Scores one prediction (UTF-8) against references: 0..1. null: nothing was left of the prediction
 * after postprocessing. -1 with a sentence where the official code raises. */
int task_score(const task *, const char *prediction, size_t bytes, const sized_text *references,
               int count, double *score, bool *null);
/* Whether postprocessing leaves nothing of a prediction (UTF-8). */
bool task_is_null(const char *prediction, size_t bytes);
/* mean x 100, rounded to 2 decimals as Python's round() does (exact ties to even). */
double score_percent(double sum, int64_t rows);
double score_round(double value); /* to 2 decimals, likewise */
/* As Python prints any double (shortest digits that read back the same); returns buffer. */
char *score_exact_text(double score, char *buffer, size_t bytes);
/* As Python prints such a value ("100.0", "66.67"); returns buffer. */
char *score_text(double percent, char *buffer, size_t bytes);

double string_match_all(sized_text prediction, const sized_text *references, int count);
double string_match_part(sized_text prediction, const sized_text *references, int count);
#endif
