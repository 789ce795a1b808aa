/* Figures from small results files: they are whole PNG and SVG files, and the curves behind them are
 * compared line by line. */
#include "harness/command/command.h"
#include "harness/error.h"
#include "harness/records/csv.h"
#include "tests/results_fixture.h"
#include "tests/rows_fixture.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(figures, .init = make_results_folder, .fini = remove_results_folder);

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

/* The command that draws a figure, which its data begin with, sets this: NAME=VALUE. */
static void expect_setting(const char *data, const char *setting)
{
    char *text = format_text(" %s; ", setting), *line = copy_bytes(data, strcspn(data, "\n"));
    for (char *at = line; (at = strchr(at, '"')); at++)
        *at = ' '; /* the first one stands behind -e */
    cr_expect(strstr(line, text), "%s is not in %s", setting, line);
    free(line);
    free(text);
}

Test(figures, of_speed)
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
    char *data = figure_data(names[1]);
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
    /* A method has its style in either row, one that is not in the table the next. */
    expect_setting(data, "styles='40 1 2 6 21 22 24 25 26 27 '");
    expect_setting(data, "lengths='32768 65536 131072 '");
    expect_setting(data, "names='32K 64K 128K '");
    free(data);
    data = figure_data(names[0]);
    cr_expect(strstr(data, "\"perfect exact (FlashAttn / 8)\"\n32768 0.5\n65536 1.25\n"), "%s", data);
    free(data);
}

/* The highest bar has room above it, unless it dwarfs the others: then the next one has. */
Test(figures, of_parts)
{
    static const char *const tops[] = {"top=216", "top=250"};
    for (int i = 0; i < 2; i++) {
        records *all = records_open(results_path, RECORD_SPEED, "abc");
        cr_assert(all, "%s", fail_text());
        if (i) {
            add_speed(all, "flash", 1, 32768, "ok", 40);
        } else {
            add_speed(all, "ring", 8, 32768, "ok", 6.4); /* 200 ms a layer */
            add_speed(all, "star", 8, 32768, "ok", 1.6);
            add_speed(all, "apb", 8, 32768, "ok", 3.2);
        }
        records_close(all);
        char *data = drawn_data("breakdown-llama-3.1-8b-8hosts-nvlink3");
        expect_setting(data, tops[i]);
        cr_expect(strstr(data, "\n\"StarAttn\" 12.5 0 0 25 0 12.5 0 50\n"), "%s", data);
        free(data);
    }
}

/* Variants take the styles behind the methods', each label one for any number of hosts, and the first again
 * behind the last. A quote is no end of gnuplot's text nor of a label in its data, and a line none of either. */
Test(figures, styles_and_quotes)
{
    FILE *file = fopen(results_path, "w");
    cr_assert(file);
    fputs("model,method,variant,hosts,link,length,status,prefill_s\n", file);
    for (int variant = 0; variant < 6; variant++)
        for (int hosts = 2; hosts <= 4; hosts += 2)
            fprintf(file, "\"it's\nso\",star,\"anchor=\"\"%d\"\"\",%d,eth100,1000,ok,%d\n", variant, hosts,
                    1 + variant);
    fclose(file);
    char *data = drawn_data("prefill-it-s-so-4hosts-eth100");
    expect_setting(data, "styles='7 8 9 10 1 2 '");
    expect_setting(data, "heading='Prefill: it''s so, 4 hosts, projected over eth100'");
    cr_expect(strstr(data, "\n\"StarAttn (anchor='0')\"\n1000 1\n"), "%s", data);
    free(data);
}

/* Speedup by hosts is drawn at the longest length that three numbers of hosts ran, not at one that few did. */
Test(figures, of_hosts)
{
    records *all = records_open(results_path, RECORD_SPEED, "0123456789ab");
    cr_assert(all, "%s", fail_text());
    add_speed(all, "flash", 1, 32768, "ok", 8);
    add_speed(all, "flash", 1, 65536, "ok", 32);
    for (int hosts = 8; hosts > 1; hosts /= 2) /* drawn by their number */
        add_speed(all, "ring", hosts, 32768, "ok", 10.0 / hosts);
    add_speed(all, "ring", 8, 65536, "ok", 5);
    records_close(all);
    char *data = drawn_data("scaling-llama-3.1-8b-nvlink3");
    expect_lines(strchr(data, '\n') + 1, "\"perfect exact\"\n1 1\n2 2\n4 4\n8 8\n\n\n"
                                         "\"FlashAttn\"\n1 1\n\n\n"
                                         "\"RingAttn\"\n2 1.6\n4 3.2\n8 6.4\n");
    free(data);
}

