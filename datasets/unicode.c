/* Python's text rules and sentence breaks, for UTF-8 through ICU. See unicode.h. */
#include "datasets/unicode.h"

#include "harness/error.h"

#include <stdlib.h>
#include <string.h>
#include <unicode/ubrk.h>
#include <unicode/ucasemap.h>
#include <unicode/uchar.h>
#include <unicode/utext.h>
#include <unicode/utf8.h>

size_t utf8_valid_prefix(const char *text, size_t bytes)
{
    const uint8_t *s = (const uint8_t *)text;
    size_t at = 0;
    while (at < bytes) {
        uint64_t eight; /* ASCII by eight: most text is */
        while (at + 8 <= bytes && (memcpy(&eight, text + at, 8), !(eight & 0x8080808080808080u)))
            at += 8;
        if (at == bytes)
            break;
        size_t start = at;
        UChar32 c;
        U8_NEXT(s, at, bytes, c);
        if (c < 0)
            return start;
    }
    return bytes;
}

size_t utf8_characters(const char *text, size_t bytes)
{
    size_t count = 0;
    for (size_t i = 0; i < bytes; i++)
        count += ((unsigned char)text[i] & 0xc0) != 0x80;
    return count;
}

/* The characters for which str.isspace() holds (CPython: bidirectional class WS, B or S, or general
 * category Zs). */
static bool is_python_space(UChar32 c)
{
    return (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 ||
           c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 ||
           c == 0x202f || c == 0x205f || c == 0x3000;
}

size_t python_space(const char *text, size_t bytes)
{
    const uint8_t *s = (const uint8_t *)text;
    size_t at = 0;
    UChar32 c = -1;
    if (bytes)
        U8_NEXT(s, at, bytes, c);
    return c >= 0 && is_python_space(c) ? at : 0;
}

void python_strip(const char **text, size_t *bytes)
{
    size_t space;
    while ((space = python_space(*text, *bytes))) {
        *text += space;
        *bytes -= space;
    }
    while (*bytes) {
        size_t last = *bytes - 1;
        while (last > 0 && ((unsigned char)(*text)[last] & 0xc0) == 0x80)
            last--;
        if (python_space(*text + last, *bytes - last) != *bytes - last)
            break;
        *bytes = last;
    }
}

typedef int32_t case_mapping(const UCaseMap *, char *, int32_t, const char *, int32_t, UErrorCode *);

static char *change_case(case_mapping *mapping, const char *text, size_t bytes,
                         size_t *changed_bytes)
{
    if (bytes > 700000000) { /* ICU counts in int32, and a character may grow to three times */
        fail("a text of %zu bytes is too long for another case", bytes);
        return NULL;
    }
    UErrorCode error = U_ZERO_ERROR;
    UCaseMap *map = ucasemap_open("", 0, &error);
    if (U_FAILURE(error)) {
        fail("ICU cannot change case: %s", u_errorName(error));
        return NULL;
    }
    int32_t capacity = (int32_t)(bytes + bytes / 8 + 16);
    char *changed = alloc_or_die((size_t)capacity + 1, 1);
    int32_t written = mapping(map, changed, capacity, text, (int32_t)bytes, &error);
    if (error == U_BUFFER_OVERFLOW_ERROR) {
        error = U_ZERO_ERROR;
        capacity = written;
        changed = realloc_or_die(changed, (size_t)capacity + 1, 1);
        written = mapping(map, changed, capacity, text, (int32_t)bytes, &error);
    }
    ucasemap_close(map);
    if (U_FAILURE(error)) {
        free(changed);
        fail("ICU cannot change case: %s", u_errorName(error));
        return NULL;
    }
    changed[written] = 0;
    *changed_bytes = (size_t)written;
    return changed;
}

char *python_lower(const char *text, size_t bytes, size_t *lower_bytes)
{
    return change_case(ucasemap_utf8ToLower, text, bytes, lower_bytes);
}

char *python_upper(const char *text, size_t bytes, size_t *upper_bytes)
{
    return change_case(ucasemap_utf8ToUpper, text, bytes, upper_bytes);
}

size_t utf8_character(const char *text, size_t bytes, int32_t *character)
{
    const uint8_t *s = (const uint8_t *)text;
    size_t at = 0;
    UChar32 c = -1;
    if (bytes)
        U8_NEXT(s, at, bytes, c);
    *character = c;
    return at;
}

/* str.isalpha() is general category L; isnumeric() holds for any numeric type, digits included. */
bool python_is_word(int32_t c)
{
    return c == '_' || u_isalpha(c) ||
           u_getIntPropertyValue(c, UCHAR_NUMERIC_TYPE) != U_NT_NONE;
}

int python_digit(int32_t c)
{
    if (c < 0x80)
        return c >= '0' && c <= '9' ? c - '0' : -1;
    return u_charType(c) == U_DECIMAL_DIGIT_NUMBER ? u_charDigitValue(c) : -1;
}

char *python_join_words(const char *text, size_t bytes, size_t *joined_bytes)
{
    char *joined = alloc_or_die(bytes + 1, 1);
    size_t out = 0;
    bool pending = false;
    for (size_t at = 0; at < bytes;) {
        size_t space = python_space(text + at, bytes - at);
        if (space) {
            pending = out > 0;
            at += space;
            continue;
        }
        if (pending)
            joined[out++] = ' ';
        pending = false;
        do
            joined[out++] = text[at++];
        while (at < bytes && ((unsigned char)text[at] & 0xc0) == 0x80);
    }
    joined[out] = 0;
    *joined_bytes = out;
    return joined;
}

int sentence_ends(const char *text, size_t bytes, size_t **ends, size_t *count)
{
    *ends = NULL;
    *count = 0;
    if (bytes > INT32_MAX)
        return fail("a text of %zu bytes is too long to be split into sentences", bytes);
    UErrorCode error = U_ZERO_ERROR;
    UText *source = utext_openUTF8(NULL, text, (int64_t)bytes, &error);
    UBreakIterator *breaks = ubrk_open(UBRK_SENTENCE, "en", NULL, 0, &error);
    ubrk_setUText(breaks, source, &error);
    if (U_SUCCESS(error)) {
        size_t capacity = 0;
        ubrk_first(breaks);
        for (int32_t end; (end = ubrk_next(breaks)) != UBRK_DONE;) {
            if (*count == capacity) {
                capacity = capacity ? 2 * capacity : 256;
                *ends = realloc_or_die(*ends, capacity, sizeof **ends);
            }
            (*ends)[(*count)++] = (size_t)end;
        }
    }
    ubrk_close(breaks);
    utext_close(source);
    if (U_FAILURE(error))
        return fail("ICU cannot split text into sentences: %s", u_errorName(error));
    return 0;
}
