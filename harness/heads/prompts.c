/* Reads the prompts that retaining heads learn from. See prompts.h. */
#include "harness/heads/prompts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "datasets/jsonl.h"
#include "datasets/official.h"
#include "datasets/random.h"
#include "harness/error.h"
#include "harness/run/prompt.h"
#include "harness/run/prompt_file.h"

enum { TEXT_LABEL_ROWS = 64, MOST_NEEDLES = 16 };

static void push(heads_prompts *all, heads_prompt one)
{
    if ((all->count & (all->count - 1)) == 0) /* 0 or a power of two: full */
        all->items = realloc_or_die(all->items, (size_t)(all->count ? 2 * all->count : 1),
                                    sizeof *all->items);
    all->items[all->count++] = one;
}

/* ---- Samples of tasks ---- */

/* Marks the tokens of each place where the reference stands in the document. A text that stands there
 * more than MOST_NEEDLES times is no needle. Where merges cross its border, the mark may be off by
 * the crossing token. */
static int mark_needle(const model *m, sized_text document, sized_text reference, heads_prompt *p)
{
    const char *places[MOST_NEEDLES], *at = document.bytes, *end = at + document.count;
    int found = 0;
    while (reference.count && (at = memmem(at, (size_t)(end - at), reference.bytes, reference.count))) {
        if (found == MOST_NEEDLES)
            return 0;
        places[found++] = at;
        at += reference.count;
    }
    for (int i = 0; i < found; i++) {
        token_list before = {0}, through = {0};
        size_t bytes = (size_t)(places[i] - document.bytes);
        int status = prompt_encode_front(m, document.bytes, bytes, &before) ||
                     prompt_encode_front(m, document.bytes, bytes + reference.count, &through);
        for (size_t t = before.count; t < through.count && (int64_t)t < p->positions; t++)
            p->needle[t] = 1;
        token_list_free(&before);
        token_list_free(&through);
        if (status)
            return -1;
    }
    return 0;
}

/* The answer as a model would give it: the references, parted by commas, and the end of the turn. */
static int encode_answer(const model *m, const task_sample *sample, token_list *ids)
{
    for (int i = 0; i < sample->reference_count; i++) {
        char *text = format_text("%s%s", i ? ", " : " ", sample->references[i].bytes);
        int status = tokenizer_encode(m->tokens, text, strlen(text), false, ids);
        free(text);
        if (status)
            return -1;
    }
    token_list_push(ids, m->config.stop_count ? m->config.stop_ids[0] : 0);
    return 0;
}

static int add_sample(const model *m, const prompt_sources *from, const task_sample *sample,
                      heads_prompts *all)
{
    prompt parts;
    if (prompt_from_parts(m, sample->document.bytes, sample->document.count, sample->query.bytes,
                          sample->query.count, &parts))
        return -1;
    int64_t before_answer = parts.document + parts.query;
    token_list ids = {0};
    for (int64_t i = 0; i < before_answer; i++)
        token_list_push(&ids, parts.ids[i]);
    free(parts.ids);
    int status = encode_answer(m, sample, &ids);
    heads_prompt p = {.ids = ids.ids,
                      .count = (int64_t)ids.count,
                      .positions = from->from_query ? parts.document : before_answer,
                      .document = parts.document,
                      .query = parts.query,
                      .head_tokens = parts.head_tokens,
                      .query_in_anchor = parts.query_in_anchor};
    if (!status && p.positions < 2)
        status = fail("its document has fewer than 2 tokens");
    if (!status && p.count < p.positions + 2)
        status = fail("its answer has no tokens");
    if (!status)
        p.needle = alloc_or_die((size_t)p.positions, 1);
    for (int i = 0; i < sample->reference_count && !status; i++)
        status = mark_needle(m, sample->document, sample->references[i], &p);
    if (status) {
        free(p.needle);
        token_list_free(&ids);
        return -1;
    }
    push(all, p);
    return 0;
}

