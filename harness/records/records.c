/* The file of results and the one beside it. See records.h for what holds at every moment, and why
 * a sweep may be killed at any. */
#include "harness/records/records.h"

#include "harness/error.h"
#include "harness/fnv.h"
#include "harness/folders.h"
#include "harness/records/csv.h"
#include "harness/records/left.h"
#include "harness/records/line_file.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Row numbers stay below 18 digits, so that the next one is a number too and row_of_line() reads it. */
static const int64_t MOST_ROWS = 99999999999999999;

/* What the status of a row says about running its cell again. */
typedef enum { ROW_DONE, ROW_UNSUPPORTED, ROW_FAILED } row_end;

struct records {
    record_kind kind;
    line_file rows, details;
    char *commit;
    int64_t last_row; /* the highest number given to a row */
    char **keys;      /* [count], the joined key of every row */
    row_end *ends;    /* [count] */
    int64_t *numbers; /* [count] */
    int count;
    left_samples left;
    bool left_on_disk; /* and nothing has been written behind them */
    size_t committed;  /* then: bytes of details before them */
};

/* ---- Rows in memory ---- */

static const char *value_of(const record *row, int column)
{
    return row->values[column] ? row->values[column] : "";
}

/* The key columns as fields with commas between, which no two keys share. */
static char *joined_key(record_kind kind, const char *const *values)
{
    int columns;
    const record_column *column = record_columns(kind, &columns);
    char *key = NULL;
    size_t bytes;
    FILE *out = open_memstream(&key, &bytes);
    for (int i = 0; i < columns; i++) {
        if (column[i].key) {
            csv_put(out, values[i] ? values[i] : "");
            fputc(',', out);
        }
    }
    fclose(out);
    return key;
}

/* Of the commit and the key. */
static uint64_t cell_hash(const records *all, const record *row)
{
    char *key = joined_key(all->kind, (const char *const *)row->values);
    char *text = format_text("%s,%s", all->commit, key);
    uint64_t hash = fnv1a(FNV_START, text, strlen(text));
    free(text);
    free(key);
    return hash;
}

static void remember(records *all, char *key, const char *status, int64_t number)
{
    all->keys = realloc_or_die(all->keys, (size_t)all->count + 1, sizeof *all->keys);
    all->ends = realloc_or_die(all->ends, (size_t)all->count + 1, sizeof *all->ends);
    all->numbers = realloc_or_die(all->numbers, (size_t)all->count + 1, sizeof *all->numbers);
    all->numbers[all->count] = number;
    all->keys[all->count] = key;
    all->ends[all->count++] = !strcmp(status, "failed")        ? ROW_FAILED
                              : !strcmp(status, "unsupported") ? ROW_UNSUPPORTED
                                                               : ROW_DONE;
}

/* The latest row of the cell of this key; -1: there is none. */
static int latest_of(const records *all, const record *row)
{
    char *key = joined_key(all->kind, (const char *const *)row->values);
    int i = all->count - 1;
    while (i >= 0 && strcmp(all->keys[i], key))
        i--;
    free(key);
    return i;
}

bool records_done(const records *all, const record *row, bool supported)
{
    int i = latest_of(all, row);
    return i >= 0 && (all->ends[i] == ROW_DONE || (all->ends[i] == ROW_UNSUPPORTED && !supported));
}

/* ---- Headers ---- */

/* A file whose header was never finished may be started again, but only when what is there is the
 * beginning of that header: anything else is somebody's text. */
static int start_header(line_file *file, const char *text, size_t bytes, const char *header)
{
    if (bytes >= strlen(header) || memcmp(text, header, bytes))
        return fail("%s holds something that is no results file of this kind: choose another --out",
                    file->path);
    return lines_cut(file, 0) < 0 || lines_append(file, header, strlen(header)) < 0 ? -1 : 0;
}

static char *repetition_header(void)
{
    int columns;
    const record_column *column = record_columns(RECORD_SPEED, &columns);
    char *line = NULL;
    size_t bytes;
    FILE *out = open_memstream(&line, &bytes);
    fputs("row", out);
    for (int i = 0; i < columns; i++)
        if (column[i].key)
            fprintf(out, ",%s", column[i].name);
    fputs(",kind,repetition,prefill_s,decode_s,wall_s,charged_s,transfers_s,enqueue_s,overhead,"
          "host_prefill_s,host_decode_s\n", out);
    fclose(out);
    return line;
}

/* ---- Opening ---- */

