/* See ruler_fixture.h. */
#include "tests/ruler_fixture.h"

#include "harness/error.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

char questions[96];

const char noise[] = "The snow is white. The sea is deep. The fire is warm. "
                            "On we walk. Over and under again.";

/* ---- Questions of our own ---- */

char *paragraph_text(int a, int p)
{
    char *text = format_text("Place %d-%d lies by the sea.", a, p);
    for (int i = 0; i < (a * 7 + p * 3) % 8 + 1; i++) {
        char *longer = format_text("%s Its \\\"river\\\" number %d is long and deep.", text, i);
        free(text);
        text = longer;
    }
    return text;
}

static void write_squad(const char *path)
{
    FILE *out = fopen(path, "wb");
    cr_assert(out);
    fputs("{\"version\": \"v2.0\", \"data\": [", out);
    for (int a = 0; a < ARTICLES; a++) {
        fprintf(out, "%s{\"title\": \"T\", \"paragraphs\": [", a ? "," : "");
        for (int p = 0; p < PARAGRAPHS; p++) {
            char *text = paragraph_text(a, p);
            fprintf(out, "%s{\"context\": \"%s\", \"qas\": [", p ? "," : "", text);
            for (int q = 0; q < 10; q++) /* the first of each three cannot be answered */
                fprintf(out, "%s{\"question\": \"Where is %d-%d, asked %d?\", \"id\": \"x\", "
                        "\"answers\": [%s], \"is_impossible\": %s}", q ? "," : "", a, p, q,
                        q % 3 ? "{\"text\": \"by the sea\", \"answer_start\": 0}, "
                                "{\"text\": \"the sea\", \"answer_start\": 0}, "
                                "{\"text\": \"by the sea\", \"answer_start\": 0}" : "",
                        q % 3 ? "false" : "true");
            fputs("]}", out);
            free(text);
        }
        fputs("]}", out);
    }
    fputs("]}", out);
    cr_assert_eq(fclose(out), 0);
}

/* Question q has the paragraphs 7q .. 7q+9 of 7 HOTPOT + 3: neighbours share three. */
static void write_hotpotqa(const char *path)
{
    FILE *out = fopen(path, "wb");
    cr_assert(out);
    fputc('[', out);
    for (int q = 0; q < 8 * HOTPOT; q++) {
        fprintf(out, "%s{\"_id\": \"x\", \"answer\": \"yes %d\", \"question\": \"Is it %d?\", "
                "\"context\": [", q ? "," : "", q, q);
        for (int p = 0; p < OWN; p++)
            fprintf(out, "%s[\"Title %d\", [\"One of %d.\", \" Two.\"]]", p ? "," : "",
                    7 * q + p, 7 * q + p);
        fputs("]}", out);
    }
    fputs("]", out);
    cr_assert_eq(fclose(out), 0);
}

void set_up_ruler(void)
{
    set_up_tasks();
    char *words = format_text("%s/words", folder), *here = realpath("tests/data/tasks/cache/words", NULL);
    snprintf(questions, sizeof questions, "%s/questions", folder);
    cr_assert(here && !symlink(here, words) && !mkdir(questions, 0777));
    setenv("APBENCH_CACHE", folder, 1);
    char *squad = format_text("%s/squad.json", questions);
    char *hotpotqa = format_text("%s/hotpotqa.json", questions);
    write_squad(squad);
    write_hotpotqa(hotpotqa);
    free(squad);
    free(hotpotqa);
    free(words);
    free(here);
}

void tear_down_ruler(void)
{
    char *remove_all = format_text("rm -rf '%s'", folder);
    cr_assert_eq(system(remove_all), 0);
    free(remove_all);
    tokenizer_close(tokens);
}

/* ---- Reading samples ---- */

int count_text(const char *in, const char *what)
{
    int count = 0;
    for (; (in = strstr(in, what)); in += strlen(what))
        count++;
    return count;
}

char *take_line(const char **text)
{
    const char *end = strchr(*text, '\n');
    cr_assert(end);
    char *line = copy_bytes(*text, (size_t)(end - *text));
    *text = end + 1;
    return line;
}

int64_t text_tokens(const char *text)
{
    return count_tokens((sized_text){(char *)text, strlen(text)});
}

void check_frame(const task_sample *sample)
{
    const char *document = sample->document.bytes, *query = sample->query.bytes;
    cr_assert_eq(strlen(document), sample->document.count);
    cr_assert_eq(strlen(query), sample->query.count);
    cr_assert(!strncmp(document, chat.head, strlen(chat.head)));
    cr_assert_eq(document[sample->document.count - 1], '\n');
    const char *tail = strstr(query, chat.tail), *lead_in = query + sample->lead_in;
    cr_assert(tail && tail + strlen(chat.tail) == lead_in);
    cr_assert(!memchr(query, '\n', (size_t)(tail - query)));
    cr_assert(lead_in[0] == ' ' && lead_in[1] != ' ' && query[sample->query.count - 1] == ':');
    char ten[11] = "";
    memcpy(ten, lead_in, strnlen(lead_in, 10));
    cr_assert_null(strstr(lead_in + 1, ten));
    cr_assert_not(sample->official);
}
