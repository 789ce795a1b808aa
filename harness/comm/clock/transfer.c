/* Transfers as messages: which ones a call needs, and which must have left or arrived before the
 * next may start. See comm/replay.h for the rules. */
#include "harness/comm/calls.h"
#include "harness/comm/clock/player.h"
#include "harness/error.h"

#include <stdlib.h>
#include <string.h>

int64_t messages_of(const player *p, const timeline_entry *e, int rank)
{
    switch (e->what) {
    case TRANSFER_SEND_RECV:
        return (e->to >= 0) + (e->from >= 0);
    case TRANSFER_BROADCAST: {
        int v = (rank - e->to + p->hosts) % p->hosts;
        return tree_children(v, p->hosts) + (v > 0);
    }
    case TRANSFER_BARRIER:
        return 1;
    default:
        return 2 * (int64_t)(p->hosts - 1);
    }
}

/* ---- Collectives ---- */

static collective *collective_new(int hosts, int number, const timeline_entry *e)
{
    collective *c = alloc_or_die(1, sizeof *c);
    c->kind = (transfer_kind)e->what;
    c->bytes = e->bytes;
    c->root = e->to;
    c->number = number;
    int64_t pairs = (int64_t)hosts * (hosts - 1);
    c->messages_left = c->kind == TRANSFER_BROADCAST ? hosts - 1
                       : c->kind == TRANSFER_BARRIER ? 1 : pairs;
    c->request = alloc_or_die(5 * (size_t)hosts, sizeof *c->request);
    c->arrived = c->request + hosts;
    c->launched = c->arrived + hosts;
    c->left = c->launched + hosts;
    c->came = c->left + hosts;
    for (int rank = 0; rank < hosts; rank++)
        c->request[rank] = NONE;
    if (c->kind == TRANSFER_ALL_TO_ALL)
        c->peer_bytes = alloc_or_die((size_t)hosts, sizeof *c->peer_bytes);
    return c;
}

void collective_free(collective *c)
{
    if (c) {
        free(c->request);
        free(c->peer_bytes);
        free(c);
    }
}

static void launch(player *p, collective *c, int source, int target, int step, int64_t bytes)
{
    network_launch(p->net, (message){.source = source, .target = target, .bytes = bytes,
                                     .collective = true, .transfer = c, .step = step,
                                     .source_request = c->request[source],
                                     .target_request = c->request[target]});
}

/* all_gather: launches the steps of host r whose block has arrived. */
static void try_ring(player *p, collective *c, int r)
{
    int next = (r + 1) % p->hosts;
    if (c->request[r] == NONE || c->request[next] == NONE)
        return;
    while (c->launched[r] < p->hosts - 1 && c->launched[r] <= c->arrived[r])
        launch(p, c, r, next, c->launched[r]++, c->bytes);
}

/* all_to_all: launches the next round of host r when its ports are through with the last one. */
static void try_round(player *p, collective *c, int r)
{
    int round = c->launched[r] + 1;
    int target = (r + round) % p->hosts;
    if (round == p->hosts || c->left[r] < round - 1 || c->came[target] < round - 1 ||
        c->request[r] == NONE || c->request[target] == NONE)
        return;
    c->launched[r] = round;
    launch(p, c, r, target, round, c->peer_bytes[r][target]);
}

/* The host whose next message in an all_to_all goes to host r. */
static int next_source(const player *p, const collective *c, int r)
{
    return ((r - c->came[r] - 1) % p->hosts + p->hosts) % p->hosts;
}

static int from_root(const player *p, const collective *c, int rank)
{
    return (rank - c->root + p->hosts) % p->hosts;
}

/* broadcast: host `rank` has the data, and passes them on to the children that have posted. */
static void pass_on(player *p, collective *c, int rank)
{
    int v = from_root(p, c, rank);
    c->arrived[rank] = 1;
    for (int64_t distance = 1; v + distance < p->hosts; distance *= 2) {
        int child = (int)((rank + distance) % p->hosts);
        if (distance > v && c->request[child] != NONE)
            launch(p, c, rank, child, 0, c->bytes);
    }
}

static void posted_in_broadcast(player *p, collective *c, int rank)
{
    int v = from_root(p, c, rank);
    if (v == 0) {
        pass_on(p, c, rank);
        return;
    }
    int parent = (tree_parent(v) + c->root) % p->hosts;
    if (c->arrived[parent])
        launch(p, c, parent, rank, 0, c->bytes);
}

