/* Plays timelines: hosts walk their entries until they wait for a transfer that has not ended,
 * and go on when its last message has arrived. See comm/replay.h for the rules. */
#include "harness/comm/replay.h"

#include "harness/comm/clock/player.h"
#include "harness/error.h"

#include <stdlib.h>
#include <string.h>

/* ---- A host's clock ---- */

static void charge(host *h, part what, double seconds)
{
    h->clock += seconds;
    h->times->parts[h->phase][what] += seconds;
}

/* Another host did the work: the same seconds, spread over the parts that it recorded meanwhile. */
static void charge_replicated(player *p, host *h, const timeline_entry *e)
{
    device *dev = h->time->dev;
    const timeline_entry *entries = p->host[e->from].time->entries;
    device_mark last = e->from_mark;
    part now = h->part;
    for (int i = e->source_begin; i < e->source_end; i++) {
        charge(h, now, dev->between(dev, last, entries[i].before));
        last = entries[i].after;
        if (entries[i].kind == ENTRY_PART_BEGIN)
            now = (part)entries[i].what;
        else if (entries[i].kind == ENTRY_PART_END)
            now = h->part;
    }
    charge(h, now, dev->between(dev, last, e->until_mark));
}

static int phase_ends(host *h, phase_mark mark)
{
    int ending = mark == PHASE_PREFILL_END ? PHASE_PREFILL : PHASE_DECODE;
    if (h->phase != ending)
        return fail("a timeline whose phases end in the wrong order");
    if (ending == PHASE_PREFILL)
        h->times->prefill_end = h->clock;
    else
        h->times->decode_end = h->clock;
    h->phase++;
    h->finished = h->phase == PHASE_COUNT;
    return 0;
}

/* The alarm that ends slowed work is told from those of posts by its argument. */
static int end_of_work(int entry)
{
    return -1 - entry;
}

/* Charges the host with its own work up to entry `next`. False: transfers that are under way slow it,
 * and an alarm or the end of the last of them goes on with the walk. */
static bool work_is_done(player *p, int rank)
{
    host *h = &p->host[rank];
    if (h->worked)
        return true;
    device *dev = h->time->dev;
    double work = dev->between(dev, h->last, h->time->entries[h->next].before);
    if (h->under_way && p->link->slowdown > 1 && work > 0) {
        h->work = work;
        network_alarm(p->net, h->clock + work * p->link->slowdown, rank, end_of_work(h->next));
        return false;
    }
    charge(h, h->part, work);
    return true;
}

static void finish_work(host *h, double seconds)
{
    charge(h, h->part, seconds);
    h->work = 0;
    h->worked = true;
}

/* Walks the host's entries until it must wait, its work is slowed or its last phase has ended. */
static int walk(player *p, int rank)
{
    host *h = &p->host[rank];
    while (!h->finished) {
        if (h->next == h->time->count)
            return fail("the timeline of host %d does not end its %s", rank,
                        h->phase == PHASE_PREFILL ? "prefill" : "decode");
        if (!work_is_done(p, rank))
            return 0;
        const timeline_entry *e = &h->time->entries[h->next++];
        h->worked = false;
        h->last = e->after;
        switch (e->kind) {
        case ENTRY_PART_BEGIN:
            h->part = (part)e->what;
            break;
        case ENTRY_PART_END:
            h->part = PART_OTHER;
            break;
        case ENTRY_PHASE:
            if (phase_ends(h, (phase_mark)e->what) < 0)
                return fail_within("host %d", rank);
            break;
        case ENTRY_POST: {
            request *r = &h->requests[h->posted++];
            *r = (request){.missing = messages_of(p, e, rank), .end = h->clock};
            h->under_way += r->missing > 0;
            network_alarm(p->net, h->clock, rank, h->next - 1);
            break;
        }
        case ENTRY_WAIT: {
            int index = e->handle - h->first_handle;
            if (index < 0 || index >= h->posted)
                return fail("the timeline of host %d waits for transfer %d, which it has not "
                            "posted since its start", rank, e->handle);
            if (h->requests[index].missing) {
                h->waiting_for = index;
                return 0;
            }
            if (h->requests[index].end > h->clock)
                charge(h, PART_COMM, h->requests[index].end - h->clock);
            break;
        }
        case ENTRY_REPLICATED:
            charge_replicated(p, h, e);
            break;
        case ENTRY_PAUSE:
            break;
        }
    }
    return 0;
}

int message_done(player *p, int rank, int index, double now)
{
    host *h = &p->host[rank];
    request *r = &h->requests[index];
    if (--r->missing > 0)
        return 0;
    r->end = now;
    if (--h->under_way == 0 && h->work > 0) {
        double slowed = now > h->clock ? now - h->clock : 0;
        double left = h->work - slowed / p->link->slowdown;
        finish_work(h, slowed + (left > 0 ? left : 0));
        return walk(p, rank);
    }
    if (h->waiting_for != index)
        return 0;
    h->waiting_for = NONE;
    if (now > h->clock)
        charge(h, PART_COMM, now - h->clock);
    return walk(p, rank);
}

/* Work that was slowed to its end; where the transfers ended before, the host has gone on already. */
static int work_ends(player *p, int rank, int entry)
{
    host *h = &p->host[rank];
    if (h->work <= 0 || h->next != entry)
        return 0;
    finish_work(h, h->work * p->link->slowdown);
    return walk(p, rank);
}

