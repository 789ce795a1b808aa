/* Lines of samples without a row. See left.h. */
#include "harness/records/left.h"

#include "harness/error.h"
#include "harness/records/line_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char cell_mark[] = ",\"cell\":\"";
enum { HEX_DIGITS = 16 };

void left_cell_text(uint64_t cell, char text[LEFT_CELL_BYTES + 1])
{
    snprintf(text, LEFT_CELL_BYTES + 1, "%s%016llx\"", cell_mark, (unsigned long long)cell);
}

/* The line without its end as a sample; false when it is none. */
static bool read_line(const char *line, size_t bytes, left_sample *one)
{
    *one = (left_sample){0};
    size_t at = line_number(SAMPLE_ROW_MARK, line, bytes, &one->row), rest = at;
    if (!at || bytes - at < LEFT_CELL_BYTES + 1 ||
        memcmp(line + at, cell_mark, strlen(cell_mark)) ||
        memcmp(line + at + LEFT_CELL_BYTES - 1, "\",", 2) || line[bytes - 1] != '}')
        return false;
    at += strlen(cell_mark);
    for (int i = 0; i < HEX_DIGITS; i++, at++) {
        const char *digits = "0123456789abcdef", *digit = line[at] ? strchr(digits, line[at]) : NULL;
        if (!digit)
            return false;
        one->cell = one->cell << 4 | (uint64_t)(digit - digits);
    }
    one->bytes = bytes - rest;
    one->rest = copy_bytes(line + rest, one->bytes);
    return true;
}

size_t left_samples_read(left_samples *all, const char *text, size_t bytes)
{
    size_t taken = 0;
    const char *end;
    left_sample one;
    while (taken < bytes && (end = memchr(text + taken, '\n', bytes - taken)) &&
           read_line(text + taken, (size_t)(end - text) - taken, &one)) {
        all->items = realloc_or_die(all->items, (size_t)all->count + 1, sizeof *all->items);
        all->items[all->count++] = one;
        taken = (size_t)(end - text) + 1;
    }
    return taken;
}

void left_samples_of(left_samples *all, const char *text, size_t bytes, int64_t row, uint64_t cell)
{
    char *start = format_text(SAMPLE_ROW_MARK "%lld,", (long long)row);
    const char *at = text, *end = text + bytes, *next;
    for (; at < end && (next = memchr(at, '\n', (size_t)(end - at))); at = next + 1) {
        size_t before = (size_t)all->count, length = (size_t)(next + 1 - at);
        if (length > strlen(start) && !memcmp(at, start, strlen(start)) &&
            left_samples_read(all, at, length) && all->items[before].cell != cell)
            free(all->items[--all->count].rest);
    }
    free(start);
}

json_t *left_sample_object(const left_sample *one)
{
    char *text = format_text(SAMPLE_ROW_MARK "%lld%s", (long long)one->row, one->rest);
    json_error_t error;
    json_t *object = json_loads(text, JSON_ALLOW_NUL, &error);
    free(text);
    return object;
}

void left_samples_drop(left_samples *all, uint64_t cell)
{
    int kept = 0;
    for (int i = 0; i < all->count; i++) {
        if (all->items[i].cell == cell)
            free(all->items[i].rest);
        else
            all->items[kept++] = all->items[i];
    }
    all->count = kept;
}

void left_samples_free(left_samples *all)
{
    for (int i = 0; i < all->count; i++)
        free(all->items[i].rest);
    free(all->items);
    *all = (left_samples){0};
}
