/* The pre-tokenizer: a short row of steps, each of which cuts the pieces of the step before it. A
 * piece goes through all remaining steps before the next one is cut, so nothing but the piece in
 * hand is ever kept, however long the text is. */
#include "datasets/tokenizer/parts.h"

#include "harness/error.h"

#include <string.h>

/* Where one step has got to: the piece that may still grow. */
typedef struct {
    const splitter *split;
    encoder *e;
    int next_step;
    const char *text;
    bool first;
    split_behavior behavior;
    bool pending, pending_match, last_was_match;
    size_t begin, end; /* of the pending piece */
} cutter;

static int hand_on(cutter *cut, size_t begin, size_t end)
{
    if (begin == end)
        return 0;
    return split_words(cut->split, cut->e, cut->next_step, cut->text + begin, end - begin,
                       cut->first && begin == 0);
}

static int flush(cutter *cut)
{
    bool pending = cut->pending;
    cut->pending = false;
    return pending ? hand_on(cut, cut->begin, cut->end) : 0;
}

/* Takes the next stretch of the text, a match of the delimiter or what lies between two. */
static int take(cutter *cut, size_t begin, size_t end, bool match)
{
    bool joins = false;
    switch (cut->behavior) {
    case SPLIT_ISOLATED:
        return hand_on(cut, begin, end);
    case SPLIT_REMOVED:
        return match ? 0 : hand_on(cut, begin, end);
    case SPLIT_MERGED_WITH_PREVIOUS:
        joins = match && !cut->last_was_match;
        break;
    case SPLIT_MERGED_WITH_NEXT:
        joins = !match && cut->last_was_match;
        break;
    case SPLIT_CONTIGUOUS:
        joins = match == cut->last_was_match;
        break;
    }
    cut->last_was_match = match;
    if (cut->pending && joins) {
        cut->end = end;
        return 0;
    }
    if (flush(cut))
        return -1;
    cut->pending = true;
    cut->begin = begin;
    cut->end = end;
    return 0;
}

static int cut_by_pattern(cutter *cut, const split_step *step, size_t bytes)
{
    pattern_walk walk = {0};
    size_t done = 0, begin, end;
    int status;
    while ((status = pattern_next(&step->what, cut->e->region, cut->text, bytes, &walk, &begin,
                                  &end)) > 0) {
        if (begin > done && take(cut, done, begin, step->invert))
            return -1;
        if (take(cut, begin, end, !step->invert))
            return -1;
        done = end;
    }
    if (status < 0 || (done < bytes && take(cut, done, bytes, step->invert)))
        return -1;
    return flush(cut);
}

static int cut_digits(cutter *cut, size_t bytes)
{
    const uint8_t *class = character_classes();
    size_t done = 0, at = 0;
    while (at < bytes) {
        size_t begin = at;
        if (!(class[utf8_next(cut->text, &at)] & CLASS_NUMERIC))
            continue;
        if ((begin > done && take(cut, done, begin, false)) || take(cut, begin, at, true))
            return -1;
        done = at;
    }
    if (done < bytes && take(cut, done, bytes, false))
        return -1;
    return flush(cut);
}

static void metaspace(const split_step *step, const char *text, size_t bytes, bool first,
                      text_buffer *out)
{
    size_t mark = strlen(step->replacement);
    bool marked = text[0] == ' ' || (bytes >= mark && !memcmp(text, step->replacement, mark));
    out->count = 0;
    if (!marked && (step->prepend == PREPEND_ALWAYS || (step->prepend == PREPEND_FIRST && first)))
        text_buffer_append(out, step->replacement, mark);
    while (bytes) {
        const char *space = memchr(text, ' ', bytes);
        size_t plain = space ? (size_t)(space - text) : bytes;
        text_buffer_append(out, text, plain);
        if (space)
            text_buffer_append(out, step->replacement, mark);
        text += plain + (space != NULL);
        bytes -= plain + (space != NULL);
    }
}

int split_words(const splitter *split, encoder *e, int index, const char *text, size_t bytes,
                bool first)
{
    if (index == split->count)
        return bpe_encode(e->model, e, text, bytes);
    const split_step *step = &split->step[index];
    text_buffer *prefixed = &e->prefixed[index];
    cutter cut = {.split = split, .e = e, .next_step = index + 1, .text = text, .first = first,
                  .behavior = step->behavior};
    switch (step->kind) {
    case SPLIT_PATTERN:
        return cut_by_pattern(&cut, step, bytes);
    case SPLIT_DIGITS:
        return cut_digits(&cut, bytes);
    case SPLIT_PREFIX_SPACE:
        if (text[0] == ' ')
            break;
        prefixed->count = 0;
        text_buffer_append(prefixed, " ", 1);
        text_buffer_append(prefixed, text, bytes);
        text = prefixed->bytes;
        bytes = prefixed->count;
        break;
    case SPLIT_METASPACE:
        metaspace(step, text, bytes, first, prefixed);
        text = prefixed->bytes;
        bytes = prefixed->count;
        break;
    }
    return split_words(split, e, index + 1, text, bytes, first);
}

void splitter_free(splitter *split)
{
    for (int i = 0; i < split->count; i++)
        pattern_free(&split->step[i].what);
}
