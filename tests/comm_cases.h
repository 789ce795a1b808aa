/* Host bodies that check every call of the comm table against expected data, for any driver and any
 * number of hosts: test_comm.c runs them on virtual hosts, mpi_comm.c under mpirun. */
#ifndef TESTS_COMM_CASES_H
#define TESTS_COMM_CASES_H
#include "harness/comm.h"

typedef struct {
    const char *name;
    int (*body)(comm *, void *unused); /* fails with a sentence when data are wrong */
} comm_case;

extern const comm_case comm_cases[];
extern const int comm_case_count;
#endif
