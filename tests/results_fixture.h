/* What the tests of tables and figures stand on: a scratch folder with a file of results, and commands
 * whose output is caught. */
#ifndef TESTS_RESULTS_FIXTURE_H
#define TESTS_RESULTS_FIXTURE_H

extern char results_folder[64], results_path[128]; /* rows.csv in it */

void make_results_folder(void);
void remove_results_folder(void); /* with all files in it */

/* Runs a command with its words parted by spaces and returns what it wrote to stdout, to be freed. */
char *output_of(int (*command)(int, char **), const char *words, int expected_status);
/* Such a command ends with this status, and its sentence holds this. */
void expect_refused(int (*command)(int, char **), const char *words, int status, const char *sentence);

/* What `table` prints of a results file of these lines, to be freed. */
char *table_of_rows(const char *rows, const char *flags);

/* The curves of a figure that was drawn with --keep-data, to be freed: NAME.dat. */
char *figure_data(const char *name);
/* The same, after all figures of the results file have been drawn so. */
char *drawn_data(const char *name);

/* The same text, line by line. */
void expect_lines(const char *found, const char *expected);
#endif
