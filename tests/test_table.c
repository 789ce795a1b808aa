/* Tables from small results files: the Markdown is compared line by line. */
#include "harness/command/command.h"
#include "harness/error.h"
#include "harness/records/csv.h"
#include "tests/results_fixture.h"
#include "tests/rows_fixture.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TestSuite(table, .init = make_results_folder, .fini = remove_results_folder);

/* The text behind the first "# file" line, which names a temporary folder. */
static void expect_table(const char *flags, const char *expected)
{
    char *words = format_text("table %s%s%s", results_path, *flags ? " " : "", flags);
    char *text = output_of(command_table, words, 0);
    char *body = strchr(text, '\n');
    cr_assert(body, "nothing was printed");
    expect_lines(body + 1, expected);
    free(text);
    free(words);
}

Test(table, prefill_beside_the_paper)
{
    write_speed();
    expect_table(
        "--preset paper-table14 --value prefill_s",
        "\n"
        "## llama-3.1-8b, 8 hosts, projected over nvlink3\n"
        "\n"
        "device cpu, reps 3\n"
        "\n"
        "- APB, 8 hosts at 128K: anchor=1024:passing=512\n"
        "\n"
        "**Prefill, seconds** by length (start to first token, slowest host, median)\n"
        "\n"
        "| method        | timing             | hosts |   32K | paper |     64K | paper |     128K | paper |\n"
        "|:--------------|:-------------------|------:|------:|------:|--------:|------:|---------:|------:|\n"
        "| FlashAttn     | measured           |     1 |  4.00 |  3.46 |   10.00 |  9.51 |        - | 30.01 |\n"
        "| RingAttn      | projected, nvlink3 |     8 | 0.800 |  0.72 | oom [1] |  2.00 |        - |  6.34 |\n"
        "| APB           | projected, nvlink3 |     8 | 0.500 |  0.49 |    1.25 |  1.09 | 2.00 [2] |  2.79 |\n"
        "| Ulysses       | paper              |     8 |     - |  0.50 |       - |  1.30 |        - |  3.95 |\n"
        "| StarAttn      | paper              |     8 |     - |  0.67 |       - |  1.43 |        - |  3.50 |\n"
        "| MInference    | paper              |     1 |     - |  4.95 |       - |  8.72 |        - | 15.16 |\n"
        "| perfect exact | FlashAttn / hosts  |     8 | 0.500 | 0.432 |    1.25 |  1.19 |        - |  3.75 |\n"
        "\n"
        "[1] it was too much\n"
        "[2] ran 4 of 32 layers; times multiplied by 32/4\n"
        "\n"
        "---\n"
        "\n"
        "Paper: table14 of \"APB\" (Huang et al., ACL 2025, arXiv 2502.12085); 8 A800-80GB over NVLink 3.\n"
        "\n"
        "8 rows, 2025-01-01T00:00:00Z to 2025-01-01T00:00:00Z:\n"
        "- commit abc; machine a test\n");
}

/* Cells of which none could be run have a table of their reasons, not reasons alone. */
Test(table, none_that_ran)
{
    records *all = records_open(results_path, RECORD_SPEED, "abc");
    add_speed(all, "ring", 8, 32768, "oom", NAN);
    records_close(all);
    expect_table("",
                 "\n"
                 "## llama-3.1-8b, 8 hosts, projected over nvlink3\n"
                 "\n"
                 "device cpu, reps 3\n"
                 "\n"
                 "**Prefill, seconds** by length (start to first token, slowest host, median)\n"
                 "\n"
                 "| method   | timing | hosts |     32K |\n"
                 "|:---------|:-------|------:|--------:|\n"
                 "| RingAttn | -      |     8 | oom [1] |\n"
                 "\n"
                 "[1] it was too much\n"
                 "\n"
                 "---\n"
                 "\n"
                 "1 row, 2025-01-01T00:00:00Z to 2025-01-01T00:00:00Z:\n"
                 "- commit abc; machine a test\n");
}

/* Rows that the paper has no figures of say so: nobody looks for its columns. One host's are no baseline of
 * others, nor a bound. */
