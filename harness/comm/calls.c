/* Checks, counting and recording that all drivers share. See calls.h. */
#include "harness/comm/calls.h"

#include "harness/error.h"

#include <string.h>

const char *const transfer_names[] = {
    [TRANSFER_ALL_GATHER] = "all_gather", [TRANSFER_ALL_TO_ALL] = "all_to_all",
    [TRANSFER_SEND_RECV] = "send_recv",   [TRANSFER_BROADCAST] = "broadcast",
    [TRANSFER_BARRIER] = "barrier",
};

static timeline_entry *post(comm *c, transfer_kind kind, int handle, size_t bytes)
{
    timeline_entry *entry = timeline_pause(c->time, ENTRY_POST, kind);
    entry->handle = handle;
    entry->bytes = (int64_t)bytes;
    return entry;
}

timeline_entry *post_all_gather(comm *c, int handle, size_t bytes)
{
    c->bytes_sent += (int64_t)bytes * (c->size - 1);
    return post(c, TRANSFER_ALL_GATHER, handle, bytes);
}

timeline_entry *post_all_to_all(comm *c, int handle, const size_t *send_bytes)
{
    timeline_entry *entry = post(c, TRANSFER_ALL_TO_ALL, handle, 0);
    entry->peer_bytes = alloc_or_die((size_t)c->size, sizeof *entry->peer_bytes);
    for (int peer = 0; peer < c->size; peer++) {
        if (peer == c->rank)
            continue;
        entry->peer_bytes[peer] = (int64_t)send_bytes[peer];
        c->bytes_sent += (int64_t)send_bytes[peer];
    }
    return entry;
}

timeline_entry *post_send_recv(comm *c, int handle, int to, size_t send_bytes, int from)
{
    timeline_entry *entry = post(c, TRANSFER_SEND_RECV, handle, send_bytes);
    entry->to = to;
    entry->from = from;
    if (to >= 0 && to != c->rank)
        c->bytes_sent += (int64_t)send_bytes;
    return entry;
}

timeline_entry *post_broadcast(comm *c, int handle, size_t bytes, int root)
{
    timeline_entry *entry = post(c, TRANSFER_BROADCAST, handle, bytes);
    entry->to = root;
    int v = (c->rank - root + c->size) % c->size;
    c->bytes_sent += (int64_t)bytes * tree_children(v, c->size);
    return entry;
}

timeline_entry *post_barrier(comm *c, int handle)
{
    return post(c, TRANSFER_BARRIER, handle, 0);
}

int check_peer(const comm *c, const char *call, const char *role, int peer, bool none)
{
    if ((peer >= 0 && peer < c->size) || (none && peer == -1))
        return 0;
    return fail("%s: %s is host %d, but the hosts are 0 to %d", call, role, peer, c->size - 1);
}

int check_deadline(const comm *c, const char *call)
{
    if (c->time->deadline <= 0)
        return 0;
    double seconds = monotonic_seconds();
    if (seconds <= c->time->deadline)
        return 0;
    return fail("timeout: still in %s after %.1f s", call, seconds - c->time->wall_start);
}

int tree_children(int v, int hosts)
{
    int children = 0;
    for (int64_t distance = 1; v + distance < hosts; distance *= 2)
        if (distance > v)
            children++;
    return children;
}

int tree_parent(int v)
{
    int highest = 1;
    while (2 * (int64_t)highest <= v)
        highest *= 2;
    return v - highest;
}