/* Variants take the styles that no method of the file has by its place: none is drawn twice. */
Test(figures, many_variants_look_different)
{
    const char *const variants[] = {"passing=0", "passing=16", "passing=32",
                                    "passing=64", "passing=128", "passing=256"};
    records *all = records_open(results_path, RECORD_SPEED, "0123456789ab");
    cr_assert(all, "%s", fail_text());
    add_speed(all, "flash", 1, 32768, "ok", 8);
    add_speed(all, "zigzag", 8, 32768, "ok", 1);
    for (int i = 0; i < 6; i++) {
        row_variant = variants[i];
        add_speed(all, "apb", 8, 32768, "ok", 0.5 + i);
    }
    row_variant = "";
    records_close(all);
    char *data = drawn_data("prefill-llama-3.1-8b-8hosts-nvlink3");
    /* the bound; flash and zigzag by their places; the variants by what those leave */
    expect_setting(data, "styles='40 1 3 7 8 9 10 2 4 '");
    free(data);
}

/* A text of the SVG stands within the figure, some 0.6 of the font's size a character: share is how
 * much of it lies left of its anchor. */
static void expect_within(const char *svg, const char *text, double share)
{
    char *line = format_text("<text>%s</text>", text), *at = strstr(svg, line);
    cr_assert(at, "%s is not there whole", text);
    double x = -1, size = -1;
    while (at > svg && strncmp(at, "translate(", 10))
        at--;
    sscanf(at, "translate(%lf", &x);
    sscanf(strstr(at, "font-size=\""), "font-size=\"%lf", &size);
    double left = x - share * 0.6 * size * (double)strlen(text);
    cr_expect(left >= 0, "%s begins %.0f left of the figure", text, -left);
    free(line);
}

Test(figures, long_names_and_titles_stand_whole)
{
    records *all = records_open(results_path, RECORD_SPEED, "0123456789ab");
    cr_assert(all, "%s", fail_text());
    row_link = "custom:latency=21.24us:bandwidth=135.7G:collectives=272.8G:slowdown=1.081";
    row_variant = "compressor=retaining:query_in_anchor=0:anchor=64:passing=64";
    add_speed(all, "apb", 8, 32768, "ok", 0.5);
    row_variant = "";
    add_speed(all, "ring", 8, 32768, "ok", 1);
    row_link = "nvlink3";
    records_close(all);
    char words[256];
    snprintf(words, sizeof words, "plot %s --out %s", results_path, results_folder);
    free(output_of(command_plot, words, 0));
    char *path = format_text("%s/breakdown-llama-3.1-8b-8hosts-custom-latency-21.24us-bandwidth-"
                             "135.7G-collectives-272.8G-slowdown-1.081.svg", results_folder);
    size_t bytes;
    char *svg = file_text(path, &bytes);
    cr_assert(svg, "%s", fail_text());
    expect_within(svg, "APB (compressor=retaining:query_in_anchor=0:anchor=64:passing=64)", 1);
    expect_within(svg, "Prefill by part at 32K tokens: llama-3.1-8b, 8 hosts, projected over "
                       "custom:latency=21.24us:bandwidth=135.7G:collectives=272.8G:slowdown=1.081", 0.5);
    free(svg);
    free(path);
}

