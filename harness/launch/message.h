/* Messages over the control sockets: a header, then a body of the length that it tells. A connection
 * never blocks: what cannot be written now waits in a queue, what has come in part waits for the
 * rest. Everything that comes is checked before it is believed. */
#ifndef HARNESS_LAUNCH_MESSAGE_H
#define HARNESS_LAUNCH_MESSAGE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum {
    MESSAGE_BEAT = 1, /* a place: "I live, and am there" */
    MESSAGE_SHARE,    /* leader to all: bytes */
    MESSAGE_REDUCE,   /* to the leader and back */
    MESSAGE_GATHER,
    MESSAGE_AGREE,
    MESSAGE_TELL, /* a sentence that ends the sender, for the leader to print */
    MESSAGE_END,  /* the launch ends now; to the leader: with this sentence */
    MESSAGE_BYE,  /* the sender will say nothing more */
    MESSAGE_PIECE,  /* sweep/workers.h: a finished piece of work */
    MESSAGE_ENOUGH, /* the same, leader to all: begin nothing more before the next agreement */
    MESSAGE_KINDS
} message_kind;

/* Shared by the queues that it waits in. */
typedef struct {
    int kind, users;
    size_t bytes;
    char body[];
} message;

/* One user; body undefined. */
message *message_new(message_kind, size_t bytes);
message *message_copy(message_kind, const void *body, size_t bytes);
void message_drop(message *);

typedef struct {
    uint32_t magic, kind;
    uint64_t bytes;
} message_header;

typedef struct {
    int fd; /* -1: closed */
    message_header in_header;
    size_t in_got; /* of header and body */
    message *in;
    message **queue;
    int queued, queue_room;
    size_t out_done; /* of the first message, header included */
} connection;

/* Takes the socket over: no blocking, no delay. */
void connection_open(connection *, int fd);
void connection_close(connection *);
/* Queues the message (one more user). */
void connection_queue(connection *, message *);
/* Writes what goes without waiting; -1 when the other side is gone. */
int connection_write(connection *);
/* 1: *in is a whole message, now the caller's; 0: none yet; -1 with a sentence: the other side has
 * closed, or sent what is no message. */
int connection_read(connection *, message **in);
#endif
