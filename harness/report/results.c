/* Sorting the rows of a results file into series. See results.h; lookup.c is what is asked of them. */
#include "harness/report/results.h"

#include "harness/comm.h"
#include "harness/error.h"
#include "harness/program_files.h"
#include "harness/records/records.h"
#include "methods/method.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Columns that never tell series apart: they are the axes of tables and plots. */
static bool is_axis(const char *column)
{
    static const char *const axes[] = {"model", "layers", "method", "hosts",
                                       "link",  "length", "task"};
    for (size_t i = 0; i < sizeof axes / sizeof *axes; i++)
        if (!strcmp(axes[i], column))
            return true;
    return false;
}

static const char *text_of(const csv *file, int row, const char *column)
{
    return csv_cell(file, row, csv_column(file, column));
}

static int integer_of(const csv *file, int row, const char *column, int otherwise)
{
    double value = csv_number(file, row, column);
    return value >= 0 && value < 1e9 ? (int)value : otherwise;
}

/* A row that ended well, but with times that mean nothing. */
static bool is_untimed(const results *all, const csv *file, int row)
{
    return file == all->ours && !all->accuracy && !strcmp(text_of(file, row, "status"), "ok") &&
           comm_takes_turns(text_of(file, row, "detail"));
}

/* ---- Series ---- */

/* Whether a row that could not be run may have this otherwise than once it can be: defaults that were never
 * resolved, retaining heads that came later. */
static bool comes_later(const csv *file, int row, const char *column)
{
    return !strcmp(text_of(file, row, "status"), "unsupported") &&
           (!strcmp(column, "options") || !strcmp(column, "weights"));
}

/* Marks the inputs in which two rows of one method, model, hosts and length differ. */
static void find_varying(results *all)
{
    int columns;
    const csv *file = all->ours;
    const record_column *column =
        record_columns(all->accuracy ? RECORD_ACCURACY : RECORD_SPEED, &columns);
    /* Those that differ most often first. */
    static const char *const names[] = {"length", "hosts", "task", "method", "variant", "model"};
    enum { SAME = sizeof names / sizeof *names };
    int same[SAME];
    for (int i = 0; i < SAME; i++)
        same[i] = csv_column(file, names[i]);
    all->varies = alloc_or_die((size_t)file->columns, sizeof *all->varies);
    for (int a = 0; a < file->rows; a++) {
        for (int b = 0; b < a && !is_untimed(all, file, a); b++) {
            bool cell = !is_untimed(all, file, b);
            for (int i = 0; cell && i < SAME; i++)
                cell = !strcmp(csv_cell(file, a, same[i]), csv_cell(file, b, same[i]));
            for (int i = 0; cell && i < columns; i++) {
                int at = csv_column(file, column[i].name);
                if (at >= 0 && column[i].key && !is_axis(column[i].name) &&
                    strcmp(csv_cell(file, a, at), csv_cell(file, b, at)) &&
                    !comes_later(file, a, column[i].name) && !comes_later(file, b, column[i].name))
                    all->varies[at] = true;
            }
        }
    }
}

static const char *title_of(const csv *file, int row)
{
    const char *name = text_of(file, row, "method"), *title = text_of(file, row, "title");
    const method *known = method_find(name);
    return *title ? title : known ? known->title : name;
}

/* The link of a row, where it makes a difference. */
static const char *link_of(const results *all, const csv *file, int row)
{
    bool matters = file == all->ours && !all->accuracy && integer_of(file, row, "hosts", 1) > 1;
    return matters ? text_of(file, row, "link") : "";
}

/* "APB (compressor=random, device=cuda)", and the same with all else that tells series apart. */
static void name_series(const results *all, const csv *file, int row, result_series *one)
{
    char *extras = copy_text(text_of(file, row, "variant"));
    for (int i = 0; file == all->ours && i < file->columns; i++) {
        const char *value = csv_cell(file, row, i);
        if (!all->varies[i] || !*value)
            continue;
        char *longer = !strcmp(file->names[i], "options")
                           ? format_text("%s%s%s", extras, *extras ? ", " : "", value)
                           : format_text("%s%s%s=%s", extras, *extras ? ", " : "", file->names[i],
                                         value);
        free(extras);
        extras = longer;
    }
    one->method = text_of(file, row, "method");
    one->hosts = integer_of(file, row, "hosts", 1);
    one->paper = file == all->paper;
    one->paper_twin = -1;
    one->identity = format_text("%s|%d|%s|%d|%s", one->method, one->hosts,
                                link_of(all, file, row), one->paper, extras);
    one->label = *extras ? format_text("%s (%s)", title_of(file, row), extras)
                         : copy_text(title_of(file, row));
    free(extras);
}

static int series_of(results *all, const csv *file, int row)
{
    result_series fresh;
    name_series(all, file, row, &fresh);
    for (int i = 0; i < all->series_count; i++) {
        if (!strcmp(all->series[i].identity, fresh.identity)) {
            free(fresh.label);
            free(fresh.identity);
            return i;
        }
    }
    all->series = realloc_or_die(all->series, (size_t)all->series_count + 1, sizeof *all->series);
    all->series[all->series_count] = fresh;
    return all->series_count++;
}

