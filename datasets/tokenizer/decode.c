/* Ids back to text: a row of steps over the texts of the tokens, as the decoder of tokenizer.json
 * lists them. Bytes that do not form UTF-8 become U+FFFD: by maximal subparts for byte-level models;
 * for byte-fallback models one for each byte of a run of byte tokens that is not well-formed as a
 * whole, which is what Hugging Face does. */
#include "datasets/tokenizer/parts.h"

#include "harness/error.h"

#include <stdlib.h>
#include <string.h>

/* Texts side by side: where each ends. */
typedef struct {
    text_buffer text;
    size_t *end;
    size_t count, capacity;
} piece_list;

static void close_piece(piece_list *list)
{
    text_buffer_reserve(&list->text, 1); /* even an empty piece has a place */
    if (list->count == list->capacity) {
        list->capacity = list->capacity ? list->capacity * 2 : 256;
        list->end = realloc_or_die(list->end, list->capacity, sizeof *list->end);
    }
    list->end[list->count++] = list->text.count;
}

static void free_pieces(piece_list *list)
{
    text_buffer_free(&list->text);
    free(list->end);
}

/* Appends the bytes that the characters of a token stand for, or the token's own bytes if one of
 * them stands for none (an added token, say). */
static void append_byte_level(text_buffer *out, const char *text, size_t bytes)
{
    size_t before = out->count;
    for (size_t at = 0; at < bytes;) {
        int byte = character_byte(utf8_next(text, &at));
        if (byte < 0) {
            out->count = before;
            text_buffer_append(out, text, bytes);
            return;
        }
        char one = (char)byte;
        text_buffer_append(out, &one, 1);
    }
}

