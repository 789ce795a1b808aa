/* What a generator of samples is to the rest: how it builds one prompt of a given size. The search
 * for the size that fills a length is the same for all (samples.c). */
#ifndef DATASETS_GENERATOR_H
#define DATASETS_GENERATOR_H
#include "datasets/ruler/corpus.h"
#include "datasets/task.h"

typedef struct generator {
    const char *group; /* several tasks by one name on the command line */
    /* Words and haystack that the task needs; NULL with a sentence. */
    corpus *(*open)(const task *, const char *haystack);
    /* Units (words, blocks, needles) by which sizes are tried for this length in tokens. */
    int64_t (*step)(const task *, int64_t length);
    /* Fills document, query, lead_in, references and size of a zeroed sample. chat may be NULL. */
    int (*build)(const task *, const corpus *, const chat_template *chat, int64_t size,
                 random_stream *, task_sample *);
} generator;

/* Needles in a haystack (niah.c). */
extern const generator niah_generator;

typedef enum { HAYSTACK_NOISE, HAYSTACK_ESSAY, HAYSTACK_NEEDLES } niah_haystack;
typedef enum { NIAH_WORDS, NIAH_NUMBERS, NIAH_UUIDS } niah_kind;

typedef struct {
    niah_haystack haystack;
    niah_kind keys, values;
    int key_count, values_per_key, queries; /* keys: max(key_count, queries) */
} niah_options;
#endif
