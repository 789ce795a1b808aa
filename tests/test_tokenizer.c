/* The tokenizer against ids and texts that Hugging Face's `tokenizers` made (tests/data/tokenizer,
 * by tests/reference/tokenizer.py): a small vocabulary of each kind, and the default model's own
 * where set-up has made it; beside that families of chat templates, UTF-8 repair, runs of a megabyte
 * and threads. Ids and texts are compared exactly. */
#include "harness/error.h"
#include "harness/model/model.h"
#include "tests/tokenizer_fixture.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* One input of cases.json: its text, or any bytes in hexadecimal. */
static char *case_bytes(const json_t *row, size_t *bytes)
{
    const json_t *text = json_object_get(row, "text"), *hex = json_object_get(row, "hex");
    if (text) {
        *bytes = json_string_length(text);
        return copy_bytes(json_string_value(text), *bytes);
    }
    *bytes = json_string_length(hex) / 2;
    char *result = alloc_or_die(*bytes + 1, 1);
    for (size_t i = 0; i < *bytes; i++)
        sscanf(json_string_value(hex) + 2 * i, "%2hhx", (unsigned char *)result + i);
    return result;
}

static void read_ids(const json_t *array, token_list *out)
{
    out->count = 0;
    for (size_t i = 0; i < json_array_size(array); i++)
        token_list_push(out, (int32_t)json_integer_value(json_array_get(array, i)));
}

static void expect_ids(const token_list *got, const token_list *want, const char *kind, size_t row)
{
    size_t at = 0;
    while (at < got->count && at < want->count && got->ids[at] == want->ids[at])
        at++;
    cr_expect(same_ids(got, want), "%s, case %zu: id %zu is %d of %zu, should be %d of %zu", kind, row,
              at, at < got->count ? got->ids[at] : -1, got->count,
              at < want->count ? want->ids[at] : -1, want->count);
}

static void expect_decoded(const tokenizer *t, const token_list *ids, bool skip, const json_t *want,
                           const char *kind, size_t row)
{
    size_t bytes;
    char *text = tokenizer_decode(t, ids->ids, ids->count, skip, &bytes);
    cr_expect(bytes == json_string_length(want) && !memcmp(text, json_string_value(want), bytes),
              "%s, row %zu decodes to \"%s\", not \"%s\"", kind, row, text, json_string_value(want));
    free(text);
}

static void check_references(const tokenizer *t, const char *kind)
{
    char *path = format_text(TOKENIZER_DATA "%s.reference.json", kind);
    json_t *reference = read_json(path), *cases = read_json(TOKENIZER_DATA "cases.json");
    free(path);
    const json_t *rows = json_object_get(reference, "rows");
    size_t encoded = (size_t)json_integer_value(json_object_get(reference, "encoded"));
    cr_assert_eq(json_array_size(cases), encoded);
    cr_assert_gt(json_array_size(rows), encoded);
    token_list got = {0}, want = {0}, begin = {0}, end = {0};
    read_ids(json_object_get(reference, "begin"), &begin);
    read_ids(json_object_get(reference, "end"), &end);
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        read_ids(json_array_get(row, 0), &want);
        expect_decoded(t, &want, false, json_array_get(row, 1), kind, i);
        expect_decoded(t, &want, true, json_array_get(row, 2), kind, i);
        if (i >= encoded)
            continue;
        size_t bytes;
        char *text = case_bytes(json_array_get(cases, i), &bytes);
        got.count = 0;
        cr_expect_eq(tokenizer_encode(t, text, bytes, false, &got), 0);
        expect_ids(&got, &want, kind, i);
        token_list whole = {0};
        for (size_t k = 0; k < begin.count; k++)
            token_list_push(&whole, begin.ids[k]);
        for (size_t k = 0; k < want.count; k++)
            token_list_push(&whole, want.ids[k]);
        for (size_t k = 0; k < end.count; k++)
            token_list_push(&whole, end.ids[k]);
        got.count = 0;
        cr_expect_eq(tokenizer_encode(t, text, bytes, true, &got), 0);
        expect_ids(&got, &whole, kind, i);
        token_list_free(&whole);
        free(text);
    }
    token_list_free(&got);
    token_list_free(&want);
    token_list_free(&begin);
    token_list_free(&end);
    json_decref(reference);
    json_decref(cases);
}

