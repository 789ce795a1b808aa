/* The raw material of generated samples: word lists, haystack text and questions, read from
 * the cache that set-up fills or from the user's own file. */
#ifndef DATASETS_CORPUS_H
#define DATASETS_CORPUS_H
#include "datasets/random.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    char *bytes;         /* the file; entries point into it */
    const char **words;  /* sorted by bytes, without repeats */
    size_t count;
} word_list;

typedef struct {
    word_list adjectives, nouns, verbs; /* empty unless asked for */
    char *essay;                 /* words joined by single spaces; NULL unless asked for */
    size_t *word_ends;           /* byte offset behind each word of the essay */
    size_t essay_words;
    word_list vocabulary;        /* adjectives, nouns and verbs together; empty unless asked for */
    word_list dictionary;        /* more words; may be empty even then */
    struct question_set *questions; /* NULL unless asked for (question_set.h) */
} corpus;

/* Reads <cache>/words/{adjectives,nouns}.txt (one entry a line) if words, and if essay the haystack
 * file, which is UTF-8 text or JSON with a string under the key `text`; haystack NULL means
 * <cache>/text/jargon.txt, from its first chapter on. NULL with a sentence naming the file. */
corpus *corpus_open(bool words, bool essay, const char *haystack);
/* Reads <cache>/words/{adjectives,nouns,verbs}.txt into vocabulary, and into dictionary
 * <cache>/words/dictionary.txt where there is one. NULL with a sentence. */
corpus *corpus_open_vocabulary(void);
void corpus_close(corpus *);

/* The first `count` words of the essay, from its start again when it is shorter, joined by single
 * spaces; fresh memory. */
char *corpus_essay(const corpus *, int64_t count, size_t *bytes);
#endif
