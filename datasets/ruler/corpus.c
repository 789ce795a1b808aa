/* Word lists and haystack text. See corpus.h. */
#include "datasets/ruler/corpus.h"

#include "datasets/ruler/question_set.h"
#include "datasets/unicode.h"
#include "harness/error.h"
#include "harness/model/model.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_BYTES = 1 << 30 }; /* of a haystack or word list */

/* The whole file with a NUL behind; NULL with a sentence. */
static char *read_whole(const char *path, size_t *bytes)
{
    FILE *file = fopen(path, "rb");
    if (!file) {
        fail("cannot open %s: %s", path, strerror(errno));
        return NULL;
    }
    char *content = NULL;
    size_t capacity = 1 << 16;
    *bytes = 0;
    do {
        content = realloc_or_die(content, capacity *= 2, 1);
        *bytes += fread(content + *bytes, 1, capacity - 1 - *bytes, file);
    } while (*bytes == capacity - 1 && capacity <= MOST_BYTES);
    bool failed = ferror(file);
    if (failed)
        fail("cannot read %s: %s", path, strerror(errno));
    else if ((failed = *bytes > MOST_BYTES))
        fail("%s is over 1 GB", path);
    fclose(file);
    if (failed) {
        free(content);
        return NULL;
    }
    content[*bytes] = 0;
    return content;
}

