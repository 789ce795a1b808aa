/* Times cells and writes their rows. See speed.h. */
#include "harness/sweep/speed.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness/error.h"
#include "harness/model/names.h"
#include "harness/ranges.h"
#include "harness/run/together.h"
#include "harness/sweep/progress.h"
#include "harness/sweep/repetition.h"

/* What a whole prefill reaches of the products' rate before measured cells say better. */
static const double usual_share = 0.6;

static int link_count_of(const speed_sweep *s, const sweep_cell *cell)
{
    return s->driver->projected && cell->cell.hosts > 1 ? s->link_names->count : 1;
}

/* ---- Rows ---- */

static void fill_row(const speed_sweep *s, const sweep_cell *cell, int link, record *row)
{
    const model *m = s->sweep->models[cell->model];
    bool linked = s->driver->projected && cell->cell.hosts > 1;
    *row = (record){.kind = RECORD_SPEED};
    record_text(row, SPEED_MODEL, m->name);
    record_integer(row, SPEED_LAYERS, m->layers);
    record_text(row, SPEED_METHOD, cell->cell.method->name);
    record_text(row, SPEED_OPTIONS, cell->options);
    record_text(row, SPEED_DEVICE, s->dev->name);
    record_text(row, SPEED_COMM, s->driver->name);
    record_text(row, SPEED_LINK, linked ? s->link_names->items[link] : "");
    record_integer(row, SPEED_HOSTS, cell->cell.hosts);
    record_integer(row, SPEED_LENGTH, cell->length);
    record_integer(row, SPEED_QUERY, s->axes->query);
    record_text(row, SPEED_DTYPE, s->dev->act_bytes == 4 ? "float32" : "bfloat16");
    record_integer(row, SPEED_WARMUP, s->warmup);
    record_integer(row, SPEED_REPS, s->reps);
    record_integer(row, SPEED_THREADS, s->dev->threads);
    record_integer(row, SPEED_SEED, s->axes->seed);
    record_integer(row, SPEED_NEW_TOKENS, s->axes->new_tokens);
    char *weights = model_weights(m->origin, cell->cell.uses_heads ? m->heads_hash : 0);
    record_text(row, SPEED_WEIGHTS, weights);
    free(weights);
    record_text(row, SPEED_VARIANT, cell->variant);
    record_integer(row, SPEED_MODEL_LAYERS, m->config.shape.layers);
    record_integer(row, SPEED_PROJECTED, linked);
    record_number(row, SPEED_LOAD, s->load);
    record_text(row, SPEED_MACHINE, s->id.machine);
    record_text(row, SPEED_GPU, s->id.gpu);
    record_text(row, SPEED_DRIVER, s->id.driver);
    record_text(row, SPEED_LIBRARIES, s->id.libraries);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Median, least and most of values into three columns that follow each other. */
static double put_median(record *row, int column, double *values, int64_t count)
{
    qsort(values, (size_t)count, sizeof *values, by_value);
    double median = count % 2 ? values[count / 2]
                              : (values[count / 2 - 1] + values[count / 2]) / 2;
    record_number(row, column, median);
    record_number(row, column + 1, values[0]);
    record_number(row, column + 2, values[count - 1]);
    return median;
}

/* ---- One cell ---- */

/* The repetitions of a cell: warm-up, timed, then one instrumented. */
static const char *kind_of(const speed_sweep *s, int64_t repetition)
{
    return repetition < s->warmup            ? "warmup"
           : repetition < s->warmup + s->reps ? "timed"
                                              : "instrumented";
}

static int write_repetitions(speed_sweep *s, const record *row, const cell_times *t, int link)
{
    double *prefill = alloc_or_die((size_t)t->hosts * 2, sizeof *prefill);
    double *decode = prefill + t->hosts;
    int status = 0;
    for (int64_t r = 0; r < t->repetitions && !status; r++) {
        const host_times *times = cell_times_at(t, r, link);
        const repetition_account *account = &t->accounts[r];
        host_times slowest;
        slowest_host(times, t->hosts, &slowest);
        for (int h = 0; h < t->hosts; h++) {
            prefill[h] = times[h].prefill_end;
            decode[h] = times[h].decode_end - times[h].prefill_end;
        }
        bool last = r == t->repetitions - 1;
        repetition one = {
            .kind = kind_of(s, r),
            .number = (int)(r < s->warmup ? r + 1 : last ? 1 : r - s->warmup + 1),
            .wall_s = account->wall_s,
            .charged_s = account->charged_s,
            .transfers_s = account->transfers_s,
            .enqueue_s = account->enqueue_s,
            .prefill_s = slowest.prefill_end,
            .decode_s = slowest.decode_end - slowest.prefill_end,
            .hosts = t->hosts,
            .host_prefill_s = prefill,
            .host_decode_s = decode,
        };
        status = records_repetition(s->records, row, &one);
    }
    free(prefill);
    return status;
}

/* Writes the row of one link from the cell's times; returns the median prefill in *prefill_s. */
static int write_row(speed_sweep *s, const sweep_cell *cell, const cell_times *t, int link,
                     double *prefill_s)
{
    record row;
    fill_row(s, cell, link, &row);
    double *prefill = alloc_or_die((size_t)s->reps * 2, sizeof *prefill), *decode = prefill + s->reps;
    host_times slowest;
    for (int64_t r = 0; r < s->reps; r++) {
        repetition_slowest(t, s->warmup + r, link, &slowest);
        prefill[r] = slowest.prefill_end;
        decode[r] = slowest.decode_end - slowest.prefill_end;
    }
    record_text(&row, SPEED_STATUS, "ok");
    record_text(&row, SPEED_DETAIL, comm_remark(s->driver));
    *prefill_s = put_median(&row, SPEED_PREFILL_S, prefill, s->reps);
    double decode_s = put_median(&row, SPEED_DECODE_S, decode, s->reps);
    free(prefill);
    double tokens = (double)(cell->length + s->axes->new_tokens);
    double tflops = t->flops / *prefill_s / 1e12;
    record_number(&row, SPEED_SPEED_TOK_S, tokens / (*prefill_s + decode_s));
    record_number(&row, SPEED_TFLOPS, tflops);
    record_number(&row, SPEED_UTILISATION, tflops * 1e12 / s->gemm_peak);
    record_number(&row, SPEED_GEMM_PEAK_TFLOPS, s->gemm_peak / 1e12);
    record_number(&row, SPEED_BYTES_SENT, t->bytes_sent);
    record_integer(&row, SPEED_PEAK_BYTES, (int64_t)t->peak_bytes);
    repetition_slowest(t, t->repetitions - 1, link, &slowest);
    for (int part = 0; part < PART_COUNT; part++)
        record_number(&row, SPEED_QKV_S + part, slowest.parts[PHASE_PREFILL][part]);
    record_number(&row, SPEED_INSTRUMENTED_S, slowest.prefill_end);
    int status = write_repetitions(s, &row, t, link);
    if (!status)
        status = records_append(s->records, &row);
    record_clear(&row);
    return status;
}

/* A row without times: what could not run, or failed. */
static int write_verdict(speed_sweep *s, const sweep_cell *cell, int link, const char *status_word,
                         const char *reason, size_t wanted_bytes)
{
    record row;
    fill_row(s, cell, link, &row);
    record_text(&row, SPEED_STATUS, status_word);
    record_text(&row, SPEED_DETAIL, reason);
    if (wanted_bytes)
        record_integer(&row, SPEED_PEAK_BYTES, (int64_t)wanted_bytes);
    int status = records_append(s->records, &row);
    record_clear(&row);
    return status;
}

void speed_name_cell(const sweep *sweep, const sweep_cell *cell, char *text, size_t bytes)
{
    char length[32];
    snprintf(text, bytes, "%s %s%s%s, %d host%s, length %s", sweep->models[cell->model]->name,
             cell->cell.method->name, *cell->variant ? ":" : "", cell->variant, cell->cell.hosts,
             cell->cell.hosts == 1 ? "" : "s",
             format_size(cell->length, length, sizeof length));
}

/* Bytes that a real host needs whole: what a cell that does not fit is told in its row. */
static size_t whole_bytes(const sweep_cell *cell)
{
    return cell->memory.weights + cell->memory.shared + cell->memory.zone_largest;
}

repetition_setting speed_setting(const speed_sweep *s, const model *m, const sweep_cell *cell,
                                 const prompt *p)
{
    return (repetition_setting){
        .model = m,
        .cell = &cell->cell,
        .driver = s->driver,
        .prompt = p,
        .links = s->links,
        .new_tokens = s->axes->new_tokens,
        .deadline = s->timeout > 0 ? monotonic_seconds() + s->timeout : 0,
    };
}

/* All repetitions; -1 with a sentence. m may be NULL: then the sentence is there already. */
static int measure(speed_sweep *s, const model *m, const sweep_cell *cell, cell_times *t)
{
    prompt p;
    if (!m || prompt_random(m, cell->length, s->axes->query, (uint64_t)s->axes->seed, &p))
        return -1;
    repetition_setting setting = speed_setting(s, m, cell, &p);
    int status = 0;
    for (int64_t r = 0; r < t->repetitions && !status; r++)
        status = repetition_run(&setting, r, kind_of(s, r), false, t);
    prompt_free(&p);
    return status;
}

/* Says on one line what came of a cell; `shown` is the link of its times, -1 when there is none. */
static void describe(const speed_sweep *s, const cell_times *t, const char *name, double prefill_s,
                     int shown, char *line, size_t bytes)
{
    host_times instrumented;
    int link = shown < 0 ? 0 : shown;
    repetition_slowest(t, t->repetitions - 1, link, &instrumented);
    bool projected = s->driver->projected && t->hosts > 1 && shown >= 0;
    const char *remark = comm_remark(s->driver);
    snprintf(line, bytes, "%s: prefill %.4g s%s%s (%s%sinstrumented %+.1f %%, overhead %.2f %%)", name,
             prefill_s, projected ? ", projected over " : "",
             projected ? s->link_names->items[shown] : "", remark, *remark ? ": no timing; " : "",
             100 * (instrumented.prefill_end / prefill_s - 1),
             100 * repetition_overhead(&t->accounts[s->warmup]));
}

/* Runs one cell and writes its rows; line says what came of it. m: NULL when it could not be opened,
 * for the reason in fail_text(). `wanted[link]`: rows not there. */
static int run_one(speed_sweep *s, const model *m, const sweep_cell *cell, const bool *wanted,
                   char *line, size_t bytes)
{
    char name[512];
    speed_name_cell(s->sweep, cell, name, sizeof name);
    s->load = machine_load();
    cell_times t = {
        .links = link_count_of(s, cell),
        .hosts = cell->cell.hosts,
        .repetitions = s->warmup + s->reps + 1,
    };
    const char *word = cell_verdict_names[cell->verdict];
    char reason[1024];
    snprintf(reason, sizeof reason, "%s", cell->reason);
    size_t bytes_wanted = cell->verdict == CELL_OOM ? whole_bytes(cell) : 0;
    int status = cell->verdict == CELL_RUNS ? 0 : -1;
    ranges_open(name, cell->length);
    if (!status) {
        cell_times_take(&t);
        status = measure(s, m, cell, &t);
        if (status) {
            snprintf(reason, sizeof reason, "%s", fail_text());
            bool memory = !m || t.wanted_bytes;
            bytes_wanted = memory ? whole_bytes(cell) : 0;
            word = memory ? cell_verdict_names[CELL_OOM] : "failed";
            s->failed += !memory;
        }
    }
    ranges_close();
    double prefill_s = 0;
    int written = 0, shown = -1;
    for (int link = 0; link < t.links && !written && s->records; link++) {
        if (!wanted[link])
            continue;
        written = status ? write_verdict(s, cell, link, word, reason, bytes_wanted)
                         : write_row(s, cell, &t, link, &prefill_s);
        shown = link;
    }
    if (status)
        snprintf(line, bytes, "%s: %s: %s", name, word, reason);
    else
        describe(s, &t, name, prefill_s, shown, line, bytes);
    cell_times_free(&t);
    return written;
}

/* ---- The sweep ---- */

static double expected_seconds(const speed_sweep *s, const sweep_cell *cell)
{
    return (double)(s->warmup + s->reps + 1) *
           sweep_cell_seconds(cell, s->gemm_peak * usual_share, s->driver->projected);
}

double speed_expected(const speed_sweep *s)
{
    double seconds = 0;
    for (int i = 0; i < s->sweep->count; i++)
        seconds += expected_seconds(s, &s->sweep->cells[i]);
    return seconds;
}

void speed_dry_run(const speed_sweep *s)
{
    printf("%4s %-14s %-34s %5s %7s  %-19s %10s %10s\n", "cell", "model", "method", "hosts", "length",
           "status", "seconds", "GiB");
    for (int i = 0; i < s->sweep->count; i++) {
        const sweep_cell *cell = &s->sweep->cells[i];
        char method_text[300], length[32];
        snprintf(method_text, sizeof method_text, "%s%s%s", cell->cell.method->name,
                 *cell->variant ? ":" : "", cell->variant);
        double bytes = (double)(cell->memory.weights + cell->memory.shared +
                                (s->driver->projected ? cell->memory.zone_sum
                                                      : cell->memory.zone_largest));
        printf("%4d %-14s %-34s %5d %7s  %-19s %10.1f %10.2f%s%s\n", i + 1,
               s->sweep->models[cell->model]->name, method_text, cell->cell.hosts, format_size(cell->length, length, sizeof length),
               cell_verdict_names[cell->verdict], expected_seconds(s, cell), bytes / (1 << 30),
               *cell->reason ? "  " : "", cell->reason);
    }
    char text[64];
    printf("about %s in all\n", format_seconds(speed_expected(s), text, sizeof text));
}

/* Marks which rows of each cell are wanted, on every process: [cells, links]. */
static bool *find_wanted(speed_sweep *s)
{
    size_t links = (size_t)s->link_names->count, count = (size_t)s->sweep->count * links;
    bool *wanted = alloc_or_die(count, sizeof *wanted);
    for (int i = 0; i < s->sweep->count && s->records; i++)
        for (int link = 0; link < link_count_of(s, &s->sweep->cells[i]); link++) {
            record row;
            fill_row(s, &s->sweep->cells[i], link, &row);
            wanted[(size_t)i * links + (size_t)link] =
                !records_done(s->records, &row, s->sweep->cells[i].verdict == CELL_RUNS);
            record_clear(&row);
        }
    if (s->driver->share(s->driver, wanted, count * sizeof *wanted)) {
        free(wanted);
        return NULL;
    }
    return wanted;
}

int speed_run(speed_sweep *s)
{
    bool *wanted = find_wanted(s);
    if (!wanted)
        return -1;
    int links = s->link_names->count, loaded = -1, status = 0, already = 0;
    progress progress = {.quiet = !s->leader};
    for (int i = 0; i < s->sweep->count; i++) {
        if (!memchr(wanted + (size_t)i * (size_t)links, true, (size_t)links)) {
            already++;
            continue;
        }
        progress.total++;
        progress.expected_left += expected_seconds(s, &s->sweep->cells[i]);
    }
    char text[64];
    if (s->leader && !progress.total && !already)
        fprintf(stderr, "nothing to run\n");
    else if (s->leader && !progress.total)
        fprintf(stderr, "%d cell%s in the file already: nothing to run\n", already,
                already == 1 ? " is" : "s are");
    else if (s->leader)
        fprintf(stderr, "%d cell%s to run, about %s%s\n", progress.total,
                progress.total == 1 ? "" : "s",
                format_seconds(progress.expected_left, text, sizeof text),
                already ? "; the others are in the file already" : "");
    model *m = NULL;
    for (int i = 0; i < s->sweep->count && !status; i++) {
        const sweep_cell *cell = &s->sweep->cells[i];
        const bool *want = wanted + (size_t)i * (size_t)links;
        if (!memchr(want, true, (size_t)links))
            continue;
        if (cell->verdict == CELL_RUNS && loaded != cell->model) {
            model_close(m);
            m = model_open_together(s->driver, s->axes->models.items[cell->model], s->dev,
                                    (int)s->axes->layers, (uint64_t)s->axes->seed,
                                    s->axes->retaining_heads);
            loaded = m ? cell->model : -1;
            if (!m && !model_lacked_memory()) { /* weights that do not fit after all make a row */
                status = -1;
                break;
            }
        }
        char line[2048];
        double start = monotonic_seconds();
        status = run_one(s, m, cell, want, line, sizeof line);
        progress_report(&progress, expected_seconds(s, cell), monotonic_seconds() - start, line);
    }
    model_close(m);
    free(wanted);
    /* The exit status is the same everywhere: a process outside a cell's hosts does not know whether
     * it failed or wanted memory. */
    return status ? status : s->driver->share(s->driver, &s->failed, sizeof s->failed);
}
