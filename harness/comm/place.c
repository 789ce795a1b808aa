/* The place of the run, behind a lock: one thread sets it a few times a layer. See place.h. */
#include "harness/comm/place.h"

#include <pthread.h>
#include <stdio.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static run_place now = {.layer = -1};

void comm_place(const char *cell, int layer)
{
    pthread_mutex_lock(&lock);
    if (cell) {
        snprintf(now.cell, sizeof now.cell, "%s", cell);
        now.steps = 0;
    }
    now.layer = layer;
    now.steps++;
    pthread_mutex_unlock(&lock);
}

run_place comm_place_now(void)
{
    pthread_mutex_lock(&lock);
    run_place copy = now;
    pthread_mutex_unlock(&lock);
    return copy;
}

char *place_describe(const run_place *p, char *text, int bytes)
{
    if (!*p->cell)
        snprintf(text, (size_t)bytes, "%s", "");
    else if (p->layer < 0)
        snprintf(text, (size_t)bytes, " in cell `%s`", p->cell);
    else
        snprintf(text, (size_t)bytes, " in cell `%s`, layer %d", p->cell, p->layer);
    return text;
}