Test(table, beside_figures_of_others)
{
    records *all = records_open(results_path, RECORD_SPEED, "abc");
    add_speed(all, "flash", 1, 1000, "ok", 4);
    records_close(all);
    char words[256];
    snprintf(words, sizeof words, "table %s --preset paper-table14", results_path);
    char *text = output_of(command_table, words, 0);
    cr_expect(strstr(text, "None of its figures is beside these rows"), "%s", text);
    cr_expect(strstr(text, "\n| FlashAttn ") && !strstr(text, "perfect exact"), "%s", text);
    free(text);
}

/* A cell that did not fit whole shows what some of its layers say; one that did shows itself. */
Test(table, a_value_goes_before_a_reason)
{
    write_speed();
    records *all = records_open(results_path, RECORD_SPEED, "abc");
    add_speed_of_layers(all, 32, "apb", 8, 131072, "oom", NAN);
    add_speed_of_layers(all, 4, "apb", 8, 65536, "ok", 99);
    add_speed_of_layers(all, 4, "ring", 8, 65536, "ok", 0.5);
    records_close(all);
    char words[256];
    snprintf(words, sizeof words, "table %s --preset paper-table14 --value prefill_s", results_path);
    char *text = output_of(command_table, words, 0);
    const char *const lines[] = {
        "| APB           | projected, nvlink3 |     8 | 0.500 |  0.49 |     1.25 |  1.09 | 2.00 [1] |  2.79 |\n",
        "| RingAttn      | projected, nvlink3 |     8 | 0.800 |  0.72 | 4.00 [1] |  2.00 |        - |  6.34 |\n"};
    for (int i = 0; i < 2; i++)
        cr_expect(strstr(text, lines[i]), "%s is not in\n%s", lines[i], text);
    free(text);
}

Test(table, speedup_beside_the_paper)
{
    write_speed();
    records *all = records_open(results_path, RECORD_SPEED, "abc");
    add_speed(all, "zigzag", 8, 32768, "ok", 0.4); /* which the paper does not have */
    records_close(all);
    char words[256];
    snprintf(words, sizeof words, "table %s --preset paper-table14 --value speedup", results_path);
    char *text = output_of(command_table, words, 0);
    const char *const lines[] = {
        "| RingAttn      | projected, nvlink3 |     8 |  5.00 |  4.81 | oom [1] |  4.75 |    - |  4.73 |\n",
        "| ZigZag        | projected, nvlink3 |     8 | 10.00 |     - |       - |     - |    - |     - |\n",
        "| perfect exact | FlashAttn / hosts  |     8 |  8.00 |  8.00 |    8.00 |  8.00 |    - |  8.00 |\n"};
    for (int i = 0; i < 3; i++)
        cr_expect(strstr(text, lines[i]), "%s is not in\n%s", lines[i], text);
    free(text);
}

/* Rows of hosts that share a GPU, or cores: as if they were not there, but for a note. */
Test(table, shared_gpu_is_no_timing)
{
    char words[256];
    write_speed();
    snprintf(words, sizeof words, "table %s --preset paper-table14", results_path);
    char *without = output_of(command_table, words, 0);
    records *all = records_open(results_path, RECORD_SPEED, "abc");
    row_comm = "nccl";
    row_remark = "shared GPU";
    add_speed(all, "apb", 8, 32768, "ok", 77);
    add_speed(all, "flash", 1, 32768, "ok", 88);
    row_remark = "shared cores";
    add_speed(all, "zigzag", 4, 16384, "ok", 99); /* alone of its method, hosts and length */
    records_close(all);
    char *with = output_of(command_table, words, 0);
    char *end = strstr(without, "\n---\n");
    cr_assert(end);
    cr_expect(!strncmp(with, without, (size_t)(end - without) + 5), "the tables differ:\n%s", with);
    cr_expect(strstr(with, "\n3 rows of hosts that share a GPU or cores are left out: their times mean nothing.\n"
                           "\n11 rows, "), "no note in\n%s", with);
    free(with);
    free(without);

    char *data = drawn_data("prefill-llama-3.1-8b-8hosts-nvlink3");
    cr_expect(strstr(data, "32768 0.5\n") && strstr(data, "32768 4\n"), "%s", data);
    cr_expect(!strstr(data, " 77") && !strstr(data, " 88") && !strstr(data, "16384"), "%s", data);
    free(data);
}

