/* The control sockets of a launch: what its processes tell each other outside the links. Rank 0
 * leads; every other rank has one socket to it. They carry agreements (host memory, no device), and
 * a watchdog: a thread in every process that reads the sockets, tells the others every fraction of
 * a second where this one is (comm/place.h), and ends the process when the launch has to end:
 *
 * - a process died: its socket closes. At once.
 * - a process is silent (stopped, or its machine is gone): after SILENCE_SECONDS, or at the deadline.
 * - the deadline of a run passes: the host that is behind is named.
 * - a host's run failed and the others do not come to the agreement within GRACE_SECONDS: they are
 *   in a transfer that will never end. (Outside a run they do come, be it minutes later: they may be
 *   reading a model. The seconds count from when the leader is in the run, too.)
 * - a process asks for it with control_end().
 *
 * Then the leader prints one sentence (rank 1, when it is the leader that died), all processes let
 * go of what their links hold, for RELEASE_SECONDS at most, and exit with status 1. Files are not
 * flushed: what is written by whole lines stays whole.
 *
 * All functions are for one thread, the one that runs cells. In a launch of one process they do what
 * is left to do. */
#ifndef HARNESS_LAUNCH_CONTROL_H
#define HARNESS_LAUNCH_CONTROL_H
#include "harness/launch/launch.h"

#include <stdbool.h>
#include <stddef.h>

#define JOIN_SECONDS 60.0
#define SILENCE_SECONDS 30.0
#define GRACE_SECONDS_OF_CONTROL 5.0
#define RELEASE_SECONDS 1.0

/* What the watchdog asks of the links, in its own thread; either may be NULL. */
typedef struct {
    /* A sentence when a transfer has gone wrong, else NULL. */
    const char *(*trouble)(void);
    /* Makes everything that waits for a transfer return. The process ends right after. */
    void (*release)(void);
} control_hooks;

/* Joins the launch; returns when all ranks have. */
int control_open(const launch *, const control_hooks *);
/* Leaves it. The leader waits for the others. */
void control_close(void);

/* Copies `bytes` from the leader to every process. */
int control_share(void *data, size_t bytes);
/* all [size][bytes] = every process's own [bytes], in rank order. */
int control_gather(const void *own, void *all, size_t bytes);
/* Largest over ranks 0..group-1 of each of values[count]. Fails when one of them has failed or has
 * left the run. */
int control_reduce_max(int group, double *values, int count);
/* Every process says whether its part of a run, or of what all do outside runs, went well (0) or
 * failed (-1, with fail_text()). Returns the same to all: 0, or -1 with "host R: ..." of the first
 * that failed by itself. */
int control_agree(int status);

/* A run over ranks 0..group-1 began at `since` and may take until `deadline` (monotonic seconds; 0:
 * for ever). group 0: it is over. */
void control_run(int group, double since, double deadline);

/* Ends all processes of the launch; the sentence ("host R: " is put before it; NULL: none) is printed
 * if nothing has been before. Does not return. */
_Noreturn void control_end(const char *sentence);
/* This process gives up with this sentence: the leader prints it, unless it has printed one; where
 * that does not answer, control_end() prints it. False: no launch of several processes is open,
 * nothing is printed. */
bool control_tell(const char *sentence);
#endif
