/* The comm table: the links between hosts. A host is a rank of the group that shares one document.
 * Buffers are device memory. A transfer starts with a call that returns a handle (>= 0, or -1 with
 * a sentence in fail_text()) and is over for this host when wait(handle) returns; until then its
 * buffers stay untouched. Every host makes the same collective calls in the same order; the k-th
 * send to a peer matches that peer's k-th receive from here. A host may hold several handles and
 * wait for them in any order.
 *
 * What a call counts as sent, here and in a method's cost(): all_gather (size - 1) times `bytes` (a ring
 * forwards each block), all_to_all and send_recv what goes to others, broadcast `bytes` for each of
 * tree_children(), barrier nothing.
 *
 * sim   H virtual hosts in one process on one device, with a virtual clock over a link model
 * mpi   one process a host, on CPUs
 * nccl  one process a GPU
 *
 * A run is a body that every host executes; run() returns when all of them have returned. */
#ifndef HARNESS_COMM_H
#define HARNESS_COMM_H
#include "harness/comm/place.h"
#include "harness/timeline.h"

typedef struct comm comm;
typedef struct comm_driver comm_driver;

struct comm {
    const comm_driver *driver;
    int rank, size;
    device *dev;
    timeline *time;     /* this host's; never NULL */
    int64_t bytes_sent; /* payload that left this host, prefill and decode */
    void *state;
};

/* Ranks take turns on one GPU, or on cores. Results are what they would be; times mean nothing, and
 * rows that say this are left out of tables and figures of times. */
#define COMM_SHARED_GPU "shared GPU"
#define COMM_SHARED_CORES "shared cores"
/* Whether a row's detail says so. */
bool comm_takes_turns(const char *detail);

struct comm_driver {
    const char *name, *title;
    bool projected; /* times are computed from a link model, not measured */
    const char *device; /* the only device that its transfers reach; NULL: all */
    bool watches_time;  /* ends a run that passes its deadline by itself: hosts need not agree */
    bool spawns;        /* --spawn can start its processes */

    /* Joins the launch (MPI_Init for mpi); ranks = how many hosts there can be (INT_MAX for
     * sim). The device is not open yet: where several ranks share a machine, dev->ordinal is set
     * to this one's, or, where they share its memory and cores, dev->neighbours and dev->threads. */
    int (*open)(const comm_driver *, device *, int *ranks, bool *leader);
    void (*close)(const comm_driver *);
    /* Ends all processes of the launch now, since this one failed. Returns only in sim. */
    void (*abort)(const comm_driver *);
    /* Copies `bytes` of host memory from the leading process to every process of the launch. */
    int (*share)(const comm_driver *, void *data, size_t bytes);
    /* Every process says how a step went that it took by itself, outside run() (0, or -1 with
     * fail_text()): opening the device, a model, a file. Returns the same to all, when all have come:
     * 0, or -1 with "host R: " and the sentence of the first that failed. In a launch of one process
     * the status and its sentence as they are. */
    int (*agree)(const comm_driver *, int status);
    /* What rows should say of this launch (COMM_SHARED_...), or NULL. The function may be NULL too:
     * nothing. Ask with comm_remark(). */
    const char *(*remark)(const comm_driver *);

    /* Executes body on hosts 0..hosts-1 with timelines[rank] (an array of `hosts`); processes
     * outside the group wait. Fails, with the first failing host's sentence led by "host R: ",
     * when any body fails. In sim the others then get -1 from the call in which they are parked,
     * so that they free what they hold; in mpi the launch is ended with abort() if they cannot
     * finish, and in nccl by its watchdog. */
    int (*run)(const comm_driver *, int hosts, device *, timeline *timelines,
               int (*body)(comm *, void *argument), void *argument);

    /* recv [size][bytes] = every host's send [bytes], in host order. send may lie inside recv at
     * its own place. */
    int (*all_gather)(comm *, const void *send, void *recv, size_t bytes);
    /* Sends send_bytes[p] from send + send_at[p] to each host p, and receives recv_bytes[p] into
     * recv + recv_at[p]. The part to oneself is copied. */
    int (*all_to_all)(comm *, const void *send, const size_t *send_at, const size_t *send_bytes,
                      void *recv, const size_t *recv_at, const size_t *recv_bytes);
    /* One ring step: sends to `to` and receives from `from`; either may be -1 for none. */
    int (*send_recv)(comm *, int to, const void *send, size_t send_bytes, int from, void *recv,
                     size_t recv_bytes);
    /* data of host `root` to all, down the tree of tree_children(). */
    int (*broadcast)(comm *, void *data, size_t bytes, int root);
    int (*barrier)(comm *); /* a handle as well */
    int (*wait)(comm *, int handle);

    /* Largest value over hosts of each of values[count], host memory, outside all timing. */
    int (*reduce_max)(comm *, double *values, int count);

    /* Runs work(argument), which every host would do alike and which leaves its result in
     * out [bytes] on the device. sim does it on the first host that comes and copies the result to
     * the others, charging each clock with the time it took; elsewhere it is a plain call. */
    int (*replicated)(comm *, int (*work)(void *argument), void *argument, void *out, size_t bytes);
};

/* Broadcast goes down a binomial tree: counted from the root (v = rank - root, mod size), host v > 0 hears
 * from v minus its highest bit, and v speaks to v + 2^k for every 2^k > v. How many of those exist among
 * `hosts`. */
int tree_children(int v, int hosts);
int tree_parent(int v);

/* The driver's remark; "" where it has none. */
const char *comm_remark(const comm_driver *);

/* The sentence behind the "host R: " (or "worker R: ": sweep/workers.h) that all processes have agreed
 * on with it; NULL when it is no such sentence. */
const char *comm_agreed(const char *sentence);

/* The table: sim first. Fails with the names that exist. */
const comm_driver *comm_find(const char *name);
extern const comm_driver *const comm_table[];
extern const int comm_count;
#endif
