/* Prompts as commands make them: where the chat head ends, what an anchor may carry of the query, how much of
 * a text is the query, and random ids. A small vocabulary of tests/data/tasks tells tokens. */
#include "harness/error.h"
#include "harness/run/prompt.h"
#include "tests/task_fixture.h"

#include <criterion/criterion.h>
#include <string.h>

TestSuite(prompts, .init = set_up_tasks, .fini = tear_down_tasks);

static model reader(void)
{
    return (model){.name = "a reader", .tokens = tokens, .chat = &chat, .config.shape.vocab = 800};
}

static int64_t tokens_of(const char *text)
{
    return count_tokens((sized_text){(char *)text, strlen(text)});
}

/* The anchor carries the query up to the end of the user's turn, or the text that is set for it. */
Test(prompts, places)
{
    static const char turns[] = "Was it calm?<|im_end|>\n<|im_start|>assistant\nIt was<|im_end|>";
    static const char question[] = "Was it calm?";
    model m = reader();
    prompt p;
    char *document = format_text("%sDay 7 was calm and plain.\n", chat.head);
    cr_assert_eq(prompt_from_parts(&m, document, strlen(document), turns, strlen(turns), &p), 0, "%s", fail_text());
    cr_expect_eq(p.document, tokens_of(document));
    cr_expect_eq(p.query, tokens_of(turns));
    cr_expect_eq(p.head_tokens, tokens_of(chat.head));
    cr_expect_eq(p.query_in_anchor, tokens_of(question));
    cr_assert_eq(prompt_set_anchor_query(&m, "Was", 3, &p), 0);
    cr_expect_eq(p.query_in_anchor, tokens_of("Was"));
    cell c = {0};
    prompt_to_cell(&p, &c);
    cr_expect(c.document == p.document && c.query == p.query && c.head_tokens == p.head_tokens &&
              c.query_in_anchor == p.query_in_anchor);
    prompt_free(&p);
    cr_assert_eq(prompt_from_parts(&m, document, strlen(document), question, strlen(question), &p), 0);
    cr_expect_eq(p.query_in_anchor, p.query);
    prompt_free(&p);
    cr_expect_eq(prompt_from_parts(&m, document, strlen(document), "", 0, &p), -1);
    cr_expect(strstr(fail_text(), "needs a document and a query") && strstr(fail_text(), "and 0 tokens"), "%s",
              fail_text());
    free(document);
}

static int of_digits(int digits, bool with_chat, int64_t query_tokens, prompt *p)
{
    model m = reader();
    char text[1024];
    memset(text, '7', sizeof text);
    return prompt_from_text(&m, text, (size_t)digits, with_chat, query_tokens, p);
}

/* A tenth of a text is the query, one token at least and fifty at most, unless it is said how much. */
Test(prompts, queries_of_texts)
{
    /* Tokens, how many are said to be the query, and are. */
    static const int cases[][3] = {{2, 0, 1}, {30, 0, 3}, {500, 0, 50}, {600, 0, 50}, {600, 599, 599}};
    prompt p;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cr_assert_eq(of_digits(cases[i][0], false, cases[i][1], &p), 0, "%s", fail_text());
        cr_expect_eq(p.query, cases[i][2], "%lld of %d", (long long)p.query, cases[i][0]);
        cr_expect_eq(p.document, cases[i][0] - p.query);
        prompt_free(&p);
    }
    cr_expect_eq(of_digits(30, false, 30, &p), -1);
    cr_expect_str_eq(fail_text(), "--query-tokens 30 leaves no document: the prompt has 30 tokens");
    cr_expect_eq(of_digits(1, false, 0, &p), -1);
    cr_expect(strstr(fail_text(), "has 1 token;"), "%s", fail_text());
    cr_assert_eq(of_digits(100, true, 0, &p), 0, "%s", fail_text());
    cr_expect_eq(p.document + p.query, 100 + tokens_of(chat.head) + tokens_of(chat.tail));
    cr_expect_eq(p.head_tokens, tokens_of(chat.head));
    prompt_free(&p);
}

/* Random ids are of the vocabulary, none of them special, and keep room for a chat head all the same. */
Test(prompts, random_ids)
{
    model m = reader();
    prompt p;
    m.config.shape.vocab = 8; /* of which three are special */
    cr_assert_eq(prompt_random(&m, 500, 50, 1, &p), 0, "%s", fail_text());
    cr_expect(p.document == 450 && p.query == 50 && p.query_in_anchor == 50);
    cr_expect_eq(p.head_tokens, tokens_of(chat.head));
    bool seen[8] = {false};
    for (int i = 0; i < 500; i++)
        seen[p.ids[i]] = true;
    for (int id = 0; id < 8; id++)
        cr_expect_eq(seen[id], id > 2, "id %d", id);
    prompt_free(&p);
    cr_expect_eq(prompt_random(&m, 50, 50, 1, &p), -1);
}
