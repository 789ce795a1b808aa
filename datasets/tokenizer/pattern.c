/* Patterns of a tokenizer.json: literals; the pre-tokenizer patterns of the model families here,
 * matched by hand; and every other expression through Oniguruma, the engine that Hugging Face uses.
 * By hand is about ten times as fast, in time and memory that a run of 100 MB of spaces or of one
 * letter cannot upset (Oniguruma keeps a stack entry for each character of a run, and gives up after
 * 10 million retries). The character classes are Oniguruma's and some newer characters, and tests hold every pattern matched
 * by hand against it. */
#include "datasets/tokenizer/parts.h"

#include "harness/error.h"

#include <stdlib.h>
#include <string.h>
#include <unicode/uchar.h>

/* ---- By hand ---- */

/* As they stand in the published tokenizer.json files; GPT-2's is what ByteLevel's use_regex means
 * (openai/gpt-2, encoder.py). */
const char *const scan_patterns[4] = {
    [SCAN_GPT2] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
    [SCAN_LLAMA3] = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|"
                    " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
    [SCAN_QWEN2] = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|"
                   " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
};

enum { CHARACTERS = 0x110000, CLASS_LNS = CLASS_LETTER | CLASS_NUMBER | CLASS_SPACE };

static uint8_t classes[CHARACTERS];

/* What Unicode 15 and 16 added to the 14 of Debian 12's Oniguruma, and Unicode 16 and 17 to the 15 of
 * its ICU: Hugging Face's tokenizers 0.23 has them (read from it by tests/reference/tokenizer.py). */
typedef struct {
    uint32_t first, last;
} character_range;
static const character_range new_letters[] = {
    {0x1C89, 0x1C8A}, {0xA7CB, 0xA7CD}, {0xA7DA, 0xA7DC}, {0x105C0, 0x105F3}, {0x10D4A, 0x10D65},
    {0x10D6F, 0x10D85}, {0x10EC2, 0x10EC4}, {0x1123F, 0x11240}, {0x11380, 0x11389},
    {0x1138B, 0x1138B}, {0x1138E, 0x1138E}, {0x11390, 0x113B5}, {0x113B7, 0x113B7},
    {0x113D1, 0x113D1}, {0x113D3, 0x113D3}, {0x11BC0, 0x11BE0}, {0x11F02, 0x11F02},
    {0x11F04, 0x11F10}, {0x11F12, 0x11F33}, {0x1342F, 0x1342F}, {0x13441, 0x13446},
    {0x13460, 0x143FA}, {0x16100, 0x1611D}, {0x16D40, 0x16D6C}, {0x18CFF, 0x18CFF},
    {0x1B132, 0x1B132}, {0x1B155, 0x1B155}, {0x1DF25, 0x1DF2A}, {0x1E030, 0x1E06D},
    {0x1E4D0, 0x1E4EB}, {0x1E5D0, 0x1E5ED}, {0x1E5F0, 0x1E5F0}, {0x2B739, 0x2B739},
    {0x2EBF0, 0x2EE5D}, {0x31350, 0x323AF},
};
static const character_range new_numbers[] = {
    {0x10D40, 0x10D49}, {0x116D0, 0x116E3}, {0x11BF0, 0x11BF9}, {0x11F50, 0x11F59},
    {0x16130, 0x16139}, {0x16D70, 0x16D79}, {0x1CCF0, 0x1CCF9}, {0x1D2C0, 0x1D2D3},
    {0x1E4F0, 0x1E4F9}, {0x1E5F1, 0x1E5FA},
};
static const character_range new_numerics[] = {
    {0x10D40, 0x10D49}, {0x116D0, 0x116E3}, {0x11BF0, 0x11BF9}, {0x11DE0, 0x11DE9},
    {0x16130, 0x16139}, {0x16D70, 0x16D79}, {0x16FF4, 0x16FF6}, {0x1CCF0, 0x1CCF9},
    {0x1E5F1, 0x1E5FA},
};

static void mark_ranges(const character_range *range, size_t count, uint8_t bit)
{
    for (size_t i = 0; i < count; i++)
        for (uint32_t c = range[i].first; c <= range[i].last; c++)
            classes[c] |= bit;
}

static void mark(const char *property, uint8_t bit)
{
    OnigEncoding utf8 = ONIG_ENCODING_UTF8;
    OnigUChar *name = (OnigUChar *)property;
    int type = utf8->property_name_to_ctype(utf8, name, name + strlen(property));
    OnigCodePoint single_bytes = 0;
    const OnigCodePoint *ranges = NULL; /* count, then pairs of first and last */
    if (type < 0 || utf8->get_ctype_code_range((OnigCtype)type, &single_bytes, &ranges) != 0)
        return; /* the property names are those of every Oniguruma 6: cannot happen */
    for (OnigCodePoint i = 0; i < ranges[0]; i++)
        for (OnigCodePoint c = ranges[1 + 2 * i]; c <= ranges[2 + 2 * i] && c < CHARACTERS; c++)
            classes[c] |= bit;
}

