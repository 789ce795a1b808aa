/* A folder for results and the output of commands. See results_fixture.h. */
#include "tests/results_fixture.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness/command/command.h"
#include "harness/error.h"
#include "harness/records/csv.h"

char results_folder[64], results_path[128];

void make_results_folder(void)
{
    strcpy(results_folder, "/tmp/apbench-results-XXXXXX");
    cr_assert(mkdtemp(results_folder));
    snprintf(results_path, sizeof results_path, "%s/rows.csv", results_folder);
}

void remove_results_folder(void)
{
    struct dirent *entry;
    DIR *list = opendir(results_folder);
    while ((entry = readdir(list)))
        if (*entry->d_name != '.')
            unlinkat(dirfd(list), entry->d_name, 0);
    closedir(list);
    rmdir(results_folder);
}

char *output_of(int (*command)(int, char **), const char *words, int expected_status)
{
    char *line = copy_text(words), *argv[16], *rest = line;
    int argc = 0;
    for (char *word; (word = strsep(&rest, " "));)
        argv[argc++] = word;
    argv[argc] = NULL;
    char file[160];
    snprintf(file, sizeof file, "%s/stdout", results_folder);
    fflush(stdout);
    int before = dup(STDOUT_FILENO), now = open(file, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    dup2(now, STDOUT_FILENO);
    int status = command(argc, argv);
    fflush(stdout);
    dup2(before, STDOUT_FILENO);
    close(before);
    close(now);
    cr_expect_eq(status, expected_status, "%s: status %d, %s", words, status, fail_text());
    size_t bytes;
    char *text = file_text(file, &bytes);
    free(line);
    return text;
}

void expect_refused(int (*command)(int, char **), const char *words, int status, const char *sentence)
{
    free(output_of(command, words, status));
    cr_expect(strstr(fail_text(), sentence), "\"%s\" lacks \"%s\"", fail_text(), sentence);
}

char *table_of_rows(const char *rows, const char *flags)
{
    FILE *file = fopen(results_path, "w");
    cr_assert(file && fputs(rows, file) >= 0 && fclose(file) == 0);
    char *words = format_text("table %s%s%s", results_path, *flags ? " " : "", flags);
    char *text = output_of(command_table, words, 0);
    free(words);
    return text;
}

char *figure_data(const char *name)
{
    char *path = format_text("%s/%s.dat", results_folder, name);
    size_t bytes;
    char *data = file_text(path, &bytes);
    cr_assert(data, "%s", fail_text());
    free(path);
    return data;
}

char *drawn_data(const char *name)
{
    char *words = format_text("plot %s --out %s --keep-data", results_path, results_folder);
    free(output_of(command_plot, words, 0));
    free(words);
    return figure_data(name);
}

void expect_lines(const char *found, const char *expected)
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
