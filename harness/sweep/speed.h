/* The speed sweep: times cells and records a row for each, and one for each link model where the
 * links are projected (one run serves them all). */
#ifndef HARNESS_SPEED_H
#define HARNESS_SPEED_H
#include "harness/comm.h"
#include "harness/comm/link.h"
#include "harness/sweep/cells.h"
#include "harness/machine/identity.h"
#include "harness/records/records.h"
#include "harness/sweep/repetition.h"

typedef struct {
    device *dev;
    const comm_driver *driver;
    bool leader;
    const sweep *sweep;
    const sweep_axes *axes;
    const link_model *links; /* for projected runs */
    const text_list *link_names;
    int64_t reps, warmup;
    double timeout;     /* seconds a cell; 0 = none */
    double gemm_peak;   /* FLOP/s, measured */
    records *records;   /* NULL on processes that do not lead */
    identity id;
    double load;        /* of the machine when the cell in hand began */
    int failed;         /* cells that failed */
} speed_sweep;

/* Runs all cells that the records do not have yet. -1 only when the sweep itself cannot go on (a
 * model cannot be read, a row cannot be written); failed cells are rows and are counted. */
int speed_run(speed_sweep *);

/* "smollm2 apb:anchor=0, 4 hosts, length 4K". */
void speed_name_cell(const sweep *, const sweep_cell *, char *text, size_t bytes);

/* How the sweep runs a cell's repetitions over a prompt; the deadline counts from now. */
repetition_setting speed_setting(const speed_sweep *, const model *, const sweep_cell *,
                                 const prompt *);

/* Prints the cells with what they would take and need (--dry-run). */
void speed_dry_run(const speed_sweep *);
/* Expected seconds of the whole sweep. */
double speed_expected(const speed_sweep *);
#endif
