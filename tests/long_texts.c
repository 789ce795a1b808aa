/* Long texts of a kind. See long_texts.h. */
#include "tests/long_texts.h"

#include "datasets/tokenizer/parts.h"
#include "harness/error.h"

#include <string.h>

/* What AddressSanitizer is told in every test (a name of its own; nothing else asks). Its memmem() looks
 * at all of the text for each call, however near the match is, which makes every walk over the matches
 * of a long text quadratic. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "intercept_memmem=0";
}

/* Kinds without an alphabet. */
static const char words[] = "words", unicode[] = "any character", noise[] = "random bytes";

const long_text_kind long_text_kinds[] = {
    {words, NULL},
    {"one letter", "a"},
    {"random letters", "abcdefghijklmnopqrstuvwxyz"},
    {"few letters", "aest"},
    {"spaces", " "},
    {"newlines", "\n"},
    {"mixed white space", " \t\n\r\xC2\xA0"},
    {"one digit", "0"},
    {"random digits", "0123456789"},
    {"punctuation", "=-<>()/\\|'\""},
    {"emoji", "\xF0\x9F\x98\x80\xF0\x9F\x9A\x80\xF0\x9F\x94\xA5\xF0\x9F\x91\x8D\xF0\x9F\x8F\xBD\xE2\x80\x8D"},
    {"ideographs", "\xE4\xB8\xAD\xE6\x96\x87\xE4\xBB\x8A\xE5\xA4\xA9\xE5\x9B\xBE\xE4\xB9\xA6\xE9\xA6\x86"},
    {"accents to compose", "e\xCC\x81\xCC\xA3\xCC\x88"},
    {"spaces of SentencePiece", "\xE2\x96\x81"},
    {"special tokens", "<|im_end|>s/"},
    {unicode, NULL},
    {noise, NULL},
};
const int long_text_count = sizeof long_text_kinds / sizeof *long_text_kinds;

static uint64_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

/* Words of 2 to 9 letters, vowels and consonants in turn, in sentences and paragraphs. */
static size_t put_word(uint64_t *state, char *out)
{
    size_t letters = 2 + next_random(state) % 8, count = 0;
    for (; count < letters; count++)
        out[count] = count % 2 ? "aeiou"[next_random(state) % 5]
                               : "tnshrdlcmfpgbvk"[next_random(state) % 15];
    uint64_t end = next_random(state) % 64;
    if (end < 6)
        out[count++] = end < 3 ? ',' : '.';
    out[count++] = end ? ' ' : '\n';
    return count;
}

static size_t put_any(uint64_t *state, char *out)
{
    uint32_t character;
    do
        character = (uint32_t)(next_random(state) % 0x110000);
    while (character >= 0xD800 && character < 0xE000);
    return utf8_put(character, out);
}

static size_t put_one(const long_text_kind *kind, const char *const *starts, uint64_t count,
                      uint64_t *state, char *out)
{
    if (kind->name == words)
        return put_word(state, out);
    if (kind->name == unicode)
        return put_any(state, out);
    if (kind->name == noise) {
        *out = (char)next_random(state);
        return 1;
    }
    uint64_t which = count > 1 ? next_random(state) % count : 0;
    size_t bytes = (size_t)(starts[which + 1] - starts[which]);
    memcpy(out, starts[which], bytes);
    return bytes;
}

char *long_text(const long_text_kind *kind, size_t bytes, size_t *made)
{
    char *text = alloc_or_die(bytes + 16, 1); /* room for one word more */
    const char *starts[64];
    uint64_t state = 12345, count = 0;
    if (kind->alphabet) {
        size_t at = 0, length = strlen(kind->alphabet);
        while (at < length) {
            starts[count++] = kind->alphabet + at;
            utf8_next(kind->alphabet, &at);
        }
        starts[count] = kind->alphabet + length;
    }
    for (*made = 0; *made < bytes;) {
        size_t one = put_one(kind, starts, count, &state, text + *made);
        if (*made + one > bytes)
            break;
        *made += one;
    }
    text[*made] = 0;
    return text;
}
