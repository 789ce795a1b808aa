/* Intervals of scores: the bootstrap on values whose quantiles are known, samples read back from files
 * in any order and with what killed runs leave, and the tables made of them. */
#include "harness/command/command.h"
#include "harness/error.h"
#include "harness/records/csv.h"
#include "harness/records/records.h"
#include "harness/report/intervals/bootstrap.h"
#include "harness/report/intervals/samples.h"
#include "tests/results_fixture.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- The bootstrap ---- */

Test(bootstrap, equal_values_have_no_width)
{
    double values[35];
    int64_t counts[] = {10, 20, 5};
    for (int i = 0; i < 35; i++)
        values[i] = i < 10 ? 0.1 : i < 30 ? 0.7 : 1.3; /* none is exact in binary */
    interval found = bootstrap_mean(values, counts, 3);
    cr_expect_eq(found.low, found.high);
    cr_expect_float_eq(found.mean, 0.7, 1e-12); /* strata weigh alike, not samples */
    cr_expect_float_eq(found.low, 0.7, 1e-12);
}

/* 25 of 50 are ones, so a resampled sum is Binomial(50, 1/2): P(<= 17) = 0.0164 and P(<= 18) = 0.0325,
 * so that its 2.5 % quantile is 18, and 32 the other. Of 10,000 resamples the shares have standard
 * errors of 0.0013 and 0.0018, more than four of which lie between them and 0.025: the quantiles
 * themselves come out, and only sums of doubles may be off. */
Test(bootstrap, two_values_give_binomial_quantiles)
{
    double values[50];
    int64_t count = 50;
    for (int i = 0; i < 50; i++)
        values[i] = i % 2;
    interval found = bootstrap_mean(values, &count, 1);
    cr_expect_float_eq(found.mean, 0.5, 1e-12);
    cr_expect_float_eq(found.low, 18 / 50.0, 1e-12);
    cr_expect_float_eq(found.high, 32 / 50.0, 1e-12);
    interval again = bootstrap_mean(values, &count, 1);
    cr_expect(!memcmp(&found, &again, sizeof found), "the same values gave another interval");
}

/* Beside a stratum of four threes the same fifty count half. */
Test(bootstrap, strata_are_drawn_apart)
{
    double values[54] = {3, 3, 3, 3};
    int64_t counts[] = {4, 50};
    for (int i = 4; i < 54; i++)
        values[i] = i % 2;
    interval found = bootstrap_mean(values, counts, 2);
    cr_expect_float_eq(found.mean, (3 + 0.5) / 2, 1e-12);
    cr_expect_float_eq(found.low, (3 + 0.36) / 2, 1e-12);
    cr_expect_float_eq(found.high, (3 + 0.64) / 2, 1e-12);
}

/* A thousand spread values: the mean is nearly normal, 1.96 standard errors either way. Three hundredths
 * of that: a quantile of 10,000 has a standard error of 0.027 standard errors there. */
Test(bootstrap, many_values_come_near_the_normal_interval)
{
    double values[1000], variance = 0;
    int64_t count = 1000;
    for (int i = 0; i < 1000; i++) {
        values[i] = (i + 0.5) / 1000;
        variance += (values[i] - 0.5) * (values[i] - 0.5) / 1000;
    }
    double error = sqrt(variance / 1000);
    interval found = bootstrap_mean(values, &count, 1);
    cr_expect_float_eq((found.high - 0.5) / error, 1.96, 0.1, "%g", (found.high - 0.5) / error);
    cr_expect_float_eq((0.5 - found.low) / error, 1.96, 0.1, "%g", (0.5 - found.low) / error);
}

/* ---- Files ---- */

static char samples_path[160];

static void make_folder(void)
{
    make_results_folder();
    snprintf(samples_path, sizeof samples_path, "%s/rows.samples.jsonl", results_folder);
}

TestSuite(intervals, .init = make_folder, .fini = remove_results_folder);

static void write_text(const char *file, const char *text)
{
    FILE *out = fopen(file, "w");
    cr_assert(out && fputs(text, out) >= 0 && fclose(out) == 0);
}