static int check_header(const records *all, const csv *table)
{
    int columns;
    const record_column *column = record_columns(all->kind, &columns);
    for (int i = 0; i < columns || i < table->columns; i++) {
        const char *found = i < table->columns ? table->names[i] : "nothing";
        const char *wanted = i < columns ? column[i].name : "nothing";
        if (strcmp(found, wanted))
            return fail("%s: column %d of its header is %s where this program writes %s: choose "
                        "another --out",
                        all->rows.path, i + 1, found, wanted);
    }
    return 0;
}

static int check_rows(records *all, const csv *table)
{
    int status = csv_column(table, "status"), commit = csv_column(table, "commit");
    for (int i = 0; i < table->rows; i++) {
        const char *text = csv_cell(table, i, 0);
        char *end;
        long long number = strtoll(text, &end, 10);
        if (!*text || *end || number <= all->last_row || number > MOST_ROWS)
            return fail("%s: row \"%s\" stands where a number above %lld, of at most "
                        "17 digits, belongs: choose another --out",
                        all->rows.path, text, (long long)all->last_row);
        if (strcmp(csv_cell(table, i, commit), all->commit))
            return fail("%s holds rows of commit %s and this program is commit %s: choose another "
                        "--out",
                        all->rows.path, csv_cell(table, i, commit), all->commit);
        all->last_row = number;
        char **cells = table->cells + (size_t)i * (size_t)table->columns;
        remember(all, joined_key(all->kind, (const char *const *)cells),
                 csv_cell(table, i, status), number);
    }
    return 0;
}

static int open_rows(records *all)
{
    if (lines_open(&all->rows) < 0)
        return -1;
    if (flock(all->rows.descriptor, LOCK_EX | LOCK_NB) < 0) {
        if (errno == EWOULDBLOCK)
            return fail("%s is being written by another run: wait for it or choose another --out",
                        all->rows.path);
        return fail("%s cannot be locked: %s", all->rows.path, strerror(errno));
    }
    size_t bytes = 0;
    char *text = file_text(all->rows.path, &bytes);
    if (!text)
        return -1;
    if (!memchr(text, '\n', bytes)) {
        char *header = record_header(all->kind);
        int result = start_header(&all->rows, text, bytes, header);
        free(header);
        free(text);
        return result;
    }
    csv *table = csv_parse(text, bytes, all->rows.path);
    if (!table)
        return -1;
    int result = check_header(all, table) < 0 || check_rows(all, table) < 0 ? -1 : 0;
    if (result == 0 && table->torn)
        result = lines_cut(&all->rows, table->whole_bytes);
    csv_free(table);
    return result;
}

/* The row that a line of details names, or -1: lines begin `{"row":12,` or `12,`. */
static int64_t row_of_line(record_kind kind, const char *line, size_t bytes)
{
    int64_t row;
    size_t at = line_number(kind == RECORD_SPEED ? "" : SAMPLE_ROW_MARK, line, bytes, &row);
    return at && at < bytes && (line[at] == ',' || line[at] == '}') ? row : -1;
}

/* Finds where the details of committed rows end. Rows are numbered upwards and details written in
 * that order, so only the file's end has to be looked at, however long it is. */
static int committed_end(const records *all, const char *text, size_t bytes, size_t *end)
{
    const char *last = memrchr(text, '\n', bytes);
    *end = last ? (size_t)(last - text) + 1 : 0;
    size_t first = 0; /* where lines begin: behind the header, if there is one */
    if (all->kind == RECORD_SPEED)
        first = (size_t)((const char *)memchr(text, '\n', bytes) - text) + 1;
    while (*end > first) {
        const char *before = memrchr(text, '\n', *end - 1);
        size_t begin = before ? (size_t)(before - text) + 1 : 0;
        int64_t row = row_of_line(all->kind, text + begin, *end - begin);
        if (row < 0)
            return fail("%s: a line near byte %zu does not begin with a row's number: choose "
                        "another --out",
                        all->details.path, begin);
        if (row <= all->last_row)
            break;
        *end = begin;
    }
    return 0;
}

