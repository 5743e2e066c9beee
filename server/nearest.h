/* nearest.h - which known word a mistyped one was meant to be. Pure; any thread. */
#ifndef TUTTI_SERVER_NEAREST_H
#define TUTTI_SERVER_NEAREST_H

/* Give it every known word; `best` is then the nearest one. Letters' case and what is neither
 * letter nor digit do not count. Nearest is what takes one edit; then what begins with the word,
 * what takes two, what contains it, and the longest that it contains. Of several it is the first.
 */
struct nearest {
    const char *word;
    const char *best; /* NULL: none is near */
    unsigned cost;    /* of best */
};

void nearest_init(struct nearest *n, const char *word);
void nearest_try(struct nearest *n, const char *known);

#endif
