/* Writing beside and renaming. See whole_file.h. */
#include "harness/whole_file.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness/error.h"
#include "harness/folders.h"

int whole_file_check(const char *path)
{
    struct stat found;
    if (!stat(path, &found) && !S_ISREG(found.st_mode))
        return fail("%s cannot be written: it is there, and no regular file", path);
    return make_folder_of(path);
}

int whole_file_open(whole_file *w, const char *path)
{
    *w = (whole_file){0};
    if (whole_file_check(path))
        return -1;
    char *real = realpath(path, NULL); /* of a link, so that it stays one */
    w->path = real ? real : copy_text(path);
    w->part = format_text("%s.part-%ld", w->path, (long)getpid()); /* no other program writes it */
    w->file = fopen(w->part, "wbe");
    if (w->file)
        return 0;
    fail("%s cannot be written: %s", path, strerror(errno));
    free(w->part);
    free(w->path);
    return -1;
}

int whole_file_close(whole_file *w, int status)
{
    errno = EIO; /* of a write that failed long ago nobody knows more */
    bool written = !fflush(w->file) && !ferror(w->file) && (status || !fsync(fileno(w->file)));
    int reason = errno;
    if (fclose(w->file) && written) {
        written = false;
        reason = errno;
    }
    if (written && !status && rename(w->part, w->path)) {
        written = false;
        reason = errno;
    }
    if (!written)
        status = fail("%s cannot be written: %s", w->path, strerror(reason));
    if (status)
        unlink(w->part);
    free(w->part);
    free(w->path);
    *w = (whole_file){0};
    return status;
}
