/* Judging rows. See judge.h. */
#include "harness/sweep/accuracy/judge.h"

#include <stdio.h>

#include "harness/error.h"
#include "harness/sweep/accuracy/sample.h"
#include "harness/sweep/cells.h"

/* The sample with the shortest document. Options with defaults by length are resolved on it: an anchor
 * that fits its blocks fits all others. */
static const group_sample *shortest_sample(const group *g)
{
    const group_sample *shortest = &g->samples[0];
    for (int64_t i = 1; i < g->count; i++)
        if (g->samples[i].prompt.document < shortest->prompt.document)
            shortest = &g->samples[i];
    return shortest;
}

static void refuse(row_verdict *verdict, cell_verdict word, const char *reason)
{
    verdict->runs = false;
    snprintf(verdict->word, sizeof verdict->word, "%s", cell_verdict_names[word]);
    snprintf(verdict->reason, sizeof verdict->reason, "%s", reason);
}

void row_judge(const group *g, const char *method_text, int hosts, row_verdict *verdict)
{
    *verdict = (row_verdict){.runs = true};
    snprintf(verdict->word, sizeof verdict->word, "%s", cell_verdict_names[CELL_RUNS]);
    if (sample_cell(g, method_text, hosts, shortest_sample(g), NULL, &verdict->resolved)) {
        refuse(verdict, CELL_UNSUPPORTED, fail_text());
        return;
    }
    const group_sample *longest = &g->samples[0];
    for (int64_t i = 1; i < g->count; i++)
        if (g->samples[i].prompt.document > longest->prompt.document)
            longest = &g->samples[i];
    sweep_cell judged = {0};
    /* Where that sample alone cannot be run, running it will say so. */
    if (!sample_cell(g, method_text, hosts, longest, &verdict->resolved, &judged.cell)) {
        sweep_cell_judge(&judged, g->model, g->sweep->dev, g->sweep->room,
                         g->sweep->driver->projected, longest->sample.tokens_to_generate);
        if (judged.verdict != CELL_RUNS)
            refuse(verdict, judged.verdict, judged.reason);
    }
    if (verdict->runs && g->lacking)
        refuse(verdict, CELL_OOM, g->lacking);
}
