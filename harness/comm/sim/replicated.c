/* Work that all virtual hosts would do alike: the first that comes does it, the others copy. */
#include "harness/comm/sim/sim.h"
#include "harness/error.h"

#include <stdlib.h>
#include <string.h>

/* A device buffer of at least `bytes` that nobody uses; -1 with a sentence when there is no
 * room. */
static int take_buffer(sim_run *run, size_t bytes)
{
    for (int i = 0; i < run->buffer_count; i++) {
        if (!run->buffers[i].used && run->buffers[i].bytes >= bytes) {
            run->buffers[i].used = true;
            return i;
        }
    }
    void *memory = run->dev->alloc(run->dev, bytes ? bytes : 1);
    if (!memory)
        return fail("replicated: the device has no room for %zu bytes of results", bytes);
    run->buffers = realloc_or_die(run->buffers, (size_t)run->buffer_count + 1,
                                  sizeof *run->buffers);
    run->buffers[run->buffer_count] = (side_buffer){memory, bytes, true};
    return run->buffer_count++;
}

static int run_work(sim_host *host, int (*work)(void *), void *argument, const void *out,
                    size_t bytes)
{
    sim_run *run = host->run;
    comm *c = &host->comm;
    replicated_result made = {.host = c->rank, .bytes = bytes, .taken = 1,
                              .entry_begin = c->time->count};
    made.from = run->dev->mark(run->dev);
    made.flops = timeline_flops(c->time);
    run->in_work = true;
    int result = work(argument);
    run->in_work = false;
    if (result < 0)
        return -1;
    made.entry_end = c->time->count;
    timeline_entry *entry = timeline_pause(c->time, ENTRY_PAUSE, 0);
    made.until = entry->before;
    made.flops = c->time->flops - made.flops;
    made.buffer = take_buffer(run, bytes);
    if (made.buffer < 0)
        return -1;
    sim_copy(run, run->buffers[made.buffer].memory, out, bytes);
    timeline_resume(c->time, entry);
    if (run->result_count == run->result_capacity) {
        run->result_capacity = run->result_capacity ? 2 * run->result_capacity : 8;
        run->results = realloc_or_die(run->results, (size_t)run->result_capacity,
                                      sizeof *run->results);
    }
    run->results[run->result_count++] = made;
    return 0;
}

int sim_replicated(comm *c, int (*work)(void *), void *argument, void *out, size_t bytes)
{
    sim_host *host = sim_host_of(c);
    sim_run *run = host->run;
    if (sim_enter(host, "replicated") < 0)
        return -1;
    if (c->size == 1)
        return work(argument);
    int index = host->replicated_calls - run->results_done;
    if (index == run->result_count) {
        if (run_work(host, work, argument, out, bytes) < 0)
            return -1;
        host->replicated_calls++;
        return 0;
    }
    replicated_result *made = &run->results[index];
    if (made->bytes != bytes)
        return fail("replicated: call %d has a result of %zu bytes, but host %d made %zu there",
                    host->replicated_calls, bytes, made->host, made->bytes);
    timeline_entry *entry = timeline_pause(c->time, ENTRY_REPLICATED, 0);
    entry->from = made->host;
    entry->source_begin = made->entry_begin;
    entry->source_end = made->entry_end;
    entry->from_mark = made->from;
    entry->until_mark = made->until;
    sim_copy(run, out, run->buffers[made->buffer].memory, bytes);
    timeline_resume(c->time, entry);
    c->time->flops += made->flops;
    host->replicated_calls++;
    if (++made->taken == run->hosts) { /* hosts take in order, so this is the oldest */
        run->buffers[made->buffer].used = false;
        run->results_done++;
        run->result_count--;
        memmove(run->results, run->results + 1, (size_t)run->result_count * sizeof *run->results);
    }
    return 0;
}
