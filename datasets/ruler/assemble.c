/* The parts of a prompt that all generators put together alike. See generator.h. */
#include "datasets/ruler/generator.h"

#include "harness/error.h"

#include <stdio.h>
#include <string.h>

const char noise_block[] = "The snow is white. The sea is deep. The fire is warm. "
                           "On we walk. Over and under again.";

void write_query(const sample_plan *plan, const char *question, const char *lead_in,
                 task_sample *sample)
{
    FILE *out = open_memstream(&sample->query.bytes, &sample->query.count);
    fputs(question, out);
    fputs(plan->chat ? plan->chat->tail : "", out);
    fflush(out);
    sample->lead_in = sample->query.count;
    fputs(lead_in, out);
    fclose(out);
    sample->size = plan->size;
}

void add_reference(task_sample *sample, const char *answer)
{
    size_t count = (size_t)sample->reference_count++;
    sample->references = realloc_or_die(sample->references, count + 1, sizeof *sample->references);
    sample->references[count] = (sized_text){copy_text(answer), strlen(answer)};
}
