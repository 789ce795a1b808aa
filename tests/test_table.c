/* Tables and figures from small results files: the Markdown is compared line by line, figures by
 * being whole PNG and SVG files. */
#include "harness/command/command.h"
#include "harness/error.h"
#include "harness/records/csv.h"
#include "harness/records/records.h"
#include "tests/results_fixture.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TestSuite(table, .init = make_results_folder, .fini = remove_results_folder);

static void expect_lines(const char *found, const char *expected)
{
    for (int line = 1; *found || *expected; line++) {
        size_t length = strcspn(found, "\n"), wanted = strcspn(expected, "\n");
        cr_assert(length == wanted && !memcmp(found, expected, length),
                  "line %d is\n%.*s\nwhere it should be\n%.*s", line, (int)length, found,
                  (int)wanted, expected);
        found += length + (found[length] != 0);
        expected += wanted + (expected[wanted] != 0);
    }
}

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

static const char *remark = ""; /* detail of rows that end well */
static const char *comm_name = "sim";
static const char *link_name = "nvlink3"; /* of several hosts; "": real ones */
static double exposed_s;                   /* of the instrumented repetition; 0: not recorded */

static void speed_of_layers(records *all, int layers, const char *method, int hosts, int length,
                            const char *status, double prefill_s)
{
    record row = {.kind = RECORD_SPEED};
    bool ok = !strcmp(status, "ok");
    record_text(&row, SPEED_MODEL, "llama-3.1-8b");
    record_integer(&row, SPEED_LAYERS, layers);
    record_integer(&row, SPEED_MODEL_LAYERS, 32);
    record_text(&row, SPEED_METHOD, method);
    record_text(&row, SPEED_DEVICE, "cpu");
    record_text(&row, SPEED_COMM, comm_name);
    record_text(&row, SPEED_LINK, hosts > 1 ? link_name : "");
    record_integer(&row, SPEED_HOSTS, hosts);
    record_integer(&row, SPEED_LENGTH, length);
    record_integer(&row, SPEED_REPS, 3);
    record_text(&row, SPEED_STATUS, status);
    record_text(&row, SPEED_OPTIONS, !strcmp(method, "apb") ? "anchor=1024:passing=512" : "");
    if (ok) {
        record_number(&row, SPEED_PREFILL_S, prefill_s);
        record_number(&row, SPEED_SPEED_TOK_S, length / prefill_s);
        record_number(&row, SPEED_QKV_S, prefill_s * 0.25);
        record_number(&row, SPEED_ATTENTION_S, prefill_s * 0.5);
        record_number(&row, SPEED_FFN_S, prefill_s * 0.25);
        record_integer(&row, SPEED_PROJECTED, hosts > 1 && *link_name);
        if (exposed_s > 0) {
            record_number(&row, SPEED_COMM_S, exposed_s);
            record_number(&row, SPEED_INSTRUMENTED_S, prefill_s);
        }
        record_text(&row, SPEED_DETAIL, remark);
    } else {
        record_text(&row, SPEED_DETAIL, "it was too much");
    }
    record_text(&row, SPEED_MACHINE, "a test");
    record_text(&row, SPEED_DATE, "2025-01-01T00:00:00Z");
    cr_assert_eq(records_append(all, &row), 0, "%s", fail_text());
    record_clear(&row);
}

static void speed(records *all, const char *method, int hosts, int length, const char *status,
                  double prefill_s)
{
    speed_of_layers(all, length > 65536 ? 4 : 32, method, hosts, length, status, prefill_s);
}

