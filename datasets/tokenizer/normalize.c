/* The normaliser: NFC through ICU (Qwen2.5), Prepend and Replace (the SentencePiece layout). */
#include "datasets/tokenizer/parts.h"

#include "harness/error.h"

#include <stdlib.h>
#include <string.h>
#include <unicode/unorm2.h>
#include <unicode/uset.h>
#include <unicode/ustring.h>

enum { NFC_CHUNK = 1 << 15 }; /* bytes after which a long run is cut at the next boundary */

/* NFC over the characters of Unicode 9, the version that Hugging Face's normaliser (the crate
 * unicode-normalization-alignments) has stayed at; newer ones are left as they are, marks too. */
static const UNormalizer2 *composer;

static void open_composer(void)
{
    UErrorCode status = U_ZERO_ERROR;
    const UNormalizer2 *all = unorm2_getNFCInstance(&status);
    USet *known = uset_openPattern(u"[:age=9.0:]", -1, &status);
    if (U_SUCCESS(status)) {
        uset_freeze(known);
        composer = unorm2_openFiltered(all, known, &status);
    }
}

static int need_composer(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, open_composer);
    return composer ? 0 : fail("ICU has no NFC normaliser: its data are missing");
}

/* Characters below U+0300 never change and never join with what stands before them. */
static size_t nfc_plain_end(const char *text, size_t bytes, size_t at)
{
    while (at < bytes && (uint8_t)text[at] < 0xCC)
        at++;
    return at;
}

static int nfc_append(const char *text, size_t bytes, text_buffer *out)
{
    if (bytes > INT32_MAX / 4)
        return fail("a run of %zu bytes without a boundary is too long to normalise", bytes);
    UErrorCode status = U_ZERO_ERROR;
    int32_t units = 0, composed = 0, written = 0;
    UChar *wide = alloc_or_die(bytes + 1, sizeof *wide);
    UChar *result = NULL;
    u_strFromUTF8(wide, (int32_t)bytes + 1, &units, text, (int32_t)bytes, &status);
    if (U_SUCCESS(status) && unorm2_quickCheck(composer, wide, units, &status) == UNORM_YES) {
        text_buffer_append(out, text, bytes);
        free(wide);
        return 0;
    }
    int32_t room = 3 * units + 16; /* NFC is at most 3 times as long (Unicode Standard Annex 15) */
    result = alloc_or_die((size_t)room, sizeof *result);
    composed = unorm2_normalize(composer, wide, units, result, room, &status);
    text_buffer_reserve(out, 3 * (size_t)room);
    if (U_SUCCESS(status))
        u_strToUTF8(out->bytes + out->count, 3 * room, &written, result, composed, &status);
    free(wide);
    free(result);
    if (U_FAILURE(status) && status != U_STRING_NOT_TERMINATED_WARNING)
        return fail("ICU could not normalise %zu bytes: %s", bytes, u_errorName(status));
    out->count += (size_t)written;
    return 0;
}

static int nfc(text_buffer *out, const char **text, size_t *bytes)
{
    const char *from = *text;
    size_t end = *bytes, at = nfc_plain_end(from, end, 0), done = 0;
    if (at == end)
        return 0;
    if (need_composer())
        return -1;
    out->count = 0;
    while (at < end) {
        /* The run: the character before (an accent may join it) up to the next plain character. */
        size_t begin = at > done ? utf8_previous(from, at) : at;
        text_buffer_append(out, from + done, begin - done);
        while (at < end && (uint8_t)from[at] >= 0xCC) {
            size_t next = at;
            uint32_t character = utf8_next(from, &next);
            if (at - begin >= NFC_CHUNK && unorm2_hasBoundaryBefore(composer, (UChar32)character))
                break;
            at = next;
        }
        if (nfc_append(from + begin, at - begin, out))
            return -1;
        done = at;
        at = nfc_plain_end(from, end, at);
    }
    text_buffer_append(out, from + done, end - done);
    *text = out->bytes;
    *bytes = out->count;
    return 0;
}

static int replace(const normalize_step *step, OnigRegion *region, text_buffer *out,
                   const char **text, size_t *bytes)
{
    pattern_walk walk = {0};
    size_t done = 0, begin, end;
    out->count = 0;
    int status;
    while ((status = pattern_next(&step->what, region, *text, *bytes, &walk, &begin, &end)) > 0) {
        text_buffer_append(out, *text + done, begin - done);
        text_buffer_append(out, step->with, step->with_bytes);
        done = end;
    }
    if (status < 0)
        return -1;
    text_buffer_append(out, *text + done, *bytes - done);
    *text = out->bytes;
    *bytes = out->count;
    return 0;
}

int normalize(const normalizer *normal, OnigRegion *region, text_buffer scratch[2],
              const char **text, size_t *bytes)
{
    for (int i = 0; i < normal->count; i++) {
        const normalize_step *step = &normal->step[i];
        text_buffer *out = *text == scratch[0].bytes ? &scratch[1] : &scratch[0];
        int status = 0;
        if (step->kind == NORMALIZE_NFC) {
            status = nfc(out, text, bytes);
        } else if (step->kind == NORMALIZE_REPLACE) {
            status = replace(step, region, out, text, bytes);
        } else if (*bytes) {
            out->count = 0;
            text_buffer_append(out, step->with, step->with_bytes);
            text_buffer_append(out, *text, *bytes);
            *text = out->bytes;
            *bytes = out->count;
        }
        if (status)
            return -1;
    }
    return 0;
}

void normalizer_free(normalizer *normal)
{
    for (int i = 0; i < normal->count; i++) {
        pattern_free(&normal->step[i].what);
        free(normal->step[i].with);
    }
    free(normal->step);
    *normal = (normalizer){0};
}
