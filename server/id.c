/* id.c - ULIDs: made in order, written and read in Crockford's base 32. */
#include "server/id.h"

#include "schema/clock.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define ID_CHARS 26
#define POOL_BYTES 480 /* random bytes fetched at once: 48 fresh ids */

static const char alphabet[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/* Under id_lock. */
static pthread_mutex_t id_lock = PTHREAD_MUTEX_INITIALIZER;
static struct id last;
static uint64_t last_ms;
static uint8_t pool[POOL_BYTES];
static size_t pool_left;

/* There is no sensible way to go on without randomness: ids would repeat. */
static void pool_fill(void)
{
    size_t got = 0;

    while (got < sizeof pool) {
        ssize_t n = getrandom(pool + got, sizeof pool - got, 0);

        if (n < 0 && errno != EINTR)
            abort();
        if (n > 0)
            got += (size_t)n;
    }
    pool_left = sizeof pool;
}

static struct id fresh(uint64_t ms)
{
    struct id id;

    for (int i = 0; i < 6; i++)
        id.b[i] = (uint8_t)(ms >> (40 - 8 * i));
    if (pool_left < 10)
        pool_fill();
    memcpy(id.b + 6, pool + sizeof pool - pool_left, 10);
    pool_left -= 10;
    return id;
}

/* One more; a carry out of the random bits moves the milliseconds on, so the order holds. */
static void increment(struct id *id)
{
    for (int i = 15; i >= 0; i--)
        if (++id->b[i] != 0)
            break;
}

struct id id_new(void)
{
    uint64_t ms = clock_wall_us() / 1000;
    struct id id;

    pthread_mutex_lock(&id_lock);
    if (ms > last_ms) {
        id = fresh(ms);
        last_ms = ms;
        if (memcmp(id.b, last.b, sizeof id.b) <= 0) { /* after a carry */
            id = last;
            increment(&id);
        }
    } else {
        id = last;
        increment(&id);
    }
    last = id;
    pthread_mutex_unlock(&id_lock);
    return id;
}

void id_pass(const struct id *id)
{
    uint64_t ms = 0;

    for (int i = 0; i < 6; i++)
        ms = ms << 8 | id->b[i];
    pthread_mutex_lock(&id_lock);
    if (memcmp(id->b, last.b, sizeof last.b) > 0) {
        last = *id;
        last_ms = ms;
    }
    pthread_mutex_unlock(&id_lock);
}

const char *id_format(char prefix, const struct id *id, char buf[ID_TEXT])
{
    uint32_t bits = 0;
    int have = 2; /* 130 bits are written: the two before the first are zero */
    char *at = buf;

    *at++ = prefix;
    *at++ = '_';
    for (int i = 0; i < 16; i++) {
        bits = bits << 8 | id->b[i];
        have += 8;
        while (have >= 5) {
            have -= 5;
            *at++ = alphabet[bits >> have & 31];
        }
    }
    *at = 0;
    return buf;
}

static int digit(char c)
{
    const char *at;

    if (c >= 'a' && c <= 'z')
        c = (char)(c - 'a' + 'A');
    at = c ? strchr(alphabet, c) : NULL;
    return at ? (int)(at - alphabet) : -1;
}

int id_parse(char prefix, const char *text, size_t len, struct id *out)
{
    struct id id;
    uint32_t bits = 0;
    int have = -2, byte = 0;

    if (len != 2 + ID_CHARS || text[0] != prefix || text[1] != '_')
        return -1;
    for (int i = 0; i < ID_CHARS; i++) {
        int d = digit(text[2 + i]);

        if (d < 0 || (i == 0 && d > 7)) /* above 7 there would be more than 128 bits */
            return -1;
        bits = bits << 5 | (uint32_t)d;
        have += 5;
        if (have >= 8) {
            have -= 8;
            id.b[byte++] = (uint8_t)(bits >> have);
        }
    }
    *out = id;
    return 0;
}

bool id_equal(const struct id *a, const struct id *b)
{
    return memcmp(a->b, b->b, sizeof a->b) == 0;
}

bool id_is_zero(const struct id *id)
{
    static const struct id zero;

    return id_equal(id, &zero);
}
