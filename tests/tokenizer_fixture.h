/* What the tests of tokenizers stand on: the small vocabularies of each kind (tests/data/tokenizer), and
 * reading, comparing and drawing what they are tried on. */
#ifndef TESTS_TOKENIZER_FIXTURE_H
#define TESTS_TOKENIZER_FIXTURE_H
#include "datasets/tokenizer/parts.h"

#define TOKENIZER_DATA "tests/data/tokenizer/"

enum { TOKENIZER_KINDS = 7 };
extern const char *const tokenizer_kinds[TOKENIZER_KINDS]; /* TOKENIZER_DATA KIND.json */
tokenizer *open_kind(const char *kind);

json_t *read_json(const char *path);
bool same_ids(const token_list *, const token_list *);
/* The same numbers in every test. */
uint64_t random_below(uint64_t limit);
#endif