Test(tokenizer, equals_hugging_face_on_every_kind)
{
    for (int i = 0; i < TOKENIZER_KINDS; i++) {
        tokenizer *t = open_kind(tokenizer_kinds[i]);
        check_references(t, tokenizer_kinds[i]);
        tokenizer_close(t);
    }
}

Test(tokenizer, default_model)
{
    char *cache = cache_directory(), *path = format_text("%s/models/smollm2", cache);
    free(cache);
    if (access(path, R_OK)) {
        free(path);
        cr_skip_test("set-up has not made the default model here");
    }
    tokenizer *t = tokenizer_open(path);
    cr_assert(t, "%s", fail_text());
    check_references(t, "smollm2-135m");
    const chat_template *chat = chat_template_for(t);
    cr_expect_str_eq(chat->family, "smollm2");
    token_list head = {0};
    cr_expect_eq(tokenizer_encode(t, chat->head, strlen(chat->head), false, &head), 0);
    cr_expect_eq(head.count, 24);
    cr_expect_eq(tokenizer_id(t, chat->end_of_turn), 2);
    cr_expect(tokenizer_is_special(t, 2) && !tokenizer_is_special(t, 100));
    cr_expect_eq(tokenizer_vocab(t), 49152);
    token_list_free(&head);
    tokenizer_close(t);
    free(path);
}

/* Of a tokenizer.json, which is taken over. */
static tokenizer *open_json(json_t *root)
{
    char path[] = "/tmp/apbench-tokenizer-XXXXXX";
    int descriptor = mkstemp(path);
    cr_assert(descriptor >= 0);
    close(descriptor);
    cr_assert_eq(json_dump_file(root, path, 0), 0);
    json_decref(root);
    tokenizer *t = tokenizer_open(path);
    cr_assert(t, "%s", fail_text());
    unlink(path);
    return t;
}

Test(tokenizer, families)
{
    static const char *const families[TOKENIZER_KINDS] = {"smollm2", "llama-3", "qwen2.5", "plain",
                                                          "plain", "plain", "plain"};
    for (int i = 0; i < TOKENIZER_KINDS; i++) {
        tokenizer *t = open_kind(tokenizer_kinds[i]);
        const chat_template *chat = chat_template_for(t);
        cr_expect_str_eq(chat->family, families[i]);
        cr_expect(!*chat->end_of_turn || tokenizer_is_special(t, tokenizer_id(t, chat->end_of_turn)));
        tokenizer_close(t);
    }
    /* The marks of turns are a template's only where they follow the end of texts. */
    static const int marks[][3] = {{0, 1, 2}, {0, 1, 3}, {0, 2, 3}, {2, 0, 1}};
    for (int i = 0; i < 4; i++) {
        json_t *added = json_array();
        for (int k = 0; k < 3; k++)
            json_array_append_new(
                added, json_pack("{s:i, s:s, s:b, s:b, s:b, s:b, s:b}", "id", marks[i][k], "content",
                                 k == 0 ? "<|endoftext|>" : k == 1 ? "<|im_start|>" : "<|im_end|>",
                                 "special", 1, "single_word", 0, "lstrip", 0, "rstrip", 0, "normalized", 0));
        json_t *model = json_pack("{s:s, s:{s:i}, s:[]}", "type", "BPE", "vocab", "a", 9, "merges");
        tokenizer *t = open_json(json_pack("{s:s, s:o, s:o}", "version", "1.0", "added_tokens", added,
                                           "model", model));
        cr_expect_str_eq(chat_template_for(t)->family, i == 0 ? "qwen2.5" : "plain", "case %d", i);
        tokenizer_close(t);
    }
}

Test(tokenizer, ids_and_texts_of_tokens)
{
    tokenizer *t = open_kind("llama-2");
    cr_expect_eq(tokenizer_vocab(t), 804);
    cr_expect_eq(tokenizer_id(t, "<s>"), 1);
    cr_expect_eq(tokenizer_id(t, "<0x00>"), 3);
    cr_expect_eq(tokenizer_id(t, "<tidy>"), 800); /* added, not in the model's vocabulary */
    cr_expect_eq(tokenizer_id(t, "no such token"), -1);
    cr_expect(tokenizer_is_special(t, 1) && !tokenizer_is_special(t, 3));
    cr_expect(!tokenizer_is_special(t, -1) && !tokenizer_is_special(t, 804));
    int32_t outside[] = {-5, 1, 804, INT32_MAX, INT32_MIN}; /* ids that nobody has decode to nothing */
    size_t bytes;
    char *text = tokenizer_decode(t, outside, 5, false, &bytes);
    cr_expect_str_eq(text, "<s>");
    cr_expect_eq(bytes, 3);
    free(text);
    tokenizer_close(t);
}

