/* See heads_fixture.h. */
#include "tests/heads_fixture.h"

#include "harness/error.h"
#include "kernels/hash.h"

#include <criterion/criterion.h>

const char heads_checkpoint[] = "tests/data/checkpoints/llama31-f16";

float *random_floats(uint64_t seed, int64_t count, float bound)
{
    float *v = alloc_or_die((size_t)count, sizeof *v);
    for (int64_t i = 0; i < count; i++)
        v[i] = hash_uniform(seed, (uint64_t)i, bound);
    return v;
}

model *open_tiny(device **dev)
{
    *dev = device_find("cpu");
    cr_assert(*dev && !(*dev)->open(*dev, 2), "%s", fail_text());
    model *m = model_open(heads_checkpoint, *dev, 0, 1, NULL);
    cr_assert(m, "%s", fail_text());
    return m;
}

heads_prompt random_prompt(const model *m, uint64_t seed, int64_t count, int64_t positions)
{
    heads_prompt p = {.ids = alloc_or_die((size_t)count, sizeof *p.ids),
                      .count = count,
                      .positions = positions};
    for (int64_t i = 0; i < count; i++)
        p.ids[i] = (int32_t)(hash_bits(seed, (uint64_t)i) % (uint64_t)m->config.shape.vocab);
    return p;
}

heads_layout layout_of(const char *text)
{
    heads_layout layout;
    cr_assert_eq(heads_layout_parse(text, HEADS_HOSTS, 1, &layout), 0, "%s", fail_text());
    return layout;
}