static void add_rows(results *all, const csv *file)
{
    all->rows = realloc_or_die(all->rows, (size_t)(all->row_count + file->rows), sizeof *all->rows);
    for (int i = 0; i < file->rows; i++) {
        if (is_untimed(all, file, i)) {
            all->untimed++;
            continue;
        }
        result *one = &all->rows[all->row_count++];
        *one = (result){.file = file, .row = i, .series = series_of(all, file, i)};
        one->model = text_of(file, i, "model");
        one->task = text_of(file, i, "task");
        one->status = text_of(file, i, "status");
        one->detail = text_of(file, i, "detail");
        one->link = link_of(all, file, i);
        one->layers = integer_of(file, i, "layers", 0);
        one->model_layers = integer_of(file, i, "model_layers", one->layers);
        one->hosts = integer_of(file, i, "hosts", 1);
        one->length = (int64_t)csv_number(file, i, "length");
    }
}

/* In the order of the method table, then as they came; the paper's behind ours. */
static int place(const result_series *one)
{
    int at = 0;
    while (at < method_count && strcmp(method_table[at]->name, one->method))
        at++;
    return at + (one->paper ? method_count + 1 : 0);
}

static void sort_series(results *all)
{
    int count = all->series_count, *now_at = alloc_or_die((size_t)count, sizeof *now_at);
    int *order = alloc_or_die((size_t)count, sizeof *order);
    for (int i = 0; i < count; i++) {
        int at = i;
        for (; at > 0 && place(&all->series[order[at - 1]]) > place(&all->series[i]); at--)
            order[at] = order[at - 1];
        order[at] = i;
    }
    result_series *sorted = alloc_or_die((size_t)count, sizeof *sorted);
    for (int i = 0; i < count; i++) {
        sorted[i] = all->series[order[i]];
        now_at[order[i]] = i;
    }
    for (int i = 0; i < all->row_count; i++)
        all->rows[i].series = now_at[all->rows[i].series];
    free(all->series);
    free(order);
    free(now_at);
    all->series = sorted;
}

/* The variant of a method that the paper's figures belong to: its defaults, or, when the file has
 * none, the one that came first (a preset may ask for the paper's own options). */
static const char *paper_variant(const results *all, const char *method)
{
    const char *first = NULL;
    for (int i = 0; i < all->ours->rows; i++) {
        const char *variant = text_of(all->ours, i, "variant");
        if (strcmp(text_of(all->ours, i, "method"), method) || is_untimed(all, all->ours, i))
            continue;
        if (!*variant)
            return variant;
        if (!first)
            first = variant;
    }
    return first;
}

static void find_twins(results *all)
{
    for (int i = 0; i < all->row_count; i++) {
        result_series *one = &all->series[all->rows[i].series];
        if (one->paper || one->paper_twin >= 0 ||
            strcmp(text_of(all->ours, all->rows[i].row, "variant"),
                   paper_variant(all, one->method)))
            continue;
        for (int twin = 0; twin < all->series_count; twin++)
            if (all->series[twin].paper && all->series[twin].hosts == one->hosts &&
                !strcmp(all->series[twin].method, one->method))
                one->paper_twin = twin;
    }
}

/* ---- Reading ---- */

static int read_paper(results *all, const char *preset)
{
    if (!preset || strncmp(preset, "paper-", 6))
        return 0;
    all->paper_name = copy_text(preset + 6);
    char *name = format_text("results/paper/%s.csv", all->paper_name);
    char *path = program_file(name);
    free(name);
    if (!path)
        return fail_within("no figures of the paper for preset %s", preset);
    all->paper = csv_read(path);
    free(path);
    return all->paper ? 0 : -1;
}

static int check_file(results *all, const char *path)
{
    static const char *const needed[] = {"model", "method", "hosts", "length", "status"};
    const csv *file = all->ours;
    all->accuracy = csv_column(file, "task") >= 0;
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
        if (csv_column(file, needed[i]) < 0)
            return fail("%s has no column \"%s\": it is no results file of apbench", path,
                        needed[i]);
    for (int i = 0; i < file->rows; i++) {
        double length = csv_number(file, i, "length");
        if (!(length >= 0 && length < 9e15))
            return fail("%s: row %d has the length \"%s\"", path, i + 1,
                        text_of(file, i, "length"));
    }
    if (!file->rows)
        return fail("%s has no rows yet", path);
    return 0;
}

results *results_read(const char *path, const char *preset, bool scale)
{
    results *all = alloc_or_die(1, sizeof *all);
    all->ours = csv_read(path);
    if (!all->ours || check_file(all, path) < 0 || read_paper(all, preset) < 0) {
        results_free(all);
        return NULL;
    }
    all->scaled = scale || all->paper;
    find_varying(all);
    add_rows(all, all->ours);
    if (all->paper)
        add_rows(all, all->paper);
    sort_series(all);
    find_twins(all);
    return all;
}

void results_free(results *all)
{
    if (!all)
        return;
    for (int i = 0; i < all->series_count; i++) {
        free(all->series[i].label);
        free(all->series[i].identity);
    }
    free(all->series);
    free(all->rows);
    free(all->varies);
    free(all->paper_name);
    csv_free(all->ours);
    csv_free(all->paper);
    free(all);
}

char *results_untimed(const results *all, char *text, int bytes)
{
    if (!all->untimed)
        return NULL;
    snprintf(text, (size_t)bytes, "%d row%s of hosts that share a GPU or cores %s left out: their "
             "times mean nothing", all->untimed, all->untimed > 1 ? "s" : "",
             all->untimed > 1 ? "are" : "is");
    return text;
}
