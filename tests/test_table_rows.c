/* Which rows of a results file a table takes for its cells and lines, how it writes numbers, and what it
 * leaves open: small files in which two rows could be taken for one another. */
#include "harness/command/command.h"
#include "harness/error.h"
#include "harness/report/markdown.h"
#include "harness/report/page.h"
#include "tests/results_fixture.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

TestSuite(table_rows, .init = make_results_folder, .fini = remove_results_folder);

static void expect_within(const char *rows, const char *flags, const char *line)
{
    char *text = table_of_rows(rows, flags);
    cr_expect(strstr(text, line), "%s is not in\n%s", line, text);
    free(text);
}

static void expect_lacking(const char *rows, const char *flags, const char *part)
{
    char *text = table_of_rows(rows, flags);
    cr_expect(!strstr(text, part), "%s is in\n%s", part, text);
    free(text);
}

/* Three digits or more, but no decimals where they say nothing. */
Test(table_rows, numbers)
{
    static const struct {
        double value;
        const char *text;
    } cases[] = {{0, "0"},           {1000, "1000"},     {12345.6, "12346"}, {999.96, "1000.0"}, {100, "100.0"},
                 {99.99, "99.99"},   {1, "1.00"},        {0.9996, "1.000"},  {0.25, "0.250"},    {0.01, "0.010"},
                 {0.0096, "0.0096"}, {0.00123, "0.0012"}, {1e7, "1e+07"},    {9999999, "9999999"},
                 {-2.5, "-2.50"},    {-0.004, "-0.004"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[64];
        number_text(cases[i].value, text, sizeof text);
        cr_expect_str_eq(text, cases[i].text, "%g is '%s' and not '%s'", cases[i].value, text, cases[i].text);
    }
}

/* Characters are counted, not bytes, three at least, and a bar is no end of a cell. */
Test(table_rows, widths)
{
    char *text = NULL;
    size_t bytes;
    FILE *out = open_memstream(&text, &bytes);
    grid table = grid_new(3, 1);
    grid_set(&table, 0, 0, "na\u00efve");
    grid_set(&table, grid_row(&table), 0, "a|b");
    grid_set(&table, 1, 1, "%d", 12345);
    grid_set(&table, 1, 2, "7");
    grid_print(&table, out);
    grid_free(&table);
    fclose(out);
    expect_lines(text, "| na\u00efve |       |     |\n|:------|------:|----:|\n| a\\|b  | 12345 |   7 |\n");
    free(text);
}

/* Of equal cells the latest row counts, how ever it ended. */
Test(table_rows, the_latest_of_a_cell)
{
    char *text = table_of_rows("model,layers,method,hosts,link,length,status,detail,prefill_s\n"
                               "smollm2,30,ring,4,eth100,1000,ok,,4\n"
                               "smollm2,30,ring,4,eth100,1000,failed,timeout,\n"
                               "smollm2,30,star,4,eth100,1000,ok,,3\n",
                               "--value prefill_s");
    cr_expect(strstr(text, "| RingAttn | measured | ") && strstr(text, "failed [1] |\n"), "%s", text);
    free(text);
}

/* Times of some layers grow with their number, tokens a second fall. */
Test(table_rows, scaled_layers)
{
    static const char rows[] = "model,layers,model_layers,method,hosts,link,length,status,prefill_s,speed_tok_s\n"
                               "smollm2,3,30,star,4,eth100,1000,ok,0.5,2000\n";
    expect_within(rows, "--value prefill_s --scale-layers", "| StarAttn | measured |     4 | 5.00 [1] |\n");
    expect_within(rows, "--value speed_tok_s --scale-layers", "| StarAttn | measured |     4 | 200.0 [1] |\n");
    expect_within(rows, "--value speed_tok_s", "| StarAttn | measured |     4 | 2000 |\n");
}

/* Options are those of the longest length; they differ where that length's rows do. */
Test(table_rows, options_that_are_listed)
{
    expect_within("model,method,options,hosts,length,task,status,score\n"
                  "smollm2,apb,anchor=64,4,1000,vt,ok,75\n"
                  "smollm2,apb,anchor=72,4,1000,cwe,ok,75\n",
                  "", "\n- APB, 4 hosts at 1000: anchor=72 (the last task; tasks differ, see the rows)\n");
    static const char rows[] = "model,layers,method,options,hosts,link,length,status,prefill_s\n"
                               "smollm2,30,apb,anchor=64,4,eth100,1000,ok,1\n"
                               "smollm2,30,apb,anchor=128,4,eth100,3000,ok,3\n"
                               "smollm2,30,apb,anchor=96,4,eth100,2000,ok,2\n";
    expect_within(rows, "--value prefill_s", "at 3000: anchor=128\n");
}

/* A breakdown is that of the longest length that has one, or of the one that is asked for. */
Test(table_rows, breakdown_by_length)
{
    static const char rows[] = "model,layers,method,hosts,link,length,status,prefill_s,attention_s\n"
                               "smollm2,10,ring,4,eth100,1000,ok,1,0.5\n"
                               "smollm2,10,ring,4,eth100,2000,ok,2,0.75\n"
                               "smollm2,10,ring,4,eth100,3000,ok,3,\n";
    expect_within(rows, "--value breakdown", "**Milliseconds a layer by part, 2000 tokens**");
    expect_within(rows, "--value breakdown --length 1000", "**Milliseconds a layer by part, 1000 tokens**");
    expect_lacking(rows, "--value breakdown --length 3000", "**Milliseconds");
}

/* Only rows of one cell are held against each other, and of each the latest. */
Test(table_rows, pairs_of_measured_and_projected)
{
    static const char rows[] =
        "model,layers,model_layers,method,hosts,link,length,query,new_tokens,threads,status,prefill_s,projected\n"
        "smollm2,30,30,ring,4,eth100,1000,50,4,2,ok,4,1\n"
        "smollm2,30,30,ring,4,eth100,1000,50,4,2,ok,2,1\n"
        "smollm2,30,30,ring,4,,1000,50,4,2,ok,8,0\n"
        "smollm2,30,30,ring,4,,1000,50,4,2,ok,1,0\n"
        "smollm2,30,30,ring,4,,1000,50,8,2,ok,7,0\n";
    char *text = table_of_rows(rows, "--value prefill_s"), *found = strstr(text, "\n## Measured against");
    cr_assert(found, "%s", text);
    cr_expect(strstr(found, "Off by 50.0 % at most."), "%s", found);
    cr_expect(strstr(found, "| RingAttn | eth100         | smollm2 | 30 of 30 |     4 |   1000 |     1.00 |      "
                            "2.00 | 0.500 |"), "%s", found);
    int lines = 0;
    for (char *at = found; (at = strstr(at, "\n| RingAttn ")); at++)
        lines++;
    cr_expect_eq(lines, 1, "%s", found);
    free(text);
}

/* Where no row with times has the paper's defaults, the variant that came first stands beside its figures. */
Test(table_rows, the_first_variant_is_the_papers)
{
    static const char rows[] = "model,layers,model_layers,method,variant,hosts,link,length,status,detail,prefill_s\n"
                               "llama-3.1-8b,32,32,apb,,8,,32768,ok,shared GPU,9\n"
                               "llama-3.1-8b,32,32,apb,anchor=4K,8,nvlink3,32768,ok,,0.5\n"
                               "llama-3.1-8b,32,32,apb,pool=0,8,nvlink3,32768,ok,,0.25\n";
    static const char lines[] = "| APB (anchor=4K) | measured |     8 | 0.500 |  0.49 |\n"
                                "| APB (pool=0)    | measured |     8 | 0.250 |     - |\n";
    expect_within(rows, "--preset paper-table14 --value prefill_s", lines);
}

/* The paper's figures of eight hosts are none of four: without any there is no column for them. Nor are they
 * of one host. */
Test(table_rows, the_papers_hosts)
{
    static const char rows[] = "model,layers,model_layers,method,hosts,link,length,status,prefill_s\n"
                               "llama-3.1-8b,32,32,flash,1,,32768,ok,4\n"
                               "llama-3.1-8b,32,32,ring,4,nvlink3,32768,ok,2\n";
    expect_within(rows, "--preset paper-table14 --value prefill_s",
                  "| method        | timing            | hosts |  32K |\n");
    static const char of_one[] = "model,layers,model_layers,method,hosts,link,length,status,prefill_s\n"
                                 "llama-3.1-8b,32,32,apb,1,,32768,ok,4\n"
                                 "llama-3.1-8b,32,32,ring,8,nvlink3,32768,ok,2\n";
    expect_within(of_one, "--preset paper-table14 --value prefill_s",
                  "| APB        | measured |     1 | 4.00 |     - |\n");
}

/* A mean of some of the tasks has no interval, and no difference where the baseline lacks one. */
Test(table_rows, means_of_some_tasks)
{
    static const char rows[] = "row,model,method,hosts,length,task,samples,status,score\n"
                               "1,smollm2,flash,1,1000,vt,20,ok,50\n"
                               "2,smollm2,star,4,1000,vt,20,ok,50\n"
                               "3,smollm2,star,4,1000,cwe,20,ok,70\n";
    char *text = table_of_rows(rows, "--intervals"), *average = strstr(text, "| **average** ");
    cr_assert(average, "%s", text);
    *strchr(average, '\n') = 0;
    cr_expect(strstr(average, "| 50.00 [2] |") && strstr(average, "60.00 [1] |"), "%s", average);
    free(text);
    expect_lacking(rows, "", "+10.00");
    expect_lacking(rows, "", "has no score");
}

/* An official file's rows have no length of their own: 0. */
Test(table_rows, a_length_of_none)
{
    expect_within("model,method,hosts,length,task,status,score\n"
                  "smollm2,flash,1,0,vt,ok,50\n", "", "\n## smollm2\n");
}

/* What is shared by the rows of a length or model stands over their table, whatever others have. */
Test(table_rows, conditions_of_a_table)
{
    static const char scores[] = "model,method,hosts,length,task,samples,status,score\n"
                                 "smollm2,flash,1,1000,vt,20,ok,50\n"
                                 "smollm2,flash,1,2000,vt,7,ok,50\n"
                                 "smollm2,flash,1,3000,vt,9,ok,50\n"
                                 "smollm2,flash,1,3000,cwe,8,ok,50\n";
    expect_within(scores, "", "\n## smollm2, 1000 tokens\n\nsamples 20\n");
    expect_within(scores, "", "\n## smollm2, 2000 tokens\n\nsamples 7\n");
    expect_within(scores, "", "\n## smollm2, 3000 tokens\n\n| task ");
    static const char times[] = "model,method,options,hosts,link,length,reps,status,prefill_s,date\n"
                                "smollm2,apb,anchor=64,1,,1000,3,ok,1,2025-01-01\n"
                                "smollm2,apb,anchor=32,2,eth100,1000,3,ok,1,2025-01-02\n"
                                "tiny,apb,anchor=64,2,eth100,1000,5,ok,1,2025-01-03\n";
    static const char *const lines[] = {
        "\n## smollm2, 1 host\n\nreps 3\n\n- APB, 1 host at 1000: anchor=64\n",
        "\n## smollm2, 2 hosts, projected over eth100\n\nreps 3\n\n- APB, 2 hosts at 1000: anchor=32\n",
        "\n## tiny, 2 hosts, projected over eth100\n\nreps 5\n",
        "\n3 rows, 2025-01-01 to 2025-01-03:\n"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        expect_within(times, "--value prefill_s", lines[i]);
}

/* Series are told apart by what differs, where they have it. */
Test(table_rows, names_of_series)
{
    expect_within("model,method,hosts,length,task,limit,status,score\n"
                  "smollm2,flash,1,1000,vt,,ok,50\n"
                  "smollm2,flash,1,1000,vt,10,ok,60\n",
                  "", "\n| task                    | FlashAttn | FlashAttn (limit=10) |\n");
}
