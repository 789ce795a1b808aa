/* Files that hold the input of a fuzz target. See scratch.h. */
#include "tests/fuzz/scratch.h"

#include "harness/error.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[256];

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *place)
{
    (void)status, (void)kind, (void)place;
    return remove(path);
}

static void remove_folder(void)
{
    nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* run.sh points TMPDIR to memory where it can. */
const char *scratch_folder(void)
{
    if (!*folder) {
        const char *above = getenv("TMPDIR");
        snprintf(folder, sizeof folder, "%s/apbench-fuzz-XXXXXX", above ? above : "/tmp");
        if (!mkdtemp(folder)) {
            perror(folder);
            exit(1);
        }
        atexit(remove_folder);
    }
    return folder;
}

char *scratch_file(const char *name, const void *bytes, size_t count)
{
    char *path = format_text("%s/%s", scratch_folder(), name);
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file < 0 || write(file, bytes, count) != (ssize_t)count || close(file)) {
        perror(path);
        exit(1);
    }
    return path;
}

void must_not_be(const char *property, const char *file, int line)
{
    fprintf(stderr, "%s:%d: does not hold: %s (last sentence: %s)\n", file, line, property,
            fail_text());
    abort();
}
