/* See clock_device.h. */
#include "tests/clock_device.h"

#include <stdlib.h>
#include <string.h>

static clock_state *state_of(device *dev)
{
    return dev->state;
}

static void *clock_alloc(device *dev, size_t bytes)
{
    clock_state *state = state_of(dev);
    if (state->largest && bytes > state->largest)
        return NULL;
    state->allocations++;
    return malloc(bytes ? bytes : 1);
}

static void clock_free(device *dev, void *memory)
{
    state_of(dev)->allocations--;
    free(memory);
}

static void clock_copy(device *dev, void *to, const void *from, size_t bytes)
{
    state_of(dev)->now += state_of(dev)->copy_seconds;
    memcpy(to, from, bytes);
}

static void clock_sync(device *dev)
{
    (void)dev;
}

static device_mark clock_mark(device *dev)
{
    return (device_mark){.seconds = state_of(dev)->now};
}

static double clock_between(device *dev, device_mark from, device_mark to)
{
    (void)dev;
    return to.seconds - from.seconds;
}

device clock_device(clock_state *state)
{
    return (device){
        .name = "clock",
        .title = "a clock that moves when told to",
        .act_bytes = 4,
        .alloc = clock_alloc,
        .free = clock_free,
        .upload = clock_copy,
        .download = clock_copy,
        .copy = clock_copy,
        .sync = clock_sync,
        .mark = clock_mark,
        .between = clock_between,
        .state = state,
    };
}
