/* What tables and figures ask of the rows once they are sorted: groups, lengths, tasks, the row of a series and its
 * values, and what it is compared with. See results.h. */
#include "harness/report/results.h"

#include "harness/error.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- Groups ---- */

bool results_in_group(const result_group *group, const result *row)
{
    return !strcmp(row->model, group->model) && (!group->layers || row->layers == group->layers);
}

/* Whether the row's method has only single-host rows within the group's model. */
static bool is_baseline(const results *all, const result_group *group, const result *row)
{
    for (int i = 0; row->hosts == 1 && i < all->row_count; i++)
        if (all->rows[i].hosts > 1 && results_in_group(group, &all->rows[i]) &&
            !strcmp(all->series[all->rows[i].series].method, all->series[row->series].method))
            return false;
    return row->hosts == 1;
}

static bool has_more_hosts(const results *all, const result_group *group)
{
    for (int i = 0; i < all->row_count; i++)
        if (all->rows[i].file == all->ours && all->rows[i].hosts > 1 &&
            results_in_group(group, &all->rows[i]))
            return true;
    return false;
}

result_group *results_groups(const results *all, bool by_hosts, int *count)
{
    result_group *groups = alloc_or_die((size_t)all->row_count, sizeof *groups);
    *count = 0;
    for (int i = 0; i < all->row_count; i++) {
        const result *row = &all->rows[i];
        result_group group = {row->model, row->link, all->scaled ? 0 : row->layers,
                              by_hosts ? row->hosts : 0};
        if (row->file != all->ours ||
            (!all->accuracy && is_baseline(all, &group, row) && has_more_hosts(all, &group)))
            continue;
        bool known = false;
        for (int j = 0; j < *count; j++)
            known |= !strcmp(groups[j].model, group.model) && groups[j].layers == group.layers &&
                     !strcmp(groups[j].link, group.link) && groups[j].hosts == group.hosts;
        if (!known)
            groups[(*count)++] = group;
    }
    return groups;
}

bool results_belongs(const results *all, const result_group *group, int series)
{
    for (int i = 0; i < all->row_count; i++) {
        const result *row = &all->rows[i];
        /* The paper's rows of a whole model have no layers column: they match any group of it. */
        bool model = row->file == all->paper ? !strcmp(row->model, group->model)
                                             : results_in_group(group, row);
        bool place = (row->file == all->paper || !strcmp(row->link, group->link)) &&
                     (!group->hosts || row->hosts == group->hosts);
        if (row->series == series && model && (place || is_baseline(all, group, row)))
            return true;
    }
    return false;
}

static int ascending(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
    return (left > right) - (left < right);
}

int results_check_length(const results *all, const char *path, int64_t length)
{
    bool found = !length;
    for (int i = 0; i < all->ours->rows && !found; i++)
        found = csv_number(all->ours, i, "length") == (double)length;
    return found ? 0 : fail("--length %lld: %s has no row of that length", (long long)length, path);
}

int64_t *results_lengths(const results *all, const result_group *group, int *count)
{
    int64_t *lengths = alloc_or_die((size_t)all->row_count, sizeof *lengths);
    *count = 0;
    for (int i = 0; i < all->row_count; i++) {
        const result *row = &all->rows[i];
        bool known = row->file != all->ours || !results_in_group(group, row);
        for (int j = 0; !known && j < *count; j++)
            known = lengths[j] == row->length;
        if (!known && results_belongs(all, group, row->series))
            lengths[(*count)++] = row->length;
    }
    qsort(lengths, (size_t)*count, sizeof *lengths, ascending);
    return lengths;
}

const char **results_tasks(const results *all, const result_group *group, int *count)
{
    const char **tasks = alloc_or_die((size_t)all->row_count, sizeof *tasks);
    *count = 0;
    for (int i = 0; i < all->row_count; i++) {
        const result *row = &all->rows[i];
        bool known = row->file != all->ours || !results_in_group(group, row);
        for (int j = 0; !known && j < *count; j++)
            known = !strcmp(tasks[j], row->task);
        if (!known)
            tasks[(*count)++] = row->task;
    }
    return tasks;
}

/* ---- Cells ---- */

/* Of rows with other numbers of layers the one with most says most, but one that has no value (a whole
 * model that did not fit) nothing beside one that has. */
static bool says_more(const result *row, const result *best)
{
    bool ok = !strcmp(row->status, "ok"), best_ok = !strcmp(best->status, "ok");
    return row->layers != best->layers && (ok != best_ok ? ok : row->layers > best->layers);
}

const result *results_find(const results *all, const result_group *group, int series,
                           int64_t length, const char *task)
{
    const result *best = NULL;
    for (int i = all->row_count; series >= 0 && i-- > 0;) {
        const result *row = &all->rows[i];
        bool paper = all->series[series].paper;
        if (row->series != series || row->length != length || strcmp(row->model, group->model) ||
            (!paper && group->layers && row->layers != group->layers) ||
            (task && strcmp(row->task, task)))
            continue;
        if (!best || says_more(row, best))
            best = row;
    }
    return best;
}

double results_scale(const results *all, const result *row)
{
    return all->scaled && row->layers > 0 && row->layers < row->model_layers
               ? (double)row->model_layers / row->layers
               : 1;
}

double results_value(const results *all, const result *row, const char *column)
{
    if (!row || strcmp(row->status, "ok"))
        return NAN;
    double value = csv_number(row->file, row->row, column), scale = results_scale(all, row);
    if (!strcmp(column, "speed_tok_s"))
        return value / scale;
    size_t length = strlen(column);
    bool time = length > 2 && !strcmp(column + length - 2, "_s");
    return time ? value * scale : value;
}

int results_counterpart(const results *all, const result_group *group, int series,
                        const char *method, const char *variant, int hosts)
{
    int best = -1, best_equal = -1;
    const csv *file = all->ours;
    for (int i = 0; series >= 0 && i < all->row_count; i++) {
        const result *row = &all->rows[i];
        if (strcmp(all->series[row->series].method, method) || row->hosts != hosts ||
            (variant &&
             strcmp(csv_cell(row->file, row->row, csv_column(row->file, "variant")), variant)) ||
            all->series[row->series].paper != all->series[series].paper ||
            !results_belongs(all, group, row->series))
            continue;
        if (all->series[series].paper)
            return row->series;
        /* With several, the one most like the series in what varies (device, ...). */
        int equal = 0;
        for (int j = 0; j < all->row_count; j++) {
            if (all->rows[j].series != series)
                continue;
            for (int c = 0; c < file->columns; c++)
                equal += all->varies[c] && !strcmp(csv_cell(file, row->row, c),
                                                   csv_cell(file, all->rows[j].row, c));
            break;
        }
        if (equal > best_equal) {
            best_equal = equal;
            best = row->series;
        }
    }
    return best;
}

int results_baseline(const results *all, const result_group *group, int series)
{
    return results_counterpart(all, group, series, "flash", NULL, 1);
}
