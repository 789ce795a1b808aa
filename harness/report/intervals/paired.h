/* Differences between series on the same samples, as a table (`apbench table --against`). */
#ifndef HARNESS_REPORT_PAIRED_H
#define HARNESS_REPORT_PAIRED_H
#include "harness/options.h"
#include "harness/report/page.h"

/* Whether the file has all series named: METHOD[:OPTION=VALUE...][@HOSTS] as --methods took them, or
 * `all` for every pair. -1 with a sentence that lists those there are. */
int check_against(const results *, const char *path, const text_list *against);

/* The differences at one length, with their footnotes: every series less each of those named, on as many
 * hosts as the series has (FlashAttn: on one) unless @HOSTS says otherwise. */
void print_paired(page *, int64_t length, const text_list *against);
#endif
