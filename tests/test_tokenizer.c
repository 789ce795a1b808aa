/* The tokenizer against ids and texts that Hugging Face's `tokenizers` made (tests/data/tokenizer,
 * by tests/reference/tokenizer.py): a small vocabulary of each kind, and the default model's own
 * where set-up has made it. Beside that: patterns matched by hand against Oniguruma, the heap against
 * a naive merge, words of a megabyte, threads, and files gone wrong. Ids and texts are compared
 * exactly. */
#include "datasets/tokenizer/parts.h"
#include "harness/error.h"
#include "harness/model/model.h"
#include "tests/checkpoint.h"
#include "tests/mutate.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DATA "tests/data/tokenizer/"

static const char *const kinds[] = {"smollm2", "llama-3", "qwen2.5", "yi", "llama-2", "metaspace",
                                    "odd"};
enum { KINDS = sizeof kinds / sizeof *kinds };

static tokenizer *open_kind(const char *name)
{
    char *path = format_text(DATA "%s.json", name);
    tokenizer *t = tokenizer_open(path);
    cr_assert(t, "%s", fail_text());
    free(path);
    return t;
}

static json_t *read_json(const char *path)
{
    json_error_t error;
    json_t *root = json_load_file(path, JSON_ALLOW_NUL, &error);
    cr_assert(root, "%s: %s", path, error.text);
    return root;
}

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

