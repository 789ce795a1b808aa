/* Rows of the method table; options of methods: as text, refused values, and defaults by length. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness/error.h"
#include "methods/compressor.h"
#include "methods/method.h"

/* What a method's name and options say, and what they are refused with. */
Test(method_options, options)
{
    cell c = {.hosts = 2, .document = 100, .query = 4, .shape = {.heads = 4, .kv_heads = 2}};
    char text[256];
    cr_assert_eq(method_parse("apb:anchor=1K:compressor=random:pool=0", &c), 0);
    method_describe(&c, text, sizeof text);
    cr_expect_str_eq(text, "anchor=1024:passing=auto:compressor=random:query_in_anchor=1:pool=0:"
                           "schedule=table8:reference_mask=0");
    cr_assert_eq(method_parse("apb:anchor=8:passing=8:recent=3:compressor=query", &c), 0);
    method_describe(&c, text, sizeof text);
    cr_expect_str_eq(text, "anchor=8:passing=8:compressor=query:query_in_anchor=1:pool=1:"
                           "schedule=table8:reference_mask=0:recent=3");
    cr_assert_eq(method_parse("apb:anchor=8:passing=8:recent=9:compressor=query", &c), 0);
    cr_expect_eq(c.method->resolve(&c), -1);
    cr_expect(strstr(fail_text(), "passes 8 keys of a block, and recent=9"), "%s", fail_text());
    static const char *const bad[] = {"attention", "apb:anchors=3", "apb:anchor", "apb:anchor=x",
                                      "apb:compressor=best", "apb:pool=2", "flash:x=1", ""};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cr_expect_eq(method_parse(bad[i], &c), -1, "'%s' was taken", bad[i]);
}

/* What the program takes for granted of every row of the table. */
Test(method_options, rows_of_the_table_are_whole)
{
    for (int i = 0; i < method_count; i++) {
        const method *m = method_table[i];
        cr_assert(m->name && m->title && m->summary && m->plan && m->attend && m->cost, "row %d", i);
        cr_expect_eq(m->name[strspn(m->name, "abcdefghijklmnopqrstuvwxyz0123456789_-")], 0,
                     "'%s' is no name for a command line", m->name);
        cr_expect_eq(method_find(m->name), m, "two methods are called %s", m->name);
        cr_expect(m->option_count <= METHOD_OPTIONS && m->later_options <= m->option_count, "%s", m->name);
        for (int k = 0; k < m->option_count; k++) {
            const method_option *option = &m->options[k];
            cr_expect(option->name && option->help && (option->kind == OPTION_CHOICE) == !!option->choices,
                      "%s, option %d", m->name, k);
        }
    }
}

/* Every name that the option takes is a row of the table; without retaining heads those that score with
 * them are refused by name, and no others. */
Test(method_options, compressors_that_need_heads)
{
    char *names = copy_text(COMPRESSOR_CHOICES), *rest = names, *name;
    int need = 0, count = 0;
    for (; (name = strsep(&rest, "|")); count++) {
        cr_expect_str_eq(compressors[count].name, name);
        cell c = {.hosts = 2, .document = 400, .query = 4, .shape = {.heads = 4, .kv_heads = 2}};
        char text[64];
        snprintf(text, sizeof text, "apb:compressor=%s", name);
        cr_assert_eq(method_parse(text, &c), 0, "%s", fail_text());
        bool refused = c.method->resolve(&c) == -1;
        cr_expect_eq(refused, compressors[count].before_rope != NULL, "%s", text);
        snprintf(text, sizeof text, "compressor=%s needs retaining heads, and the model has none", name);
        cr_expect(!refused || strstr(fail_text(), text), "%s", fail_text());
        need += refused;
        c.retaining_width = 8;
        cr_expect_eq(c.method->resolve(&c), 0, "%s", fail_text());
        cr_expect_eq(c.uses_heads, compressors[count].before_rope != NULL, "%s", name);
    }
    cr_expect(need == 2 && count == 6, "%d of %d need heads", need, count);
    free(names);
}

/* Decision on defaults: below 32K b/4 and b/8, but room for chat head, query and 16 tokens in the
 * anchor; from 32K the paper's table 8, or table 14 where it is asked for. */
Test(method_options, apb_defaults_by_length)
{
    static const struct {
        const char *text;
        int64_t length, anchor, passing;
    } cases[] = {
        {"apb", 8 << 10, 254, 127},         {"apb", 2 << 10, 90, 31},
        {"apb", 32 << 10, 1 << 10, 512},    {"apb", 100 << 10, 2 << 10, 1 << 10},
        {"apb", 128 << 10, 4 << 10, 2048},  {"apb", 256 << 10, 8 << 10, 4096},
        {"apb", 512 << 10, 8 << 10, 8192},  {"apb:schedule=table14", 512 << 10, 4 << 10, 2048},
        {"apb:anchor=77", 128 << 10, 77, 2048}, {"apb", (128 << 10) - 200, 4 << 10, 2048},
        /* As short as made samples of a length can be, and shorter. */
        {"apb", (64 << 10) * 97 / 100 - 128, 2 << 10, 1 << 10}, {"apb", 60 << 10, 1 << 10, 512},
        {"apb", (512 << 10) * 97 / 100 - 128, 8 << 10, 8 << 10}, {"apb", 30 << 10, 1 << 10, 512},
        {"apb", (30 << 10) - 1, 958, 479},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cell c = {.hosts = 8, .document = cases[i].length - 50, .query = 50, .head_tokens = 24,
                  .query_in_anchor = 50};
        cr_assert_eq(method_parse(cases[i].text, &c), 0);
        cr_assert_eq(c.method->resolve(&c), 0, "%s", fail_text());
        cr_expect_eq(method_option_value(&c, "anchor"), cases[i].anchor);
        cr_expect_eq(method_option_value(&c, "passing"), cases[i].passing);
    }
    cell c = {.hosts = 8, .document = 462, .query = 50, .head_tokens = 24, .query_in_anchor = 50};
    cr_assert_eq(method_parse("apb", &c), 0);
    cr_expect_eq(c.method->resolve(&c), -1, "blocks of 58 tokens hold no anchor of 90");
}
