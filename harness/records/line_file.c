/* Appending to files of whole lines. See line_file.h. */
#include "harness/records/line_file.h"

#include "harness/error.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int lines_open(line_file *file)
{
    struct stat status;
    file->descriptor = open(file->path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (file->descriptor < 0 || fstat(file->descriptor, &status) < 0)
        return fail("%s: %s", file->path, strerror(errno));
    if (!S_ISREG(status.st_mode))
        return fail("%s is not a regular file: results need one", file->path);
    return 0;
}

int lines_append(line_file *file, const char *text, size_t bytes)
{
    off_t before = lseek(file->descriptor, 0, SEEK_END);
    ssize_t written = write(file->descriptor, text, bytes);
    if (written == (ssize_t)bytes)
        return 0;
    int reason = written < 0 ? errno : ENOSPC;
    if (before >= 0 && written > 0 && ftruncate(file->descriptor, before) < 0)
        return fail("%s: %s, and the half line there could not be taken back", file->path,
                    strerror(reason));
    return fail("%s: %s", file->path, strerror(reason));
}

int lines_cut(line_file *file, size_t bytes)
{
    if (ftruncate(file->descriptor, (off_t)bytes) < 0)
        return fail("%s: an unfinished line could not be cut off: %s", file->path, strerror(errno));
    return 0;
}

int lines_settle(line_file *file)
{
    if (fdatasync(file->descriptor) < 0)
        return fail("%s: %s", file->path, strerror(errno));
    return 0;
}

size_t line_number(const char *mark, const char *line, size_t bytes, int64_t *number)
{
    size_t first = strlen(mark), at = first;
    if (bytes < first || memcmp(line, mark, first))
        return 0;
    *number = 0;
    for (; at < bytes && at < first + LINE_NUMBER_DIGITS && line[at] >= '0' && line[at] <= '9'; at++)
        *number = 10 * *number + (line[at] - '0');
    return at > first ? at : 0;
}