static void write_speed(void)
{
    records *all = records_open(results_path, RECORD_SPEED, "abc");
    cr_assert(all, "%s", fail_text());
    speed(all, "flash", 1, 32768, "ok", 4);
    speed(all, "flash", 1, 65536, "ok", 10);
    speed(all, "apb", 8, 32768, "failed", NAN); /* tried again below */
    speed(all, "ring", 8, 32768, "ok", 0.8);
    speed(all, "ring", 8, 65536, "oom", NAN);
    speed(all, "apb", 8, 32768, "ok", 0.5);
    speed(all, "apb", 8, 65536, "ok", 1.25);
    speed(all, "apb", 8, 131072, "ok", 0.25); /* 4 of 32 layers */
    records_close(all);
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

/* A cell that did not fit whole shows what some of its layers say; one that did shows itself. */
Test(table, a_value_goes_before_a_reason)
{
    write_speed();
    records *all = records_open(results_path, RECORD_SPEED, "abc");
    speed_of_layers(all, 32, "apb", 8, 131072, "oom", NAN);
    speed_of_layers(all, 4, "apb", 8, 65536, "ok", 99);
    speed_of_layers(all, 4, "ring", 8, 65536, "ok", 0.5);
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
    speed(all, "zigzag", 8, 32768, "ok", 0.4); /* which the paper does not have */
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

/* Rows of hosts that share a GPU: as if they were not there, but for a note. */
Test(table, shared_gpu_is_no_timing)
{
    char words[256];
    write_speed();
    snprintf(words, sizeof words, "table %s --preset paper-table14", results_path);
    char *without = output_of(command_table, words, 0);
    records *all = records_open(results_path, RECORD_SPEED, "abc");
    comm_name = "nccl";
    remark = "shared GPU";
    speed(all, "apb", 8, 32768, "ok", 77);
    speed(all, "flash", 1, 32768, "ok", 88);
    speed(all, "zigzag", 4, 16384, "ok", 99); /* alone of its method, hosts and length */
    records_close(all);
    char *with = output_of(command_table, words, 0);
    char *end = strstr(without, "\n---\n");
    cr_assert(end);
    cr_expect(!strncmp(with, without, (size_t)(end - without) + 5), "the tables differ:\n%s", with);
    cr_expect(strstr(with, "\n3 rows of hosts that share a GPU are left out: their times mean nothing.\n"
                           "\n11 rows, "), "no note in\n%s", with);
    free(with);
    free(without);

    snprintf(words, sizeof words, "plot %s --out %s --keep-data", results_path, results_folder);
    free(output_of(command_plot, words, 0));
    char *file = format_text("%s/prefill-llama-3.1-8b-8hosts-nvlink3.dat", results_folder);
    size_t bytes;
    char *data = file_text(file, &bytes);
    cr_assert(data, "%s", fail_text());
    cr_expect(strstr(data, "32768 0.5\n") && strstr(data, "32768 4\n"), "%s", data);
    cr_expect(!strstr(data, " 77") && !strstr(data, " 88") && !strstr(data, "16384"), "%s", data);
    free(data);
    free(file);
}

/* Every cell that ran both ways, over each link, whole and cut apart; others and bad ends are left out. */
Test(table, measured_against_projected)
{
    records *all = records_open(results_path, RECORD_SPEED, "abc");
    speed(all, "flash", 1, 32768, "ok", 4);
    exposed_s = 0.1;
    speed(all, "ring", 8, 32768, "ok", 0.8);
    speed(all, "zigzag", 8, 32768, "ok", 0.6); /* never measured */
    speed(all, "apb", 8, 131072, "ok", 0.2);
    speed_of_layers(all, 32, "apb", 8, 131072, "ok", 1.6);
    link_name = "nvlink4";
    speed(all, "ring", 8, 32768, "ok", 0.5);
    speed(all, "star", 8, 32768, "oom", 0);
    link_name = "";
    comm_name = "nccl";
    exposed_s = 0.25;
    speed(all, "ring", 8, 32768, "ok", 1);
    speed(all, "star", 8, 32768, "ok", 1);
    exposed_s = 0;
    speed(all, "apb", 8, 131072, "ok", 0.19);
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
        "| RingAttn | nvlink3        | llama-3.1-8b | 32 of 32 |     8 |    32K |     1.00 |     0.800 | 1.250 |            25.0 % |             12.5 % |\n"
        "| RingAttn | nvlink4        | llama-3.1-8b | 32 of 32 |     8 |    32K |     1.00 |     0.500 | 2.000 |            25.0 % |             20.0 % |\n"
        "| APB      | nvlink3        | llama-3.1-8b |  4 of 32 |     8 |   128K |    0.190 |     0.200 | 0.950 |                 - |             50.0 % |\n");
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
    remark = "shared GPU";
    speed(all, "apb", 8, 32768, "ok", 0.5);
    records_close(all);
    expect_table("", "\n---\n"
                     "\n1 row of hosts that share a GPU is left out: their times mean nothing.\n"
                     "\n1 rows, 2025-01-01T00:00:00Z to 2025-01-01T00:00:00Z:\n"
                     "- commit abc; machine a test\n");
    snprintf(words, sizeof words, "plot %s --out %s", results_path, results_folder);
    free(output_of(command_plot, words, 1));
    cr_expect(strstr(fail_text(), "no row ended well on a GPU of its host's own"), "%s", fail_text());
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

static void accuracy(records *all, const char *method, const char *variant, int hosts,
                     const char *task, double score, double kl)
{
    record row = {.kind = RECORD_ACCURACY};
    record_text(&row, ACCURACY_MODEL, "smollm2");
    record_integer(&row, ACCURACY_LAYERS, 30);
    record_integer(&row, ACCURACY_MODEL_LAYERS, 30);
    record_text(&row, ACCURACY_METHOD, method);
    record_text(&row, ACCURACY_VARIANT, variant);
    /* What was not run may have defaults that were never resolved: they are not what is listed. */
    record_text(&row, ACCURACY_OPTIONS, isnan(score) ? "anchor=auto" : variant);
    record_integer(&row, ACCURACY_HOSTS, hosts);
    record_text(&row, ACCURACY_LINK, "nvlink3");
    record_integer(&row, ACCURACY_LENGTH, 1000);
    record_text(&row, ACCURACY_TASK, task);
    record_integer(&row, ACCURACY_SAMPLES, 20);
    record_text(&row, ACCURACY_STATUS, isnan(score) ? "failed" : "ok");
    record_text(&row, ACCURACY_DETAIL, isnan(score) ? "stopped | after 1 s" : remark);
    record_number(&row, ACCURACY_SCORE, score);
    record_number(&row, ACCURACY_KL, kl);
    record_text(&row, ACCURACY_DATE, "2025-01-01T00:00:00Z");
    cr_assert_eq(records_append(all, &row), 0, "%s", fail_text());
    record_clear(&row);
}

static void write_accuracy(void)
{
    records *all = records_open(results_path, RECORD_ACCURACY, "abc");
    cr_assert(all, "%s", fail_text());
    accuracy(all, "apb", "compressor=random", 4, "niah_1", 60, 0.5);
    accuracy(all, "apb", "compressor=random", 4, "niah_2", NAN, NAN);
    accuracy(all, "apb", "", 4, "niah_1", 80, 0.25);
    accuracy(all, "apb", "", 4, "niah_2", 50, 0.75);
    accuracy(all, "flash", "", 1, "niah_1", 100, 0);
    accuracy(all, "flash", "", 1, "niah_2", 55, 0);
    records_close(all);
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
    remark = "shared GPU";
    write_accuracy();
    char *found = output_of(command_table, words, 0);
    cr_expect_str_eq(found, expected);
    free(found);
    free(expected);
}

static void expect_refused(int (*command)(int, char **), const char *words, int status,
                           const char *sentence)
{
    free(output_of(command, words, status));
    cr_expect(strstr(fail_text(), sentence), "\"%s\" lacks \"%s\"", fail_text(), sentence);
}

Test(table, refusals)
{
    char words[256];
    expect_refused(command_table, "table", 2, "a results file is missing");
    expect_refused(command_table, "table /nowhere/x.csv", 1, "/nowhere/x.csv: No such file");
    write_speed();
    snprintf(words, sizeof words, "table %s --preset paper-table99", results_path);
    expect_refused(command_table, words, 1, "there is no preset 'paper-table99'");
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

/* ---- Figures ---- */

static void expect_figures(const char *words, const char *const *names, int count)
{
    char *text = output_of(command_plot, words, 0), *rest = text;
    for (int i = 0; i < count; i++) {
        char *png = format_text("%s/%s.png", results_folder, names[i]);
        char *svg = format_text("%s/%s.svg", results_folder, names[i]), *found;
        size_t bytes;
        found = strsep(&rest, "\n");
        cr_expect_str_eq(found ? found : "", png);
        found = strsep(&rest, "\n");
        cr_expect_str_eq(found ? found : "", svg);
        char *image = file_text(png, &bytes);
        cr_assert(image, "%s", fail_text());
        cr_expect(bytes > 5000 && !memcmp(image, "\x89PNG\r\n\x1a\n", 8) &&
                      !memcmp(image + bytes - 8, "IEND", 4),
                  "%s is no whole PNG", png);
        free(image);
        image = file_text(svg, &bytes);
        cr_assert(image, "%s", fail_text());
        cr_expect(bytes > 2000 && !memcmp(image, "<?xml", 5) && strstr(image, "</svg>"),
                  "%s is no whole SVG", svg);
        free(image);
        free(png);
        free(svg);
    }
    cr_expect_str_eq(rest ? rest : "", "", "more was drawn than expected");
    free(text);
}

Test(table, figures_of_speed)
{
    char words[256];
    write_speed();
    const char *const names[] = {"prefill-llama-3.1-8b-8hosts-nvlink3",
                                 "speedup-llama-3.1-8b-8hosts-nvlink3",
                                 "breakdown-llama-3.1-8b-8hosts-nvlink3"};
    snprintf(words, sizeof words, "plot %s --out %s --preset paper-table14 --keep-data", results_path,
             results_folder);
    expect_figures(words, names, 3);
    /* The curves themselves: a block each, the bound first, the paper's behind ours. */
    char *file = format_text("%s/%s.dat", results_folder, names[1]);
    size_t bytes;
    char *data = file_text(file, &bytes);
    cr_assert(data, "%s", fail_text());
    expect_lines(strchr(data, '\n') + 1,
                 "\"perfect exact (FlashAttn / 8)\"\n32768 8\n65536 8\n\n\n"
                     "\"FlashAttn\"\n32768 1\n65536 1\n\n\n"
                     "\"RingAttn\"\n32768 5\n\n\n"
                     "\"APB\"\n32768 8\n65536 8\n\n\n"
                     "\"FlashAttn, paper\"\n32768 1\n65536 1\n131072 1\n\n\n"
                     "\"RingAttn, paper\"\n32768 4.80555556\n65536 4.755\n131072 4.73343849\n\n\n"
                     "\"Ulysses, paper\"\n32768 6.92\n65536 7.31538462\n131072 7.59746835\n\n\n"
                     "\"StarAttn, paper\"\n32768 5.1641791\n65536 6.65034965\n131072 8.57428571\n\n\n"
                     "\"APB, paper\"\n32768 7.06122449\n65536 8.72477064\n131072 10.7562724\n\n\n"
                     "\"MInference, paper\"\n32768 0.698989899\n65536 1.09059633\n131072 1.97955145\n");
    free(data);
    free(file);
}

Test(table, figures_of_accuracy)
{
    char words[256];
    write_accuracy();
    const char *const names[] = {"scores-smollm2-1000"}; /* one length: bars */
    snprintf(words, sizeof words, "plot %s --out %s --keep-data", results_path, results_folder);
    expect_figures(words, names, 1);
    char *file = format_text("%s/%s.dat", results_folder, names[0]);
    size_t bytes;
    char *data = file_text(file, &bytes);
    cr_assert(data, "%s", fail_text());
    /* Without samples an interval has no width; a series that lacks a task's score has no bar. */
    expect_lines(strchr(data, '\n') + 1, "\"FlashAttn\" 77.5 77.5 77.5 1 \"77.5\"\n"
                                         "\"APB\" 65 65 65 6 \"65.0\"\n");
    free(data);
    free(file);
}

Test(table, gnuplot_missing_is_one_sentence)
{
    char words[256];
    write_accuracy();
    setenv("PATH", results_folder, 1);
    snprintf(words, sizeof words, "plot %s --out %s", results_path, results_folder);
    expect_refused(command_plot, words, 1, "gnuplot was not found: install the package gnuplot-nox");
}
