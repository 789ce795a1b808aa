/* Recording what a host does. See timeline.h; whoever turns entries into seconds is in
 * comm/replay.h. */
#include "harness/timeline.h"

#include "harness/error.h"

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
    entry->before = time->dev->mark(time->dev);
    entry->after = entry->before;
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

timeline_entry *timeline_pause(timeline *time, entry_kind kind, int what)
{
    return append(time, kind, what);
}

void timeline_resume(timeline *time, timeline_entry *entry)
{
    entry->after = time->dev->mark(time->dev);
    time->flops_at = time->dev->flops; /* what others did meanwhile is theirs */
}

/* The one place where NVTX ranges (nvtxRangePushA(part_names[what]) and its pop) belong. */
void part_begin(timeline *time, part what)
{
    if (time->parts)
        append(time, ENTRY_PART_BEGIN, what);
}

void part_end(timeline *time, part what)
{
    if (time->parts)
        append(time, ENTRY_PART_END, what);
}

double monotonic_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}
