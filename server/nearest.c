/* nearest.c - edit distance, or else one word within the other. */
#include "server/nearest.h"

#include <ctype.h>
#include <stddef.h>
#include <string.h>

#define WORD_BYTES 40 /* longer ones are near to nothing */
#define EDITS 2

/* What costs less is nearer. A beginning is nearer than what takes two edits: all_reduce is no
 * all_reduce_or. */
enum { EDIT = 2, BEGINS = 3, WITHIN = 5, HOLDS = 6, FAR = 3 * WORD_BYTES };

#define LEAST_WITHIN 3 /* letters that are found within a word by more than chance */

/* Letters and digits in lower case. Returns how many; 0 when they do not fit. */
static size_t fold(char out[WORD_BYTES], const char *word)
{
    size_t n = 0;

    for (; *word; word++) {
        if (!isalnum((unsigned char)*word))
            continue;
        if (n == WORD_BYTES - 1)
            return 0;
        out[n++] = (char)tolower((unsigned char)*word);
    }
    out[n] = '\0';
    return n;
}

/* Levenshtein's. */
static unsigned distance(const char *a, const char *b, size_t b_len)
{
    unsigned row[WORD_BYTES];

    for (size_t j = 0; j <= b_len; j++)
        row[j] = (unsigned)j;
    for (size_t i = 1; a[i - 1]; i++) {
        unsigned corner = row[0];

        row[0] = (unsigned)i;
        for (size_t j = 1; j <= b_len; j++) {
            unsigned best = corner + (a[i - 1] != b[j - 1]);

            corner = row[j];
            best = row[j] + 1 < best ? row[j] + 1 : best;
            row[j] = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
        }
    }
    return row[b_len];
}

/* The cost where one is a piece of the other. */
static unsigned piece(const char *a, size_t a_len, const char *b, size_t b_len)
{
    const char *at = strstr(b, a);

    if (a_len < LEAST_WITHIN || b_len < LEAST_WITHIN)
        return FAR;
    if (at)
        return at == b ? BEGINS : WITHIN;
    return strstr(a, b) ? HOLDS + (unsigned)(a_len - b_len) : FAR;
}

void nearest_init(struct nearest *n, const char *word)
{
    *n = (struct nearest){.word = word, .cost = FAR};
}

void nearest_try(struct nearest *n, const char *known)
{
    char a[WORD_BYTES], b[WORD_BYTES];
    size_t a_len = fold(a, n->word), b_len = fold(b, known);
    unsigned edits, cost;

    if (a_len == 0 || b_len == 0)
        return;
    edits = distance(a, b, b_len);
    cost = piece(a, a_len, b, b_len);
    if (edits <= EDITS && edits < a_len && EDIT * edits < cost)
        cost = EDIT * edits;
    if (cost < n->cost) {
        n->cost = cost;
        n->best = known;
    }
}
