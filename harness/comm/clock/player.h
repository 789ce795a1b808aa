/* What the files of the virtual clock share: a player with its hosts and the transfers that they
 * have posted. replay.c walks timelines, transfer.c turns transfers into messages of network.h. */
#ifndef HARNESS_COMM_CLOCK_PLAYER_H
#define HARNESS_COMM_CLOCK_PLAYER_H
#include "harness/comm/clock/network.h"
#include "harness/comm/replay.h"

enum { NONE = -1, BARRIER_ENDS = -2 };

/* A transfer from the side of one host: over when no message is missing. */
typedef struct {
    int64_t missing;
    double end;
} request;

typedef struct {
    const timeline *time;
    int next; /* entry */
    device_mark last; /* where its own time went on */
    double clock;
    part part;
    int phase; /* PHASE_COUNT: over */
    request *requests;
    int first_handle, posted;
    int waiting_for; /* request or NONE */
    int under_way;   /* requests that are not over */
    /* Work in hand beside them, if the link slows it: seconds at full speed (0: none), and the clock
     * when it began. `worked`: the work before entry `next` has been charged. */
    double work;
    bool worked;
    int collective_calls;
    bool finished;
    host_times *times;
} host;

typedef struct {
    transfer_kind kind;
    int64_t bytes;
    int root, number;
    int posted;
    int64_t messages_left;
    int *request;                /* [hosts]; NONE: not posted */
    const int64_t **peer_bytes;  /* [hosts], all_to_all */
    /* [hosts]. all_gather: blocks that arrived, steps launched. all_to_all: rounds launched, rounds
     * that left, rounds that came in. broadcast: whether the data are there (arrived). */
    int *arrived, *launched, *left, *came;
} collective;

/* One side of a message between two hosts whose other side has not been posted. */
typedef struct half half;
struct half {
    bool is_send;
    int target;
    int64_t bytes;
    int request;
    half *next;
};

typedef struct {
    int hosts;
    const link_model *link;
    network *net;
    host *host;
    collective **collectives; /* by number; NULL: not begun, or over */
    int collective_capacity;
    half **halves; /* [hosts] by source, oldest first */
} player;

/* A message of a host's transfer has arrived; after the last one the host may go on. */
int message_done(player *, int rank, int index, double now);

/* How many messages host `rank` sends and receives in the transfer that `post` starts. */
int64_t messages_of(const player *, const timeline_entry *post, int rank);

/* Host `rank` has posted this entry at time `now`; a message has left its ports; has arrived; the
 * barrier of this number ends. */
int transfer_posted(player *, int rank, int entry, double now);
void message_left(player *, const message *);
int message_arrived(player *, const message *, double now);
int barrier_ends(player *, int number, double now);

void collective_free(collective *);
#endif