static int play(player *p)
{
    for (int rank = 0; rank < p->hosts; rank++)
        if (walk(p, rank) < 0)
            return -1;
    happening what;
    int result = 0;
    while (result == 0 && network_next(p->net, &what)) {
        switch (what.kind) {
        case HAPPENED_ALARM:
            if (what.host == BARRIER_ENDS)
                result = barrier_ends(p, what.argument, what.time);
            else if (what.argument < 0)
                result = work_ends(p, what.host, -1 - what.argument);
            else
                result = transfer_posted(p, what.host, what.argument, what.time);
            break;
        case HAPPENED_LEFT:
            message_left(p, &what.message);
            break;
        case HAPPENED_ARRIVED:
            result = message_arrived(p, &what.message, what.time);
            break;
        }
    }
    for (int rank = 0; rank < p->hosts && result == 0; rank++)
        if (!p->host[rank].finished)
            return fail("the timelines do not match: host %d waits for transfer %d for ever", rank,
                        p->host[rank].first_handle + p->host[rank].waiting_for);
    return result;
}

/* ---- Setting up ---- */

/* The last PHASE_START of a timeline, or NONE with a sentence. */
static int find_start(const timeline *time)
{
    for (int i = time->count - 1; i >= 0; i--)
        if (time->entries[i].kind == ENTRY_PHASE && time->entries[i].what == PHASE_START)
            return i;
    fail("a timeline without a start");
    return NONE;
}

static int set_out(host *h, const timeline *time, host_times *times)
{
    *times = (host_times){0};
    *h = (host){.time = time, .part = PART_OTHER, .waiting_for = NONE, .times = times};
    int start = find_start(time);
    if (start == NONE)
        return -1;
    h->next = start + 1;
    h->last = time->entries[start].after;
    int posts = 0;
    for (int i = h->next; i < time->count; i++) {
        if (time->entries[i].kind != ENTRY_POST)
            continue;
        if (posts == 0)
            h->first_handle = time->entries[i].handle;
        if (time->entries[i].handle != h->first_handle + posts)
            return fail("a timeline whose transfers are not numbered in order");
        posts++;
    }
    h->requests = alloc_or_die((size_t)posts, sizeof *h->requests);
    return 0;
}

int replay(const timeline *timelines, int hosts, const link_model *link, host_times *times)
{
    player p = {.hosts = hosts, .link = link, .net = network_new(hosts, link)};
    p.host = alloc_or_die((size_t)hosts, sizeof *p.host);
    p.halves = alloc_or_die((size_t)hosts, sizeof *p.halves);
    int result = 0;
    for (int rank = 0; rank < hosts && result == 0; rank++)
        if (set_out(&p.host[rank], &timelines[rank], &times[rank]) < 0)
            result = fail_within("replay: host %d", rank);
    if (result == 0 && play(&p) < 0)
        result = fail_within("replay");
    for (int rank = 0; rank < hosts; rank++) {
        free(p.host[rank].requests);
        for (half *side = p.halves[rank], *next; side; side = next) {
            next = side->next;
            free(side);
        }
    }
    for (int i = 0; i < p.collective_capacity; i++)
        collective_free(p.collectives[i]);
    free(p.collectives);
    free(p.halves);
    free(p.host);
    network_free(p.net);
    return result;
}

int replay_measured(const timeline *time, host_times *times)
{
    host h;
    int result = set_out(&h, time, times);
    device *dev = time->dev;
    while (result == 0 && !h.finished) {
        if (h.next == time->count) {
            result = fail("the timeline does not end its %s",
                          h.phase == PHASE_PREFILL ? "prefill" : "decode");
            break;
        }
        const timeline_entry *e = &time->entries[h.next++];
        charge(&h, h.part, dev->between(dev, h.last, e->before));
        h.last = e->after;
        if (e->kind == ENTRY_PART_BEGIN)
            h.part = (part)e->what;
        else if (e->kind == ENTRY_PART_END)
            h.part = PART_OTHER;
        else if (e->kind == ENTRY_POST || e->kind == ENTRY_WAIT)
            charge(&h, PART_COMM, dev->between(dev, e->before, e->after));
        else if (e->kind == ENTRY_PHASE)
            result = phase_ends(&h, (phase_mark)e->what);
    }
    free(h.requests);
    return result < 0 ? fail_within("measured timeline") : 0;
}

/* A host's own work in a phase: everything but waiting. */
static double work_of(const host_times *times, int phase)
{
    double work = 0;
    for (int part = 0; part < PART_COUNT; part++)
        work += part == PART_COMM ? 0 : times->parts[phase][part];
    return work;
}

void slowest_host(const host_times *times, int hosts, host_times *slowest)
{
    *slowest = times[0];
    for (int rank = 1; rank < hosts; rank++) {
        if (times[rank].prefill_end > slowest->prefill_end)
            slowest->prefill_end = times[rank].prefill_end;
        if (times[rank].decode_end > slowest->decode_end)
            slowest->decode_end = times[rank].decode_end;
        for (int phase = 0; phase < PHASE_COUNT; phase++)
            if (work_of(&times[rank], phase) > work_of(slowest, phase))
                memcpy(slowest->parts[phase], times[rank].parts[phase],
                       sizeof slowest->parts[phase]);
    }
}
