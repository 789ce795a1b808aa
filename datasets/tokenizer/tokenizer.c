/* The tokenizer as a whole: opening a file, taking text through its parts, and the writable state
 * that each call borrows, so that threads can encode with one tokenizer at the same time. */
#include "datasets/tokenizer/parts.h"

#include "harness/error.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    KEPT_BYTES = 1 << 20,   /* buffers larger than this are not kept from call to call */
    LARGEST_FILE = 1 << 26, /* real ones have up to 35 MB; a hostile one takes 85 times as much parsed */
};

void token_list_push(token_list *list, int32_t id)
{
    if (list->count == list->capacity) {
        list->capacity = list->capacity ? list->capacity + list->capacity / 2 : 64;
        list->ids = realloc_or_die(list->ids, list->capacity, sizeof *list->ids);
    }
    list->ids[list->count++] = id;
}

void token_list_free(token_list *list)
{
    free(list->ids);
    *list = (token_list){0};
}

/* A whole file (jansson reads one byte by byte, which takes a third longer). */
static char *read_file(const char *path, size_t *bytes)
{
    struct stat status;
    int descriptor = open(path, O_RDONLY);
    if (descriptor < 0 || fstat(descriptor, &status)) {
        fail("%s: %s", path, strerror(errno));
        if (descriptor >= 0)
            close(descriptor);
        return NULL;
    }
    char *text = NULL;
    if (!S_ISREG(status.st_mode) || status.st_size > LARGEST_FILE) {
        fail("%s: %s", path, S_ISREG(status.st_mode) ? "larger than 64 MiB" : "not a regular file");
    } else {
        text = alloc_or_die((size_t)status.st_size, 1);
        *bytes = 0;
        ssize_t got;
        while (*bytes < (size_t)status.st_size &&
               (got = read(descriptor, text + *bytes, (size_t)status.st_size - *bytes)) > 0)
            *bytes += (size_t)got;
    }
    close(descriptor);
    return text;
}

/* The sentence quotes the file: nothing in it may upset a terminal. */
static void clean_sentence(void)
{
    text_buffer clean = {0};
    utf8_repair(fail_text(), strlen(fail_text()), &clean);
    for (size_t i = 0; i < clean.count; i++)
        if ((uint8_t)clean.bytes[i] < 0x20 || clean.bytes[i] == 0x7F)
            clean.bytes[i] = '?';
    fail("%.*s", (int)clean.count, clean.bytes);
    text_buffer_free(&clean);
}

tokenizer *tokenizer_open(const char *path)
{
    struct stat status;
    char *file = stat(path, &status) == 0 && S_ISDIR(status.st_mode)
                     ? format_text("%s/tokenizer.json", path) : copy_text(path);
    size_t bytes = 0;
    char *text = read_file(file, &bytes);
    tokenizer *t = NULL;
    json_t *root = NULL;
    if (text) {
        json_error_t error;
        root = json_loadb(text, bytes, JSON_ALLOW_NUL, &error);
        free(text);
        if (!root)
            fail("%s: line %d, column %d: %s", file, error.line, error.column, error.text);
    }
    if (root) {
        t = alloc_or_die(1, sizeof *t);
        pthread_mutex_init(&t->lock, NULL);
        if (tokenizer_load(t, root)) {
            fail_within("%s", file);
            tokenizer_close(t);
            t = NULL;
        }
        json_decref(root);
    }
    if (!t)
        clean_sentence();
    free(file);
    return t;
}

static void encoder_free(encoder *e)
{
    onig_region_free(e->region, 1);
    text_buffer_free(&e->repaired);
    text_buffer_free(&e->normal[0]);
    text_buffer_free(&e->normal[1]);
    for (int i = 0; i < SPLIT_STEPS; i++)
        text_buffer_free(&e->prefixed[i]);
    text_buffer_free(&e->mapped);
    free(e->cache);
    free(e->symbol);
    free(e->heap);
    free(e);
}

void tokenizer_close(tokenizer *t)
{
    if (!t)
        return;
    while (t->free_encoders) {
        encoder *e = t->free_encoders;
        t->free_encoders = e->next_free;
        encoder_free(e);
    }
    pthread_mutex_destroy(&t->lock);
    bpe_free(&t->model);
    added_free(&t->added);
    normalizer_free(&t->normal);
    splitter_free(&t->split);
    decoder_free(&t->decode);
    token_list_free(&t->prefix);
    token_list_free(&t->suffix);
    free(t);
}

