/* What the files of the nccl driver share: this process, its communicators and transfers. driver.c is
 * the launch, its groups and runs; transfer.c is the calls. */
#ifndef HARNESS_COMM_NCCL_PROCESS_H
#define HARNESS_COMM_NCCL_PROCESS_H
#include "harness/comm/calls.h"
#include "harness/launch/control.h"

#include <cuda_runtime_api.h>
#include <nccl.h>
#include <pthread.h>

/* A group has two communicators. Messages between two hosts (send_recv) go over the narrow one, whose
 * kernels have few blocks, since they run beside attention and more would take multiprocessors from it:
 * a method that overlaps transfers uses these. Collectives, which attention waits for, go over the wide
 * one with as many blocks as NCCL likes. (NCCL_MAX_CTAS and NCCL_CGA_CLUSTER_SIZE in the environment
 * overrule both.) All transfers share one stream, so that those of the two never run at once, and have
 * the same order on all hosts. */
enum { NCCL_BLOCKS = 8 }; /* of the narrow one */
enum { NARROW, WIDE, WIDTHS };

/* A transfer that has been started and not yet waited for. */
typedef struct {
    int handle;
    transfer_kind kind;
    cudaEvent_t done; /* recorded on the comm stream behind it */
} nccl_transfer;

typedef struct {
    launch launch;
    bool joined;
    bool shared_gpu; /* two ranks of the launch use one GPU */
    cudaStream_t stream;  /* of the transfers, of high priority; NULL until the first run */
    cudaEvent_t ready;    /* what the compute stream had queued at the last start */
    int32_t *token;       /* device memory that barriers reduce */
    /* [ranks + 1][WIDTHS] by number of hosts; NULL: not made, or not a member. */
    ncclComm_t (*groups)[WIDTHS];
    bool *made;

    const ncclComm_t *group; /* [WIDTHS], of the run in progress; both NULL when it has one host */
    nccl_transfer *transfers;
    int transfer_count, transfer_room, next_handle;
    cudaEvent_t *spare; /* events that no transfer uses */
    int spare_count, spare_room;

    /* Held during calls of NCCL, so that the watchdog lets go of communicators only between them. */
    pthread_mutex_t lock;
    bool released; /* by the watchdog: the process is about to end */
} nccl_process;
extern nccl_process nccl_here;

/* Around every call of NCCL. A thread that comes after the watchdog has let go stays here. */
void nccl_enter(void);
void nccl_leave(void);

/* 0, or -1 with "call: what NCCL (or CUDA) says about code". */
int nccl_check(ncclResult_t code, const char *call);
int nccl_check_cuda(cudaError_t code, const char *call);

/* Forgets a transfer, whose event may be used again. */
void nccl_forget_transfer(nccl_transfer *);

/* The calls of the comm table. */
int nccl_all_gather(comm *, const void *send, void *recv, size_t bytes);
int nccl_all_to_all(comm *, const void *send, const size_t *send_at, const size_t *send_bytes,
                    void *recv, const size_t *recv_at, const size_t *recv_bytes);
int nccl_send_recv(comm *, int to, const void *send, size_t send_bytes, int from, void *recv,
                   size_t recv_bytes);
int nccl_broadcast(comm *, void *data, size_t bytes, int root);
int nccl_barrier(comm *);
int nccl_wait(comm *, int handle);
int nccl_reduce_max(comm *, double *values, int count);
int nccl_replicated(comm *, int (*work)(void *argument), void *argument, void *out, size_t bytes);
#endif
