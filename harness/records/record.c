/* A row in memory and as a line. See records.h. */
#include "harness/error.h"
#include "harness/records/csv.h"
#include "harness/records/records.h"

#include <math.h>
#include <stdlib.h>

static void set_value(record *row, int column, char *value)
{
    free(row->values[column]);
    row->values[column] = value;
}

void record_text(record *row, int column, const char *text)
{
    char *value = copy_text(text ? text : "");
    for (char *at = value; *at; at++)
        if (*at == '\n' || *at == '\r')
            *at = ' ';
    set_value(row, column, value);
}

void record_integer(record *row, int column, int64_t value)
{
    set_value(row, column, format_text("%lld", (long long)value));
}

void record_number(record *row, int column, double value)
{
    bool whole = floor(value) == value && fabs(value) < 9007199254740992.0; /* 2^53 */
    set_value(row, column,
              isnan(value) ? NULL : format_text(whole ? "%.0f" : "%.6g", value));
}

void record_clear(record *row)
{
    for (int i = 0; i < RECORD_COLUMNS; i++)
        set_value(row, i, NULL);
}

char *record_header(record_kind kind)
{
    int columns;
    const record_column *column = record_columns(kind, &columns);
    char *line = NULL;
    size_t bytes;
    FILE *out = open_memstream(&line, &bytes);
    for (int i = 0; i < columns; i++)
        fprintf(out, "%s%s", i ? "," : "", column[i].name);
    fputc('\n', out);
    fclose(out);
    return line;
}

char *record_line(const record *row)
{
    int columns;
    char *line = NULL;
    size_t bytes;
    record_columns(row->kind, &columns);
    FILE *out = open_memstream(&line, &bytes);
    for (int i = 0; i < columns; i++) {
        if (i)
            fputc(',', out);
        csv_put(out, row->values[i] ? row->values[i] : "");
    }
    fputc('\n', out);
    fclose(out);
    return line;
}