static void make_classes(void)
{
    OnigEncoding encodings[] = {ONIG_ENCODING_UTF8};
    onig_initialize(encodings, 1);
    mark("L", CLASS_LETTER);
    mark("N", CLASS_NUMBER);
    mark("Space", CLASS_SPACE);
    for (UChar32 c = 0; c < CHARACTERS; c++)
        if (U_GET_GC_MASK(c) & (U_GC_ND_MASK | U_GC_NL_MASK | U_GC_NO_MASK))
            classes[c] |= CLASS_NUMERIC;
    mark_ranges(new_letters, sizeof new_letters / sizeof *new_letters, CLASS_LETTER);
    mark_ranges(new_numbers, sizeof new_numbers / sizeof *new_numbers, CLASS_NUMBER);
    mark_ranges(new_numerics, sizeof new_numerics / sizeof *new_numerics, CLASS_NUMERIC);
}

const uint8_t *character_classes(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_classes);
    return classes;
}

/* The end of the run from `at` of characters whose bits under `mask` are `want`. */
static size_t run_end(const uint8_t *class, const char *text, size_t bytes, size_t at, uint8_t mask,
                      uint8_t want)
{
    while (at < bytes) {
        size_t next = at;
        if ((class[utf8_next(text, &next)] & mask) != want)
            break;
        at = next;
    }
    return at;
}

/* The end of the English contraction at `at`, where an apostrophe stands; 0 when there is none.
 * The long s folds to s, and is the only character outside ASCII that folds to one of these. */
static size_t contraction_end(const char *text, size_t bytes, size_t at, bool fold_case)
{
    size_t left = bytes - at;
    if (left < 2)
        return 0;
    char first = text[at + 1], second = left > 2 ? text[at + 2] : 0;
    if (fold_case) {
        if (first == '\xC5' && second == '\xBF')
            return at + 3;
        first |= first >= 'A' && first <= 'Z' ? 0x20 : 0;
        second |= second >= 'A' && second <= 'Z' ? 0x20 : 0;
    }
    if (first == 's' || first == 't' || first == 'm' || first == 'd')
        return at + 2;
    if ((first == 'r' && second == 'e') || (first == 'v' && second == 'e') ||
        (first == 'l' && second == 'l'))
        return at + 3;
    return 0;
}

/* \s+(?!\S)|\s+ : white space but for its last character, if a word follows and any is left. */
static size_t space_end(const char *text, size_t bytes, size_t at, size_t end)
{
    if (end == bytes)
        return end;
    size_t last = utf8_previous(text, end);
    return last > at ? last : end;
}

static size_t match_gpt2(const uint8_t *class, const char *text, size_t bytes, size_t at)
{
    if (text[at] == '\'') {
        size_t end = contraction_end(text, bytes, at, false);
        if (end)
            return end;
    }
    size_t next = at;
    uint8_t kind = class[utf8_next(text, &next)] & CLASS_LNS;
    if (text[at] == ' ' && next < bytes) {
        size_t word = next;
        uint8_t behind = class[utf8_next(text, &word)] & CLASS_LNS;
        if (behind != CLASS_SPACE)
            return run_end(class, text, bytes, word, CLASS_LNS, behind);
    }
    size_t end = run_end(class, text, bytes, next, CLASS_LNS, kind);
    return kind == CLASS_SPACE ? space_end(text, bytes, at, end) : end;
}

static bool is_newline(char byte)
{
    return byte == '\r' || byte == '\n';
}

static size_t match_llama3(const uint8_t *class, const char *text, size_t bytes, size_t at,
                           int digits)
{
    if (text[at] == '\'') {
        size_t end = contraction_end(text, bytes, at, true);
        if (end)
            return end;
    }
    size_t next = at;
    uint8_t kind = class[utf8_next(text, &next)] & CLASS_LNS;
    uint8_t behind = CLASS_SPACE; /* of the character behind the first */
    size_t second = next;
    if (next < bytes)
        behind = class[utf8_next(text, &second)] & CLASS_LNS;
    if (kind == CLASS_LETTER)
        return run_end(class, text, bytes, next, CLASS_LETTER, CLASS_LETTER);
    if (kind == CLASS_NUMBER) {
        for (int i = 1; i < digits && next < bytes; i++) {
            size_t more = next;
            if (!(class[utf8_next(text, &more)] & CLASS_NUMBER))
                break;
            next = more;
        }
        return next;
    }
    if (behind == CLASS_LETTER && !is_newline(text[at]))
        return run_end(class, text, bytes, second, CLASS_LETTER, CLASS_LETTER);
    if (kind == 0 || (text[at] == ' ' && next < bytes && behind == 0)) {
        size_t end = run_end(class, text, bytes, next, CLASS_LNS, 0);
        while (end < bytes && is_newline(text[end]))
            end++;
        return end;
    }
    size_t end = run_end(class, text, bytes, next, CLASS_SPACE, CLASS_SPACE);
    for (size_t i = end; i > at; i--)
        if (is_newline(text[i - 1]))
            return i;
    return space_end(text, bytes, at, end);
}

