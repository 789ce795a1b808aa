/* Markdown tables with aligned columns. See markdown.h. */
#include "harness/report/markdown.h"

#include "harness/error.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

grid grid_new(int columns, int text_columns)
{
    grid fresh = {.columns = columns, .text_columns = text_columns};
    grid_row(&fresh);
    return fresh;
}

int grid_row(grid *table)
{
    size_t columns = (size_t)table->columns, before = (size_t)table->rows * columns;
    table->cells = realloc_or_die(table->cells, before + columns, sizeof *table->cells);
    memset(table->cells + before, 0, columns * sizeof *table->cells);
    return table->rows++;
}

void grid_set(grid *table, int row, int column, const char *format, ...)
{
    char *plain = NULL, *text = NULL;
    size_t bytes;
    va_list arguments;
    va_start(arguments, format);
    if (vasprintf(&plain, format, arguments) < 0)
        abort();
    va_end(arguments);
    FILE *out = open_memstream(&text, &bytes);
    for (const char *at = plain; *at; at++)
        fprintf(out, *at == '|' ? "\\%c" : "%c", *at);
    fclose(out);
    free(plain);
    char **cell = &table->cells[row * table->columns + column];
    free(*cell);
    *cell = text;
}

static const char *cell_of(const grid *table, int row, int column)
{
    const char *text = table->cells[row * table->columns + column];
    return text ? text : "";
}

/* Characters of UTF-8, which is what a terminal shows. */
static int width_of(const char *text)
{
    int width = 0;
    for (; *text; text++)
        width += ((unsigned char)*text & 0xc0) != 0x80;
    return width;
}

void grid_print(const grid *table, FILE *out)
{
    int *width = alloc_or_die((size_t)table->columns, sizeof *width);
    for (int column = 0; column < table->columns; column++) {
        width[column] = 3;
        for (int row = 0; row < table->rows; row++) {
            int wanted = width_of(cell_of(table, row, column));
            if (wanted > width[column])
                width[column] = wanted;
        }
    }
    for (int row = 0; row < table->rows; row++) {
        for (int column = 0; column < table->columns; column++) {
            const char *text = cell_of(table, row, column);
            int pad = width[column] - width_of(text);
            if (column < table->text_columns)
                fprintf(out, "| %s%*s ", text, pad, "");
            else
                fprintf(out, "| %*s%s ", pad, "", text);
        }
        fputs("|\n", out);
        for (int column = 0; row == 0 && column < table->columns; column++) {
            fputs(column < table->text_columns ? "|:" : "|-", out);
            for (int i = 0; i < width[column]; i++)
                fputc('-', out);
            fputs(column < table->text_columns ? "-" : ":", out);
        }
        if (row == 0)
            fputs("|\n", out);
    }
    free(width);
}

void grid_free(grid *table)
{
    for (int i = 0; i < table->rows * table->columns; i++)
        free(table->cells[i]);
    free(table->cells);
    *table = (grid){0};
}

int footnote(footnotes *notes, const char *text)
{
    for (int i = 0; i < notes->count; i++)
        if (!strcmp(notes->texts[i], text))
            return i + 1;
    notes->texts = realloc_or_die(notes->texts, (size_t)notes->count + 1, sizeof *notes->texts);
    notes->texts[notes->count++] = copy_text(text);
    return notes->count;
}

void footnotes_print(footnotes *notes, FILE *out)
{
    for (int i = 0; i < notes->count; i++) {
        fprintf(out, "%s[%d] %s\n", i ? "" : "\n", i + 1, notes->texts[i]);
        free(notes->texts[i]);
    }
    free(notes->texts);
    *notes = (footnotes){0};
}
