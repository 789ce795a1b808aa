/* Where the program finds what lies beside it in the repository: gnuplot scripts and the paper's
 * figures. */
#ifndef HARNESS_PROGRAM_FILES_H
#define HARNESS_PROGRAM_FILES_H

/* The path of a file named from the top of the repository ("plots/prefill.gp"), to be freed.
 * Looked for under $APBENCH_HOME, else upwards from the folder of the running program, else in the
 * current folder. NULL with a sentence when it is nowhere. */
char *program_file(const char *name);
#endif
