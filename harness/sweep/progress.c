/* Progress lines. See progress.h. */
#include "harness/sweep/progress.h"

#include <stdio.h>

char *format_seconds(double seconds, char *text, int bytes)
{
    if (seconds < 60)
        snprintf(text, (size_t)bytes, "%.0f s", seconds);
    else if (seconds < 3600)
        snprintf(text, (size_t)bytes, "%d min %d s", (int)seconds / 60, (int)seconds % 60);
    else if (seconds < 48 * 3600)
        snprintf(text, (size_t)bytes, "%d h %d min", (int)seconds / 3600, (int)seconds / 60 % 60);
    else
        snprintf(text, (size_t)bytes, "%.0f days", seconds / 86400);
    return text;
}

void progress_report(progress *p, double expected, double took, const char *line)
{
    p->done++;
    p->expected_left -= expected;
    p->expected_done += expected;
    p->took += took;
    if (p->quiet)
        return;
    char left[64] = "";
    double pace = p->expected_done > 0 ? p->took / p->expected_done : 1;
    if (p->done < p->total)
        format_seconds(p->expected_left > 0 ? p->expected_left * pace : 0, left, sizeof left);
    fprintf(stderr, "[%d/%d] %s%s%s%s\n", p->done, p->total, line, *left ? "; about " : "", left,
            *left ? " left" : "");
}