Test(intervals, samples_in_any_order_and_the_last_line_counts)
{
    write_text(samples_path,
               "{\"row\":2,\"sample\":0,\"score\":0.25}\n"
               "{\"row\":1,\"sample\":1,\"score\":1}\n"        /* what a killed run left */
               "{\"row\":1,\"sample\":2,\"score\":0.5,\"document\":\"a\\u0000b\"}\n"
               "{\"row\":1,\"score\":1}\n"                     /* no sample */
               "[1]\n"
               "{\"row\":1,\"sample\":1,\"score\":0}\n"
               "{\"row\":1,\"sample\":0,\"score\":null}\n"
               "{\"row\":1,\"sample\":3,\"sco");               /* torn */
    sample_scores *all = sample_scores_read(results_path);
    cr_assert(all, "%s", fail_text());
    cr_expect_eq(all->count, 3);
    cr_expect_eq(all->broken, 4);
    cr_expect(!all->missing);
    int64_t count;
    const sample_score *first = sample_scores_of(all, 1, &count);
    cr_assert_eq(count, 2);
    cr_expect(first[0].number == 1 && first[0].score == 0 && first[1].number == 2 &&
              first[1].score == 0.5);
    const sample_score *second = sample_scores_of(all, 2, &count);
    cr_expect(count == 1 && second->score == 0.25);
    cr_expect(!sample_scores_of(all, 3, &count) && count == 0);
    cr_expect(!sample_scores_of(all, 0, &count) && count == 0);
    sample_scores_free(all);
    unlink(samples_path);
    all = sample_scores_read(results_path);
    cr_assert(all, "%s", fail_text());
    cr_expect(all->missing && !all->count);
    cr_expect(!sample_scores_of(all, 1, &count));
    sample_scores_free(all);
}

/* ---- Tables ---- */

/* Of the rows to come: */
static const char *source = "", *chat = "", *seed = "", *generator = "";
static int first_sample;
static double score_off; /* from what their samples make */
static char details[192];       /* where their samples go */
static int row_number;          /* of the last row there */

static records *open_rows(const char *file)
{
    records *all = records_open(file, RECORD_ACCURACY, "abc");
    cr_assert(all, "%s", fail_text());
    csv *table = csv_read(file);
    cr_assert(table, "%s", fail_text());
    row_number = table->rows;
    csv_free(table);
    snprintf(details, sizeof details, "%.*s.samples.jsonl", (int)(strlen(file) - strlen(".csv")), file);
    return all;
}

/* A row of `count` samples of which those in `right`, a text of 0s and 1s repeated, are right. */
static void add_row(records *all, const char *method, const char *variant, int hosts, int length,
                    const char *task, const char *right, int count)
{
    record row = {.kind = RECORD_ACCURACY};
    int sum = 0;
    FILE *out = fopen(details, "a");
    cr_assert(out);
    row_number++;
    for (int i = 0; i < count; i++) {
        int score = right[(size_t)i % strlen(right)] == '1';
        fprintf(out, "{\"row\":%d,\"sample\":%d,\"score\":%d.0}\n", row_number, first_sample + i,
                score);
        sum += score;
    }
    cr_assert_eq(fclose(out), 0);
    record_text(&row, ACCURACY_MODEL, "smollm2");
    record_text(&row, ACCURACY_METHOD, method);
    record_text(&row, ACCURACY_VARIANT, variant);
    record_integer(&row, ACCURACY_HOSTS, hosts);
    record_integer(&row, ACCURACY_LENGTH, length);
    record_text(&row, ACCURACY_TASK, task);
    record_text(&row, ACCURACY_SOURCE, source);
    record_text(&row, ACCURACY_CHAT, chat);
    record_text(&row, ACCURACY_SEED, seed);
    record_text(&row, ACCURACY_GENERATOR, generator);
    record_integer(&row, ACCURACY_SAMPLES, count);
    record_text(&row, ACCURACY_STATUS, "ok");
    record_number(&row, ACCURACY_SCORE, 100.0 * sum / count + score_off);
    record_text(&row, ACCURACY_DATE, "2025-01-01T00:00:00Z");
    cr_assert_eq(records_append(all, &row), 0, "%s", fail_text());
    record_clear(&row);
}

