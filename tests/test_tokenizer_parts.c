/* Parts of the tokenizer against slower ways to the same: patterns matched by hand against Oniguruma,
 * merging against byte-pair encoding as it is defined, and the queues of very long words against the
 * heap. Ids and places are compared exactly. */
#include "harness/error.h"
#include "tests/tokenizer_fixture.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- Patterns by hand and by Oniguruma ---- */

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
    json_t *root = read_json(TOKENIZER_DATA "smollm2.json");
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
        char *path = format_text(TOKENIZER_DATA "%s.json", tokenizer_kinds[kind]);
        expect_queues_as_heap(tokenizer_kinds[kind], path);
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
