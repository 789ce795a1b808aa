/* Messages on ports: the part of the virtual clock that knows time and bandwidth but not what
 * the messages are for. A discrete-event simulation: whoever runs it launches messages and
 * schedules its own alarms, and takes what happens in order of time. The rules are in replay.h. */
#ifndef HARNESS_COMM_CLOCK_NETWORK_H
#define HARNESS_COMM_CLOCK_NETWORK_H
#include "harness/comm/link.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    int source, target;
    int64_t bytes;
    bool collective; /* of one: the link may have a bandwidth of its own for these */
    void *transfer; /* the owner's: which transfer it belongs to, */
    int step;       /* which part of it, */
    int source_request, target_request; /* and which requests of the two hosts wait for it */
} message;

typedef enum {
    HAPPENED_ALARM,  /* host and argument as scheduled */
    HAPPENED_LEFT,   /* the message no longer holds its ports */
    HAPPENED_ARRIVED /* it is at its target */
} happening_kind;

typedef struct {
    happening_kind kind;
    double time;
    int host, argument;
    message message;
} happening;

typedef struct network network;

network *network_new(int hosts, const link_model *);
void network_free(network *);

/* An alarm at `time` seconds, not before the last happening. */
void network_alarm(network *, double time, int host, int argument);

/* Hands a message over at the time of the last happening: it starts when its ports are free. A
 * message of no bytes, or to its own source, needs no port and arrives at this moment. */
void network_launch(network *, message);

/* The next thing that happens; false when nothing is left to happen. Things of the same moment come
 * in the order in which they were caused. */
bool network_next(network *, happening *);

/* Seconds of a barrier after the last host has come. */
double link_barrier_seconds(const link_model *, int hosts);
#endif
