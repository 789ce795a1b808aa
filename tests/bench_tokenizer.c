/* How fast text becomes tokens, and in how much memory: natural text (the set-up's jargon.txt, again and
 * again) and hostile ones (long_texts.h), each in a process of its own. Not a test.
 * build/tests/bench_tokenizer [megabytes [tokenizer.json or directory ...]], or `make bench-tokenizer`;
 * without a tokenizer the default model's and those of the tests. */
#include "datasets/tokenizer/tokenizer.h"
#include "harness/error.h"
#include "harness/model/model.h"
#include "harness/records/csv.h"
#include "tests/long_texts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static double peak_megabytes(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_maxrss / 1024;
}

/* The file's text over and over, up to `bytes`. */
static char *repeated(const char *path, size_t bytes)
{
    size_t once;
    char *from = file_text(path, &once);
    if (!from)
        return NULL;
    char *text = alloc_or_die(bytes + 1, 1);
    for (size_t at = 0; at < bytes; at += once)
        memcpy(text + at, from, once < bytes - at ? once : bytes - at);
    free(from);
    return text;
}

/* The part that has a process of its own. */
static int measure(const tokenizer *t, const char *name, char *text, size_t bytes)
{
    token_list ids = {0};
    double before = peak_megabytes(), from = now();
    int status = tokenizer_encode(t, text, bytes, false, &ids);
    double seconds = now() - from, megabytes = (double)bytes / (1 << 20);
    printf("  %-24s %8.2f s %8.1f MB/s %11zu tokens %8.0f MB more memory, %.1f a byte%s%s\n", name,
           seconds, megabytes / seconds, ids.count, peak_megabytes() - before,
           (peak_megabytes() - before) / megabytes, status ? "  FAILED: " : "",
           status ? fail_text() : "");
    fflush(stdout);
    return 0;
}

static void in_process(const tokenizer *t, const long_text_kind *kind, const char *file, size_t bytes)
{
    pid_t child = fork();
    if (child == 0) {
        char *text = kind ? long_text(kind, bytes, &bytes) : repeated(file, bytes);
        if (!text)
            printf("  natural text is missing: %s\n", fail_text());
        _exit(text ? measure(t, kind ? kind->name : "natural", text, bytes) : 1);
    }
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) < 0 || WIFSIGNALED(status))
        printf("  %s: ended by signal %d\n", kind ? kind->name : "natural", WTERMSIG(status));
}

static void run(const char *path, size_t bytes)
{
    tokenizer *t = tokenizer_open(path);
    if (!t) {
        printf("%s\n", fail_text());
        return;
    }
    printf("%s, %zu MB:\n", path, bytes >> 20);
    fflush(stdout);
    char *cache = cache_directory(), *jargon = format_text("%s/text/jargon.txt", cache);
    in_process(t, NULL, jargon, bytes);
    for (int i = 0; i < long_text_count; i++)
        in_process(t, &long_text_kinds[i], NULL, bytes);
    free(jargon);
    free(cache);
    tokenizer_close(t);
}

int main(int argc, char **argv)
{
    static const char *const kinds[] = {"llama-3", "qwen2.5", "yi", "metaspace"};
    size_t bytes = (size_t)(argc > 1 ? atoi(argv[1]) : 100) << 20;
    for (int i = 2; i < argc; i++)
        run(argv[i], bytes);
    if (argc > 2)
        return 0;
    char *cache = cache_directory(), *smollm2 = format_text("%s/models/smollm2", cache);
    run(smollm2, bytes);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        char *path = format_text("tests/data/tokenizer/%s.json", kinds[i]);
        run(path, bytes);
        free(path);
    }
    free(smollm2);
    free(cache);
    return 0;
}
