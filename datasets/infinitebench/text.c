/* Texts and labels by Python's rules. See text.h. */
#include "datasets/infinitebench/text.h"

#include "datasets/unicode.h"
#include "harness/error.h"

#include <stdlib.h>
#include <string.h>

sized_text text_copy(sized_text text)
{
    return (sized_text){copy_bytes(text.bytes, text.count), text.count};
}

sized_text text_stripped(sized_text text)
{
    const char *left = text.bytes;
    python_strip(&left, &text.count);
    return (sized_text){(char *)left, text.count};
}

sized_text text_from(sized_text text, size_t bytes)
{
    return (sized_text){text.bytes + bytes, text.count - bytes};
}

bool text_equals(sized_text a, sized_text b)
{
    return a.count == b.count && !memcmp(a.bytes, b.bytes, a.count);
}

bool text_begins(sized_text text, sized_text start)
{
    return text.count >= start.count && !memcmp(text.bytes, start.bytes, start.count);
}

int64_t text_find(sized_text text, sized_text piece)
{
    const char *found = memmem(text.bytes, text.count, piece.bytes, piece.count);
    return found ? found - text.bytes : -1;
}

sized_text text_of(const char *text)
{
    return (sized_text){(char *)text, strlen(text)};
}

void text_blank_out(sized_text *text, const char *const *pieces)
{
    for (; *pieces; pieces++) {
        sized_text piece = text_of(*pieces);
        size_t from = 0, to = 0;
        for (int64_t found; (found = text_find(text_from(*text, from), piece)) >= 0;) {
            memmove(text->bytes + to, text->bytes + from, (size_t)found);
            to += (size_t)found;
            text->bytes[to++] = ' ';
            from += (size_t)found + piece.count;
        }
        memmove(text->bytes + to, text->bytes + from, text->count - from);
        text->count = to + text->count - from;
    }
}

void text_squeeze(sized_text *text)
{
    size_t to = 0;
    for (size_t i = 0; i < text->count; i++)
        if (text->bytes[i] != ' ' || !to || text->bytes[to - 1] != ' ')
            text->bytes[to++] = text->bytes[i];
    text->count = to;
}

sized_text *text_words(sized_text text, size_t *count)
{
    sized_text *words = NULL;
    size_t capacity = 0, start = 0;
    *count = 0;
    for (size_t at = 0; at <= text.count;) {
        size_t space = python_space(text.bytes + at, text.count - at);
        if (!space && at < text.count) {
            at++; /* the bytes within a character begin no whitespace */
            continue;
        }
        if (at > start) {
            if (*count == capacity) {
                capacity = capacity ? 2 * capacity : 64;
                words = realloc_or_die(words, capacity, sizeof *words);
            }
            words[(*count)++] = (sized_text){text.bytes + start, at - start};
        }
        if (at == text.count)
            break;
        start = at += space;
    }
    return words;
}

sized_text json_view(const json_t *value)
{
    if (!json_is_string(value))
        return text_of("");
    return (sized_text){(char *)json_string_value(value), json_string_length(value)};
}

json_t *label_items(const json_t *label)
{
    if (json_is_array(label))
        return json_incref((json_t *)label);
    if (json_is_object(label)) {
        json_t *keys = json_array();
        const char *key;
        json_t *value;
        json_object_foreach((json_t *)label, key, value)
            json_array_append_new(keys, json_string(key));
        return keys;
    }
    if (!json_is_string(label)) {
        fail("the label is neither a list nor a string");
        return NULL;
    }
    sized_text text = json_view(label);
    if (text.count > 1 << 20) {
        fail("the label is a string of %zu bytes, which would be scored by its characters",
             text.count);
        return NULL;
    }
    json_t *characters = json_array();
    for (int32_t c; text.count;) {
        size_t bytes = utf8_character(text.bytes, text.count, &c);
        json_array_append_new(characters, json_stringn(text.bytes, bytes));
        text = text_from(text, bytes);
    }
    return characters;
}

json_t *label_item(const json_t *label, size_t i)
{
    if (json_is_object(label)) {
        fail("the label is an object, which has no item %zu", i);
        return NULL;
    }
    json_t *items = label_items(label);
    json_t *item = json_incref(json_array_get(items, i));
    if (items && !item)
        fail("the label has no item %zu", i);
    json_decref(items);
    return item;
}

int label_holds(const json_t *label, sized_text text)
{
    if (json_is_string(label))
        return text_find(json_view(label), text) >= 0;
    json_t *items = label_items(label);
    if (!items)
        return -1;
    int holds = 0;
    size_t i;
    const json_t *item;
    json_array_foreach(items, i, item)
        holds |= json_is_string(item) && text_equals(json_view(item), text);
    json_decref(items);
    return holds;
}
