/* Recording what a host does. See timeline.h; whoever turns entries into seconds is in
 * comm/replay.h. */
#include "harness/timeline.h"

#include "harness/error.h"
#include "harness/ranges.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

const char *const part_names[PART_COUNT] = {
    [PART_QKV] = "qkv",       [PART_COMPRESS] = "compress", [PART_COMM] = "comm",
    [PART_ATTENTION] = "attention", [PART_O_PROJ] = "o_proj",     [PART_FFN] = "ffn",
    [PART_OTHER] = "other",
};

uint64_t timeline_flops(timeline *time)
{
    time->flops += time->dev->flops - time->flops_at;
    time->flops_at = time->dev->flops;
    return time->flops;
}

static device_mark mark_now(timeline *time)
{
    return time->untimed ? (device_mark){0} : time->dev->mark(time->dev);
}

static timeline_entry *append(timeline *time, entry_kind kind, int what)
{
    timeline_flops(time);
    if (time->count == time->capacity) {
        time->capacity = time->capacity ? 2 * time->capacity : 64;
        time->entries =
            realloc_or_die(time->entries, (size_t)time->capacity, sizeof *time->entries);
    }
    timeline_entry *entry = &time->entries[time->count++];
    *entry = (timeline_entry){.kind = kind, .what = what, .handle = -1, .to = -1, .from = -1};
    entry->before = entry->after = mark_now(time);
    return entry;
}

void timeline_clear(timeline *time)
{
    for (int i = 0; i < time->count; i++)
        free(time->entries[i].peer_bytes);
    time->count = 0;
}

void timeline_free(timeline *time)
{
    timeline_clear(time);
    free(time->entries);
    time->entries = NULL;
    time->capacity = 0;
}

void timeline_phase(timeline *time, phase_mark mark)
{
    append(time, ENTRY_PHASE, mark);
    if (mark == PHASE_START)
        time->flops = 0;
}

void timeline_work(const timeline *time, double *own, double *transfers)
{
    device *dev = time->dev;
    *own = *transfers = 0;
    int start = time->count - 1;
    while (start >= 0 && (time->entries[start].kind != ENTRY_PHASE ||
                          time->entries[start].what != PHASE_START))
        start--;
    for (int i = start + 1; start >= 0 && i < time->count; i++) {
        const timeline_entry *e = &time->entries[i];
        *own += dev->between(dev, e[-1].after, e->before);
        if (e->kind == ENTRY_POST || e->kind == ENTRY_REPLICATED ||
            (e->kind == ENTRY_WAIT && !time->projected))
            *transfers += dev->between(dev, e->before, e->after);
    }
}

/* ---- Ranges ---- */

static void close_range(timeline *time, const timeline_range *range)
{
    if (range->leaf && time->synchronised)
        time->dev->sync(time->dev);
    ranges_close();
}

static timeline_range *top_leaf(timeline *time)
{
    timeline_range *top = time->range_count ? &time->ranges[time->range_count - 1] : NULL;
    return top && top->leaf ? top : NULL;
}

/* A leaf inside a leaf interrupts it. */
void timeline_open(timeline *time, const char *name, int64_t payload, bool leaf)
{
    timeline_range *outer = top_leaf(time);
    if (outer)
        close_range(time, outer);
    if (time->range_count == TIMELINE_RANGES) {
        fprintf(stderr, "apbench: a host opens more than %d ranges\n", TIMELINE_RANGES);
        abort();
    }
    time->ranges[time->range_count++] = (timeline_range){name, payload, leaf};
    ranges_open(name, payload);
}

void timeline_close(timeline *time)
{
    close_range(time, &time->ranges[--time->range_count]);
    timeline_range *outer = top_leaf(time);
    if (outer)
        ranges_open(outer->name, outer->payload);
}

/* Whether the host may hand its thread to another one inside such an entry. */
static bool may_park(const timeline *time, entry_kind kind)
{
    return time->projected && (kind == ENTRY_WAIT || kind == ENTRY_PAUSE);
}

static const char *leaf_of(const timeline *time, entry_kind kind)
{
    return kind == ENTRY_PAUSE ? "agreement" : time->projected ? "emulated transfer" : "comm";
}

timeline_entry *timeline_pause(timeline *time, entry_kind kind, int what)
{
    bool inner = time->paused && kind == ENTRY_PAUSE;
    timeline_entry *entry = inner ? &time->inner : append(time, kind, what);
    time->inner.kind = ENTRY_PAUSE;
    time->paused |= kind == ENTRY_PAUSE;
    if (!may_park(time, kind))
        timeline_open(time, leaf_of(time, kind), entry->bytes, true);
    else
        for (int i = time->range_count; i-- > 0;)
            if (!time->ranges[i].leaf || i + 1 == time->range_count)
                close_range(time, &time->ranges[i]);
    return entry;
}

void timeline_resume(timeline *time, timeline_entry *entry)
{
    if (!may_park(time, entry->kind))
        timeline_close(time);
    else
        for (int i = 0; i < time->range_count; i++)
            if (!time->ranges[i].leaf || i + 1 == time->range_count)
                ranges_open(time->ranges[i].name, time->ranges[i].payload);
    if (entry == &time->inner)
        return;
    time->paused &= entry->kind != ENTRY_PAUSE;
    entry->after = mark_now(time);
    time->flops_at = time->dev->flops; /* what others did meanwhile is theirs */
}

/* ---- Parts ---- */

void part_begin(timeline *time, part what)
{
    if (time->parts)
        append(time, ENTRY_PART_BEGIN, what);
    timeline_open(time, part_names[what], time->tokens, true);
}

void part_end(timeline *time, part what)
{
    timeline_close(time);
    if (time->parts)
        append(time, ENTRY_PART_END, what);
}

double monotonic_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}
