/* Reading a file or standard input to its end. See prompt_file.h. */
#include "harness/run/prompt_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness/error.h"

char *read_prompt_file(const char *path, size_t *bytes)
{
    FILE *file = strcmp(path, "-") ? fopen(path, "rb") : stdin;
    if (!file) {
        fail("%s: %s", path, strerror(errno));
        return NULL;
    }
    char *text = NULL;
    size_t used = 0, got, room = 0;
    do {
        if (used + 65536 > room)
            text = realloc_or_die(text, room = 2 * room + 65537, 1);
        used += got = fread(text + used, 1, 65536, file);
    } while (got);
    int broken = ferror(file) ? errno : 0; /* why the last read failed */
    if (file != stdin)
        fclose(file);
    if (broken) {
        free(text);
        fail("%s: cannot be read: %s", path, strerror(broken));
        return NULL;
    }
    text[used] = 0;
    *bytes = used;
    return text;
}
