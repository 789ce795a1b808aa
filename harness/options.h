/* Command-line flags as a table: one row a flag, one parser for all commands, and --help made from
 * the same rows. Flags are written `--name value` or `--name=value`; switches take no value. What
 * can be said of a value by itself is said here, before anything runs: no value is empty, and the
 * row's own check is asked. */
#ifndef HARNESS_OPTIONS_H
#define HARNESS_OPTIONS_H
#include <stdbool.h>
#include <stdint.h>

typedef struct {
    char **items;
    int count;
} text_list;

typedef struct {
    int64_t *items;
    int count;
} size_list;

typedef enum {
    VALUE_TEXT,   /* const char * */
    VALUE_TEXTS,  /* text_list: comma list */
    VALUE_SIZE,   /* int64_t >= 0, K, M and G binary */
    VALUE_SIZES,  /* size_list: comma list of the same */
    VALUE_NUMBER, /* double >= 0 */
    VALUE_SWITCH  /* bool */
} flag_value;

typedef struct {
    flag_value value;
    int (*check)(const char *); /* of a text, or each of several: -1 with a sentence where it is wrong */
} flag_kind;
#define FLAG_TEXT {VALUE_TEXT, NULL}
#define FLAG_TEXT_OF(check) {VALUE_TEXT, check}
#define FLAG_TEXTS {VALUE_TEXTS, NULL}
#define FLAG_TEXTS_OF(check) {VALUE_TEXTS, check}
#define FLAG_SIZE {VALUE_SIZE, NULL}
#define FLAG_SIZES {VALUE_SIZES, NULL}
#define FLAG_NUMBER {VALUE_NUMBER, NULL}
#define FLAG_SWITCH {VALUE_SWITCH, NULL}

typedef struct {
    const char *name;     /* without the dashes */
    flag_kind kind;
    void *value;          /* where it goes; what is there already is the default */
    const char *argument; /* what --help calls the value: "N", "FILE"; NULL for switches */
    const char *help;
} flag;

/* Parses argv[1..argc-1] (argv[0] is the command's name). usage is the text over the flags in
 * --help. Words that are no flags go to positional (NULL: none are allowed). Returns 0 to go on,
 * 1 when --help was printed, -1 with a sentence naming the flag and the value found. Lists given
 * replace the default. */
int options_parse(const char *usage, const flag *flags, int flag_count, int argc, char **argv,
                  text_list *positional);

/* "512", "32K", "1M", "1G" -> tokens or bytes; K = 1024. -1 with a sentence when it is not a size >= 0. */
int parse_size(const char *text, int64_t *value);
/* The shortest of those forms: 32768 -> "32K". Returns text. */
char *format_size(int64_t value, char *text, int bytes);

/* "a,b,c" into fresh texts; empty items are refused. */
int parse_texts(const char *text, text_list *list);
int parse_sizes(const char *text, size_list *list);
void text_list_free(text_list *);
void text_list_push(text_list *, const char *text);

#define FLAG_COUNT(flags) ((int)(sizeof(flags) / sizeof((flags)[0])))
#endif