static void byte_level(const piece_list *in, piece_list *out)
{
    text_buffer all = {0};
    for (size_t i = 0, begin = 0; i < in->count; begin = in->end[i++])
        append_byte_level(&all, in->text.bytes + begin, in->end[i] - begin);
    utf8_repair(all.bytes, all.count, &out->text);
    close_piece(out);
    text_buffer_free(&all);
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int fallback_byte(const char *text, size_t bytes)
{
    if (bytes != 6 || memcmp(text, "<0x", 3) || text[5] != '>')
        return -1;
    int high = hex_digit(text[3]), low = hex_digit(text[4]);
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

static void flush_bytes(text_buffer *run, piece_list *out)
{
    if (!run->count)
        return;
    if (utf8_valid_prefix(run->bytes, run->count) == run->count) {
        text_buffer_append(&out->text, run->bytes, run->count);
        close_piece(out);
    } else {
        for (size_t i = 0; i < run->count; i++) {
            text_buffer_append(&out->text, "\xEF\xBF\xBD", 3);
            close_piece(out);
        }
    }
    run->count = 0;
}

static void byte_fallback(const piece_list *in, piece_list *out)
{
    text_buffer run = {0};
    for (size_t i = 0, begin = 0; i < in->count; begin = in->end[i++]) {
        const char *text = in->text.bytes + begin;
        size_t bytes = in->end[i] - begin;
        int byte = fallback_byte(text, bytes);
        if (byte >= 0) {
            char one = (char)byte;
            text_buffer_append(&run, &one, 1);
            continue;
        }
        flush_bytes(&run, out);
        text_buffer_append(&out->text, text, bytes);
        close_piece(out);
    }
    flush_bytes(&run, out);
    text_buffer_free(&run);
}

static int replace(const decode_step *step, OnigRegion *region, const char *text, size_t bytes,
                   text_buffer *out)
{
    pattern_walk walk = {0};
    size_t done = 0, begin, end;
    int status;
    while ((status = pattern_next(&step->what, region, text, bytes, &walk, &begin, &end)) > 0) {
        text_buffer_append(out, text + done, begin - done);
        text_buffer_append(out, step->with, step->with_bytes);
        done = end;
    }
    text_buffer_append(out, text + done, bytes - done);
    return status;
}

/* Cuts up to `start` of the character at the front and `stop` at the back. */
static void strip(const decode_step *step, const char *text, size_t bytes, text_buffer *out)
{
    size_t mark = step->with_bytes, front = 0;
    for (int64_t i = 0; i < step->start && bytes - front >= mark; i++) {
        if (memcmp(text + front, step->with, mark))
            break;
        front += mark;
    }
    for (int64_t i = 0; i < step->stop && bytes - front >= mark; i++) {
        if (memcmp(text + bytes - mark, step->with, mark))
            break;
        bytes -= mark;
    }
    text_buffer_append(out, text + front, bytes - front);
}

static void metaspace(const decode_step *step, const char *text, size_t bytes, bool first,
                      text_buffer *out)
{
    size_t mark = step->with_bytes;
    for (size_t at = 0; at < bytes;) {
        size_t begin = at;
        utf8_next(text, &at);
        if (at - begin != mark || memcmp(text + begin, step->with, mark))
            text_buffer_append(out, text + begin, at - begin);
        else if (!first || step->prepend == PREPEND_NEVER)
            text_buffer_append(out, " ", 1);
    }
}

static int decode_one(const decode_step *step, OnigRegion *region, const piece_list *in,
                      piece_list *out)
{
    if (step->kind == DECODE_BYTE_LEVEL) {
        byte_level(in, out);
        return 0;
    }
    if (step->kind == DECODE_BYTE_FALLBACK) {
        byte_fallback(in, out);
        return 0;
    }
    for (size_t i = 0, begin = 0; i < in->count; begin = in->end[i++]) {
        const char *text = in->text.bytes + begin;
        size_t bytes = in->end[i] - begin;
        if (step->kind == DECODE_STRIP)
            strip(step, text, bytes, &out->text);
        else if (step->kind == DECODE_METASPACE)
            metaspace(step, text, bytes, i == 0, &out->text);
        else if (step->kind == DECODE_FUSE)
            text_buffer_append(&out->text, text, bytes);
        else if (replace(step, region, text, bytes, &out->text) < 0)
            return -1;
        if (step->kind != DECODE_FUSE)
            close_piece(out);
    }
    if (step->kind == DECODE_FUSE)
        close_piece(out);
    return 0;
}

/* What stands for an id before the decoder's steps: its text in the vocabulary, or, for an added
 * token that is matched in normalised text, its normalised form (as tokenizers 0.23 has it). */
static const char *shown_text(const tokenizer *t, const added_token *added, int32_t id, size_t *bytes)
{
    if (added && added->normal) {
        *bytes = added->normal_bytes;
        return added->normal;
    }
    return vocabulary_text(added ? &t->added.words : &t->model.words, id, bytes);
}

char *tokenizer_decode(const tokenizer *t, const int32_t *ids, size_t count, bool skip_special,
                       size_t *bytes)
{
    piece_list in = {0};
    for (size_t i = 0; i < count; i++) {
        const added_token *added = added_by_id(&t->added, ids[i]);
        size_t length = 0;
        const char *text = shown_text(t, added, ids[i], &length);
        if (!text || (skip_special && added && added->special))
            continue;
        if (!t->has_decoder && in.count)
            text_buffer_append(&in.text, " ", 1); /* Hugging Face joins by spaces then */
        text_buffer_append(&in.text, text, length);
        close_piece(&in);
    }
    OnigRegion *region = onig_region_new();
    for (int i = 0; i < t->decode.count; i++) {
        piece_list out = {0};
        int status = decode_one(&t->decode.step[i], region, &in, &out);
        free_pieces(&in);
        in = out;
        if (status)
            in.text.count = 0; /* a pattern that Oniguruma gave up on: nothing sound to show */
    }
    onig_region_free(region, 1);
    char *text = copy_bytes(in.text.bytes ? in.text.bytes : "", in.text.count);
    if (bytes)
        *bytes = in.text.count;
    free_pieces(&in);
    return text;
}

void decoder_free(decoder *decode)
{
    for (int i = 0; i < decode->count; i++) {
        pattern_free(&decode->step[i].what);
        free(decode->step[i].with);
    }
    free(decode->step);
    *decode = (decoder){0};
}