/* The metaspace vocabulary with another part, which is taken over. */
static tokenizer *with_part(const char *part, json_t *value)
{
    json_t *root = read_json(TOKENIZER_DATA "metaspace.json");
    json_object_set_new(root, part, value);
    return open_json(root);
}

/* A text's first mark is no space, unless none is ever put there; without a decoder texts of tokens have
 * spaces between them, and none where a special token was left out. */
Test(tokenizer, spaces_where_a_text_begins)
{
    static const char *const schemes[] = {"always", "first", "never"};
    token_list ids = {0};
    tokenizer *plain = open_kind("metaspace");
    int32_t word = tokenizer_id(plain, "\u2581"), special = tokenizer_id(plain, "<s>");
    cr_assert(word >= 0 && special >= 0);
    tokenizer_close(plain);
    token_list_push(&ids, special);
    token_list_push(&ids, word);
    token_list_push(&ids, word);
    for (int i = 0; i < 3; i++) {
        tokenizer *t = with_part("decoder", json_pack("{s:s, s:s, s:s, s:b}", "type", "Metaspace",
                                                      "replacement", "\u2581", "prepend_scheme",
                                                      schemes[i], "split", 1));
        char *text = tokenizer_decode(t, ids.ids, ids.count, true, NULL);
        cr_expect_str_eq(text, i == 2 ? "  " : " ", "%s: '%s'", schemes[i], text);
        free(text);
        tokenizer_close(t);
    }
    tokenizer *t = with_part("decoder", json_pack("{s:s, s:s, s:i, s:i}", "type", "Strip", "content", "\u2581",
                                                  "start", 1, "stop", 1));
    char *none = tokenizer_decode(t, ids.ids, ids.count, true, NULL);
    cr_expect_str_eq(none, "", "what the front has lost the back cannot lose");
    free(none);
    tokenizer_close(t);
    t = with_part("decoder", json_null());
    char *text = tokenizer_decode(t, ids.ids, ids.count, true, NULL);
    cr_expect_str_eq(text, "\u2581 \u2581");
    free(text);
    text = tokenizer_decode(t, ids.ids, ids.count, false, NULL);
    cr_expect_str_eq(text, "<s> \u2581 \u2581");
    free(text);
    tokenizer_close(t);
    token_list_free(&ids);
}

/* Of pieces that a step before has cut the first alone begins the text. */
Test(tokenizer, a_mark_before_the_first_piece)
{
    tokenizer *t = with_part("pre_tokenizer",
                             json_pack("{s:s, s:[{s:s, s:b}, {s:s, s:s, s:s, s:b}]}", "type", "Sequence",
                                       "pretokenizers", "type", "Digits", "individual_digits", 1, "type",
                                       "Metaspace", "replacement", "\u2581", "prepend_scheme", "first",
                                       "split", 1));
    token_list ids = {0};
    cr_assert_eq(tokenizer_encode(t, "a12", 3, false, &ids), 0, "%s", fail_text());
    int marks = 0;
    for (size_t i = 0; i < ids.count; i++) {
        size_t bytes;
        const char *text = vocabulary_text(&t->model.words, ids.ids[i], &bytes);
        marks += bytes >= 3 && !memcmp(text, "\u2581", 3);
    }
    cr_expect_eq(marks, 1, "%d marks", marks);
    token_list_free(&ids);
    tokenizer_close(t);
}

/* A pair that is listed twice has its last rank, as in Hugging Face: b and c come first then. */
Test(tokenizer, a_merge_that_is_listed_twice)
{
    json_t *model = json_pack("{s:s, s:{s:i, s:i, s:i, s:i, s:i}, s:[s, s, s]}", "type", "BPE", "vocab", "a", 0,
                              "b", 1, "c", 2, "ab", 3, "bc", 4, "merges", "a b", "b c", "a b");
    tokenizer *t = open_json(json_pack("{s:s, s:o}", "version", "1.0", "model", model));
    token_list ids = {0};
    cr_assert_eq(tokenizer_encode(t, "abc", 3, false, &ids), 0, "%s", fail_text());
    cr_expect(ids.count == 2 && ids.ids[0] == 0 && ids.ids[1] == 4);
    token_list_free(&ids);
    tokenizer_close(t);
}

