/* What every driver does alike at a call, so that all of them count, record and refuse the same
 * things: check the arguments, count the payload that leaves the host, open the timeline entry. */
#ifndef HARNESS_COMM_CALLS_H
#define HARNESS_COMM_CALLS_H
#include "harness/comm.h"

/* "all_gather", ... by transfer_kind, as messages name the calls. */
extern const char *const transfer_names[];

/* Opens the POST entry of transfer `handle` and adds its payload to comm->bytes_sent. The caller
 * closes it with timeline_resume() after starting the transfer. bytes is a host's share or payload. */
timeline_entry *post_all_gather(comm *, int handle, size_t bytes);
timeline_entry *post_all_to_all(comm *, int handle, const size_t *send_bytes);
timeline_entry *post_send_recv(comm *, int handle, int to, size_t send_bytes, int from);
timeline_entry *post_broadcast(comm *, int handle, size_t bytes, int root);
timeline_entry *post_barrier(comm *, int handle);

/* 0, or -1 with a sentence when `peer` is no host (-1, "none", is allowed where `none` says so). */
int check_peer(const comm *, const char *call, const char *role, int peer, bool none);

/* -1 with a sentence when the host's wall clock has passed its timeline's deadline. */
int check_deadline(const comm *, const char *call);
#endif
