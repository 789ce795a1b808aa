/* Long texts, natural and hostile, take time and memory in proportion to their length: 16 times the text
 * takes at most 128 times the processor time, where anything quadratic takes 256 (n log n, and caches that
 * no longer hold the text or that others want too, make up to 51 of it), and less than 40 bytes of
 * memory for each byte. */
#include "tests/long_texts.h"

#include "datasets/tokenizer/tokenizer.h"
#include "harness/error.h"

#include <criterion/criterion.h>
#include <limits.h>
#include <malloc.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum { TIMES = 16, MOST_TIMES = 128, MOST_BYTES_A_BYTE = 40 };

static tokenizer *open_kind(const char *kind)
{
    char *path = format_text("tests/data/tokenizer/%s.json", kind);
    tokenizer *t = tokenizer_open(path);
    cr_assert(t, "%s", fail_text());
    free(path);
    return t;
}

static double processor_seconds(void)
{
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* Freed memory is kept for the next run, since fresh pages can cost several times the encoding, and only
 * large texts would need them in every run. */
static void keep_memory(void)
{
    mallopt(M_MMAP_THRESHOLD, 1 << 30);
    mallopt(M_TRIM_THRESHOLD, INT_MAX);
}

/* The least of several runs: what else the machine does only adds. */
static double seconds_for(const tokenizer *t, const long_text_kind *kind, size_t bytes, int runs)
{
    double least = 1e30;
    char *text = long_text(kind, bytes, &bytes);
    for (int i = 0; i < runs; i++) {
        token_list ids = {0};
        double from = processor_seconds();
        cr_assert_eq(tokenizer_encode(t, text, bytes, false, &ids), 0, "%s", fail_text());
        double seconds = processor_seconds() - from;
        least = seconds < least ? seconds : least;
        cr_assert(ids.count > 0 && ids.count <= 3 * bytes); /* a bad byte becomes three */
        token_list_free(&ids);
    }
    free(text);
    return least;
}

static void expect_linear(const tokenizer *t, const char *name, const long_text_kind *kind, size_t bytes)
{
    double small = seconds_for(t, kind, bytes, 3), large = 1e30;
    for (int i = 0; i < 3 && large >= MOST_TIMES * small; i++)
        large = fmin(large, seconds_for(t, kind, TIMES * bytes, 1));
    cr_expect(large < MOST_TIMES * small, "%s, %s: %zu bytes take %.3f s, and %d times as many %.3f s",
              name, kind->name, bytes, small, TIMES, large);
}

Test(long_texts, time_grows_with_length, .timeout = 300)
{
    keep_memory();
    static const char *const kinds[] = {"smollm2", "qwen2.5", "yi", "metaspace"};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        tokenizer *t = open_kind(kinds[i]);
        for (int k = 0; k < long_text_count; k++)
            expect_linear(t, kinds[i], &long_text_kinds[k], 1 << 17);
        tokenizer_close(t);
    }
}

Test(long_texts, one_word_of_16_megabytes, .timeout = 300)
{
    keep_memory();
    tokenizer *t = open_kind("smollm2");
    const long_text_kind *letters = NULL;
    for (int k = 0; k < long_text_count; k++)
        if (!strcmp(long_text_kinds[k].name, "random letters"))
            letters = &long_text_kinds[k];
    expect_linear(t, "smollm2", letters, 1 << 20);
#ifndef __SANITIZE_ADDRESS__
    struct rusage usage; /* of this test: it has a process of its own */
    getrusage(RUSAGE_SELF, &usage);
    cr_expect(usage.ru_maxrss < MOST_BYTES_A_BYTE * (16 << 10) + (64 << 10), "%ld KB at the peak",
              usage.ru_maxrss);
#endif
    tokenizer_close(t);
}
