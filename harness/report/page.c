/* Numbers, cells, headings and provenance of the tables. See page.h. */
#include "harness/report/page.h"

#include "harness/error.h"
#include "harness/options.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void number_text(double value, char *text, size_t bytes)
{
    double size = fabs(value);
    int decimals = size >= 1000 || value == 0 ? 0 : size >= 100 ? 1 : size >= 1 ? 2 : 3;
    if (size > 0 && size < 0.01)
        snprintf(text, bytes, "%.2g", value);
    else if (size >= 1e7)
        snprintf(text, bytes, "%.3g", value);
    else
        snprintf(text, bytes, "%.*f", decimals, value);
}

void put_cell(page *page, grid *table, int line, int column, const result *row, double value)
{
    char text[64];
    if (!row) {
        grid_set(table, line, column, "-");
    } else if (strcmp(row->status, "ok")) {
        if (*row->detail)
            grid_set(table, line, column, "%s [%d]", row->status,
                     footnote(&page->notes, row->detail));
        else
            grid_set(table, line, column, "%s", row->status);
    } else if (isnan(value)) {
        grid_set(table, line, column, "-");
    } else {
        number_text(value, text, sizeof text);
        if (results_scale(page->all, row) > 1) {
            char *note = format_text("ran %d of %d layers; times multiplied by %d/%d", row->layers,
                                     row->model_layers, row->model_layers, row->layers);
            grid_set(table, line, column, "%s [%d]", text, footnote(&page->notes, note));
            free(note);
        } else {
            grid_set(table, line, column, "%s", text);
        }
    }
}

const char *const breakdown_titles[BREAKDOWN_PARTS] = {"QKV",    "compress", "comm", "attention",
                                                       "O proj", "FFN",      "other"};

double breakdown_ms(const result *row, int part)
{
    static const char *const columns[BREAKDOWN_PARTS] = {
        "qkv_s", "compress_s", "comm_s", "attention_s", "o_proj_s", "ffn_s", "other_s"};
    if (!row || strcmp(row->status, "ok"))
        return NAN;
    return csv_number(row->file, row->row, columns[part]) * 1000 / (row->layers ? row->layers : 1);
}

int64_t breakdown_length(const results *all, const result_group *group, int64_t wanted)
{
    enum { ATTENTION = 3 }; /* no row with a breakdown lacks it */
    int count;
    int64_t longest = 0, *lengths = results_lengths(all, group, &count);
    for (int i = 0; i < count; i++)
        for (int series = 0; series < all->series_count; series++)
            if (!all->series[series].paper && results_belongs(all, group, series) &&
                (!wanted || lengths[i] == wanted) &&
                !isnan(breakdown_ms(results_find(all, group, series, lengths[i], NULL), ATTENTION)))
                longest = lengths[i];
    free(lengths);
    return longest;
}

/* ---- Headings, conditions, provenance ---- */

char *group_title(const results *all, const result_group *group)
{
    char *text = NULL;
    size_t bytes;
    FILE *out = open_memstream(&text, &bytes);
    fputs(group->model, out);
    for (int i = 0; group->layers && i < all->row_count; i++) {
        const result *row = &all->rows[i];
        if (row->layers == group->layers && !strcmp(row->model, group->model) &&
            row->layers < row->model_layers) {
            fprintf(out, ", only %d of %d layers", row->layers, row->model_layers);
            break;
        }
    }
    if (group->hosts)
        fprintf(out, ", %d host%s", group->hosts, group->hosts > 1 ? "s" : "");
    if (*group->link)
        fprintf(out, ", projected over %s", group->link);
    fclose(out);
    return text;
}

void print_heading(const page *page, int64_t length)
{
    char size[32], *title = group_title(page->all, page->group);
    fprintf(page->out, "\n## %s", title);
    if (length)
        fprintf(page->out, ", %s tokens", format_size(length, size, sizeof size));
    fprintf(page->out, "\n");
    free(title);
}

/* The inputs that all rows of the group share, which is what the numbers hold under. */
void print_conditions(const page *page, int64_t length)
{
    const results *all = page->all;
    static const char *const names[] = {"device", "dtype",  "query",   "new_tokens", "warmup",
                                        "reps",   "samples", "generator", "scorer",  "limit",
                                        "threads", "seed"};
    const char *comma = "\n";
    for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
        int column = csv_column(all->ours, names[n]);
        const char *value = NULL;
        bool same = column >= 0;
        for (int i = 0; same && i < all->row_count; i++) {
            const result *row = &all->rows[i];
            if (row->file != all->ours || (length && row->length != length) ||
                !results_in_group(page->group, row) || !results_belongs(all, page->group, row->series))
                continue;
            const char *here = csv_cell(all->ours, row->row, column);
            same = !value || !strcmp(value, here);
            value = here;
        }
        if (same && value && *value) {
            fprintf(page->out, "%s%s %s", comma, names[n], value);
            comma = ", ";
        }
    }
    if (*comma == ',')
        fputc('\n', page->out);
}