/* The one thing that changes behind a const tokenizer: the list of encoders that nobody uses. */
static encoder *borrow_encoder(const tokenizer *constant, token_list *out)
{
    tokenizer *t = (tokenizer *)constant;
    pthread_mutex_lock(&t->lock);
    encoder *e = t->free_encoders;
    if (e)
        t->free_encoders = e->next_free;
    pthread_mutex_unlock(&t->lock);
    if (!e) {
        e = alloc_or_die(1, sizeof *e);
        e->owner = t;
        e->model = &t->model;
        e->region = onig_region_new();
        e->cache = alloc_or_die(CACHED_WORDS, sizeof *e->cache);
    }
    e->out = out;
    return e;
}

static void trim(text_buffer *buffer)
{
    if (buffer->capacity > KEPT_BYTES)
        text_buffer_free(buffer);
}

static void return_encoder(const tokenizer *constant, encoder *e)
{
    tokenizer *t = (tokenizer *)constant;
    trim(&e->repaired);
    trim(&e->normal[0]);
    trim(&e->normal[1]);
    for (int i = 0; i < SPLIT_STEPS; i++)
        trim(&e->prefixed[i]);
    trim(&e->mapped);
    if (e->symbols * sizeof *e->symbol > KEPT_BYTES) {
        free(e->symbol);
        e->symbol = NULL;
        e->symbols = 0;
    }
    if (e->heap_capacity * sizeof *e->heap > KEPT_BYTES) {
        free(e->heap);
        e->heap = NULL;
        e->heap_capacity = 0;
    }
    pthread_mutex_lock(&t->lock);
    e->next_free = t->free_encoders;
    t->free_encoders = e;
    pthread_mutex_unlock(&t->lock);
}

/* Text between added tokens, normalised; `first`: it stands where the input begins. */
static int encode_normal(const tokenizer *t, encoder *e, const char *text, size_t bytes, bool first)
{
    size_t done = 0, from = 0;
    added_match match;
    while (added_find(&t->added, &t->added.normalized, text, bytes, done, &from, &match)) {
        if (done < match.begin &&
            split_words(&t->split, e, 0, text + done, match.begin - done, first && !done))
            return -1;
        token_list_push(e->out, match.token->id);
        done = match.end;
    }
    if (done == bytes)
        return 0;
    return split_words(&t->split, e, 0, text + done, bytes - done, first && !done);
}

static int encode_raw(const tokenizer *t, encoder *e, const char *text, size_t bytes, bool first)
{
    if (normalize(&t->normal, e->region, e->normal, &text, &bytes))
        return -1;
    return encode_normal(t, e, text, bytes, first);
}

static int encode_text(const tokenizer *t, encoder *e, const char *text, size_t bytes)
{
    size_t done = 0, from = 0;
    added_match match;
    while (added_find(&t->added, &t->added.raw, text, bytes, done, &from, &match)) {
        if (done < match.begin && encode_raw(t, e, text + done, match.begin - done, !done))
            return -1;
        token_list_push(e->out, match.token->id);
        done = match.end;
    }
    return done == bytes ? 0 : encode_raw(t, e, text + done, bytes - done, !done);
}

int tokenizer_encode(const tokenizer *t, const char *text, size_t bytes, bool add_special,
                     token_list *out)
{
    size_t before = out->count;
    encoder *e = borrow_encoder(t, out);
    if (utf8_valid_prefix(text, bytes) != bytes) {
        e->repaired.count = 0;
        utf8_repair(text, bytes, &e->repaired);
        text = e->repaired.bytes;
        bytes = e->repaired.count;
    }
    for (size_t i = 0; add_special && i < t->prefix.count; i++)
        token_list_push(out, t->prefix.ids[i]);
    int status = encode_text(t, e, text, bytes);
    for (size_t i = 0; add_special && i < t->suffix.count; i++)
        token_list_push(out, t->suffix.ids[i]);
    if (status)
        out->count = before;
    return_encoder(t, e);
    return status;
}

const int32_t *tokenizer_prefix(const tokenizer *t, size_t *count)
{
    *count = t->prefix.count;
    return t->prefix.ids;
}

int tokenizer_vocab(const tokenizer *t)
{
    return t->vocab;
}

int32_t tokenizer_id(const tokenizer *t, const char *token)
{
    int32_t id = vocabulary_find(&t->added.words, token, strlen(token));
    return id >= 0 ? id : vocabulary_find(&t->model.words, token, strlen(token));
}

bool tokenizer_is_special(const tokenizer *t, int32_t id)
{
    const added_token *added = added_by_id(&t->added, id);
    return added && added->special;
}
