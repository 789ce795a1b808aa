/* What the tests of RULER's tasks beside the needle tasks stand on: words and questions of our own making
 * in a cache of the test's own, and reading the texts that were made. */
#ifndef TESTS_RULER_FIXTURE_H
#define TESTS_RULER_FIXTURE_H
#include "tests/task_fixture.h"

enum { SAMPLES = 200 };
extern char questions[96]; /* the folder of squad.json and hotpotqa.json */
/* Articles of SQuAD and paragraphs of each; questions of HotpotQA are 8 HOTPOT with OWN paragraphs each. */
enum { ARTICLES = 6, PARAGRAPHS = 5, HOTPOT = 30, OWN = 10 };
extern const char noise[]; /* a block of variable tracking */

void set_up_ruler(void);
void tear_down_ruler(void);

/* Paragraph p of article a: the text tells which it is; lengths differ by up to eight times. */
char *paragraph_text(int a, int p);

int count_text(const char *in, const char *what);
/* The line at *text without its newline, fresh; *text moves behind it. */
char *take_line(const char **text);
int64_t text_tokens(const char *text);
/* What holds of every sample: texts end where they say, the question is one line with the chat tail
 * behind it, the lead-in starts with one space and its first ten characters occur in it only. */
void check_frame(const task_sample *);
#endif
