/* Tokenizer files gone wrong, by one field, by their kind or at random: each is refused in one sentence
 * that names the file, or read; and a pattern that would never end is given up on. */
#include "harness/error.h"
#include "tests/checkpoint.h"
#include "tests/mutate.h"
#include "tests/tokenizer_fixture.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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
    for (int kind = 0; kind < TOKENIZER_KINDS; kind++) {
        char *path = format_text(TOKENIZER_DATA "%s.json", tokenizer_kinds[kind]);
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
