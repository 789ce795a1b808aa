/* mkdir -p. See folders.h. */
#include "harness/folders.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "harness/error.h"

int make_folder(const char *folder)
{
    if (!*folder)
        return fail("a folder needs a name, but '' was given");
    char *path = copy_text(folder);
    int result = 0;
    for (char *at = path + 1; result == 0; at++) {
        char here = *at;
        if (here && here != '/')
            continue;
        *at = 0;
        struct stat status;
        if (mkdir(path, 0777) < 0 && (errno != EEXIST || stat(path, &status) < 0 ||
                                      !S_ISDIR(status.st_mode)))
            result = fail("the folder %s cannot be made: %s", path, strerror(errno));
        *at = here;
        if (!here)
            break;
    }
    free(path);
    return result;
}

int make_folder_of(const char *file)
{
    const char *slash = strrchr(file, '/');
    if (!*file)
        return fail("a file needs a name, but '' was given");
    if (!slash || slash == file)
        return 0;
    char *folder = copy_bytes(file, (size_t)(slash - file));
    int result = make_folder(folder);
    free(folder);
    return result;
}
