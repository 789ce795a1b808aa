/* What the files of workers share: the state of a process, and what its leader's thread offers. Nobody
 * else includes this; see workers.h. */
#ifndef HARNESS_SWEEP_WORKERS_STATE_H
#define HARNESS_SWEEP_WORKERS_STATE_H
#include <pthread.h>
#include <sys/types.h>

#include "harness/launch/message.h"
#include "harness/sweep/workers.h"

typedef struct {
    pid_t pid; /* 0: reaped, or never there */
    connection link;
    bool arrived; /* at the agreement under way */
    int status;
    char *sentence; /* of a failure there, or of its end; NULL: none */
    bool bye, lost;
} worker;

typedef struct {
    int count, number;
    comm_driver driver;
    connection leader; /* of a worker */
    bool over;         /* of a worker: "enough" has come */

    /* Of the leader. The lock guards all below but `thread`, and every write to a worker. */
    worker *all; /* [count], the first is the leader's own and has no link */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t came;
    workers_intake intake;
    bool listening, failed, ending, stuck; /* stuck: one was */
    int wake;
} workers_state;
extern workers_state workers;

/* Returns when the message is written; what cannot be has a reader that is gone, which is noticed
 * where it is read from. */
void workers_send(connection *, message_kind, const void *bytes, size_t count);
/* A verdict's status, and its sentence, which lies in the message. */
int workers_verdict(const message *, const char **sentence);

/* ---- Of the leader ---- */

/* Under the lock: who has not come to the agreement shall begin nothing more. */
void workers_tell_enough(void);
/* Under the lock. */
void workers_take_piece(const void *piece, size_t bytes);
void workers_kill_and_reap(void);
/* The thread that reads what comes from workers, until something can be read from `wake`. */
void *workers_take_in(void *unused);
#endif
