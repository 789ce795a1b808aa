/* Bounded reading of JSON lines. See jsonl.h. */
#include "datasets/jsonl.h"

#include "harness/error.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_LINE_BYTES = 1 << 28, MOST_VALUES = 1 << 20, MOST_DEPTH = 64 };

int jsonl_open(jsonl_file *lines, const char *path)
{
    *lines = (jsonl_file){0};
    lines->file = fopen(path, "rb");
    if (!lines->file)
        return fail("cannot open %s: %s", path, strerror(errno));
    lines->path = copy_text(path);
    return 0;
}

void jsonl_close(jsonl_file *lines)
{
    if (lines->file)
        fclose(lines->file);
    free(lines->path);
    free(lines->line);
    *lines = (jsonl_file){0};
}

/* Reads one line; one that is too long is passed over and keeps MOST_LINE_BYTES + 1 as its size.
 * False at the end of the file. */
static bool read_line(jsonl_file *lines)
{
    lines->bytes = 0;
    int c;
    while ((c = getc_unlocked(lines->file)) != EOF && c != '\n') {
        if (lines->bytes > MOST_LINE_BYTES)
            continue;
        if (lines->bytes == lines->capacity) {
            lines->capacity = lines->capacity ? 2 * lines->capacity : 1 << 12;
            lines->line = realloc_or_die(lines->line, lines->capacity, 1);
        }
        lines->line[lines->bytes++] = (char)c;
    }
    if (c == EOF && lines->bytes == 0)
        return false;
    lines->number++;
    return true;
}

static bool is_blank(const jsonl_file *lines)
{
    for (size_t i = 0; i < lines->bytes; i++)
        if (!strchr(" \t\r", lines->line[i]) || !lines->line[i])
            return false;
    return true;
}

/* What would make jansson take memory or stack out of proportion; NULL when nothing does. */
static const char *check_structure(const char *line, size_t bytes)
{
    size_t values = 0;
    int depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < bytes; i++) {
        char c = line[i];
        if (in_string) {
            i += c == '\\';
            in_string = c != '"';
        } else if (c == '"') {
            in_string = true;
        } else if (c == '[' || c == '{') {
            values++;
            if (++depth > MOST_DEPTH)
                return "nested deeper than 64";
        } else if (c == ']' || c == '}') {
            depth--;
        } else if (c == ',') {
            values++;
        }
    }
    return values > MOST_VALUES ? "over a million values" : NULL;
}

int jsonl_next(jsonl_file *lines, json_t **row)
{
    *row = NULL;
    do {
        if (!read_line(lines)) {
            if (!ferror(lines->file))
                return JSONL_END;
            fail("cannot read %s: %s", lines->path, strerror(errno));
            return JSONL_FAILED;
        }
    } while (is_blank(lines));
    json_error_t where;
    const char *reason = lines->bytes > MOST_LINE_BYTES
                             ? "a line of over 256 MB"
                             : check_structure(lines->line, lines->bytes);
    if (!reason) {
        *row = json_loadb(lines->line, lines->bytes, JSON_ALLOW_NUL, &where);
        if (*row)
            return JSONL_ROW;
        reason = where.text;
    }
    fail("%s:%lld: %s", lines->path, (long long)lines->number, reason);
    return JSONL_BROKEN;
}
