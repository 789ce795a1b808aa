/* The comm table, one row a driver. mpi and nccl are left out of a build without MPI or
 * CUDA (the Makefile defines WITH_MPI when pkg-config knows Open MPI, WITH_CUDA when there is nvcc). */
#include "harness/comm.h"
#include "harness/error.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

extern const comm_driver sim_driver;
#ifdef WITH_MPI
extern const comm_driver mpi_driver;
#endif
#ifdef WITH_CUDA
extern const comm_driver nccl_driver;
#endif

const comm_driver *const comm_table[] = {
    &sim_driver,
#ifdef WITH_MPI
    &mpi_driver,
#endif
#ifdef WITH_CUDA
    &nccl_driver,
#endif
};
const int comm_count = sizeof comm_table / sizeof *comm_table;

const comm_driver *comm_find(const char *name)
{
    char names[128] = "";
    for (int i = 0; i < comm_count; i++) {
        if (!strcmp(comm_table[i]->name, name))
            return comm_table[i];
        size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, "%s%s", i ? ", " : "", comm_table[i]->name);
    }
    fail("--comm %s: there is no such comm; this build has %s", name, names);
    return NULL;
}

bool comm_takes_turns(const char *detail)
{
    return strstr(detail, COMM_SHARED_GPU) || strstr(detail, COMM_SHARED_CORES);
}

const char *comm_remark(const comm_driver *driver)
{
    const char *remark = driver->remark ? driver->remark(driver) : NULL;
    return remark ? remark : "";
}

const char *comm_agreed(const char *sentence)
{
    bool host = !strncmp(sentence, "host ", 5), worker = !strncmp(sentence, "worker ", 7);
    if (!host && !worker)
        return NULL;
    const char *number = sentence + (host ? 5 : 7), *at = number;
    while (isdigit((unsigned char)*at))
        at++;
    return at > number && !strncmp(at, ": ", 2) ? at + 2 : NULL;
}