/* Maximal subparts: the examples of the Unicode Standard, section 3.9, tables 3-8 to 3-11. */
Test(tokenizer, ill_formed_utf8_becomes_u_fffd_by_maximal_subparts)
{
    static const struct {
        const char *bytes;
        const char *repaired;
    } rows[] = {
        {"\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41", "????????A"},
        {"\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41", "????????A"},
        {"\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42", "?????A??B"},
        {"\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41", "????A"},
        {"caf\xC3\xA9", "caf\xC3\xA9"},
        {"\xF0\x9F\x98\x80\xF0\x9F\x98", "\xF0\x9F\x98\x80?"},
        {"\xF4\x8F\xBF\xBF\xEF\xBF\xBF", "\xF4\x8F\xBF\xBF\xEF\xBF\xBF"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        text_buffer got = {0}, want = {0};
        utf8_repair(rows[i].bytes, strlen(rows[i].bytes), &got);
        for (const char *at = rows[i].repaired; *at; at++)
            text_buffer_append(&want, *at == '?' ? "\xEF\xBF\xBD" : at, *at == '?' ? 3 : 1);
        cr_expect(got.count == want.count && !memcmp(got.bytes, want.bytes, got.count), "row %zu", i);
        text_buffer_free(&got);
        text_buffer_free(&want);
    }
}

/* ---- Long texts ---- */

/* Anything quadratic in these would not end within the suite's limit. */
Test(tokenizer, long_runs_are_no_trouble, .timeout = 120)
{
    static const char *const units[] = {"a", " ", "\n", "7", "=", "\xE4\xB8\xAD", "\xF0\x9F\x99\x82",
                                        " \n", "e\xCC\x81", "\xE2\x96\x81", "ab ", "<", "\xFF"};
    for (int kind = 0; kind < TOKENIZER_KINDS; kind++) {
        tokenizer *t = open_kind(tokenizer_kinds[kind]);
        for (size_t unit = 0; unit < sizeof units / sizeof *units; unit++) {
            size_t one = strlen(units[unit]), bytes = one * (400000 / one);
            char *text = alloc_or_die(bytes + 1, 1);
            for (size_t at = 0; at < bytes; at += one)
                memcpy(text + at, units[unit], one);
            token_list ids = {0};
            cr_expect_eq(tokenizer_encode(t, text, bytes, false, &ids), 0, "%s", fail_text());
            /* Byte-level vocabularies lose nothing (Qwen's but for what NFC changes). */
            bool exact = kind < 2 || (kind == 2 && units[unit][1] != '\xCC');
            size_t back_bytes;
            char *back = tokenizer_decode(t, ids.ids, ids.count, false, &back_bytes);
            if (exact && units[unit][0] != '\xFF')
                cr_expect(back_bytes == bytes && !memcmp(back, text, bytes), "%s, %s",
                          tokenizer_kinds[kind], units[unit]);
            free(back);
            token_list_free(&ids);
            free(text);
        }
        tokenizer_close(t);
    }
}

/* ---- Threads ---- */

typedef struct {
    const tokenizer *t;
    const json_t *cases;
    token_list all;
} worker;

static void *encode_all(void *argument)
{
    worker *w = argument;
    for (int round = 0; round < 5; round++)
        for (size_t i = 0; i < json_array_size(w->cases); i++) {
            size_t bytes;
            char *text = case_bytes(json_array_get(w->cases, i), &bytes);
            tokenizer_encode(w->t, text, bytes, true, &w->all);
            free(text);
        }
    return NULL;
}

Test(tokenizer, several_threads_share_one)
{
    enum { THREADS = 4 };
    tokenizer *t = open_kind("qwen2.5");
    json_t *cases = read_json(TOKENIZER_DATA "cases.json");
    worker workers[THREADS + 1];
    pthread_t threads[THREADS];
    for (int i = 0; i <= THREADS; i++)
        workers[i] = (worker){t, cases, {0}};
    for (int i = 0; i < THREADS; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, encode_all, &workers[i]), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    encode_all(&workers[THREADS]);
    for (int i = 0; i <= THREADS; i++) {
        cr_expect(same_ids(&workers[i].all, &workers[THREADS].all), "thread %d", i);
        cr_expect_gt(workers[i].all.count, 1000);
    }
    for (int i = 0; i <= THREADS; i++)
        token_list_free(&workers[i].all);
    json_decref(cases);
    tokenizer_close(t);
}
