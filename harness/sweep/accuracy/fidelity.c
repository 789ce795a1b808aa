/* Errors of the residual stream by place. See fidelity.h. */
#include "harness/sweep/accuracy/fidelity.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "harness/error.h"

/* Rows that are brought to the host at a time, so that a long document needs no second copy there. */
enum { PIECE_ROWS = 2048 };

const char *const error_place_names[ERROR_PLACES] = {"error_start", "error_end", "error_document",
                                                     "error_query"};

void residual_watch_open(residual_watch *w, const cell *c, const float *exact, float *keep)
{
    *w = (residual_watch){
        .document = c->document,
        .query = c->query,
        .hidden = c->shape.hidden,
        .hosts = c->hosts,
        .exact = exact,
        .keep = keep,
        .by_host = alloc_or_die((size_t)c->hosts * ERROR_PLACES, sizeof(error_sum)),
    };
}

void residual_watch_close(residual_watch *w)
{
    free(w->by_host);
    w->by_host = NULL;
}

/* |x - exact| / |exact| of one row. What is no number counts as infinite: links that take the larger of
 * two values would lose a NaN. */
static double row_error(const float *x, const float *exact, int hidden)
{
    double difference = 0, norm = 0;
    for (int i = 0; i < hidden; i++) {
        double d = (double)x[i] - exact[i];
        difference += d * d;
        norm += (double)exact[i] * exact[i];
    }
    if (difference == 0)
        return 0;
    double error = sqrt(difference / norm);
    return isfinite(error) ? error : INFINITY;
}

static void add(error_sum *to, double error)
{
    to->sum += error;
    to->rows++;
}

/* Rows [first, first + count) of a run of `whole` document rows. errors: theirs. */
static void add_document_rows(error_sum *host, const double *errors, int64_t first, int64_t count,
                              int64_t whole)
{
    int64_t tenth = ceil_div(whole, 10);
    for (int64_t i = 0; i < count; i++) {
        if (first + i < tenth)
            add(&host[ERROR_START], errors[i]);
        if (first + i >= whole - tenth)
            add(&host[ERROR_END], errors[i]);
        add(&host[ERROR_DOCUMENT], errors[i]);
    }
}

/* Brings `count` rows at x on the device to the host, where row `at` of exact and keep is the first of
 * them; a piece at a time goes through `piece` and the rows' errors to errors[PIECE_ROWS]. Query rows
 * are those with whole = 0. */
static void watch_run(residual_watch *w, comm *links, const float *x, int64_t at, int64_t count,
                      int64_t whole)
{
    device *dev = links->dev;
    error_sum *host = w->by_host + (size_t)links->rank * ERROR_PLACES;
    size_t hidden = (size_t)w->hidden, row_bytes = hidden * sizeof(float);
    if (w->keep)
        dev->download(dev, w->keep + (size_t)at * hidden, x, (size_t)count * row_bytes);
    if (!w->exact)
        return;
    int64_t most = count < PIECE_ROWS ? count : PIECE_ROWS;
    float *piece = alloc_or_die((size_t)most, row_bytes);
    double *errors = alloc_or_die((size_t)most, sizeof *errors);
    for (int64_t first = 0; first < count; first += most) {
        int64_t rows = count - first < most ? count - first : most;
        const float *exact = w->exact + (size_t)(at + first) * hidden;
        dev->download(dev, piece, x + (size_t)first * hidden, (size_t)rows * row_bytes);
#pragma omp parallel for
        for (int64_t i = 0; i < rows; i++)
            errors[i] = row_error(piece + (size_t)i * hidden, exact + (size_t)i * hidden, w->hidden);
        if (whole)
            add_document_rows(host, errors, first, rows, whole);
        else
            for (int64_t i = 0; i < rows; i++)
                add(&host[ERROR_QUERY], errors[i]);
    }
    free(errors);
    free(piece);
}

/* The clock of what watching takes starts when the device has done the run's own work. */
static double begin(const comm *links)
{
    links->dev->sync(links->dev);
    return monotonic_seconds();
}

int residual_watch_rows(residual_watch *w, comm *links, const plan *p, const float *x)
{
    double since = begin(links);
    int64_t row = 0;
    for (int i = 0; i < p->span_count; i++) {
        const plan_span *span = &p->spans[i];
        if (span->cached && span->source == TOKENS_DOCUMENT)
            watch_run(w, links, x + (size_t)row * (size_t)w->hidden, span->first_token, span->count,
                      span->count);
        row += span->count;
    }
    w->seconds += monotonic_seconds() - since;
    return 0;
}

int residual_watch_query(residual_watch *w, comm *links, const float *x)
{
    double since = begin(links);
    if (links->driver->projected ? !w->query_seen : links->rank == 0)
        watch_run(w, links, x, w->document, w->query, 0);
    w->query_seen = true;
    int status = 0;
    /* Real hosts have only their own sums: the others' are 0 here, and no sum is less. */
    if (w->exact && !links->driver->projected) {
        double *all = (double *)w->by_host;
        status = links->driver->reduce_max(links, all, w->hosts * ERROR_PLACES * 2);
    }
    w->seconds += monotonic_seconds() - since;
    return status;
}

double error_mean(error_sum sum)
{
    return sum.rows > 0 && isfinite(sum.sum) ? sum.sum / sum.rows : NAN;
}

void residual_watch_means(const residual_watch *w, double means[ERROR_PLACES])
{
    for (int place = 0; place < ERROR_PLACES; place++) {
        error_sum whole = {0, 0};
        for (int rank = 0; rank < w->hosts; rank++) {
            whole.sum += w->by_host[rank * ERROR_PLACES + place].sum;
            whole.rows += w->by_host[rank * ERROR_PLACES + place].rows;
        }
        means[place] = error_mean(whole);
    }
}