/* vt: StarAttn is wrong on every other sample that FlashAttn has right, the half of 50, so that the sums
 * of differences are the binomials above; APB is right on the other half than FlashAttn's, which has
 * half of them in cwe. */
static void write_rows(void)
{
    records *all = open_rows(results_path);
    add_row(all, "flash", "", 1, 1024, "vt", "1", 50);
    add_row(all, "flash", "", 1, 1024, "cwe", "10", 50);
    add_row(all, "star", "", 4, 1024, "vt", "10", 50);
    add_row(all, "star", "", 4, 1024, "cwe", "10", 50);
    add_row(all, "apb", "", 4, 1024, "vt", "0", 50);
    add_row(all, "apb", "", 4, 1024, "cwe", "0", 50);
    add_row(all, "apb", "pool=0", 4, 1024, "vt", "1", 50);
    add_row(all, "apb", "pool=0", 4, 1024, "cwe", "1", 50);
    records_close(all);
}

/* The lines of the samples' file backwards: their order must not matter. */
static void turn_samples(void)
{
    size_t bytes;
    char *text = file_text(samples_path, &bytes);
    cr_assert(text, "%s", fail_text());
    FILE *out = fopen(samples_path, "w");
    for (size_t end = bytes; end;) {
        const char *before = end > 1 ? memrchr(text, '\n', end - 1) : NULL;
        size_t begin = before ? (size_t)(before - text) + 1 : 0;
        fwrite(text + begin, 1, end - begin, out);
        end = begin;
    }
    fclose(out);
    free(text);
}

static char *table_of(const char *words, int expected_status)
{
    return output_of(command_table, words, expected_status);
}

/* The table of the file with these flags has each of the lines, blanks taken together. */
static void expect_in_table(const char *flags, const char *const *lines, int count)
{
    char *words = format_text("table %s%s%s", results_path, *flags ? " " : "", flags);
    char *text = table_of(words, 0), *to = text;
    for (char *from = text; *from; from++) /* columns are padded */
        if (*from != ' ' || to == text || to[-1] != ' ')
            *to++ = *from;
    *to = 0;
    for (int i = 0; i < count; i++)
        cr_expect(strstr(text, lines[i]), "%s is not in\n%s", lines[i], text);
    free(text);
    free(words);
}

/* StarAttn: -50 in vt (-64 to -36), and in cwe it answers the very samples right that FlashAttn does,
 * whose difference has no width although either score has. */
static const char *const differences[] = {
    "| average - FlashAttn | +0.00 | -25.00 (-32.00 to -18.00) | -75.00 (-82.00 to -68.00) | "
    "+25.00 (+18.00 to +32.00) |\n",
    "In brackets: 95 % intervals by the bootstrap over samples within each task (10000 resamples)"};

Test(intervals, differences_from_flash)
{
    write_rows();
    expect_in_table("", differences, 2);
    turn_samples();
    expect_in_table("", differences, 2);
}

Test(intervals, of_every_score)
{
    write_rows();
    const char *const lines[] = {
        "| vt | 100.0 (100.0 to 100.0) | 50.00 (36.00 to 64.00) | 0 (0 to 0) | 100.0 (100.0 to 100.0) |\n",
        "| cwe | 50.00 (36.00 to 64.00) | 50.00 (36.00 to 64.00) | 0 (0 to 0) | 100.0 (100.0 to 100.0) |\n",
        "| **average** | 75.00 (68.00 to 82.00) | 50.00 (40.00 to 60.00) | 0 (0 to 0) |"};
    expect_in_table("--intervals", lines, 3);
}

