/* What the fuzz targets share: files that hold the input, since parsers read files, and the end of the
 * program where a property does not hold, which libFuzzer takes for a crash. Each target is one file
 * of this folder with LLVMFuzzerTestOneInput() (llvm.org/docs/LibFuzzer.html); corpus/TARGET holds its
 * seeds, made by hand or by the project's own programs, and corpus/TARGET.dict words of its format. */
#ifndef TESTS_FUZZ_SCRATCH_H
#define TESTS_FUZZ_SCRATCH_H
#include <stddef.h>
#include <stdint.h>

/* A folder of this process, which goes away with it. */
const char *scratch_folder(void);

/* Writes the bytes to a file of that folder; returns its path, to be freed. */
char *scratch_file(const char *name, const void *bytes, size_t count);

/* Ends the program with the sentence, and the one that fail() left, unless the property holds. */
#define MUST(holds) ((holds) ? (void)0 : must_not_be(#holds, __FILE__, __LINE__))
_Noreturn void must_not_be(const char *property, const char *file, int line);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
#endif
