/* How much memory the cpu device has: the machine's, or the control group's where that is less (a
 * container or a batch job; Linux overcommits, so an allocation that succeeds proves nothing). */
#include "kernels/cpu/cpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The number behind `key` in a file of "key number" lines; `otherwise` when it is not there. */
static uint64_t number_after(const char *path, const char *key, uint64_t otherwise)
{
    FILE *file = fopen(path, "r");
    if (!file)
        return otherwise;
    char line[512];
    size_t length = strlen(key);
    while (fgets(line, sizeof line, file))
        if (!strncmp(line, key, length)) {
            char *end;
            uint64_t value = strtoull(line + length, &end, 10);
            if (end != line + length) { /* "max" means no limit */
                otherwise = value;
                break;
            }
        }
    fclose(file);
    return otherwise;
}

/* Lowers free and total to what one control group allows. Its page cache can be dropped, so the
 * inactive part of it counts as free. */
static void apply_group(const char *folder, const char *limit_name, const char *usage_name,
                        const char *cache_key, uint64_t *free_bytes, uint64_t *total_bytes)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", folder, limit_name);
    uint64_t limit = number_after(path, "", UINT64_MAX);
    if (limit < *total_bytes) {
        *total_bytes = limit;
        snprintf(path, sizeof path, "%s/%s", folder, usage_name);
        uint64_t usage = number_after(path, "", 0);
        snprintf(path, sizeof path, "%s/memory.stat", folder);
        uint64_t cache = number_after(path, cache_key, 0);
        usage = usage > cache ? usage - cache : 0;
        uint64_t left = limit > usage ? limit - usage : 0;
        *free_bytes = left < *free_bytes ? left : *free_bytes;
    }
}

/* Every group from this process's own up to the root, of either version of the interface. Inside a
 * container the own group often shows as the root of the tree. */
static void apply_groups(uint64_t *free_bytes, uint64_t *total_bytes)
{
    FILE *file = fopen("/proc/self/cgroup", "r");
    if (!file)
        return;
    char line[768];
    while (fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        char *names = strchr(line, ':'), *path = names ? strchr(names + 1, ':') : NULL;
        if (!path)
            continue;
        *path++ = 0;
        bool second = !strcmp(line, "0"), first = !strcmp(names + 1, "memory");
        for (;;) {
            char folder[900];
            if (second) {
                snprintf(folder, sizeof folder, "/sys/fs/cgroup%s", path);
                apply_group(folder, "memory.max", "memory.current", "inactive_file ", free_bytes,
                            total_bytes);
            } else if (first) {
                snprintf(folder, sizeof folder, "/sys/fs/cgroup/memory%s", path);
                apply_group(folder, "memory.limit_in_bytes", "memory.usage_in_bytes",
                            "total_inactive_file ", free_bytes, total_bytes);
            }
            char *slash = strrchr(path, '/');
            if (!slash)
                break;
            *slash = 0;
        }
    }
    fclose(file);
}

void cpu_memory(device *d, size_t *free_bytes, size_t *total_bytes)
{
    (void)d;
    uint64_t total = number_after("/proc/meminfo", "MemTotal:", 0) * 1024;
    uint64_t available = number_after("/proc/meminfo", "MemAvailable:", 0) * 1024;
    apply_groups(&available, &total);
    *free_bytes = available;
    *total_bytes = total;
}