size_t scan_match(scan_kind kind, const uint8_t *class, const char *text, size_t bytes, size_t at)
{
    if (kind == SCAN_GPT2)
        return match_gpt2(class, text, bytes, at);
    return match_llama3(class, text, bytes, at, kind == SCAN_LLAMA3 ? 3 : 1);
}

/* ---- All patterns ---- */

int pattern_open_literal(pattern *p, const char *text, size_t bytes)
{
    if (!bytes)
        return fail("the pattern is an empty string");
    p->literal = copy_bytes(text, bytes);
    p->literal_bytes = bytes;
    return 0;
}

int pattern_open_regex(pattern *p, const char *expression, size_t bytes, bool by_hand)
{
    for (int kind = 1; by_hand && kind < 4; kind++)
        if (strlen(scan_patterns[kind]) == bytes && !memcmp(scan_patterns[kind], expression, bytes)) {
            p->scan = (scan_kind)kind;
            return 0;
        }
    character_classes(); /* starts Oniguruma, once */
    const OnigUChar *text = (const OnigUChar *)expression;
    OnigErrorInfo where;
    int status = onig_new(&p->regex, text, text + bytes, ONIG_OPTION_NONE, ONIG_ENCODING_UTF8,
                          ONIG_SYNTAX_DEFAULT, &where);
    if (status == ONIG_NORMAL)
        return 0;
    OnigUChar reason[ONIG_MAX_ERROR_MESSAGE_LEN];
    onig_error_code_to_str(reason, status, &where);
    p->regex = NULL;
    return fail("the pattern \"%.80s\" is no regular expression: %s", expression, (char *)reason);
}

void pattern_free(pattern *p)
{
    free(p->literal);
    if (p->regex)
        onig_free(p->regex);
    *p = (pattern){0};
}

static int search(const pattern *p, OnigRegion *region, const char *text, size_t bytes, size_t from,
                  size_t *begin, size_t *end)
{
    const OnigUChar *start = (const OnigUChar *)text;
    if (bytes > INT32_MAX)
        return fail("a text of %zu bytes is too long for a regular expression", bytes);
    int status = onig_search(p->regex, start, start + bytes, start + from, start + bytes, region,
                             ONIG_OPTION_NONE);
    if (status == ONIG_MISMATCH)
        return 0;
    if (status < 0) {
        OnigUChar reason[ONIG_MAX_ERROR_MESSAGE_LEN];
        onig_error_code_to_str(reason, status);
        return fail("the pre-tokenizer's pattern failed at byte %zu of %zu: %s", from, bytes,
                    (char *)reason);
    }
    *begin = (size_t)region->beg[0];
    *end = (size_t)region->end[0];
    return 1;
}

int pattern_next(const pattern *p, OnigRegion *region, const char *text, size_t bytes,
                 pattern_walk *walk, size_t *begin, size_t *end)
{
    if (p->scan) {
        if (walk->at >= bytes)
            return 0;
        *begin = walk->at;
        walk->at = *end = scan_match(p->scan, character_classes(), text, bytes, walk->at);
        return 1;
    }
    if (p->literal) {
        const char *hit = walk->at < bytes ? memmem(text + walk->at, bytes - walk->at, p->literal,
                                                    p->literal_bytes) : NULL;
        if (!hit)
            return 0;
        *begin = (size_t)(hit - text);
        walk->at = *end = *begin + p->literal_bytes;
        return 1;
    }
    while (walk->at <= bytes) {
        int status = search(p, region, text, bytes, walk->at, begin, end);
        if (status <= 0)
            return status;
        bool empty = *begin == *end;
        if (!empty || !walk->any || walk->last_end != *end) {
            walk->at = walk->last_end = *end;
            walk->any = true;
            return 1;
        }
        /* An empty match where the last match ended does not count: go on one character later. */
        if (walk->at < bytes)
            utf8_next(text, &walk->at);
        else
            walk->at++;
    }
    return 0;
}
