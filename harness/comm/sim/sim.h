/* What the files of the sim driver share: a run, its virtual hosts, and what they have in flight.
 * driver.c runs and parks hosts, collective.c, message.c and replicated.c are the calls. */
#ifndef HARNESS_COMM_SIM_SIM_H
#define HARNESS_COMM_SIM_SIM_H
#include "harness/comm/calls.h"
#include "harness/comm/sim/coroutine.h"

/* reduce_max matches like a collective but is no transfer. */
enum { COLLECTIVE_REDUCE = TRANSFER_BARRIER + 1 };

typedef struct sim_run sim_run;

/* A transfer that a host has started and not yet waited for. */
typedef struct {
    int handle;
    transfer_kind kind;
    int pending;    /* halves (send_recv: up to 2) or the whole (1) that have not moved yet */
    int call;       /* its number among the host's collective calls */
    int to, from;   /* send_recv */
} operation;

typedef struct {
    comm comm; /* comm.state points back here */
    sim_run *run;
    coroutine *coroutine;
    int result;
    operation *operations;
    int operation_count, operation_capacity;
    int next_handle;
    int collective_calls, replicated_calls; /* made so far */
    int waiting_for;                        /* handle, or REDUCING, or NOTHING */
} sim_host;
enum { NOTHING = -1, REDUCING = -2 };

/* What one host brings to a collective call. */
typedef struct {
    bool here;
    int handle;
    const void *send;
    void *recv;
    size_t *parts; /* all_to_all: [4][hosts] send_at, send_bytes, recv_at, recv_bytes */
    double *values;
    int value_count;
} contribution;

typedef struct {
    int kind; /* transfer_kind or COLLECTIVE_REDUCE */
    size_t bytes;
    int root;
    int first_host; /* who posted first, and so settled kind, bytes and root */
    int arrived;
    contribution *of;
} collective;

/* One side of a message whose other side has not been posted. */
typedef struct half half;
struct half {
    bool is_send;
    int source, target;
    const void *send;
    void *recv;
    size_t bytes;
    int handle;
    half *next;
};

/* The result of replicated work, kept until every host has taken it. The host that ran the work may
 * overwrite its `out` before the last host comes, so the result lies in a buffer of its own: one
 * device copy more, of a few rows of activations. */
typedef struct {
    int host, entry_begin, entry_end;
    device_mark from, until;
    uint64_t flops;
    size_t bytes;
    int taken;
    int buffer;
} replicated_result;

typedef struct {
    void *memory;
    size_t bytes;
    bool used;
} side_buffer;

struct sim_run {
    int hosts;
    device *dev;
    int (*body)(comm *, void *);
    void *argument;
    sim_host *host;
    int *ready; /* ring of hosts that may take the turn, each at most once */
    int ready_first, ready_count;

    collective *collectives; /* those that some host has posted, oldest first */
    int collective_count, collective_capacity, collectives_done;
    half **halves; /* [hosts] by source, oldest first */

    replicated_result *results; /* those that some host has yet to take, oldest first */
    int result_count, result_capacity, results_done;
    side_buffer *buffers;
    int buffer_count;
    bool in_work; /* replicated work is running: no calls */

    bool failed;
    char *sentence; /* of the first failure, with the host in front */
};

sim_host *sim_host_of(comm *);

/* Every call starts here: refuses calls from replicated work and after another host's failure. */
int sim_enter(sim_host *, const char *call);

/* A new transfer of this host with `pending` halves (or the whole) to move. */
operation *sim_add_operation(sim_host *, transfer_kind, int pending);
operation *sim_find_operation(sim_host *, int handle);

/* A half, or the whole, of a host's transfer has moved: who waits for it may go on. */
void sim_moved(sim_run *, int rank, int handle);
void sim_wake_if_waiting(sim_host *, int what);

/* Gives the turn up until `what` (a handle or REDUCING) is done; -1 with a sentence when another
 * host has failed meanwhile. */
int sim_park(sim_host *, int what, const char *call);

/* A device copy; nothing when there is nothing to copy. */
void sim_copy(sim_run *, void *to, const void *from, size_t bytes);

const char *sim_collective_name(int kind);
void sim_free_collective(sim_run *, collective *);

/* The calls of the comm table. */
int sim_all_gather(comm *, const void *send, void *recv, size_t bytes);
int sim_all_to_all(comm *, const void *send, const size_t *send_at, const size_t *send_bytes,
                   void *recv, const size_t *recv_at, const size_t *recv_bytes);
int sim_broadcast(comm *, void *data, size_t bytes, int root);
int sim_barrier(comm *);
int sim_reduce_max(comm *, double *values, int count);
int sim_send_recv(comm *, int to, const void *send, size_t send_bytes, int from, void *recv,
                  size_t recv_bytes);
int sim_replicated(comm *, int (*work)(void *), void *argument, void *out, size_t bytes);
#endif
