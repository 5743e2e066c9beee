/* routes_near.c - which path a mistyped one was meant to be. */
#include "server/nearest.h"
#include "server/routes.h"

#include <ctype.h>
#include <string.h>

#define WORD_BYTES 64 /* longer ones are near to nothing */

/* Where a row and a path are as far apart, the row with as many segments is meant. */
#define PER_COST 2u

struct pair {
    char known[WORD_BYTES], word[WORD_BYTES];
    bool alike; /* as many segments */
};

/* Returns false when it does not fit. */
static bool add(char word[WORD_BYTES], const char *from, size_t len)
{
    size_t have = strlen(word);

    if (len >= WORD_BYTES - have)
        return false;
    memcpy(word + have, from, len);
    word[have + len] = '\0';
    return true;
}

/* Both, without what stands for {segments}: those are names, of anybody's choice. */
static bool compare(struct pair *p, const char *pattern, const char *path)
{
    *p = (struct pair){.alike = true};
    while (*pattern || *path) {
        pattern += *pattern == '/';
        path += *path == '/';

        size_t k = strcspn(pattern, "/"), w = strcspn(path, "/");

        p->alike &= k > 0 && w > 0;
        if (*pattern != '{' && (!add(p->known, pattern, k) || !add(p->word, path, w)))
            return false;
        pattern += k;
        path += w;
    }
    return true;
}

/* Does it begin with a version, this one's or another's? */
static bool versioned(const char *path)
{
    return path[0] == '/' && (path[1] | 32) == 'v' && isdigit((unsigned char)path[2]);
}

const char *route_near(const char *path)
{
    const char *best = NULL;
    unsigned least = 0;
    const struct route *r;
    bool whole;

    while (path[0] == '/' && path[1] == '/')
        path++;
    whole = versioned(path);
    for (size_t i = 0; (r = route_at(i)); i++) {
        size_t skip = versioned(r->pattern) && !whole ? strcspn(r->pattern + 1, "/") + 1 : 0;
        struct pair p;
        struct nearest near;
        unsigned cost;

        if (!compare(&p, r->pattern + skip, path))
            continue;
        nearest_init(&near, p.word);
        nearest_try(&near, p.known);
        cost = PER_COST * near.cost + !p.alike;
        if (near.best && (!best || cost < least)) {
            best = r->pattern;
            least = cost;
        }
    }
    return best;
}