Test(intervals, against_others)
{
    write_rows();
    const char *const lines[] = {
        "**Paired differences** of the average over tasks",
        "| StarAttn, 4 hosts | FlashAttn | -25.00 | -32.00 to -18.00 | 0.0 % | 75.0 % | 25.0 % | 100 |\n",
        "| APB (pool=0), 4 hosts | FlashAttn | +25.00 | +18.00 to +32.00 | 25.0 % | 75.0 % | 0.0 % | 100 |\n",
        "| FlashAttn | APB (pool=0), 4 hosts |"};
    expect_in_table("--against flash,star", lines, 3);
    const char *const fixed[] = {
        "| FlashAttn | APB (pool=0), 4 hosts | -25.00 | -32.00 to -18.00 | 0.0 % | 75.0 % | 25.0 % | 100 |\n",
        "| APB, 4 hosts | APB (pool=0), 4 hosts | -100.00 | -100.00 to -100.00 | 0.0 % | 0.0 % | 100.0 % | 100 |\n"};
    expect_in_table("--against apb:pool=0@4", fixed, 2);
    const char *const every[] = {
        "| APB, 4 hosts | StarAttn, 4 hosts | -50.00 | -60.00 to -40.00 | 0.0 % | 50.0 % | 50.0 % | 100 |\n",
        "| APB (pool=0), 4 hosts | APB, 4 hosts | +100.00 |"};
    expect_in_table("--against all", every, 2);
    char words[256];
    snprintf(words, sizeof words, "table %s --against all", results_path);
    char *pairs = table_of(words, 0);
    cr_expect(!strstr(strstr(pairs, "**Paired"), "\n| FlashAttn "), "against itself, or twice: %s", pairs);
    free(pairs);
    snprintf(words, sizeof words, "table %s --against star,apb", results_path);
    char *once = table_of(words, 0);
    cr_expect(strstr(once, "\n| APB, 4 hosts ") && !strstr(once, "\n| StarAttn, 4 hosts "), "%s", once);
    free(once);
    snprintf(words, sizeof words, "table %s --against star@8", results_path);
    free(table_of(words, 1));
    cr_expect(strstr(fail_text(), "has no series 'star@8' for --against"), "%s", fail_text());
    snprintf(words, sizeof words, "table %s --against ring", results_path);
    free(table_of(words, 1));
    cr_expect(strstr(fail_text(), "has no series 'ring' for --against; it has flash, star, apb, "
                                  "apb:pool=0, each with"), "%s", fail_text());
    snprintf(words, sizeof words, "table %s --against apb@x", results_path);
    free(table_of(words, 1));
    cr_expect(strstr(fail_text(), "behind the @ belongs a number of hosts"), "%s", fail_text());
}

/* Two series have the tasks in common that both have. */
Test(intervals, against_others_in_some_tasks)
{
    records *all = open_rows(results_path);
    add_row(all, "flash", "", 1, 1024, "vt", "1", 50);
    add_row(all, "flash", "", 1, 1024, "cwe", "1", 50);
    add_row(all, "star", "", 4, 1024, "vt", "10", 50);
    records_close(all);
    const char *const lines[] = {
        "| StarAttn, 4 hosts | FlashAttn | -50.00 | -64.00 to -36.00 | 0.0 % | 50.0 % | 50.0 % | 50 [1] |\n",
        "[1] of 1 of the 2 tasks, which both have\n"};
    expect_in_table("--against flash", lines, 2);
}

/* A killed run's lines before a row's own change nothing; scores that do not make the row's do. */
Test(intervals, what_a_killed_run_left)
{
    write_rows();
    size_t bytes;
    char *text = file_text(samples_path, &bytes);
    char *longer = format_text("{\"row\":3,\"sample\":0,\"score\":0.0}\n{\"row\":3,\"sample\":7,\"score\":1}\n"
                               "%s{\"row\":9,\"sample\":0,\"score\":1}\n{\"row\":9,\"sa", text);
    write_text(samples_path, longer);
    expect_in_table("", differences, 2);
    free(longer);
    longer = format_text("%s{\"row\":3,\"sample\":0,\"score\":0.5}\n", text);
    write_text(samples_path, longer);
    const char *const lines[] = {
        "| average - FlashAttn | +0.00 | -25.00 [1] | -75.00 (-82.00 to -68.00) |",
        "[1] no interval: the samples in rows.samples.jsonl do not make the score of this row\n"};
    expect_in_table("", lines, 2);
    free(longer);
    free(text);
}

