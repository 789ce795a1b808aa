/* What the files of the control part share. control.c is the calls and the thread, hub.c what the
 * leader does with contributions, ending.c how a launch ends. */
#ifndef HARNESS_LAUNCH_STATE_H
#define HARNESS_LAUNCH_STATE_H
#include "harness/comm/place.h"
#include "harness/launch/control.h"
#include "harness/launch/message.h"

#include <pthread.h>

#define BEAT_SECONDS 0.2

/* Another process. The leader has one for each rank (its own stays closed), others one: the leader. */
typedef struct {
    connection link;
    int rank;
    bool bye;      /* it has said that it will say no more */
    double heard;  /* when something last came from it */
    run_place where;   /* as it last told */
} peer;

typedef struct {
    bool open, leader;
    int rank, size;
    control_hooks hooks;
    pthread_t thread;
    int wake; /* eventfd: the other thread has queued something */

    pthread_mutex_t lock; /* everything below */
    pthread_cond_t came;  /* something for the caller is in the inbox, or the thread has ended */
    peer *peers;
    int peer_count;
    message **inbox; /* for the thread that runs cells */
    int inbox_count, inbox_room;
    double beat_at;
    bool closing, closed;
    double closing_at;

    int group; /* of the run; 0: none */
    double since, deadline;

    bool end_asked; /* by control_end() */
    char *end_sentence; /* NULL: none. It may have been told already */
    double end_at;  /* when it was passed on to the leader */
    bool said;      /* a sentence has been printed */
    double trouble_at;

    message **pending; /* [size], the leader: contributions that wait for others */
    double failed_at;  /* when the first of them came that tells a failure; 0: none */
    int failed_rank;
    bool consequence;  /* this host fails only because another did */
} control_state;
extern control_state control;

/* ---- control.c ---- */
void control_deliver(message *); /* into the own inbox; takes it over */
void control_wake(void);

/* ---- hub.c: the leader, lock held ---- */
/* Contributions begin with this; the answers too, status then being the outcome's. */
typedef struct {
    int32_t status; /* 0, OWN_FAILURE or CONSEQUENCE; answers: 0 or -1 */
    int32_t group, count;
    int32_t unused;
} contribution;
enum { OWN_FAILURE = 1, CONSEQUENCE = 2 };

/* Takes the message over. */
void hub_contribute(int rank, message *);
/* The sentence of a failed contribution. */
const char *hub_sentence(const message *);

/* ---- ending.c: lock held; those that end do not return ---- */
/* Prints the sentence, if there is one and none has been printed by this process. */
void ending_say(const char *sentence);
/* The leader: prints, tells all, ends. */
_Noreturn void ending_lead(const char *sentence);
/* The others: ends; says the sentence where the leader cannot (rank 1 does). NULL: it has. */
_Noreturn void ending_leave(const char *sentence);
/* Looks at everything that may end the launch. Called a few times a second. */
void ending_watch(double now);
/* A peer's socket closed, or carried nonsense (fail_text() tells). */
void ending_lost(peer *);
#endif