/* Every cell that ran both ways, over each link, whole and cut apart; others and bad ends are left out. */
Test(table, measured_against_projected)
{
    records *all = records_open(results_path, RECORD_SPEED, "abc");
    add_speed(all, "flash", 1, 32768, "ok", 4);
    row_exposed_s = 0.1;
    add_speed(all, "ring", 8, 32768, "ok", 0.8);
    add_speed(all, "zigzag", 8, 32768, "ok", 0.6); /* never measured */
    add_speed(all, "apb", 8, 131072, "ok", 0.2);
    add_speed_of_layers(all, 32, "apb", 8, 131072, "ok", 1.6);
    row_link = "nvlink4";
    add_speed(all, "ring", 8, 32768, "ok", 0.5);
    add_speed(all, "star", 8, 32768, "oom", 0);
    row_link = "";
    row_comm = "nccl";
    row_exposed_s = 0.25;
    add_speed(all, "ring", 8, 32768, "ok", 1);
    add_speed(all, "star", 8, 32768, "ok", 1);
    row_exposed_s = 0;
    add_speed(all, "apb", 8, 131072, "ok", 0.19);
    records_close(all);
    char words[256];
    snprintf(words, sizeof words, "table %s --value prefill_s", results_path);
    char *text = output_of(command_table, words, 0);
    char *found = strstr(text, "\n## Measured against"), *end = strstr(text, "\n---\n");
    cr_assert(found && end && found < end, "%s", text);
    *end = 0;
    expect_lines(found,
        "\n"
        "## Measured against projected\n"
        "\n"
        "Prefill, seconds: over real links, and the same cell projected over a link model; and exposed communication, a\n"
        "share of the instrumented repetition. Off by 100.0 % at most.\n"
        "\n"
        "| method   | projected over | model        |   layers | hosts | length | measured | projected | ratio | exposed, measured | exposed, projected |\n"
        "|:---------|:---------------|:-------------|---------:|------:|-------:|---------:|----------:|------:|------------------:|-------------------:|\n"
        "| RingAttn | nvlink3        | llama-3.1-8b | 32 of 32 |     8 |    32K |     1.00 |     0.800 | 1.250 |            20.0 % |             10.0 % |\n"
        "| RingAttn | nvlink4        | llama-3.1-8b | 32 of 32 |     8 |    32K |     1.00 |     0.500 | 2.000 |            20.0 % |             16.0 % |\n"
        "| APB      | nvlink3        | llama-3.1-8b |  4 of 32 |     8 |   128K |    0.190 |     0.200 | 0.950 |                 - |             40.0 % |\n");
    free(text);
    snprintf(words, sizeof words, "table %s --value speedup", results_path);
    text = output_of(command_table, words, 0);
    cr_expect(!strstr(text, "Measured against"), "%s", text);
    free(text);
}

/* A file of nothing else: no table, nothing to draw. */
Test(table, nothing_but_a_shared_gpu)
{
    char words[256];
    records *all = records_open(results_path, RECORD_SPEED, "abc");
    row_remark = "shared GPU";
    add_speed(all, "apb", 8, 32768, "ok", 0.5);
    records_close(all);
    expect_table("", "\n---\n"
                     "\n1 row of hosts that share a GPU or cores is left out: their times mean nothing.\n"
                     "\n1 row, 2025-01-01T00:00:00Z to 2025-01-01T00:00:00Z:\n"
                     "- commit abc; machine a test\n");
    snprintf(words, sizeof words, "plot %s --out %s", results_path, results_folder);
    free(output_of(command_plot, words, 1));
    cr_expect(strstr(fail_text(), "no row ended well on a GPU or cores of its host's own"), "%s", fail_text());
}

