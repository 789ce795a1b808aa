/* Reading CSV: one pass over the text, which is cut into fields where it lies. See csv.h. */
#include "harness/records/csv.h"

#include "harness/error.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Of a file that is read whole: some hundred thousand rows; fields then take 8 times as much at most. */
enum { MOST_BYTES = 1 << 28 };

char *file_text(const char *path, size_t *bytes)
{
    FILE *file = fopen(path, "rbe");
    struct stat status;
    char *text = NULL;
    if (!file || fstat(fileno(file), &status) < 0) {
        fail("%s: %s", path, strerror(errno));
    } else if (!S_ISREG(status.st_mode)) {
        fail("%s is not a regular file", path);
    } else if (status.st_size > MOST_BYTES) {
        fail("%s has %lld bytes, more than the %d that such a file may have", path,
             (long long)status.st_size, MOST_BYTES);
    } else {
        text = alloc_or_die((size_t)status.st_size + 1, 1);
        *bytes = fread(text, 1, (size_t)status.st_size, file);
        if (ferror(file)) {
            fail("%s: %s", path, strerror(errno));
            free(text);
            text = NULL;
        }
    }
    if (file)
        fclose(file);
    return text;
}

/* Takes one field off the text at *at: unquotes it in place, ends it with a NUL and moves *at
 * behind the comma or line end that closes it, whose kind it returns; 0 when the text ends before.
 * A quote out of place gives '"'. */
static char take_field(char **at, char *end, char **field)
{
    char *read = *at, *write = *at;
    *field = *at;
    if (read < end && *read == '"') {
        for (read++;; read++) {
            if (read == end)
                return 0;
            if (*read == '"' && (read + 1 == end || read[1] != '"'))
                break;
            read += *read == '"';
            *write++ = *read;
        }
        read++;
    } else {
        for (; read < end && *read != ',' && *read != '\n'; read++) {
            if (*read == '"')
                return '"';
            *write++ = *read;
        }
        /* The CR of a CRLF is no part of an unquoted field. */
        if (read < end && *read == '\n' && write > *field && write[-1] == '\r')
            write--;
    }
    if (read < end && *read == '\r' && read + 1 < end && read[1] == '\n')
        read++;
    if (read == end)
        return 0;
    char close = *read;
    if (close != ',' && close != '\n')
        return '"';
    *write = 0;
    *at = read + 1;
    return close;
}

csv *csv_parse(char *text, size_t bytes, const char *path)
{
    csv *table = alloc_or_die(1, sizeof *table);
    char *at = text, *end = text + bytes;
    char **fields = NULL;
    size_t count = 0, capacity = 0;
    table->text = text;
    if (memchr(text, 0, bytes)) {
        fail("%s is no CSV: it holds a NUL byte", path);
        goto broken;
    }
    for (int line = 1; at < end; line++) {
        char *start = at, close = ',';
        size_t first = count;
        while (close == ',') {
            if (count == capacity) {
                capacity = capacity ? 2 * capacity : 256;
                fields = realloc_or_die(fields, capacity, sizeof *fields);
            }
            close = take_field(&at, end, &fields[count++]);
        }
        if (close == '"') {
            fail("%s, line %d: a quote stands where none may", path, line);
            goto broken;
        }
        if (close == 0) { /* torn: its fields do not count */
            count = first;
            table->torn = true;
            break;
        }
        if (table->columns == 0) {
            table->columns = (int)count;
        } else if (count - first == 1 && !*fields[first] && table->columns > 1) {
            count = first; /* an empty line */
        } else if (count - first != (size_t)table->columns) {
            fail("%s, line %d: %zu fields where the header has %d", path, line, count - first,
                 table->columns);
            goto broken;
        }
        table->whole_bytes += (size_t)(at - start);
    }
    table->names = fields;
    if (table->columns) {
        table->cells = fields + table->columns;
        table->rows = (int)(count / (size_t)table->columns) - 1;
    }
    return table;
broken:
    free(fields);
    csv_free(table);
    return NULL;
}

csv *csv_read(const char *path)
{
    size_t bytes = 0;
    char *text = file_text(path, &bytes);
    return text ? csv_parse(text, bytes, path) : NULL;
}

void csv_free(csv *table)
{
    if (!table)
        return;
    free(table->names);
    free(table->text);
    free(table);
}

int csv_column(const csv *table, const char *name)
{
    for (int i = 0; i < table->columns; i++)
        if (!strcmp(table->names[i], name))
            return i;
    return -1;
}

const char *csv_cell(const csv *table, int row, int column)
{
    return column < 0 ? "" : table->cells[(size_t)row * (size_t)table->columns + (size_t)column];
}

double csv_number(const csv *table, int row, const char *name)
{
    const char *text = csv_cell(table, row, csv_column(table, name));
    char *end;
    double value = strtod(text, &end);
    return *text && !*end ? value : NAN;
}

void csv_put(FILE *out, const char *field)
{
    if (!strpbrk(field, ",\"\r\n")) {
        fputs(field, out);
        return;
    }
    fputc('"', out);
    for (; *field; field++) {
        if (*field == '"')
            fputc('"', out);
        fputc(*field, out);
    }
    fputc('"', out);
}
