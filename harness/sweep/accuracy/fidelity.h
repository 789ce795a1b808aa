/* How far a method's residual stream behind the last layer is from flash's on the same sample, by place
 * in the document: approximate methods lose most where a block begins, and the query shows what is left
 * of it in the end. The error of a row is |x - x_flash| / |x_flash| (Euclidean norms over the hidden
 * dimension), and a place's is the mean over its rows. Rows are matched by their index in the document,
 * since blocks differ from method to method. */
#ifndef HARNESS_SWEEP_ACCURACY_FIDELITY_H
#define HARNESS_SWEEP_ACCURACY_FIDELITY_H
#include "harness/comm.h"
#include "methods/method.h"

typedef enum {
    ERROR_START,    /* the first tenth of each run of document rows that a host keeps, rounded up */
    ERROR_END,      /* its last tenth */
    ERROR_DOCUMENT, /* all document rows that are kept */
    ERROR_QUERY,    /* the query's rows */
    ERROR_PLACES
} error_place;
extern const char *const error_place_names[ERROR_PLACES]; /* as columns and samples have them */

typedef struct {
    double sum;
    double rows;
} error_sum;

/* What a run's residual stream is watched for: it is held against `exact`, or kept in `keep`, each
 * float32 [document + query, hidden] in host memory and NULL where that is not wanted. */
typedef struct {
    int64_t document, query;
    int hidden, hosts;
    const float *exact;
    float *keep;
    error_sum *by_host; /* [hosts, ERROR_PLACES]; the query's are of one of them, all hosts have the same */
    bool query_seen;    /* by a virtual host: the others have nothing new */
    double seconds;     /* that watching took on this process, the device's own work not counted */
} residual_watch;

void residual_watch_open(residual_watch *, const cell *, const float *exact, float *keep);
void residual_watch_close(residual_watch *);

/* run_request.on_rows and on_query_rows, with the watch for the argument. After the query's rows every
 * process of the cell has the sums of all hosts. */
int residual_watch_rows(residual_watch *, comm *, const plan *, const float *x);
int residual_watch_query(residual_watch *, comm *, const float *x);

/* The mean of each place over the rows of all hosts; NaN where it has none, or an error is not finite. */
void residual_watch_means(const residual_watch *, double means[ERROR_PLACES]);
/* The mean of a place on one host. */
double error_mean(error_sum);
#endif