Test(intervals, samples_that_are_missing)
{
    write_rows();
    size_t bytes;
    char *text = file_text(samples_path, &bytes), *row = strstr(text, "{\"row\":4,\"sample\":49");
    cr_assert(row);
    char *cut = format_text("%.*s%s", (int)(row - text), text, strchr(row, '\n') + 1);
    write_text(samples_path, cut);
    const char *const lines[] = {
        "| average - FlashAttn | +0.00 | -25.00 [1] | -75.00 (-82.00 to -68.00) |",
        "[1] no interval: not all samples of this row are in rows.samples.jsonl\n"};
    expect_in_table("", lines, 2);
    unlink(samples_path);
    const char *const none[] = {
        "| average - FlashAttn | +0.00 | -25.00 [1] | -75.00 [1] | +25.00 [1] |\n",
        "[1] no interval: rows.samples.jsonl is missing\n"};
    expect_in_table("", none, 2);
    const char *const paired[] = {"| StarAttn, 4 hosts | FlashAttn | - [1] | - |"};
    expect_in_table("--against flash", paired, 1);
    free(cut);
    free(text);
}

/* Two decimals may be rounded otherwise than the samples' sum, by one of the last; a single sample says
 * nothing of others. */
Test(intervals, rounded_scores_and_single_samples)
{
    write_rows();
    records *all = open_rows(results_path);
    score_off = 0.01;
    add_row(all, "ring", "", 4, 1024, "vt", "10", 50);
    add_row(all, "ring", "", 4, 1024, "cwe", "10", 50);
    score_off = 0.02;
    add_row(all, "ulysses", "", 4, 1024, "vt", "10", 50);
    add_row(all, "ulysses", "", 4, 1024, "cwe", "10", 50);
    score_off = 0;
    add_row(all, "zigzag", "", 4, 1024, "vt", "10", 1);
    add_row(all, "zigzag", "", 4, 1024, "cwe", "10", 1);
    records_close(all);
    const char *const lines[] = {
        "| average - FlashAttn | +0.00 | -24.99 (-32.00 to -18.00) | +25.00 [1] | -24.98 [2] | "
        "-25.00 (-32.00 to -18.00) |",
        "[1] no interval: a single sample\n",
        "[2] no interval: the samples in rows.samples.jsonl do not make the score of this row\n"};
    expect_in_table("", lines, 3);
}

/* Samples of another text, seed or maker or in a template, or others of the same, are no pairs. */
Test(intervals, samples_that_are_not_the_same)
{
    write_rows();
    records *all = open_rows(results_path);
    source = "essays.txt";
    add_row(all, "ring", "", 4, 1024, "vt", "1", 50);
    add_row(all, "ring", "", 4, 1024, "cwe", "1", 50);
    source = "";
    generator = "official";
    add_row(all, "ring", "later=1", 4, 1024, "vt", "1", 50);
    add_row(all, "ring", "later=1", 4, 1024, "cwe", "1", 50);
    generator = "";
    seed = "7";
    add_row(all, "ulysses", "later=1", 4, 1024, "vt", "1", 50);
    add_row(all, "ulysses", "later=1", 4, 1024, "cwe", "1", 50);
    seed = "";
    add_row(all, "ulysses", "", 4, 1024, "vt", "1", 20);
    add_row(all, "ulysses", "", 4, 1024, "cwe", "1", 20);
    chat = "1";
    add_row(all, "zigzag", "", 4, 1024, "vt", "1", 50);
    add_row(all, "zigzag", "", 4, 1024, "cwe", "1", 50);
    chat = "";
    first_sample = 1;
    add_row(all, "zigzag", "later=1", 4, 1024, "vt", "1", 50);
    add_row(all, "zigzag", "later=1", 4, 1024, "cwe", "1", 50);
    records_close(all);
    const char *const lines[] = {"| average - FlashAttn | +0.00 | +25.00 [1] | +25.00 [1] | +25.00 [1] | "
                                 "+25.00 [1] | +25.00 [1] | +25.00 [1] | -25.00 (",
                                 "[1] no interval: the two were not given the same samples\n"};
    expect_in_table("", lines, 2);
}

