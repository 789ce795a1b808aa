/* Reading scores of samples. See samples.h. */
#include "harness/report/intervals/samples.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "datasets/jsonl.h"
#include "harness/error.h"
#include "harness/records/records.h"

/* Whether the line is a sample, which goes to *one. */
static bool read_sample(const json_t *line, sample_score *one)
{
    const json_t *row = json_object_get(line, "row"), *number = json_object_get(line, "sample");
    const json_t *score = json_object_get(line, "score");
    if (!json_is_integer(row) || !json_is_integer(number) || !json_is_number(score))
        return false;
    *one = (sample_score){json_integer_value(row), json_integer_value(number),
                          json_number_value(score)};
    return isfinite(one->score);
}

static int read_lines(sample_scores *all, const char *path)
{
    jsonl_file lines;
    json_t *line;
    int64_t room = 0;
    int found;
    if (jsonl_open(&lines, path) < 0)
        return -1;
    while ((found = jsonl_next(&lines, &line)) == JSONL_ROW || found == JSONL_BROKEN) {
        sample_score one;
        bool good = found == JSONL_ROW && read_sample(line, &one);
        if (found == JSONL_ROW)
            json_decref(line);
        if (!good) {
            all->broken++;
            continue;
        }
        if (all->count == room) {
            room = room ? 2 * room : 1024;
            all->items = realloc_or_die(all->items, (size_t)room, sizeof *all->items);
        }
        all->items[all->count++] = one;
    }
    jsonl_close(&lines);
    return found == JSONL_END ? 0 : -1;
}

static int by_row_and_number(const void *a, const void *b)
{
    const sample_score *left = *(const sample_score *const *)a;
    const sample_score *right = *(const sample_score *const *)b;
    if (left->row != right->row)
        return left->row < right->row ? -1 : 1;
    if (left->number != right->number)
        return left->number < right->number ? -1 : 1;
    return (left > right) - (left < right); /* in the order of the file */
}

static void sort(sample_scores *all)
{
    const sample_score **order = alloc_or_die((size_t)all->count, sizeof *order);
    sample_score *sorted = alloc_or_die((size_t)all->count, sizeof *sorted);
    int64_t kept = 0;
    for (int64_t i = 0; i < all->count; i++)
        order[i] = &all->items[i];
    qsort(order, (size_t)all->count, sizeof *order, by_row_and_number);
    for (int64_t i = 0; i < all->count; i++) {
        bool again = kept && sorted[kept - 1].row == order[i]->row &&
                     sorted[kept - 1].number == order[i]->number;
        sorted[again ? kept - 1 : kept++] = *order[i];
    }
    free(order);
    free(all->items);
    all->items = sorted;
    all->count = kept;
}

sample_scores *sample_scores_read(const char *path)
{
    sample_scores *all = alloc_or_die(1, sizeof *all);
    char *file = records_details_path(path, RECORD_ACCURACY);
    const char *slash = strrchr(file, '/');
    all->name = copy_text(slash ? slash + 1 : file);
    all->missing = access(file, F_OK) && errno == ENOENT;
    if (!all->missing && read_lines(all, file) < 0) {
        sample_scores_free(all);
        all = NULL;
    } else if (all->count) {
        sort(all);
    }
    free(file);
    return all;
}

void sample_scores_free(sample_scores *all)
{
    if (!all)
        return;
    free(all->name);
    free(all->items);
    free(all);
}

const sample_score *sample_scores_of(const sample_scores *all, int64_t row, int64_t *count)
{
    int64_t first = 0, end = all->count; /* the first sample of this row or a later one */
    while (first < end) {
        int64_t middle = first + (end - first) / 2;
        if (all->items[middle].row < row)
            first = middle + 1;
        else
            end = middle;
    }
    for (*count = 0; first + *count < all->count && all->items[first + *count].row == row;)
        ++*count;
    return *count ? &all->items[first] : NULL;
}
