/* Folders that results go into. */
#ifndef HARNESS_FOLDERS_H
#define HARNESS_FOLDERS_H

/* Makes the folder and those above it; those that exist are fine. -1 with a sentence naming the one
 * that cannot be made. */
int make_folder(const char *folder);
/* The same for the folder that a file is to lie in. */
int make_folder_of(const char *file);
#endif
