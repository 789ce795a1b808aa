/* How the ranks of a launch find each other: every rank connects to rank 0, shows the launch's
 * cookie and its rank, and is welcomed when all have come. Strangers are turned away. */
#ifndef HARNESS_LAUNCH_JOIN_H
#define HARNESS_LAUNCH_JOIN_H
#include "harness/launch/launch.h"

/* Rank 0: sockets[rank] of every other rank (sockets[0] = -1), all of them welcomed. Waits at most
 * `seconds`. -1 with a sentence that names who has not come. */
int join_lead(const launch *, double seconds, int *sockets);
/* The others: the socket to rank 0 in *connected. */
int join_follow(const launch *, double seconds, int *connected);
#endif