/* Every file has its own samples. */
Test(intervals, several_files)
{
    char words[512], other[160];
    write_rows();
    snprintf(other, sizeof other, "%s/other.csv", results_folder);
    records *all = open_rows(other);
    add_row(all, "flash", "", 1, 1024, "vt", "0", 50);
    add_row(all, "apb", "", 8, 1024, "vt", "01", 50);
    records_close(all);
    snprintf(words, sizeof words, "table %s %s", results_path, other);
    char *text = table_of(words, 0);
    cr_expect(strstr(text, "-25.00 (-32.00 to -18.00)"), "%s", text);
    cr_expect(strstr(text, "+50.00 (+36.00 to +64.00)"), "%s", text);
    free(text);
}

Test(intervals, are_of_scores_alone)
{
    char words[256];
    records *all = records_open(results_path, RECORD_SPEED, "abc");
    record row = {.kind = RECORD_SPEED};
    record_text(&row, SPEED_MODEL, "smollm2");
    record_text(&row, SPEED_METHOD, "flash");
    record_integer(&row, SPEED_HOSTS, 1);
    record_integer(&row, SPEED_LENGTH, 1024);
    record_text(&row, SPEED_STATUS, "ok");
    record_number(&row, SPEED_PREFILL_S, 1);
    cr_assert_eq(records_append(all, &row), 0, "%s", fail_text());
    record_clear(&row);
    records_close(all);
    snprintf(words, sizeof words, "table %s --against flash", results_path);
    free(table_of(words, 1));
    cr_expect(strstr(fail_text(), "--intervals and --against are for scores"), "%s", fail_text());
}

/* What gnuplot gets: curves where there are several lengths, bars of the one that is asked for. */
Test(intervals, figures)
{
    char words[256];
    write_rows();
    records *all = open_rows(results_path);
    add_row(all, "flash", "", 1, 2048, "vt", "1", 50);
    add_row(all, "flash", "", 1, 2048, "cwe", "1", 50);
    add_row(all, "star", "", 4, 2048, "vt", "10", 50);
    add_row(all, "star", "", 4, 2048, "cwe", "1", 50);
    add_row(all, "apb", "pool=0", 4, 2048, "vt", "1", 50);
    add_row(all, "apb", "pool=0", 4, 2048, "cwe", "1", 50);
    records_close(all);
    snprintf(words, sizeof words, "plot %s --out %s --length 2K --keep-data", results_path, results_folder);
    char *said = output_of(command_plot, words, 0);
    static const char *const expected[][4] = {
        {"accuracy-smollm2", "\"FlashAttn\"\n1024 75 68 82\n2048 100 100 100\n",
         "\"StarAttn, 4 hosts\"\n1024 50 40 60\n2048 75 68 82\n", "\"APB, 4 hosts\"\n1024 0 0 0\n"},
        {"scores-smollm2-2K", "\"FlashAttn\" 100 100 100 1 \"100.0\"\n",
         "\"StarAttn\" 75 68 82 5 \"75.0   -25.0 (-32.0 to -18.0)\"\n",
         "\"APB (pool=0)\" 100 100 100 6 \"100.0   +0.0 (+0.0 to +0.0)\"\n"}};
    for (int i = 0; i < 2; i++) {
        size_t bytes;
        char *name = format_text("%s/%s.dat", results_folder, expected[i][0]), *data = file_text(name, &bytes);
        cr_assert(data, "%s", fail_text());
        for (int j = 1; j < 4; j++)
            cr_expect(strstr(data, expected[i][j]), "%s is not in\n%s", expected[i][j], data);
        cr_expect(strstr(said, expected[i][0]), "%s", said);
        free(data);
        free(name);
    }
    free(said);
}

/* There is room for what a score may be, too. */
Test(intervals, bars_have_room_for_them)
{
    records *all = open_rows(results_path);
    add_row(all, "flash", "", 1, 1024, "vt", "10", 50);
    records_close(all);
    char *data = drawn_data("scores-smollm2-1K");
    cr_expect(strstr(data, " top=64; ") && strstr(data, "\n\"FlashAttn\" 50 36 64 1 \"50.0\"\n"), "%s", data);
    free(data);
}
