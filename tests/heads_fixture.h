/* What the tests of retaining heads stand on: a tiny model, prompts of random ids for it, and layouts. */
#ifndef TESTS_HEADS_FIXTURE_H
#define TESTS_HEADS_FIXTURE_H
#include "harness/heads/train.h"

extern const char heads_checkpoint[]; /* the tiny model's directory */
enum { HEADS_HOSTS = 4 };

float *random_floats(uint64_t seed, int64_t count, float bound); /* within [-bound, bound), to be freed */
model *open_tiny(device **dev); /* on the cpu device, which is opened */
/* `count` ids; to be freed: p.ids. */
heads_prompt random_prompt(const model *, uint64_t seed, int64_t count, int64_t positions);
heads_layout layout_of(const char *text); /* on HEADS_HOSTS hosts */
#endif