Test(table, a_length_that_is_not_there)
{
    char words[256];
    write_speed();
    snprintf(words, sizeof words, "table %s --length 12", results_path);
    expect_refused(command_table, words, 1, "--length 12: ");
    snprintf(words, sizeof words, "plot %s --out %s --length 12", results_path, results_folder);
    expect_refused(command_plot, words, 1, "has no row of that length");
}

Test(table, whole_and_cut_layers_apart)
{
    write_speed();
    expect_table(
        "",
        "\n"
        "## llama-3.1-8b, 8 hosts, projected over nvlink3\n"
        "\n"
        "device cpu, reps 3\n"
        "\n"
        "- APB, 8 hosts at 64K: anchor=1024:passing=512\n"
        "\n"
        "**Prefill, seconds** by length (start to first token, slowest host, median)\n"
        "\n"
        "| method        | timing             | hosts |   32K |     64K |\n"
        "|:--------------|:-------------------|------:|------:|--------:|\n"
        "| FlashAttn     | measured           |     1 |  4.00 |   10.00 |\n"
        "| RingAttn      | projected, nvlink3 |     8 | 0.800 | oom [1] |\n"
        "| APB           | projected, nvlink3 |     8 | 0.500 |    1.25 |\n"
        "| perfect exact | FlashAttn / hosts  |     8 | 0.500 |    1.25 |\n"
        "\n"
        "**Speedup of prefill** over FlashAttn on one host\n"
        "\n"
        "| method        | timing             | hosts |  32K |     64K |\n"
        "|:--------------|:-------------------|------:|-----:|--------:|\n"
        "| FlashAttn     | measured           |     1 | 1.00 |    1.00 |\n"
        "| RingAttn      | projected, nvlink3 |     8 | 5.00 | oom [1] |\n"
        "| APB           | projected, nvlink3 |     8 | 8.00 |    8.00 |\n"
        "| perfect exact | FlashAttn / hosts  |     8 | 8.00 |    8.00 |\n"
        "\n"
        "**Speed, tokens a second**: (input + output) / (prefill + decode)\n"
        "\n"
        "| method    | timing             | hosts |   32K |     64K |\n"
        "|:----------|:-------------------|------:|------:|--------:|\n"
        "| FlashAttn | measured           |     1 |  8192 |    6554 |\n"
        "| RingAttn  | projected, nvlink3 |     8 | 40960 | oom [1] |\n"
        "| APB       | projected, nvlink3 |     8 | 65536 |   52429 |\n"
        "\n"
        "**Milliseconds a layer by part, 64K tokens** (instrumented repetition, busiest host)\n"
        "\n"
        "| method    | timing             | hosts |   QKV | compress | comm | attention | O proj |   FFN | other |   sum |\n"
        "|:----------|:-------------------|------:|------:|---------:|-----:|----------:|-------:|------:|------:|------:|\n"
        "| FlashAttn | measured           |     1 | 78.12 |        - |    - |     156.2 |      - | 78.12 |     - | 312.5 |\n"
        "| APB       | projected, nvlink3 |     8 |  9.77 |        - |    - |     19.53 |      - |  9.77 |     - | 39.06 |\n"
        "\n"
        "[1] it was too much\n"
        "\n"
        "## llama-3.1-8b, only 4 of 32 layers, 8 hosts, projected over nvlink3\n"
        "\n"
        "device cpu, reps 3\n"
        "\n"
        "- APB, 8 hosts at 128K: anchor=1024:passing=512\n"
        "\n"
        "**Prefill, seconds** by length (start to first token, slowest host, median)\n"
        "\n"
        "| method | timing             | hosts |  128K |\n"
        "|:-------|:-------------------|------:|------:|\n"
        "| APB    | projected, nvlink3 |     8 | 0.250 |\n"
        "\n"
        "**Speed, tokens a second**: (input + output) / (prefill + decode)\n"
        "\n"
        "| method | timing             | hosts |   128K |\n"
        "|:-------|:-------------------|------:|-------:|\n"
        "| APB    | projected, nvlink3 |     8 | 524288 |\n"
        "\n"
        "**Milliseconds a layer by part, 128K tokens** (instrumented repetition, busiest host)\n"
        "\n"
        "| method | timing             | hosts |   QKV | compress | comm | attention | O proj |   FFN | other |   sum |\n"
        "|:-------|:-------------------|------:|------:|---------:|-----:|----------:|-------:|------:|------:|------:|\n"
        "| APB    | projected, nvlink3 |     8 | 15.62 |        - |    - |     31.25 |      - | 15.62 |     - | 62.50 |\n"
        "\n"
        "---\n"
        "\n"
        "8 rows, 2025-01-01T00:00:00Z to 2025-01-01T00:00:00Z:\n"
        "- commit abc; machine a test\n");
}