static void forget_collective(player *p, collective *c)
{
    p->collectives[c->number] = NULL;
    collective_free(c);
}

static collective *collective_at(player *p, int number, const timeline_entry *e)
{
    if (number >= p->collective_capacity) {
        int old = p->collective_capacity;
        p->collective_capacity = 2 * number + 64;
        p->collectives = realloc_or_die(p->collectives, (size_t)p->collective_capacity,
                                        sizeof *p->collectives);
        memset(p->collectives + old, 0,
               (size_t)(p->collective_capacity - old) * sizeof *p->collectives);
    }
    if (!p->collectives[number])
        p->collectives[number] = collective_new(p->hosts, number, e);
    return p->collectives[number];
}

static int post_collective(player *p, int rank, const timeline_entry *e, int index, double now)
{
    if (p->hosts == 1)
        return e->what == TRANSFER_BARRIER ? message_done(p, rank, index, now) : 0;
    collective *c = collective_at(p, p->host[rank].collective_calls++, e);
    if (c->kind != (transfer_kind)e->what || c->bytes != e->bytes || c->root != e->to)
        return fail("collective call %d of host %d is not that of the other hosts", c->number,
                    rank);
    c->request[rank] = index;
    c->posted++;
    switch (c->kind) {
    case TRANSFER_ALL_GATHER:
        try_ring(p, c, rank);
        try_ring(p, c, (rank + p->hosts - 1) % p->hosts);
        break;
    case TRANSFER_ALL_TO_ALL:
        c->peer_bytes[rank] = e->peer_bytes;
        try_round(p, c, rank);
        try_round(p, c, next_source(p, c, rank));
        break;
    case TRANSFER_BROADCAST:
        posted_in_broadcast(p, c, rank);
        break;
    default: /* barrier */
        if (c->posted == p->hosts)
            network_alarm(p->net, now + link_barrier_seconds(p->link, p->hosts), BARRIER_ENDS,
                          c->number);
    }
    return 0;
}

int barrier_ends(player *p, int number, double now)
{
    collective *c = p->collectives[number];
    int result = 0;
    for (int rank = 0; rank < p->hosts && result == 0; rank++)
        result = message_done(p, rank, c->request[rank], now);
    forget_collective(p, c);
    return result;
}

/* ---- Messages between two hosts ---- */

static int post_half(player *p, int source, half side)
{
    half **link = &p->halves[source];
    while (*link && ((*link)->target != side.target || (*link)->is_send == side.is_send))
        link = &(*link)->next;
    half *other = *link;
    if (!other) {
        *link = alloc_or_die(1, sizeof **link);
        **link = side;
        return 0;
    }
    const half *send = side.is_send ? &side : other, *recv = side.is_send ? other : &side;
    network_launch(p->net, (message){.source = source, .target = side.target, .bytes = send->bytes,
                                     .source_request = send->request,
                                     .target_request = recv->request});
    *link = other->next;
    free(other);
    return 0;
}

/* ---- What happens ---- */

int transfer_posted(player *p, int rank, int entry, double now)
{
    host *h = &p->host[rank];
    const timeline_entry *e = &h->time->entries[entry];
    int index = e->handle - h->first_handle;
    if (e->what != TRANSFER_SEND_RECV)
        return post_collective(p, rank, e, index, now);
    if (e->to >= 0)
        post_half(p, rank, (half){.is_send = true, .target = e->to, .bytes = e->bytes,
                                  .request = index});
    if (e->from >= 0)
        post_half(p, e->from, (half){.target = rank, .request = index});
    return 0;
}

void message_left(player *p, const message *m)
{
    collective *c = m->transfer;
    if (!c || c->kind != TRANSFER_ALL_TO_ALL)
        return;
    c->left[m->source] = m->step;
    c->came[m->target] = m->step;
    try_round(p, c, m->source);
    try_round(p, c, next_source(p, c, m->target));
}

int message_arrived(player *p, const message *m, double now)
{
    collective *c = m->transfer;
    if (c && c->kind == TRANSFER_ALL_GATHER) {
        c->arrived[m->target]++;
        try_ring(p, c, m->target);
    } else if (c && c->kind == TRANSFER_BROADCAST) {
        pass_on(p, c, m->target);
    }
    if (c && --c->messages_left == 0)
        forget_collective(p, c);
    return message_done(p, m->source, m->source_request, now) < 0
               ? -1 : message_done(p, m->target, m->target_request, now);
}