/* A file that set-up makes: where it is missing the sentence says how to get it. */
static char *read_cached(const char *part, char **path, size_t *bytes)
{
    char *cache = cache_directory();
    *path = format_text("%s/%s", cache, part);
    free(cache);
    char *content = read_whole(*path, bytes);
    if (!content)
        fail("%s (`make setup` makes it)", fail_text());
    return content;
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Sorts the words and drops repeats. */
static void make_set(word_list *list)
{
    size_t distinct = 0;
    qsort(list->words, list->count, sizeof *list->words, by_bytes);
    for (size_t i = 0; i < list->count; i++)
        if (!i || strcmp(list->words[i], list->words[distinct - 1]))
            list->words[distinct++] = list->words[i];
    list->count = distinct;
}

static int read_words(const char *part, word_list *list)
{
    char *path;
    size_t bytes;
    list->bytes = read_cached(part, &path, &bytes);
    if (list->bytes) {
        size_t lines = 1;
        for (size_t i = 0; i < bytes; i++)
            lines += list->bytes[i] == '\n' || list->bytes[i] == '\r';
        list->words = alloc_or_die(lines, sizeof *list->words);
        char *rest = list->bytes;
        for (char *line; (line = strsep(&rest, "\r\n"));)
            if (*line)
                list->words[list->count++] = line;
        make_set(list);
    }
    int result = 0;
    if (!list->bytes)
        result = -1;
    else if (!list->count)
        result = fail("%s holds no words", path);
    else if (utf8_valid_prefix(list->bytes, bytes) < bytes)
        result = fail("%s is no UTF-8", path);
    free(path);
    return result;
}

/* The `text` of a JSON object, in place of the whole content. */
static int take_json_text(const char *path, char **content, size_t *bytes)
{
    json_error_t where;
    json_t *root = json_loadb(*content, *bytes, JSON_ALLOW_NUL, &where);
    const json_t *value = json_object_get(root, "text");
    int result = 0;
    if (!root)
        result = fail("%s: line %d: %s", path, where.line, where.text);
    else if (!json_is_string(value))
        result = fail("%s: no string under the key `text`", path);
    if (result == 0) {
        free(*content);
        *bytes = json_string_length(value);
        *content = copy_bytes(json_string_value(value), *bytes);
    }
    json_decref(root);
    return result;
}

/* Where the prose of the Jargon File begins: in front of its first chapter lie 900 words of table of
 * contents, hardly a sentence among them, and short samples would consist of nothing else. */
static size_t skip_contents(const char *jargon)
{
    const char *chapter = strstr(jargon, "\nChapter\u00a01."); /* a space that does not break */
    return chapter ? (size_t)(chapter - jargon) : 0;
}

static int read_essay(corpus *corpus, const char *haystack)
{
    char *path = NULL;
    size_t bytes;
    char *content;
    if (haystack) {
        path = copy_text(haystack);
        content = read_whole(path, &bytes);
    } else {
        content = read_cached("text/jargon.txt", &path, &bytes);
    }
    int result = content ? 0 : -1;
    if (content && content[strspn(content, " \t\r\n")] == '{')
        result = take_json_text(path, &content, &bytes);
    size_t valid = result == 0 ? utf8_valid_prefix(content, bytes) : 0;
    if (result == 0 && valid < bytes)
        result = fail("%s: byte %zu is no UTF-8", path, valid);
    if (result == 0) {
        size_t joined, skipped = haystack ? 0 : skip_contents(content);
        corpus->essay = python_join_words(content + skipped, bytes - skipped, &joined);
        corpus->word_ends = alloc_or_die(joined / 2 + 1, sizeof *corpus->word_ends);
        for (size_t i = 1; i <= joined; i++)
            if (i == joined || corpus->essay[i] == ' ')
                corpus->word_ends[corpus->essay_words++] = i;
        if (!corpus->essay_words)
            result = fail("%s holds no words", path);
    }
    free(content);
    free(path);
    return result;
}

corpus *corpus_open(bool words, bool essay, const char *haystack)
{
    corpus *corpus = alloc_or_die(1, sizeof *corpus);
    if ((words && (read_words("words/adjectives.txt", &corpus->adjectives) < 0 ||
                   read_words("words/nouns.txt", &corpus->nouns) < 0)) ||
        (essay && read_essay(corpus, haystack) < 0)) {
        corpus_close(corpus);
        return NULL;
    }
    return corpus;
}

/* Whether the cache holds the file. */
static bool is_cached(const char *part)
{
    char *cache = cache_directory(), *path = format_text("%s/%s", cache, part);
    bool found = access(path, F_OK) == 0;
    free(path);
    free(cache);
    return found;
}

corpus *corpus_open_vocabulary(void)
{
    static const char dictionary[] = "words/dictionary.txt";
    corpus *corpus = corpus_open(true, false, NULL);
    if (!corpus)
        return NULL;
    if (read_words("words/verbs.txt", &corpus->verbs) < 0 ||
        (is_cached(dictionary) && read_words(dictionary, &corpus->dictionary) < 0)) {
        corpus_close(corpus);
        return NULL;
    }
    const word_list *parts[] = {&corpus->adjectives, &corpus->nouns, &corpus->verbs};
    word_list *all = &corpus->vocabulary;
    for (int p = 0; p < 3; p++) {
        all->words = realloc_or_die(all->words, all->count + parts[p]->count, sizeof *all->words);
        memcpy(all->words + all->count, parts[p]->words, parts[p]->count * sizeof *all->words);
        all->count += parts[p]->count;
    }
    make_set(all);
    return corpus;
}

static void free_words(word_list *list)
{
    free(list->words);
    free(list->bytes);
}

void corpus_close(corpus *corpus)
{
    if (!corpus)
        return;
    free_words(&corpus->adjectives);
    free_words(&corpus->nouns);
    free_words(&corpus->verbs);
    free_words(&corpus->vocabulary);
    free_words(&corpus->dictionary);
    question_set_close(corpus->questions);
    free(corpus->essay);
    free(corpus->word_ends);
    free(corpus);
}

char *corpus_essay(const corpus *corpus, int64_t count, size_t *bytes)
{
    size_t rounds = (size_t)count / corpus->essay_words, rest = (size_t)count % corpus->essay_words;
    size_t whole = corpus->word_ends[corpus->essay_words - 1];
    size_t part = rest ? corpus->word_ends[rest - 1] : 0;
    char *essay = alloc_or_die(rounds * (whole + 1) + part + 1, 1);
    char *end = essay;
    for (size_t i = 0; i < rounds; i++) {
        end = mempcpy(end, corpus->essay, whole);
        *end++ = ' ';
    }
    end = mempcpy(end, corpus->essay, part);
    if (!rest && rounds)
        end--; /* no space behind the last word */
    *end = 0;
    *bytes = (size_t)(end - essay);
    return essay;
}