static bool same_ids(const token_list *a, const token_list *b)
{
    return a->count == b->count && (!a->count || !memcmp(a->ids, b->ids, a->count * sizeof *a->ids));
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
    char *path = format_text(DATA "%s.reference.json", kind);
    json_t *reference = read_json(path), *cases = read_json(DATA "cases.json");
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
    for (int i = 0; i < KINDS; i++) {
        tokenizer *t = open_kind(kinds[i]);
        check_references(t, kinds[i]);
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

Test(tokenizer, families)
{
    static const char *const families[KINDS] = {"smollm2", "llama-3", "qwen2.5", "plain", "plain",
                                                "plain", "plain"};
    for (int i = 0; i < KINDS; i++) {
        tokenizer *t = open_kind(kinds[i]);
        const chat_template *chat = chat_template_for(t);
        cr_expect_str_eq(chat->family, families[i]);
        cr_expect(!*chat->end_of_turn || tokenizer_is_special(t, tokenizer_id(t, chat->end_of_turn)));
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

/* ---- Patterns by hand and by Oniguruma ---- */

static uint64_t random_state = 7;

static uint64_t random_below(uint64_t limit)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (random_state >> 33) % limit;
}

static void expect_same_matches(const pattern hand[4], const pattern onig[4], OnigRegion *region,
                                const char *text, size_t bytes)
{
    for (int kind = 1; kind < 4; kind++) {
        pattern_walk a = {0}, b = {0};
        size_t begin = 0, end = 0, want_begin = 0, want_end = 0;
        int more = 1;
        while (more == 1) {
            more = pattern_next(&hand[kind], NULL, text, bytes, &a, &begin, &end);
            cr_assert_eq(pattern_next(&onig[kind], region, text, bytes, &b, &want_begin, &want_end),
                         more);
            cr_assert(begin == want_begin && end == want_end,
                      "pattern %d on \"%.*s\": %zu..%zu, should be %zu..%zu", kind, (int)bytes, text,
                      begin, end, want_begin, want_end);
        }
    }
}

static bool oniguruma_has(uint32_t character, const char *property)
{
    OnigEncoding utf8 = ONIG_ENCODING_UTF8;
    OnigUChar *name = (OnigUChar *)property;
    int type = utf8->property_name_to_ctype(utf8, name, name + strlen(property));
    cr_assert_geq(type, 0);
    return utf8->is_code_ctype(character, (OnigCtype)type);
}

/* Every character (but those newer than this Oniguruma) in a row of contexts, then random texts. */
Test(tokenizer, patterns_by_hand_match_as_oniguruma_does)
{
    static const char *const pieces[] = {
        "a", "b", "Z", "1", "2", " ", " ", "  ", "\t", "\n", "\r", "\r\n", ".", "!", "'", "'s", "'S",
        "'\xC5\xBF", "'ll", "'LL", "'rE", "'ve", "'m", "'d", "'t", "\xC3\xA9", "\xE4\xB8\xAD",
        "\xC2\xBD", "\xC2\xA0", "\xE3\x80\x80", "\xC2\x85", "\xE2\x80\xA8", "\xCC\x81", "\x01",
        "\xF0\x9F\x99\x82", "\xD9\xA3", "\xE2\x80\x8B", "\xE2\x84\xAA"};
    pattern hand[4] = {0}, onig[4] = {0};
    OnigRegion *region = onig_region_new();
    for (int kind = 1; kind < 4; kind++) {
        const char *expression = scan_patterns[kind];
        cr_assert_eq(pattern_open_regex(&hand[kind], expression, strlen(expression), true), 0);
        cr_assert_eq(pattern_open_regex(&onig[kind], expression, strlen(expression), false), 0);
        cr_assert(hand[kind].scan && onig[kind].regex);
    }
    const uint8_t *classes = character_classes();
    int compared = 0;
    for (uint32_t c = 0; c < 0x110000; c += c < 0x3400 || c >= 0xA000 ? 1 : 97) {
        if ((c >= 0xD800 && c < 0xE000) || (c >= 0x20000 && c % 101) ||
            oniguruma_has(c, "L") != !!(classes[c] & CLASS_LETTER) ||
            oniguruma_has(c, "N") != !!(classes[c] & CLASS_NUMBER))
            continue;
        cr_assert_eq(oniguruma_has(c, "Space"), !!(classes[c] & CLASS_SPACE));
        char text[64], one[4];
        size_t bytes = 0, length = utf8_put(c, one);
        for (int part = 0; part < 5; part++) {
            static const char *const before[] = {"'", " ", "a", "!", "1 "};
            memcpy(text + bytes, before[part], strlen(before[part]));
            bytes += strlen(before[part]);
            memcpy(text + bytes, one, length);
            bytes += length;
        }
        expect_same_matches(hand, onig, region, text, bytes);
        compared++;
    }
    cr_assert_gt(compared, 50000);
    for (int round = 0; round < 20000; round++) {
        char text[256] = "";
        for (uint64_t parts = 1 + random_below(24); parts; parts--)
            strcat(text, pieces[random_below(sizeof pieces / sizeof *pieces)]);
        expect_same_matches(hand, onig, region, text, strlen(text));
    }
    for (int kind = 1; kind < 4; kind++) {
        pattern_free(&hand[kind]);
        pattern_free(&onig[kind]);
    }
    onig_region_free(region, 1);
}

/* ---- Merging ---- */

/* Byte-pair encoding as it is defined, in no hurry: look at all pairs, apply the first of the lowest
 * rank, start again. The ranks come from the file by their own way. */
static void naive_merge(const tokenizer *t, const vocabulary *ranks, const char *word, token_list *out)
{
    const vocabulary *words = &t->model.words;
    out->count = 0;
    for (const char *at = word; *at; at++)
        token_list_push(out, vocabulary_find(words, at, 1)); /* letters stand for themselves */
    for (;;) {
        int32_t best = INT32_MAX;
        size_t where = 0;
        char both[600];
        for (size_t i = 0; i + 1 < out->count; i++) {
            size_t left_bytes, right_bytes;
            const char *left = vocabulary_text(words, out->ids[i], &left_bytes);
            const char *right = vocabulary_text(words, out->ids[i + 1], &right_bytes);
            int bytes = snprintf(both, sizeof both, "%.*s %.*s", (int)left_bytes, left,
                                 (int)right_bytes, right);
            int32_t rank = vocabulary_find(ranks, both, (size_t)bytes);
            if (rank >= 0 && rank < best) {
                best = rank;
                where = i;
            }
        }
        if (best == INT32_MAX)
            return;
        size_t bytes, left_bytes;
        const char *rule = vocabulary_text(ranks, best, &bytes);
        left_bytes = (size_t)((const char *)memchr(rule, ' ', bytes) - rule);
        memcpy(both, rule, left_bytes);
        memcpy(both + left_bytes, rule + left_bytes + 1, bytes - left_bytes - 1);
        out->ids[where] = vocabulary_find(words, both, bytes - 1);
        out->count--;
        memmove(out->ids + where + 1, out->ids + where + 2,
                (out->count - where - 1) * sizeof *out->ids);
    }
}

/* Words of up to 300 letters, short and long alike; few letters, so that ranks tie and neighbours
 * change under a merge that waits. */
Test(tokenizer, merges_as_defined)
{
    tokenizer *t = open_kind("smollm2");
    json_t *root = read_json(DATA "smollm2.json");
    const json_t *merges = json_object_get(json_object_get(root, "model"), "merges");
    vocabulary ranks = {0};
    for (size_t i = 0; i < json_array_size(merges); i++) {
        const json_t *merge = json_array_get(merges, i);
        char *rule = format_text("%s %s", json_string_value(json_array_get(merge, 0)),
                                 json_string_value(json_array_get(merge, 1)));
        cr_assert_eq(vocabulary_add(&ranks, rule, strlen(rule), (int64_t)i), 0);
        free(rule);
    }
    static const char *const letters[] = {"e", "et", "seti", "insteor", "abcdefghijklmnopqrstuvwxyz"};
    token_list got = {0}, want = {0};
    for (int round = 0; round < 400; round++) {
        const char *from = letters[round % 5];
        char word[301];
        size_t bytes = 1 + random_below(300);
        for (size_t i = 0; i < bytes; i++)
            word[i] = from[random_below(strlen(from))];
        word[bytes] = 0;
        naive_merge(t, &ranks, word, &want);
        got.count = 0;
        cr_expect_eq(tokenizer_encode(t, word, bytes, false, &got), 0);
        cr_assert(same_ids(&got, &want), "\"%s\"", word);
    }
    token_list_free(&got);
    token_list_free(&want);
    vocabulary_free(&ranks);
    json_decref(root);
    tokenizer_close(t);
}

/* Very long words have a queue for each rank: as by the heap, also where merges are not in order (those
 * of a SentencePiece model list every way to make a token). */
static void expect_queues_as_heap(const char *kind, const char *path)
{
    static const char *const letters[] = {"e", "et", "seti", "abcdefghijklmnopqrstuvwxyz"};
    tokenizer *queues = tokenizer_open(path), *heap = tokenizer_open(path);
    cr_assert(queues && heap, "%s", fail_text());
    cr_assert(queues->model.huge_word > 40 && queues->model.huge_word < 100000);
    heap->model.huge_word = SIZE_MAX;
    heap->model.cut = queues->model.cut = false;
    for (int round = 0; round < 40; round++) {
        size_t count = round < 4 ? 200000 : 41 + random_below(2000);
        const char *from = letters[round % 4];
        char *word = alloc_or_die(count + 1, 1);
        for (size_t i = 0; i < count; i++)
            word[i] = from[random_below(strlen(from))];
        token_list a = {0}, b = {0};
        cr_expect_eq(tokenizer_encode(queues, word, count, false, &a), 0);
        cr_expect_eq(tokenizer_encode(heap, word, count, false, &b), 0);
        cr_expect(same_ids(&a, &b), "%s, %s", kind, from);
        cr_expect(a.count > 0 && (a.count < count || round % 4 == 0)); /* "ee" may be no token */
        token_list_free(&a);
        token_list_free(&b);
        free(word);
        if (round == 3)
            queues->model.huge_word = 0; /* and for shorter words, many of them */
    }
    tokenizer_close(queues);
    tokenizer_close(heap);
}

Test(tokenizer, queues_merge_as_the_heap_does)
{
    char shuffled[] = "/tmp/apbench-merges-XXXXXX";
    int file = mkstemp(shuffled);
    cr_assert(file >= 0);
    for (int kind = 0; kind < 5; kind++) {
        char *path = format_text(DATA "%s.json", kinds[kind]);
        expect_queues_as_heap(kinds[kind], path);
        json_t *root = read_json(path), *merges = json_object_get(json_object_get(root, "model"), "merges");
        for (size_t i = json_array_size(merges); i-- > 1;) {
            size_t j = random_below(i + 1);
            json_t *one = json_incref(json_array_get(merges, i));
            json_array_set(merges, i, json_array_get(merges, j));
            json_array_set_new(merges, j, one);
        }
        cr_assert_eq(json_dump_file(root, shuffled, 0), 0);
        expect_queues_as_heap("shuffled", shuffled);
        json_decref(root);
        free(path);
    }
    close(file);
    remove(shuffled);
}

/* Anything quadratic in these would not end within the suite's limit. */
Test(tokenizer, long_runs_are_no_trouble, .timeout = 120)
{
    static const char *const units[] = {"a", " ", "\n", "7", "=", "\xE4\xB8\xAD", "\xF0\x9F\x99\x82",
                                        " \n", "e\xCC\x81", "\xE2\x96\x81", "ab ", "<", "\xFF"};
    for (int kind = 0; kind < KINDS; kind++) {
        tokenizer *t = open_kind(kinds[kind]);
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
                cr_expect(back_bytes == bytes && !memcmp(back, text, bytes), "%s, %s", kinds[kind],
                          units[unit]);
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
    json_t *cases = read_json(DATA "cases.json");
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

/* ---- Files gone wrong ---- */

static char *directory, *file;

static void set_up(void)
{
    directory = temporary_directory();
    file = format_text("%s/tokenizer.json", directory);
}

static void tear_down(void)
{
    free(file);
    remove_directory(directory);
}

TestSuite(hostile_tokenizer, .init = set_up, .fini = tear_down, .timeout = 120);

static void expect_sentence(const char *part, const char *what)
{
    const char *sentence = fail_text();
    cr_expect(strstr(sentence, file) && strstr(sentence, part),
              "%s: \"%s\" should name %s and say: %s", what, sentence, file, part);
    for (const char *at = sentence; *at; at++)
        cr_expect((unsigned char)*at >= 0x20, "%s: a control character in the sentence", what);
    cr_expect_eq(utf8_valid_prefix(sentence, strlen(sentence)), strlen(sentence), "%s", what);
    fail("nothing");
}

static void expect_refused(const char *part, const char *what)
{
    tokenizer *t = tokenizer_open(directory);
    cr_expect_null(t, "%s was accepted", what);
    tokenizer_close(t);
    expect_sentence(part, what);
}

#define MODEL(vocab, merges, more) "\"model\":{\"type\":\"BPE\",\"vocab\":" vocab ",\"merges\":" merges more "}"
#define FILE_WITH(more) "{" MODEL("{\"a\":0,\"b\":1,\"ab\":2}", "[\"a b\"]", "") "," more "}"
#define ADDED(more) FILE_WITH("\"added_tokens\":[{" more "}]")
#define SPLIT(more) FILE_WITH("\"pre_tokenizer\":{\"type\":" more "}")
#define POST(more) FILE_WITH("\"post_processor\":{\"type\":\"TemplateProcessing\"," more "}")

Test(hostile_tokenizer, wrong_fields)
{
    static const struct {
        const char *json, *says;
    } rows[] = {
        {"", "line 1"},
        {"{", "line 1"},
        {"[]", "the file holds an array, not an object"},
        {"{}", "model: it is missing, not an object"},
        {"{\"model\":7}", "model: it is an integer"},
        {"{\"model\":{\"type\":\"Unigram\"}}", "its type is Unigram"},
        {"{\"model\":{\"type\":7}}", "its type is an integer"},
        {"{\"model\":{}}", "vocab is missing"},
        {"{" MODEL("[]", "[]", "") "}", "vocab is an array"},
        {"{" MODEL("{}", "[]", "") "}", "vocab is empty"},
        {"{" MODEL("{\"a\":\"0\"}", "[]", "") "}", "token \"a\" is a string"},
        {"{" MODEL("{\"a\":0.5}", "[]", "") "}", "a real number"},
        {"{" MODEL("{\"a\":-1}", "[]", "") "}", "id -1, not in 0..4000000"},
        {"{" MODEL("{\"a\":4000000000}", "[]", "") "}", "id 4000000000, not in"},
        {"{" MODEL("{\"a\":9223372036854775807}", "[]", "") "}", "not in"},
        {"{" MODEL("{\"a\":99999999999999999999}", "[]", "") "}", "too big integer"},
        {"{" MODEL("{\"a\":3,\"b\":3}", "[]", "") "}", "share the id 3"},
        {"{" MODEL("{\"a\\n\":3,\"\\u001b\":3}", "[]", "") "}", "\"a?\""},
        {"{" MODEL("{\"a\\u0000\":3}", "[]", "") "}", "NUL byte"},
        {"{" MODEL("{\"a\":0}", "null", "") "}", "merges is null"},
        {"{\"model\":{\"vocab\":{\"a\":0}}}", "merges is missing"},
        {"{" MODEL("{\"a\":0}", "{}", "") "}", "merges is an object"},
        {"{" MODEL("{\"a\":0}", "[7]", "") "}", "merge 0 is an integer"},
        {"{" MODEL("{\"a\":0}", "[[\"a\"]]", "") "}", "merge 0 is an array, not a string or two"},
        {"{" MODEL("{\"a\":0}", "[[\"a\",1]]", "") "}", "merge 0 is an array"},
        {"{" MODEL("{\"a\":0}", "[\"a\"]", "") "}", "not two tokens with a space between"},
        {"{" MODEL("{\"a\":0}", "[\"a b c\"]", "") "}", "not two tokens"},
        {"{" MODEL("{\"a\":0}", "[\"x a\"]", "") "}", "speaks of \"x\""},
        {"{" MODEL("{\"a\":0}", "[\"a x\"]", "") "}", "speaks of \"x\""},
        {"{" MODEL("{\"a\":0,\"b\":1}", "[\"a b\"]", "") "}", "speaks of \"ab\""},
        {"{" MODEL("{\"a\":0}", "[]", ",\"dropout\":0.1") "}", "dropout is set"},
        {"{" MODEL("{\"a\":0}", "[]", ",\"unk_token\":\"u\"") "}", "unk_token \"u\" is not in"},
        {"{" MODEL("{\"a\":0}", "[]", ",\"unk_token\":[]") "}", "unk_token is an array"},
        {"{" MODEL("{\"a\":0}", "[]", ",\"byte_fallback\":1") "}", "byte_fallback is an integer"},
        {"{" MODEL("{\"a\":0}", "[]", ",\"end_of_word_suffix\":\"</w>\"") "}", "end_of_word_suffix"},
        {FILE_WITH("\"added_tokens\":{}"), "added_tokens: it is an object"},
        {FILE_WITH("\"added_tokens\":[1]"), "token 0 of the list: it is an integer"},
        {ADDED("\"id\":3"), "content is missing"},
        {ADDED("\"content\":\"x\""), "id is missing"},
        {ADDED("\"content\":\"\",\"id\":3"), "its content is empty"},
        {ADDED("\"content\":\"x\",\"id\":-3"), "id is negative"},
        {ADDED("\"content\":\"x\",\"id\":9007199254740993"), "not in 0..4000000"},
        {ADDED("\"content\":\"x\",\"id\":0"), "which is another token's"},
        {ADDED("\"content\":\"a\",\"id\":3"), "has id 3 here and 0 in the vocabulary"},
        {ADDED("\"content\":\"x\",\"id\":3,\"special\":\"yes\""), "special is a string"},
        {FILE_WITH("\"added_tokens\":[{\"content\":\"x\",\"id\":3},{\"content\":\"x\",\"id\":4}]"),
         "is there twice"},
        {FILE_WITH("\"added_tokens\":[{\"content\":\"x\",\"id\":3},{\"content\":\"y\",\"id\":3}]"),
         "share the id 3"},
        {FILE_WITH("\"normalizer\":[]"), "normalizer: it is an array"},
        {FILE_WITH("\"normalizer\":{\"type\":\"Lowercase\"}"), "Lowercase: this type is not"},
        {FILE_WITH("\"normalizer\":{\"type\":\"Sequence\"}"), "normalizers of the Sequence is missing"},
        {FILE_WITH("\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"String\":\"\"}}"), "empty"},
        {FILE_WITH("\"normalizer\":{\"type\":\"Replace\",\"pattern\":\"x\"}"), "pattern is a string"},
        {FILE_WITH("\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"String\":\"x\"}}"),
         "content is missing"},
        {FILE_WITH("\"normalizer\":{\"type\":\"Prepend\",\"prepend\":7}"), "prepend is an integer"},
        {SPLIT("\"Whitespace\""), "Whitespace: this type is not supported"},
        {SPLIT("\"Split\",\"pattern\":{\"Regex\":\"(\"},\"behavior\":\"Isolated\""),
         "no regular expression"},
        {SPLIT("\"Split\",\"pattern\":{\"String\":\"x\"},\"behavior\":\"Sideways\""), "Sideways"},
        {SPLIT("\"Split\",\"pattern\":{\"String\":\"x\"}"), "behavior is missing"},
        {SPLIT("\"Metaspace\",\"replacement\":\"ab\""), "not one character"},
        {SPLIT("\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"maybe\""), "maybe"},
        {SPLIT("\"Sequence\",\"pretokenizers\":[{\"type\":\"ByteLevel\"},{\"type\":\"Digits\"}]"),
         "a step behind ByteLevel"},
        {FILE_WITH("\"decoder\":{\"type\":\"WordPiece\"}"), "WordPiece: this type is not supported"},
        {FILE_WITH("\"decoder\":{\"type\":\"Strip\",\"content\":\" \",\"start\":-1,\"stop\":0}"),
         "start is negative"},
        {POST("\"single\":7"), "single is an integer"},
        {POST("\"single\":[]"), "single has no Sequence"},
        {POST("\"single\":[{\"SpecialToken\":{\"id\":\"x\"}}]"), "are missing, not an array"},
        {POST("\"single\":[{\"SpecialToken\":{\"id\":\"x\"}}],"
              "\"special_tokens\":{\"x\":{\"ids\":[3]}}"), "is not in the vocabulary"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        write_text(directory, "tokenizer.json", rows[i].json);
        expect_refused(rows[i].says, rows[i].json);
    }
}

Test(hostile_tokenizer, missing_and_odd_files)
{
    expect_refused("No such file", "a missing file");
    cr_assert_eq(symlink("/dev/zero", file), 0);
    expect_refused("not a regular file", "a device");
    cr_assert_eq(unlink(file), 0);
    write_file(file, "{\"model\":{\"type\":\"\xFF\xFE\"}}", 24);
    expect_refused("line 1", "bytes that are not UTF-8");
}

/* Nested past what jansson takes (2048), past what we take, and within. */
Test(hostile_tokenizer, deep_nesting)
{
    static const int depths[] = {100000, 1500, 9};
    static const char *const says[] = {"maximum parsing depth", "nested more than 8 deep",
                                       "nested more than 8 deep"};
    for (int i = 0; i < 3; i++) {
        text_buffer text = {0};
        static const char head[] = "{" MODEL("{\"a\":0}", "[]", "") ",\"normalizer\":";
        static const char open[] = "{\"type\":\"Sequence\",\"normalizers\":[";
        text_buffer_append(&text, head, strlen(head));
        for (int depth = 0; depth <= depths[i] / (i == 2 ? 1 : 2); depth++)
            text_buffer_append(&text, open, strlen(open));
        for (int depth = 0; depth <= depths[i] / (i == 2 ? 1 : 2); depth++)
            text_buffer_append(&text, "]}", 2);
        text_buffer_append(&text, "}", 1);
        write_file(file, text.bytes, text.count);
        expect_refused(says[i], "nesting");
        text_buffer_free(&text);
    }
}

static void try_file(const char *bytes, size_t count)
{
    write_file(file, bytes, count);
    fail("nothing");
    tokenizer *t = tokenizer_open(directory);
    if (!t) {
        expect_sentence("", "a file gone wrong");
        return;
    }
    token_list ids = {0};
    static const char text[] = "The <tidy> boat's 12 \xE4\xB8\xAD\xFF e\xCC\x81 <s>  \n\n end";
    if (!tokenizer_encode(t, text, sizeof text - 1, true, &ids))
        free(tokenizer_decode(t, ids.ids, ids.count, false, NULL));
    token_list_free(&ids);
    tokenizer_close(t);
}

Test(hostile_tokenizer, cut_short_and_changed_at_random)
{
    mutate_seed(3);
    for (int kind = 0; kind < KINDS; kind++) {
        char *path = format_text(DATA "%s.json", kinds[kind]);
        size_t count, room;
        char *whole = read_file(path, &count);
        free(path);
        room = count + 100;
        char *changed = alloc_or_die(room, 1);
        for (int round = 0; round < 12; round++)
            try_file(whole, count * (size_t)round / 12);
        for (int round = 0; round < 120; round++) {
            memcpy(changed, whole, count);
            /* Half of the changes fall into what stands before the vocabulary, which is the smaller
             * part of the file and the greater part of the rules. */
            const char *vocab = strstr(whole, "\"vocab\"");
            size_t head = vocab && round % 2 ? (size_t)(vocab - whole) : count;
            size_t length = mutate(changed, head, head);
            memcpy(changed + length, whole + head, count - head);
            try_file(changed, length + count - head);
        }
        free(changed);
        free(whole);
    }
}

/* A pattern that needs exponential time is given up on, and leaves the ids as they were. */
Test(hostile_tokenizer, a_pattern_without_end)
{
    write_text(directory, "tokenizer.json",
               SPLIT("\"Split\",\"pattern\":{\"Regex\":\"(?:a|a)*$(?<=b)\"},\"behavior\":\"Isolated\""));
    tokenizer *t = tokenizer_open(directory);
    cr_assert(t, "%s", fail_text());
    token_list ids = {0};
    token_list_push(&ids, 7);
    char text[41] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    cr_expect_eq(tokenizer_encode(t, text, 40, false, &ids), -1);
    cr_expect(strstr(fail_text(), "pattern failed at byte 0 of 40"), "%s", fail_text());
    cr_expect_eq(ids.count, 1);
    token_list_free(&ids);
    tokenizer_close(t);
}