/* The marks that are beside a figure of prefill seconds, 0.001 to 500, joined by commas. */
static char *marks_beside(double first, double last)
{
    char words[256], list[256] = "";
    remove(results_path);
    records *all = records_open(results_path, RECORD_SPEED, "abc");
    cr_assert(all, "%s", fail_text());
    add_speed(all, "ring", 8, 32768, "ok", first);
    add_speed(all, "apb", 8, 32768, "ok", last);
    records_close(all);
    snprintf(words, sizeof words, "plot %s --out %s", results_path, results_folder);
    free(output_of(command_plot, words, 0));
    char *path = format_text("%s/prefill-llama-3.1-8b-8hosts-nvlink3.svg", results_folder), *svg;
    size_t bytes;
    svg = file_text(path, &bytes);
    cr_assert(svg, "%s", fail_text());
    for (int e = -3; e < 3; e++)
        for (int i = 0; i < 3; i++) {
            static const double steps[] = {1, 2, 5};
            char mark[32], text[64];
            snprintf(mark, sizeof mark, "%g", steps[i] * pow(10, e));
            snprintf(text, sizeof text, "<text>%s</text>", mark);
            if (strstr(svg, text))
                snprintf(list + strlen(list), sizeof list - strlen(list), "%s,", mark);
        }
    free(svg);
    free(path);
    return copy_text(list);
}