/* The series' last row of the longest length (of `length` unless that is 0) that has options, among all
 * rows or those that ended well; NULL: none. differ: among the tasks of a length, since defaults follow
 * their samples. */
static const result *last_with_options(const page *page, int series, int64_t length, bool ended_well,
                                       bool *differ)
{
    const results *all = page->all;
    int column = csv_column(all->ours, "options"), status = csv_column(all->ours, "status");
    const result *last = NULL;
    *differ = false;
    for (int i = 0; i < all->row_count; i++) {
        const result *row = &all->rows[i];
        if (row->series != series || !results_in_group(page->group, row) ||
            (length && row->length != length) || !*csv_cell(row->file, row->row, column) ||
            (last && row->length < last->length) ||
            (ended_well && strcmp(csv_cell(row->file, row->row, status), "ok")))
            continue;
        if (last && row->length == last->length)
            *differ |= strcmp(csv_cell(last->file, last->row, column),
                              csv_cell(row->file, row->row, column)) != 0;
        else
            *differ = false;
        last = row;
    }
    return last;
}

void print_options(const page *page, int64_t length)
{
    const results *all = page->all;
    int column = csv_column(all->ours, "options");
    bool first = true, differ;
    for (int series = 0; series < all->series_count; series++) {
        if (all->series[series].paper || !results_belongs(all, page->group, series))
            continue;
        const result *last = last_with_options(page, series, length, true, &differ);
        if (!last) /* rows that could not be run may have defaults that were never resolved */
            last = last_with_options(page, series, length, false, &differ);
        if (last) {
            char size[32];
            fprintf(page->out, "%s- %s, %d host%s at %s: %s%s\n", first ? "\n" : "",
                    all->series[series].label, last->hosts, last->hosts > 1 ? "s" : "",
                    format_size(last->length, size, sizeof size),
                    csv_cell(last->file, last->row, column),
                    differ ? " (the last task; tasks differ, see the rows)" : "");
            first = false;
        }
    }
}

/* Whether some row is of a model and length that the paper has figures of. */
static bool has_paper_cell(const results *all)
{
    for (int i = 0; i < all->row_count; i++)
        for (int j = 0; j < all->row_count; j++)
            if (all->series[all->rows[i].series].paper && !all->series[all->rows[j].series].paper &&
                all->rows[i].length == all->rows[j].length &&
                !strcmp(all->rows[i].model, all->rows[j].model))
                return true;
    return false;
}

void print_provenance(const results *all, FILE *out)
{
    static const char *const names[] = {"commit", "machine", "gpu", "driver", "libraries"};
    footnotes seen = {0};
    const csv *file = all->ours;
    int date = csv_column(file, "date");
    for (int i = 0; i < file->rows; i++) {
        char *text = copy_text("");
        for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
            const char *value = csv_cell(file, i, csv_column(file, names[n]));
            if (*value) {
                char *longer = format_text("%s%s%s %s", text, *text ? "; " : "", names[n], value);
                free(text);
                text = longer;
            }
        }
        footnote(&seen, text);
        free(text);
    }
    fprintf(out, "\n---\n");
    if (all->paper)
        fprintf(out,
                "\nPaper: %s of \"APB\" (Huang et al., ACL 2025, arXiv 2502.12085); 8 A800-80GB "
                "over NVLink 3.\n",
                all->paper_name);
    if (all->paper && !has_paper_cell(all))
        fprintf(out, "\nNone of its figures is beside these rows: its model or its lengths are "
                     "others.\n");
    char note[160];
    if (results_untimed(all, note, sizeof note))
        fprintf(out, "\n%s.\n", note);
    fprintf(out, "\n%d row%s, %s to %s:\n", file->rows, file->rows == 1 ? "" : "s",
            csv_cell(file, 0, date), csv_cell(file, file->rows - 1, date));
    for (int i = 0; i < seen.count; i++) {
        fprintf(out, "- %s\n", seen.texts[i]);
        free(seen.texts[i]);
    }
    free(seen.texts);
}
