/* Where a run is: the cell and the layer, for whoever watches over it (harness/launch) and for what is
 * said when a host dies or hangs. Set by the thread that runs the cell, read by any. */
#ifndef HARNESS_COMM_PLACE_H
#define HARNESS_COMM_PLACE_H
#include <stdint.h>

enum { PLACE_CELL = 400 };

typedef struct {
    char cell[PLACE_CELL]; /* "llama-3.1-8b apb, 4 hosts, length 32K"; "" outside all cells */
    int layer;             /* -1: in none */
    uint32_t steps;        /* places since the cell began: of its hosts, the one with fewest is behind */
} run_place;

/* The run is now in `cell` (NULL: the same as before) and in this layer (-1: in none). */
void comm_place(const char *cell, int layer);
run_place comm_place_now(void);
/* " in cell `...`, layer 7", or "" outside all cells. Returns text. */
char *place_describe(const run_place *, char *text, int bytes);
#endif