static int check_details(records *all, const char *text, size_t bytes)
{
    size_t end = bytes;
    if (all->kind == RECORD_SPEED) {
        char *header = repetition_header();
        size_t length = strlen(header);
        int result = 0;
        if (bytes < length)
            result = start_header(&all->details, text, bytes, header);
        else if (memcmp(text, header, length))
            result = fail("%s: its header is not this program's: choose another --out",
                          all->details.path);
        free(header);
        if (result < 0 || bytes < length)
            return result;
    }
    if (bytes && committed_end(all, text, bytes, &end) < 0)
        return -1;
    if (all->kind == RECORD_ACCURACY) {
        all->committed = end;
        end += left_samples_read(&all->left, text + end, bytes - end);
        all->left_on_disk = end > all->committed;
    }
    return end < bytes ? lines_cut(&all->details, end) : 0;
}

/* The details as they are on disk, for unmap_details(); NULL with a sentence. */
static char *map_details(const records *all, size_t *bytes)
{
    struct stat status;
    if (fstat(all->details.descriptor, &status) < 0) {
        fail("%s: %s", all->details.path, strerror(errno));
        return NULL;
    }
    *bytes = (size_t)status.st_size;
    if (!*bytes)
        return "";
    char *text = mmap(NULL, *bytes, PROT_READ, MAP_PRIVATE, all->details.descriptor, 0);
    if (text != MAP_FAILED)
        return text;
    fail("%s: %s", all->details.path, strerror(errno));
    return NULL;
}

static void unmap_details(char *text, size_t bytes)
{
    if (bytes)
        munmap(text, bytes);
}

static int open_details(records *all)
{
    size_t bytes;
    char *text = lines_open(&all->details) < 0 ? NULL : map_details(all, &bytes);
    if (!text)
        return -1;
    int result = check_details(all, text, bytes);
    unmap_details(text, bytes);
    return result;
}

/* The bytes of NAME in NAME.csv; 0: it is called otherwise. */
static size_t stem_of(const char *path)
{
    size_t bytes = strlen(path);
    return bytes > 4 && !strcmp(path + bytes - 4, ".csv") ? bytes - 4 : 0;
}

int records_check_path(const char *out)
{
    return stem_of(out) ? 0 : fail("--out %s: the file of rows has to be called NAME.csv", out);
}

char *records_details_path(const char *path, record_kind kind)
{
    size_t stem = stem_of(path);
    if (!stem)
        stem = strlen(path);
    return format_text("%.*s%s", (int)stem, path, kind == RECORD_SPEED ? ".reps.csv" : ".samples.jsonl");
}

records *records_open(const char *path, record_kind kind, const char *commit)
{
    records *all = alloc_or_die(1, sizeof *all);
    all->kind = kind;
    all->commit = copy_text(commit);
    all->rows = (line_file){copy_text(path), -1};
    all->details = (line_file){records_details_path(path, kind), -1};
    if (make_folder_of(path) < 0 || open_rows(all) < 0 || open_details(all) < 0) {
        records_close(all);
        return NULL;
    }
    return all;
}

void records_close(records *all)
{
    if (!all)
        return;
    for (int i = 0; i < all->count; i++)
        free(all->keys[i]);
    free(all->keys);
    free(all->ends);
    free(all->numbers);
    left_samples_free(&all->left);
    line_file *files[] = {&all->details, &all->rows};
    for (int i = 0; i < 2; i++) {
        if (files[i]->descriptor >= 0)
            close(files[i]->descriptor);
        free(files[i]->path);
    }
    free(all->commit);
    free(all);
}

/* ---- Appending ---- */

static void put_clocks(FILE *out, const double *seconds, int hosts)
{
    fputc(',', out);
    for (int i = 0; seconds && i < hosts; i++)
        fprintf(out, "%s%.6g", i ? " " : "", seconds[i]);
}

int records_repetition(records *all, const record *key, const repetition *one)
{
    int columns;
    const record_column *column = record_columns(RECORD_SPEED, &columns);
    char *line = NULL;
    size_t bytes;
    FILE *out = open_memstream(&line, &bytes);
    fprintf(out, "%lld", (long long)all->last_row + 1);
    for (int i = 0; i < columns; i++) {
        if (column[i].key) {
            fputc(',', out);
            csv_put(out, value_of(key, i));
        }
    }
    fprintf(out, ",%s,%d", one->kind, one->number);
    double overhead = 1 - (one->charged_s + one->transfers_s) / one->wall_s;
    double numbers[] = {one->prefill_s,   one->decode_s,  one->wall_s, one->charged_s,
                        one->transfers_s, one->enqueue_s, overhead};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        fprintf(out, isnan(numbers[i]) ? "," : ",%.6g", numbers[i]);
    put_clocks(out, one->host_prefill_s, one->hosts);
    put_clocks(out, one->host_decode_s, one->hosts);
    fputc('\n', out);
    fclose(out);
    int result = lines_append(&all->details, line, bytes);
    free(line);
    return result;
}

