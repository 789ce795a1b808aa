/* See tokenizer_fixture.h. */
#include "tests/tokenizer_fixture.h"

#include "harness/error.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

const char *const tokenizer_kinds[TOKENIZER_KINDS] = {"smollm2", "llama-3", "qwen2.5", "yi", "llama-2",
                                                      "metaspace", "odd"};

tokenizer *open_kind(const char *name)
{
    char *path = format_text(TOKENIZER_DATA "%s.json", name);
    tokenizer *t = tokenizer_open(path);
    cr_assert(t, "%s", fail_text());
    free(path);
    return t;
}

json_t *read_json(const char *path)
{
    json_error_t error;
    json_t *root = json_load_file(path, JSON_ALLOW_NUL, &error);
    cr_assert(root, "%s: %s", path, error.text);
    return root;
}

bool same_ids(const token_list *a, const token_list *b)
{
    return a->count == b->count && (!a->count || !memcmp(a->ids, b->ids, a->count * sizeof *a->ids));
}

static uint64_t random_state = 7;

uint64_t random_below(uint64_t limit)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (random_state >> 33) % limit;
}
