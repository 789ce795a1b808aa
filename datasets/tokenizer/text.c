/* Bytes and characters: UTF-8 checked, repaired and walked, GPT-2's byte alphabet, and the hash that
 * the tables of this folder use. Everything behind utf8_repair() may trust its text. */
#include "datasets/tokenizer/parts.h"

#include "harness/error.h"

#include <stdlib.h>
#include <string.h>

void text_buffer_reserve(text_buffer *buffer, size_t more)
{
    if (buffer->capacity - buffer->count >= more)
        return;
    size_t capacity = buffer->capacity * 2 > 64 ? buffer->capacity * 2 : 64;
    if (capacity < buffer->count + more)
        capacity = buffer->count + more;
    buffer->bytes = realloc_or_die(buffer->bytes, capacity, 1);
    buffer->capacity = capacity;
}

void text_buffer_append(text_buffer *buffer, const char *bytes, size_t count)
{
    if (!count)
        return;
    text_buffer_reserve(buffer, count);
    memcpy(buffer->bytes + buffer->count, bytes, count);
    buffer->count += count;
}

void text_buffer_free(text_buffer *buffer)
{
    free(buffer->bytes);
    *buffer = (text_buffer){0};
}

/* The well-formed character at `text`: its length, or minus the length of the maximal subpart of an
 * ill-formed one (Unicode 3.9, table 3-7). */
static int utf8_step(const uint8_t *text, size_t bytes)
{
    uint8_t lead = text[0], low = 0x80, high = 0xBF;
    int length;
    if (lead < 0x80)
        return 1;
    if (lead < 0xC2 || lead > 0xF4)
        return -1;
    if (lead < 0xE0) {
        length = 2;
    } else if (lead < 0xF0) {
        length = 3;
        if (lead == 0xE0)
            low = 0xA0;
        if (lead == 0xED)
            high = 0x9F; /* no surrogates */
    } else {
        length = 4;
        if (lead == 0xF0)
            low = 0x90;
        if (lead == 0xF4)
            high = 0x8F; /* nothing past U+10FFFF */
    }
    for (int i = 1; i < length; i++) {
        if ((size_t)i >= bytes || text[i] < low || text[i] > high)
            return -i;
        low = 0x80;
        high = 0xBF;
    }
    return length;
}

void utf8_repair(const char *text, size_t bytes, text_buffer *out)
{
    while (bytes) {
        size_t good = utf8_valid_prefix(text, bytes);
        text_buffer_append(out, text, good);
        if (good == bytes)
            return;
        int step = utf8_step((const uint8_t *)text + good, bytes - good);
        text_buffer_append(out, "\xEF\xBF\xBD", 3);
        text += good + (size_t)-step;
        bytes -= good + (size_t)-step;
    }
}

uint32_t utf8_next(const char *text, size_t *at)
{
    const uint8_t *byte = (const uint8_t *)text + *at;
    if (byte[0] < 0x80) {
        *at += 1;
        return byte[0];
    }
    if (byte[0] < 0xE0) {
        *at += 2;
        return (uint32_t)(byte[0] & 0x1F) << 6 | (byte[1] & 0x3F);
    }
    if (byte[0] < 0xF0) {
        *at += 3;
        return (uint32_t)(byte[0] & 0x0F) << 12 | (uint32_t)(byte[1] & 0x3F) << 6 |
               (byte[2] & 0x3F);
    }
    *at += 4;
    return (uint32_t)(byte[0] & 0x07) << 18 | (uint32_t)(byte[1] & 0x3F) << 12 |
           (uint32_t)(byte[2] & 0x3F) << 6 | (byte[3] & 0x3F);
}

size_t utf8_previous(const char *text, size_t at)
{
    do
        at--;
    while (at > 0 && ((uint8_t)text[at] & 0xC0) == 0x80);
    return at;
}

size_t utf8_put(uint32_t character, char *out)
{
    if (character < 0x80) {
        out[0] = (char)character;
        return 1;
    }
    if (character < 0x800) {
        out[0] = (char)(0xC0 | character >> 6);
        out[1] = (char)(0x80 | (character & 0x3F));
        return 2;
    }
    if (character < 0x10000) {
        out[0] = (char)(0xE0 | character >> 12);
        out[1] = (char)(0x80 | (character >> 6 & 0x3F));
        out[2] = (char)(0x80 | (character & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | character >> 18);
    out[1] = (char)(0x80 | (character >> 12 & 0x3F));
    out[2] = (char)(0x80 | (character >> 6 & 0x3F));
    out[3] = (char)(0x80 | (character & 0x3F));
    return 4;
}

uint64_t hash_bytes(const char *bytes, size_t count)
{
    const uint64_t odd = 0x9E3779B97F4A7C15u;
    uint64_t hash = count * odd, word;
    for (; count >= 8; bytes += 8, count -= 8) {
        memcpy(&word, bytes, 8);
        hash = (hash ^ word) * odd;
        hash ^= hash >> 32;
    }
    word = 0;
    memcpy(&word, bytes, count);
    hash = (hash ^ word) * odd;
    return hash ^ hash >> 29;
}

/* Bytes that print keep their own character; the other 68 take U+0100 and up, in order. */
static bool byte_prints(int byte)
{
    return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

uint32_t byte_character(uint8_t byte)
{
    if (byte_prints(byte))
        return byte;
    if (byte <= 0x20)
        return 0x100u + byte;
    return byte == 0xAD ? 0x143 : 0x121u + (byte - 0x7Fu); /* 0x7F..0xA0, then 0xAD */
}

int character_byte(uint32_t character)
{
    if (character < 0x100)
        return byte_prints((int)character) ? (int)character : -1;
    if (character <= 0x120)
        return (int)(character - 0x100);
    if (character <= 0x142)
        return (int)(character - 0x121 + 0x7F);
    return character == 0x143 ? 0xAD : -1;
}