static int read_data(const model *m, const prompt_sources *from, const char *path, heads_prompts *all)
{
    jsonl_file lines;
    if (jsonl_open(&lines, path))
        return -1;
    int64_t broken = 0;
    int got;
    json_t *row;
    while ((got = jsonl_next(&lines, &row)) == JSONL_ROW || got == JSONL_BROKEN) {
        task_sample sample = {0};
        int status = got == JSONL_ROW ? 0 : -1;
        if (!status) {
            status = official_sample(row, NULL, &sample) || add_sample(m, from, &sample, all);
            if (status)
                fail_within("%s:%lld", path, (long long)lines.number);
            task_sample_free(&sample);
            json_decref(row);
        }
        if (status && !broken++)
            fprintf(stderr, "apbench: %s\n", fail_text());
    }
    jsonl_close(&lines);
    if (broken)
        fprintf(stderr, "apbench: %s: %lld lines left out; the first is named above\n", path,
                (long long)broken);
    return got == JSONL_FAILED ? -1 : 0;
}

/* ---- Plain text ---- */

static int read_text(const model *m, const prompt_sources *from, int number, heads_prompts *all)
{
    const char *path = from->text.items[number];
    size_t bytes;
    char *text = read_prompt_file(path, &bytes);
    token_list ids = {0};
    int status = text ? tokenizer_encode(m->tokens, text, bytes, false, &ids) : -1;
    free(text);
    int64_t least = from->lengths.items[0], most = from->lengths.items[1];
    if (!status && (int64_t)ids.count < most)
        status = fail("%s: has %zu tokens, fewer than a window of %lld", path, ids.count,
                      (long long)most);
    for (int64_t i = 0; i < from->windows && !status; i++) {
        random_stream draw = random_stream_for(from->seed, "heads windows", (uint64_t)number, (uint64_t)i);
        int64_t count = least + (int64_t)random_below(&draw, (uint64_t)(most - least + 1));
        int64_t first = (int64_t)random_below(&draw, ids.count - (uint64_t)count + 1);
        heads_prompt p = {.ids = alloc_or_die((size_t)count, sizeof *p.ids),
                          .count = count,
                          .positions = count - 1 - TEXT_LABEL_ROWS};
        p.document = p.positions;
        p.query = p.query_in_anchor = count - p.document;
        memcpy(p.ids, ids.ids + first, (size_t)count * sizeof *p.ids);
        push(all, p);
    }
    token_list_free(&ids);
    return status;
}

/* ---- All ---- */

int prompt_sources_check(const prompt_sources *from)
{
    const int64_t *lengths = from->lengths.items, least = TEXT_LABEL_ROWS + 3;
    if (from->lengths.count != 2)
        return fail("--lengths takes two sizes, the fewest tokens of a window and the most, not %d",
                    from->lengths.count);
    if (lengths[0] < least || lengths[0] > lengths[1])
        return fail("--lengths %lld,%lld: the fewest tokens of a window, at least %lld, and the "
                    "most", (long long)lengths[0], (long long)lengths[1], (long long)least);
    return 0;
}

int heads_prompts_read(const model *m, const prompt_sources *from, heads_prompts *all)
{
    *all = (heads_prompts){0};
    if (model_check_tokenizer(m))
        return -1;
    int status = 0;
    for (int i = 0; i < from->data.count && !status; i++)
        status = read_data(m, from, from->data.items[i], all);
    for (int i = 0; i < from->text.count && !status; i++)
        status = read_text(m, from, i, all);
    if (!status && !all->count)
        status = fail("there is no prompt in what --data and --text name");
    if (status)
        heads_prompts_free(all);
    return status;
}

void heads_prompts_free(heads_prompts *all)
{
    for (int64_t i = 0; i < all->count; i++) {
        free(all->items[i].ids);
        free(all->items[i].needle);
    }
    free(all->items);
    *all = (heads_prompts){0};
}

uint64_t heads_prompts_hash(const heads_prompts *all)
{
    uint64_t hash = random_mix((uint64_t)all->count);
    for (int64_t i = 0; i < all->count; i++) {
        const heads_prompt *p = &all->items[i];
        hash = random_mix(hash ^ (uint64_t)p->positions);
        for (int64_t t = 0; t < p->count; t++)
            hash = random_mix(hash ^ (uint64_t)(uint32_t)p->ids[t]) + 0x9e3779b97f4a7c15u;
    }
    return hash;
}