/* However near to each other the times are, marks say how long they are. */
Test(figures, seconds_have_marks_beside_them)
{
    static const struct {
        double first, last;
        const char *marks;
    } cases[] = {{0.34, 0.34, "0.2,0.5,"}, {2.1, 3.9, "2,5,"}, {1.5, 2.5, "1,2,5,"},
                 {2, 2, "1,2,5,"}, {0.9, 11, "1,2,5,10,"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *marks = marks_beside(cases[i].first, cases[i].last);
        cr_expect_str_eq(marks, cases[i].marks, "%g to %g s: %s", cases[i].first, cases[i].last, marks);
        free(marks);
    }
}

Test(figures, of_accuracy)
{
    char words[256];
    write_accuracy();
    const char *const names[] = {"scores-smollm2-1000"}; /* one length: bars */
    snprintf(words, sizeof words, "plot %s --out %s --keep-data", results_path, results_folder);
    expect_figures(words, names, 1);
    char *data = figure_data(names[0]);
    /* Without samples an interval has no width; a series that lacks a task's score has no bar. */
    expect_lines(strchr(data, '\n') + 1, "\"FlashAttn\" 77.5 77.5 77.5 1 \"77.5\"\n"
                                         "\"APB\" 65 65 65 6 \"65.0\"\n");
    expect_setting(data, "bars=2");
    expect_setting(data, "top=77.5");
    expect_setting(data, "reference=77.5");
    expect_setting(data, "heading='Score at 1000 tokens on 4 hosts, mean of 2 tasks: smollm2'");
    free(data);
}

/* Where numbers of hosts differ, bars say them and the heading does not; without FlashAttn there is no
 * line of reference. */
Test(figures, bars_on_other_hosts)
{
    records *all = records_open(results_path, RECORD_ACCURACY, "abc");
    cr_assert(all, "%s", fail_text());
    add_accuracy(all, "star", "", 4, "niah_1", 75, 0);
    add_accuracy(all, "apb", "", 4, "niah_1", 70, 0);
    add_accuracy(all, "apb", "", 8, "niah_1", 60, 0);
    records_close(all);
    char *data = drawn_data("scores-smollm2-1000");
    expect_lines(strchr(data, '\n') + 1, "\"StarAttn, 4 hosts\" 75 75 75 5 \"75.0\"\n"
                                         "\"APB, 4 hosts\" 70 70 70 6 \"70.0\"\n"
                                         "\"APB, 8 hosts\" 60 60 60 6 \"60.0\"\n");
    expect_setting(data, "heading='Score at 1000 tokens of niah_1: smollm2'");
    expect_setting(data, "reference=-1");
    free(data);
}

/* Hosts of one are not counted, and bars of nothing have a height to stand against. */
Test(figures, bars_on_one_and_more_hosts)
{
    records *all = records_open(results_path, RECORD_ACCURACY, "abc");
    cr_assert(all, "%s", fail_text());
    add_accuracy(all, "star", "", 4, "niah_1", 0, 0);
    add_accuracy(all, "apb", "", 1, "niah_1", 0, 0);
    records_close(all);
    char *data = drawn_data("scores-smollm2-1000");
    expect_setting(data, "heading='Score at 1000 tokens on 4 hosts of niah_1: smollm2'");
    expect_setting(data, "top=1");
    free(data);
}

static void write_lines(const char *lines)
{
    FILE *file = fopen(results_path, "w");
    cr_assert(file && fputs(lines, file) >= 0 && fclose(file) == 0);
}

/* Scores by length: a method has its own style, and where one runs on several numbers of hosts each curve. */
Test(figures, styles_of_scores)
{
    static const char head[] = "model,method,hosts,length,task,status,score\n"
                               "smollm2,star,4,1000,vt,ok,50\nsmollm2,star,4,2000,vt,ok,40\n"
                               "smollm2,apb,4,1000,vt,ok,60\nsmollm2,apb,4,2000,vt,ok,50\n";
    static const char *const styles[] = {"styles='5 6 '", "styles='1 2 3 '"};
    for (int i = 0; i < 2; i++) {
        char *lines = format_text("%s%s", head, i ? "smollm2,apb,8,2000,vt,ok,30\n" : "");
        write_lines(lines);
        char *data = drawn_data("accuracy-smollm2");
        expect_setting(data, styles[i]);
        free(data);
        free(lines);
    }
}

/* Figures of times multiplied by layers say so, but none of a layer's, nor of a model that ran whole. */
Test(figures, of_fewer_layers)
{
    static const struct {
        const char *name, *heading;
    } drawn[] = {{"prefill-cut-1hosts", "heading='Prefill: cut, 1 host, from fewer layers'"},
                 {"breakdown-cut-1hosts", "heading='Prefill by part at 1000 tokens: cut, 1 host'"},
                 {"prefill-whole-1hosts", "heading='Prefill: whole, 1 host'"}};
    write_lines("model,layers,model_layers,method,hosts,link,length,status,prefill_s,attention_s\n"
                "cut,3,30,flash,1,,1000,ok,4,2\nwhole,30,30,flash,1,,1000,ok,4,2\n");
    char *words = format_text("plot %s --out %s --keep-data --scale-layers", results_path, results_folder);
    free(output_of(command_plot, words, 0));
    for (size_t i = 0; i < sizeof drawn / sizeof *drawn; i++) {
        char *data = figure_data(drawn[i].name);
        expect_setting(data, drawn[i].heading);
        free(data);
    }
    free(words);
}

/* A mean over other tasks is not drawn beside the rest, which is not to say that no row ended well. */
Test(figures, a_task_without_scores)
{
    char words[256];
    records *all = records_open(results_path, RECORD_ACCURACY, "abc");
    add_accuracy(all, "flash", "", 1, "niah_1", 100, 0);
    add_accuracy(all, "flash", "", 1, "niah_2", NAN, NAN);
    records_close(all);
    snprintf(words, sizeof words, "plot %s --out %s", results_path, results_folder);
    expect_refused(command_plot, words, 1, "no series has scores of all tasks");
}

Test(figures, gnuplot_missing_is_one_sentence)
{
    char words[256];
    write_accuracy();
    setenv("PATH", results_folder, 1);
    snprintf(words, sizeof words, "plot %s --out %s", results_path, results_folder);
    expect_refused(command_plot, words, 1, "gnuplot was not found: install the package gnuplot-nox");
}

/* A gnuplot that draws its first figure only when another one has begun, too. */
static void write_slow_gnuplot(void)
{
    char *path = format_text("%s/gnuplot", results_folder);
    FILE *file = fopen(path, "w");
    cr_assert(file);
    fputs("#!/bin/sh\n"
          "output=\"${3##*output=\\'}\"\n"
          "output=\"${output%%\\'*}\"\n"
          "exec 3>\"$output\"\n"
          ": >\"${output%/*}/begun.$$\"\n"
          "until [ $(ls \"${output%/*}\" | grep -c begun) -ge 2 ]; do sleep 0.01; done\n"
          "echo drawn >&3\n", file);
    fclose(file);
    cr_assert_eq(chmod(path, 0755), 0);
    free(path);
}

Test(figures, two_at_once_into_a_folder, .timeout = 60)
{
    char *words[] = {"plot", results_path, "--out", results_folder, NULL};
    int status;
    write_accuracy();
    write_slow_gnuplot();
    char *path = format_text("%s:%s", results_folder, getenv("PATH"));
    setenv("PATH", path, 1);
    free(path);
    pid_t other = fork();
    if (other == 0)
        _exit(command_plot(4, words));
    cr_expect_eq(command_plot(4, words), 0, "%s", fail_text());
    cr_assert_eq(waitpid(other, &status, 0), other);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the other: %d", status);
}
