/* Reads what machine this is. See identity.h. */
#include "harness/machine/identity.h"

#include <gnu/libc-version.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#ifdef WITH_CUDA
#include <nccl.h>
#endif

/* The value behind "key : value" in a file of /proc, "" when it has none. */
static void read_value(const char *path, const char *key, char *value, size_t bytes)
{
    char line[512];
    *value = 0;
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file)) {
        char *colon = strchr(line, ':');
        if (!colon || strncmp(line, key, strlen(key)))
            continue;
        colon += 1 + strspn(colon + 1, " \t");
        snprintf(value, bytes, "%.*s", (int)strcspn(colon, "\n"), colon);
        break;
    }
    if (file)
        fclose(file);
}

/* ", NCCL 2.27.3" where the build has it. */
static const char *links_library(void)
{
#ifdef WITH_CUDA
    static char text[32];
    int version = 0;
    if (!*text && ncclGetVersion(&version) == ncclSuccess)
        snprintf(text, sizeof text, ", NCCL %d.%d.%d", version / 10000, version % 10000 / 100,
                 version % 100);
    return text;
#else
    return "";
#endif
}

void identity_read(identity *id, device *dev)
{
    char processor[128], memory[64];
    read_value("/proc/cpuinfo", "model name", processor, sizeof processor);
    read_value("/proc/meminfo", "MemTotal", memory, sizeof memory);
    double gib = atof(memory) / (1 << 20);
    snprintf(id->machine, sizeof id->machine, "%s, %ld cores, %.0f GiB",
             *processor ? processor : "unknown processor", sysconf(_SC_NPROCESSORS_ONLN), gib);
    device_identity chip;
    dev->describe(dev, &chip);
    snprintf(id->gpu, sizeof id->gpu, "%s", chip.chip);
    snprintf(id->driver, sizeof id->driver, "%s", chip.driver);
    snprintf(id->libraries, sizeof id->libraries, "%s%s, glibc %s, gcc %s, jansson %s",
             chip.libraries, links_library(), gnu_get_libc_version(), __VERSION__, JANSSON_VERSION);
}

double machine_load(void)
{
    double load;
    return getloadavg(&load, 1) == 1 ? load : NAN;
}
