/* Reads what machine this is. See identity.h. */
#include "harness/machine/identity.h"

#include <dnnl_version.h>
#include <gnu/libc-version.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

void identity_read(identity *id)
{
    char processor[128], memory[64];
    read_value("/proc/cpuinfo", "model name", processor, sizeof processor);
    read_value("/proc/meminfo", "MemTotal", memory, sizeof memory);
    double gib = atof(memory) / (1 << 20);
    snprintf(id->machine, sizeof id->machine, "%s, %ld cores, %.0f GiB",
             *processor ? processor : "unknown processor", sysconf(_SC_NPROCESSORS_ONLN), gib);
    snprintf(id->libraries, sizeof id->libraries, "oneDNN %d.%d.%d, glibc %s, gcc %s, jansson %s",
             DNNL_VERSION_MAJOR, DNNL_VERSION_MINOR, DNNL_VERSION_PATCH, gnu_get_libc_version(),
             __VERSION__, JANSSON_VERSION);
}

double machine_load(void)
{
    double load;
    return getloadavg(&load, 1) == 1 ? load : NAN;
}
