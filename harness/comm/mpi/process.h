/* What the files of the mpi driver share: this process and its transfers. driver.c is the
 * launch, its runs and how failures spread; transfer.c is the calls. */
#ifndef HARNESS_COMM_MPI_PROCESS_H
#define HARNESS_COMM_MPI_PROCESS_H
#include "harness/comm/calls.h"

#include <mpi.h>

/* A host that waits is stuck when nothing moves for this long after another host has failed. */
#define GRACE_SECONDS 2.0

/* A transfer that has been started and not yet waited for. */
typedef struct {
    int handle;
    transfer_kind kind;
    MPI_Request *requests;
    int *expected; /* bytes of each receive; -1: not a receive */
    int *peer;
    int count, capacity, open;
} transfer;

/* This process. */
typedef struct {
    bool joined, began_here;
    bool shared_cores; /* some process has less than a core for each of its threads */
    MPI_Comm control; /* all processes: agreements and notices */
    int rank, ranks;
    MPI_Comm *groups; /* by number of hosts; MPI_COMM_NULL: not made yet, or not a member */
    bool *made;       /* and good: no run has failed in it */
    size_t piece; /* bytes sent at a time */

    MPI_Comm group; /* of the run in progress */
    transfer *transfers;
    int transfer_count, transfer_capacity, next_handle;
    int failed_host; /* who told that it failed: the first of them, or -1 */
    double failed_at;
    bool *told;      /* [ranks] who has told */
    int stuck_at;    /* the failed host that we have told that we are stuck, or -1 */
    char *sentence;  /* of this host's own failure */
} mpi_process;
extern mpi_process mpi_here;

/* For tests: a small piece makes small messages go in several. Returns the old size. */
size_t mpi_piece_bytes(size_t bytes);
/* The size of the piece that follows `done` of `bytes`. */
int mpi_piece_at(size_t done, size_t bytes);

/* Between two polls that began at `since`: at first only gives way, then sleeps a little. */
void mpi_rest(double since, long sleep_ns);
/* "call: what MPI says about code"; -1. */
int mpi_fail(const char *call, int code);
/* Prints the sentence and ends all processes of the launch. */
void mpi_end_launch(const char *sentence);

/* In a run: takes in what others have told. A stuck host ends the launch of a host that failed. */
void mpi_take_notices(void);
/* Called while a transfer that began at `since` does not end. */
void mpi_complain_if_stuck(double since);

/* Ends the requests of a transfer that are done (t->open counts the others); fails when a
 * message was not as long as expected. */
int mpi_poll_transfer(transfer *);
void mpi_forget_transfer(transfer *);

/* The calls of the comm table. */
int mpi_all_gather(comm *, const void *send, void *recv, size_t bytes);
int mpi_all_to_all(comm *, const void *send, const size_t *send_at, const size_t *send_bytes,
                   void *recv, const size_t *recv_at, const size_t *recv_bytes);
int mpi_send_recv(comm *, int to, const void *send, size_t send_bytes, int from, void *recv,
                  size_t recv_bytes);
int mpi_broadcast(comm *, void *data, size_t bytes, int root);
int mpi_barrier(comm *);
int mpi_wait(comm *, int handle);
int mpi_reduce_max(comm *, double *values, int count);
int mpi_replicated(comm *, int (*work)(void *), void *argument, void *out, size_t bytes);
#endif
