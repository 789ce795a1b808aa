/* Progress lines. See progress.h. */
#include "harness/sweep/progress.h"

#include <stdio.h>

#include "harness/timeline.h"

/* Between lines from within a cell, and from its beginning to the first. */
static const double every_seconds = 30, first_seconds = 10;

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

/* "; about 3 min 20 s left" */
static const char *time_left(double expected_left, double pace, char *text, int bytes)
{
    char seconds[64];
    snprintf(text, (size_t)bytes, "; about %s left",
             format_seconds(expected_left > 0 ? expected_left * pace : 0, seconds, sizeof seconds));
    return text;
}

void progress_within(progress *p, double expected, double began, int64_t before, int64_t done,
                     int64_t all, const char *line)
{
    double now = monotonic_seconds(), last = p->said > began ? p->said : began;
    if (p->quiet || done == all || now - last < (p->said > began ? every_seconds : first_seconds))
        return;
    p->said = now;
    char left[96];
    double per_part = expected / (double)(all > before ? all - before : 1);
    double here = per_part * (double)(done - before);
    double pace = (p->took + now - began) / (p->expected_done + here);
    fprintf(stderr, "[%d/%d] %s: %lld of %lld samples%s\n", p->done + 1, p->total, line,
            (long long)done, (long long)all, time_left(p->expected_left - here, pace, left, sizeof left));
}

void progress_report(progress *p, double expected, double took, const char *line)
{
    p->done++;
    p->expected_left -= expected;
    p->expected_done += expected;
    p->took += took;
    if (p->quiet)
        return;
    char left[96] = "";
    if (p->done < p->total && p->expected_done > 0)
        time_left(p->expected_left, p->took / p->expected_done, left, sizeof left);
    fprintf(stderr, "[%d/%d] %s%s\n", p->done, p->total, line, left);
}
