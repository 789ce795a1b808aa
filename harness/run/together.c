/* Opening a model on every process of a launch. See together.h. */
#include "harness/run/together.h"

#include <string.h>

#include "harness/error.h"

model *model_open_together(const comm_driver *driver, const char *name, device *dev, int layers,
                           uint64_t seed, const char *retaining_heads)
{
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
