/* Bounded reading of JSON lines. See jsonl.h. */
#include "datasets/jsonl.h"

#include "harness/error.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_LINE_BYTES = 1 << 28, MOST_VALUES = 1 << 20, MOST_DEPTH = 64 };

/* ---- Chunks ---- */

static char *chunk_path(const jsonl_file *lines, long chunk)
{
    return format_text("%s-%ld.jsonl", lines->stem, chunk);
}

/* The number of some chunk behind this one, -1 when there is none. */
static long later_chunk(const jsonl_file *lines, long chunk)
{
    const char *slash = strrchr(lines->stem, '/'), *name = slash ? slash + 1 : lines->stem;
    char *folder = slash ? copy_bytes(lines->stem, (size_t)(name - lines->stem)) : copy_text(".");
    DIR *entries = opendir(folder);
    long later = -1;
    for (struct dirent *entry; entries && later < 0 && (entry = readdir(entries));) {
        size_t bytes = strlen(name);
        if (strncmp(entry->d_name, name, bytes) || entry->d_name[bytes] != '-')
            continue;
        const char *digits = entry->d_name + bytes + 1;
        size_t count = strspn(digits, "0123456789");
        if (count > 0 && !strcmp(digits + count, ".jsonl") && strtol(digits, NULL, 10) > chunk)
            later = strtol(digits, NULL, 10);
    }
    if (entries)
        closedir(entries);
    free(folder);
    return later;
}

/* Goes to this chunk: 1; 0 when there is none and none behind it; -1 with a sentence. */
static int open_chunk(jsonl_file *lines, long chunk)
{
    char *path = chunk_path(lines, chunk);
    FILE *file = fopen(path, "rb");
    int reason = errno;
    if (!file) {
        long later = reason == ENOENT ? later_chunk(lines, chunk) : -1;
        int result = 0;
        if (reason != ENOENT)
            result = fail("cannot open %s: %s", path, strerror(reason));
        else if (later >= 0)
            result = fail("%s is missing, but there is a chunk %ld", path, later);
        free(path);
        return result;
    }
    if (lines->file)
        fclose(lines->file);
    free(lines->path);
    lines->file = file;
    lines->path = path;
    lines->chunk = chunk;
    lines->number = 0;
    return 1;
}

int jsonl_open(jsonl_file *lines, const char *path)
{
    static const char ending[] = ".jsonl";
    size_t bytes = strlen(path), ending_bytes = sizeof ending - 1;
    *lines = (jsonl_file){0};
    lines->file = fopen(path, "rb");
    if (lines->file) {
        lines->path = copy_text(path);
        return 0;
    }
    int reason = errno, opened = 0;
    if (reason == ENOENT && bytes > ending_bytes && !strcmp(path + bytes - ending_bytes, ending)) {
        lines->stem = copy_bytes(path, bytes - ending_bytes);
        opened = open_chunk(lines, 0);
    }
    if (opened == 1)
        return 0;
    jsonl_close(lines);
    return opened < 0 ? -1 : fail("cannot open %s: %s", path, strerror(reason));
}

void jsonl_close(jsonl_file *lines)
{
    if (lines->file)
        fclose(lines->file);
    free(lines->path);
    free(lines->stem);
    free(lines->line);
    *lines = (jsonl_file){0};
}

/* ---- Lines ---- */

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
    if (lines->number++ == 0 && lines->bytes >= 3 && !memcmp(lines->line, "\xEF\xBB\xBF", 3))
        memset(lines->line, ' ', 3); /* a byte order mark */
    return true;
}

static bool is_blank(const jsonl_file *lines)
{
    for (size_t i = 0; i < lines->bytes; i++)
        if (!strchr(" \t\r", lines->line[i]) || !lines->line[i])
            return false;
    return true;
}

/* What would make jansson take memory or stack out of proportion, and NUL bytes, which it passes over
 * between values; NULL when there is nothing of it. */
static const char *check_structure(const char *line, size_t bytes)
{
    size_t values = 0;
    int depth = 0;
    if (memchr(line, 0, bytes))
        return "it holds a NUL byte";
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
        while (!read_line(lines)) {
            if (ferror(lines->file)) {
                fail("cannot read %s: %s", lines->path, strerror(errno));
                return JSONL_FAILED;
            }
            int next = lines->stem ? open_chunk(lines, lines->chunk + 1) : 0;
            if (next <= 0)
                return next < 0 ? JSONL_FAILED : JSONL_END;
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