/* A speedup over a baseline of fewer layers says so, though its own row is of the whole model. */
Test(table, a_scaled_baseline_is_noted)
{
    char *text = table_of_rows("model,layers,model_layers,method,hosts,link,length,status,prefill_s\n"
                          "smollm2,3,30,flash,1,,1000,ok,0.8\n"
                          "smollm2,30,30,ring,4,eth100,1000,ok,4\n",
                          "--value speedup --scale-layers");
    cr_expect(strstr(text, "| RingAttn      | measured          |     4 | 2.00 [1] |\n"), "%s", text);
    cr_expect(strstr(text, "[1] ran 3 of 30 layers; times multiplied by 30/3\n"), "%s", text);
    free(text);
}

/* Two devices in a file: each has a bound of its own. */
Test(table, a_bound_for_each_baseline)
{
    char *text = table_of_rows("model,method,device,hosts,link,length,status,prefill_s\n"
                          "smollm2,flash,cpu,1,,1000,ok,8\n"
                          "smollm2,ring,cpu,4,eth100,1000,ok,3\n"
                          "smollm2,flash,cuda,1,,1000,ok,0.4\n"
                          "smollm2,ring,cuda,4,eth100,1000,ok,0.2\n",
                          "--value prefill_s");
    static const char lines[] =
        "| perfect exact (device=cpu)  | FlashAttn / hosts |     4 |  2.00 |\n"
        "| perfect exact (device=cuda) | FlashAttn / hosts |     4 | 0.100 |\n";
    cr_expect(strstr(text, lines), "%s lacks %s", text, lines);
    free(text);
}

Test(table, accuracy_by_task)
{
    write_accuracy();
    expect_table(
        "",
        "\n"
        "## smollm2, 1000 tokens\n"
        "\n"
        "samples 20\n"
        "\n"
        "- APB (compressor=random), 4 hosts at 1000: compressor=random\n"
        "\n"
        "| task                    | FlashAttn | APB (compressor=random), 4 hosts | APB, 4 hosts |\n"
        "|:------------------------|----------:|---------------------------------:|-------------:|\n"
        "| niah_1                  |     100.0 |                            60.00 |        80.00 |\n"
        "| niah_2                  |     55.00 |                       failed [1] |        50.00 |\n"
        "| **average**             |     77.50 |                        60.00 [2] |        65.00 |\n"
        "| average - FlashAttn     |     +0.00 |                                - |   -12.50 [3] |\n"
        "| KL from FlashAttn, nats |         0 |                        0.500 [2] |        0.500 |\n"
        "| same first token, share |         - |                                - |            - |\n"
        "\n"
        "[1] stopped | after 1 s\n"
        "[2] mean of 1 of the 2 tasks\n"
        "[3] no interval: not all samples of this row are in rows.samples.jsonl\n"
        "\n"
        "---\n"
        "\n"
        "6 rows, 2025-01-01T00:00:00Z to 2025-01-01T00:00:00Z:\n"
        "- commit abc\n");
}

/* A row that could not be run, its defaults not resolved, and the row that came when it could: one series,
 * of which the later row counts. */
