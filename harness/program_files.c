/* Finding the repository from the running program. See program_files.h. */
#include "harness/program_files.h"

#include "harness/error.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *readable(const char *folder, const char *name)
{
    char *path = format_text("%s/%s", folder, name);
    if (access(path, R_OK) == 0)
        return path;
    free(path);
    return NULL;
}

char *program_file(const char *name)
{
    char folder[PATH_MAX];
    const char *home = getenv("APBENCH_HOME");
    char *path = NULL;
    if (home && *home) {
        path = readable(home, name);
        if (!path)
            fail("%s is not in APBENCH_HOME=%s", name, home);
        return path;
    }
    ssize_t length = readlink("/proc/self/exe", folder, sizeof folder - 1);
    folder[length > 0 ? length : 0] = 0;
    for (char *slash; !path && (slash = strrchr(folder, '/'));) {
        *slash = 0;
        path = readable(folder, name);
    }
    if (!path)
        path = readable(".", name);
    if (!path)
        fail("%s was not found from the program's folder upwards: set APBENCH_HOME to the "
             "repository",
             name);
    return path;
}
