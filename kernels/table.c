/* The device table itself. A new device is one line here and one folder beside cpu/. cuda is left out
 * of a build without nvcc (the Makefile defines WITH_CUDA). */
#include "harness/error.h"
#include "kernels/cpu/cpu.h"
#include "kernels/device.h"
#ifdef WITH_CUDA
#include "kernels/cuda/cuda.h"
#endif

#include <stdio.h>
#include <string.h>

device *const device_table[] = {
    &cpu_device,
#ifdef WITH_CUDA
    &cuda_device,
#endif
};
const int device_count = sizeof device_table / sizeof device_table[0];

void device_prepare(char **arguments)
{
    cpu_prepare(arguments);
}

device *device_find(const char *name)
{
    char names[256] = "";
    for (int i = 0; i < device_count; i++) {
        if (!strcmp(device_table[i]->name, name))
            return device_table[i];
        size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, "%s%s", i ? ", " : "", device_table[i]->name);
    }
    fail("no device is called \"%s\"; this build has: %s", name, names);
    return NULL;
}

int device_check_head_dim(const device *dev, int head_dim)
{
    enum { MOST = sizeof dev->head_dims / sizeof *dev->head_dims };
    char served[64] = "";
    bool any = true;
    for (int i = 0; i < MOST && dev->head_dims[i]; i++) {
        if (dev->head_dims[i] == head_dim)
            return 0;
        size_t used = strlen(served);
        snprintf(served + used, sizeof served - used, "%s%d", i ? ", " : "", dev->head_dims[i]);
        any = false;
    }
    return any ? 0
               : fail("heads of %d are not served by device %s, whose attention has kernels for %s; "
                      "the cpu device serves all", head_dim, dev->name, served);
}