Test(table, what_could_not_be_run_at_first)
{
    FILE *file = fopen(results_path, "w");
    fputs("model,method,options,weights,hosts,length,task,samples,status,detail,score\n"
          "smollm2,apb,anchor=auto:pool=1,,4,1000,qa_1,20,unsupported,no questions,\n"
          "smollm2,apb,anchor=64:pool=1,#0123456789ab,4,1000,qa_1,20,ok,,75\n",
          file);
    fclose(file);
    expect_table("", "\n"
                     "## smollm2, 1000 tokens\n"
                     "\n"
                     "samples 20\n"
                     "\n"
                     "- APB, 4 hosts at 1000: anchor=64:pool=1\n"
                     "\n"
                     "| task                    | APB, 4 hosts |\n"
                     "|:------------------------|-------------:|\n"
                     "| qa_1                    |        75.00 |\n"
                     "| **average**             |        75.00 |\n"
                     "| average - FlashAttn     |            - |\n"
                     "| KL from FlashAttn, nats |            - |\n"
                     "| same first token, share |            - |\n"
                     "\n"
                     "---\n"
                     "\n"
                     "2 rows,  to :\n"
                     "- \n");
}

/* Errors of the last layer's output stand under the table where the file has any. */
Test(table, errors_of_the_last_layer)
{
    static const char head[] = "model,method,hosts,length,task,status,score,kl,top1";
    static const char body[] = "smollm2,flash,1,1000,niah_1,ok,100,,%s\n"
                               "smollm2,apb,4,1000,niah_1,ok,80,0.25,1%s\n"
                               "smollm2,apb,4,1000,niah_2,ok,60,0.75,1%s\n";
    char words[256];
    snprintf(words, sizeof words, "table %s", results_path);
    for (int with = 0; with < 2; with++) {
        FILE *file = fopen(results_path, "w");
        fprintf(file, with ? "%s,error_start,error_end,error_document,error_query\n" : "%s\n", head);
        fprintf(file, body, with ? ",,,," : "", with ? ",0.5,0.25,0.125,0.2" : "",
                with ? ",0.25,0.75,0.375,0.4" : "");
        fclose(file);
        char *text = output_of(command_table, words, 0);
        cr_expect(strstr(text, "| same first token, share "), "%s", text);
        static const char *const lines[] = {
            "| error of last layer, block start |         - |        0.375 |\n",
            "| error of last layer, block end   |         - |        0.500 |\n",
            "| error of last layer, document    |         - |        0.250 |\n",
            "| error of last layer, query       |         - |        0.300 |\n",
        };
        for (int i = 0; with && i < 4; i++)
            cr_expect(strstr(text, lines[i]), "%s lacks %s", text, lines[i]);
        cr_expect(strstr(text, with ? "| average - FlashAttn              |         - |            - |\n"
                                    : "| average - FlashAttn     |         - |            - |\n"),
                  "FlashAttn has one of the tasks alone: %s", text);
        cr_expect(with || !strstr(text, "error of last layer"), "%s", text);
        free(text);
    }
}

/* What such hosts answer is what others would. */
Test(table, shared_gpu_scores)
{
    char words[256];
    write_accuracy();
    snprintf(words, sizeof words, "table %s", results_path);
    char *expected = output_of(command_table, words, 0);
    cr_assert_eq(unlink(results_path), 0);
    row_remark = "shared GPU";
    write_accuracy();
    char *found = output_of(command_table, words, 0);
    cr_expect_str_eq(found, expected);
    free(found);
    free(expected);
}

Test(table, refusals)
{
    char words[256];
    expect_refused(command_table, "table", 2, "a results file is missing");
    expect_refused(command_table, "table /nowhere/x.csv", 1, "/nowhere/x.csv: No such file");
    write_speed();
    snprintf(words, sizeof words, "table %s --preset paper-table99", results_path);
    expect_refused(command_table, words, 2, "there is no preset 'paper-table99'");
    snprintf(words, sizeof words, "table %s --value prefil_s", results_path);
    expect_refused(command_table, words, 1, "has no column \"prefil_s\"");
    snprintf(words, sizeof words, "table %s --value utilisation", results_path);
    expect_refused(command_table, words, 1, "no row has a number in column \"utilisation\"");
    FILE *file = fopen(results_path, "w");
    fputs("model,method\n", file);
    fclose(file);
    snprintf(words, sizeof words, "table %s", results_path);
    expect_refused(command_table, words, 1, "has no column \"hosts\"");
    expect_refused(command_plot, words, 2, "--out is missing");
}
