/* Seeded random mutations for hostile-input tests. See mutate.h. */
#include "tests/mutate.h"

#include "harness/error.h"

#include <stdlib.h>
#include <string.h>

static uint64_t random_state;

void mutate_seed(uint64_t seed)
{
    random_state = seed;
}

static uint64_t random_below(uint64_t limit)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (random_state >> 33) % limit;
}

size_t mutate(char *text, size_t length, size_t room)
{
    for (uint64_t changes = 1 + random_below(4); changes && length; changes--) {
        size_t at = random_below(length), piece = 1 + random_below(16);
        switch (random_below(5)) {
        case 0: text[at] = (char)random_below(256); break;
        case 1: text[at] ^= (char)(1 << random_below(8)); break;
        case 2: /* a digit, if one follows */
            while (at < length && (text[at] < '0' || text[at] > '9'))
                at++;
            if (at < length)
                text[at] = (char)('0' + random_below(10));
            break;
        case 3:
            if (at + piece <= length && length + piece <= room) {
                memmove(text + at + piece, text + at, length - at);
                length += piece;
            }
            break;
        case 4:
            if (at + piece <= length) {
                memmove(text + at, text + at + piece, length - at - piece);
                length -= piece;
            }
            break;
        }
    }
    return length;
}

void mutate_rows(FILE *file, const char *row, int rows)
{
    size_t bytes = strlen(row), room = bytes + 1 + 256;
    char *copy = alloc_or_die(room, 1);
    for (int i = 0; i < rows; i++) {
        memcpy(copy, row, bytes + 1);
        size_t length = mutate(copy, bytes, room);
        for (size_t c = 0; c < length; c++)
            copy[c] = copy[c] == '\n' ? ' ' : copy[c];
        fwrite(copy, 1, length, file);
        fputc('\n', file);
    }
    free(copy);
}