/* Whatever is written now is of another row than the samples left at the file's end. */
static int cut_left(records *all)
{
    if (!all->left_on_disk)
        return 0;
    all->left_on_disk = false;
    return lines_cut(&all->details, all->committed);
}

static int append_sample(records *all, const char *rest, const char *more)
{
    char *line = format_text(SAMPLE_ROW_MARK "%lld%s%s\n", (long long)all->last_row + 1, rest, more);
    int result = lines_append(&all->details, line, strlen(line));
    free(line);
    return result;
}

/* Where nothing is left of a cell, what its latest row has, if that failed. What is left begins with
 * copies of that. */
static int find_failed(records *all, const record *key, uint64_t cell)
{
    int latest = latest_of(all, key);
    bool wanted = latest >= 0 && all->ends[latest] == ROW_FAILED;
    for (int i = 0; i < all->left.count && wanted; i++)
        wanted = all->left.items[i].cell != cell;
    size_t bytes;
    char *text = wanted ? map_details(all, &bytes) : NULL;
    if (!text)
        return wanted ? -1 : 0;
    left_samples_of(&all->left, text, bytes, all->numbers[latest], cell);
    unmap_details(text, bytes);
    return 0;
}

json_t *records_resume(records *all, const record *key,
                       bool (*fits)(void *argument, const json_t *sample), void *argument)
{
    uint64_t cell = cell_hash(all, key);
    if (find_failed(all, key, cell))
        return NULL;
    json_t *kept = json_array();
    bool *keep = alloc_or_die((size_t)all->left.count, sizeof *keep);
    bool as_they_are = all->left_on_disk;
    for (int i = 0; i < all->left.count; i++) {
        const left_sample *one = &all->left.items[i];
        json_t *sample = one->cell == cell ? left_sample_object(one) : NULL;
        keep[i] = sample && fits(argument, sample);
        as_they_are &= keep[i] && one->row == all->last_row + 1;
        if (keep[i])
            json_array_append(kept, sample);
        json_decref(sample);
    }
    int result = 0;
    if (as_they_are)
        all->left_on_disk = false; /* they are this row's now */
    else
        result = cut_left(all);
    for (int i = 0; i < all->left.count && !as_they_are && !result; i++)
        if (keep[i])
            result = append_sample(all, all->left.items[i].rest, "");
    free(keep);
    left_samples_drop(&all->left, cell);
    if (!result)
        return kept;
    json_decref(kept);
    return NULL;
}

int records_sample(records *all, const record *key, const char *object)
{
    if (object[0] != '{' || object[1] != '"' || strchr(object, '\n'))
        return fail("%s: a sample is no JSON object on one line", all->details.path);
    char start[LEFT_CELL_BYTES + 2];
    left_cell_text(cell_hash(all, key), start);
    start[LEFT_CELL_BYTES] = ',';
    start[LEFT_CELL_BYTES + 1] = 0;
    return cut_left(all) ? -1 : append_sample(all, start, object + 1);
}

int records_append(records *all, record *row)
{
    bool speed = all->kind == RECORD_SPEED;
    int date = speed ? (int)SPEED_DATE : (int)ACCURACY_DATE;
    record_integer(row, speed ? (int)SPEED_ROW : (int)ACCURACY_ROW, all->last_row + 1);
    record_text(row, speed ? (int)SPEED_COMMIT : (int)ACCURACY_COMMIT, all->commit);
    if (!*value_of(row, date)) {
        char now[32];
        time_t seconds = time(NULL);
        struct tm utc;
        gmtime_r(&seconds, &utc);
        strftime(now, sizeof now, "%Y-%m-%dT%H:%M:%SZ", &utc);
        record_text(row, date, now);
    }
    char *line = record_line(row);
    int result = 0;
    if (cut_left(all) < 0 || lines_settle(&all->details) < 0 ||
        lines_append(&all->rows, line, strlen(line)) < 0 || lines_settle(&all->rows) < 0)
        result = -1;
    free(line);
    if (result < 0)
        return -1;
    all->last_row++;
    remember(all, joined_key(all->kind, (const char *const *)row->values),
             value_of(row, speed ? (int)SPEED_STATUS : (int)ACCURACY_STATUS), all->last_row);
    return 0;
}
