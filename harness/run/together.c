/* Opening a model on every process of a launch. See together.h. */
#include "harness/run/together.h"

#include <string.h>

#include "harness/error.h"

/* Whether a machine has memory for the weights in each of its processes. Nobody loads before all have
 * looked, nor looks before all have let go of the model before. */
static int check_weights(const comm_driver *driver, const char *name, device *dev, int layers,
                         uint64_t seed, const char *retaining_heads)
{
    model *described = model_open(name, NULL, layers, seed, retaining_heads);
    if (driver->agree(driver, described ? 0 : -1)) {
        model_close(described);
        return -1;
    }
    int status = 0, processes = 1 + dev->neighbours;
    size_t free_bytes, total_bytes;
    dev->memory(dev, &free_bytes, &total_bytes);
    size_t bytes = model_weight_bytes(&described->config, described->layers, dev->act_bytes,
                                      described->retaining_width);
    if (bytes * (size_t)processes > free_bytes)
        status = fail("out of memory: the weights of %s (%d layers) want %zu bytes in each of %d "
                      "processes of one machine, where %zu of %zu are free", described->name,
                      described->layers, bytes, processes, free_bytes, total_bytes);
    model_close(described);
    return driver->agree(driver, status);
}

model *model_open_together(const comm_driver *driver, const char *name, device *dev, int layers,
                           uint64_t seed, const char *retaining_heads)
{
    if (dev && dev->neighbours &&
        check_weights(driver, name, dev, layers, seed, retaining_heads))
        return NULL;
    model *m = model_open(name, dev, layers, seed, retaining_heads);
    if (!driver->agree(driver, m ? 0 : -1))
        return m;
    if (m)
        model_close(m);
    return NULL;
}

bool model_lacked_memory(void)
{
    const char *sentence = comm_agreed(fail_text());
    return !strncmp(sentence ? sentence : fail_text(), "out of memory", 13);
}
