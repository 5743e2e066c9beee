/* call_series.c - the calls of each group and pair: whose turn is which, and the gathers by turn.
 *
 * The gathers of a series lie in a window of turns, so that one is found in a step. It is as wide
 * as the ranks are apart, which LIMIT_CALLS_AHEAD and LIMIT_CALLS_BEHIND bound.
 */
#include "server/call_parts.h"
#include "schema/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS 4096u
#define FIRST_PLACES 8u

static struct series *table[BUCKETS];

/* ---- series ---- */

bool series_wants(const struct series *s, uint32_t rank)
{
    return !s->pair || rank == s->src || rank == s->dst;
}

uint64_t *series_turn(struct series *s, uint32_t rank)
{
    return &s->turn[s->pair ? rank == s->dst : rank];
}

static uint64_t fnv(const void *bytes, size_t size, uint64_t hash)
{
    const uint8_t *p = bytes;

    for (size_t i = 0; i < size; i++)
        hash = (hash ^ p[i]) * 1099511628211ull;
    return hash;
}

#define FNV_BASIS 14695981039346656037ull

static struct series **bucket_of(const char *group, bool pair, uint32_t src, uint32_t dst)
{
    uint32_t ends[2] = {pair ? src : 0, pair ? dst : 0};

    return &table[fnv(ends, sizeof ends, fnv(group, strlen(group), FNV_BASIS)) % BUCKETS];
}

static struct series *make(const struct job_record *r, bool pair, uint64_t ranks, struct err *e)
{
    uint32_t turns = pair ? 2 : r->n;
    struct series *s = calloc(1, sizeof *s + turns * sizeof s->turn[0]);

    if (s)
        s->window = calloc(FIRST_PLACES, sizeof(struct gather *));
    if (!s || !s->window) {
        free(s);
        err_set(e, ERR_no_memory, "the calls of a group");
        return NULL;
    }
    snprintf(s->group, sizeof s->group, "%s", r->group);
    s->pair = pair;
    s->src = r->params.src;
    s->dst = r->params.dst;
    s->n = r->n;
    s->ranks = ranks;
    s->places = FIRST_PLACES;
    return s;
}

struct series *series_of(const struct job_record *r, struct err *e)
{
    bool pair = op_takes_peers(r->op);
    struct series **bucket = bucket_of(r->group, pair, r->params.src, r->params.dst), *s = *bucket;
    uint64_t ranks = fnv(r->ranks, r->n * sizeof *r->ranks, FNV_BASIS);

    while (s && (s->gone || s->pair != pair || s->n != r->n || s->ranks != ranks ||
                 (pair && (s->src != r->params.src || s->dst != r->params.dst)) ||
                 strcmp(s->group, r->group) != 0))
        s = s->next;
    if (s)
        return s;
    s = make(r, pair, ranks, e);
    if (s) {
        s->next = *bucket;
        *bucket = s;
    }
    return s;
}

static void series_free(struct series *s)
{
    struct series **at = bucket_of(s->group, s->pair, s->src, s->dst);

    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
    free(s->window);
    free(s);
}

/* ---- the window ---- */

static struct gather **place(const struct series *s, uint64_t turn)
{
    return &s->window[turn & (s->places - 1)];
}

struct gather *series_find(const struct series *s, uint64_t turn)
{
    return s->live > 0 && turn >= s->low && turn <= s->high ? *place(s, turn) : NULL;
}

/* Room for the turns from low to high. */
static int widen(struct series *s, uint64_t low, uint64_t high, struct err *e)
{
    uint32_t places = s->places;
    struct gather **wider;

    while (high - low >= places)
        places *= 2;
    if (places > s->places) {
        wider = calloc(places, sizeof(struct gather *));
        if (!wider)
            return err_set(e, ERR_no_memory, "the calls of a group");
        for (uint64_t t = s->low; s->live > 0 && t <= s->high; t++)
            wider[t & (places - 1)] = *place(s, t);
        free(s->window);
        s->window = wider;
        s->places = places;
    }
    s->low = low;
    s->high = high;
    return 0;
}

static void leave(struct gather *g)
{
    struct series *s = g->series;

    *place(s, g->turn) = NULL;
    s->live--;
    s->open -= !g->over;
    while (s->live > 0 && !*place(s, s->low))
        s->low++;
    while (s->live > 0 && !*place(s, s->high))
        s->high--;
}

struct gather *gather_new(struct series *s, uint64_t turn, const struct id *job, struct err *e)
{
    struct gather *g = calloc(1, sizeof *g + s->n);
    uint64_t low = s->live > 0 && s->low < turn ? s->low : turn;
    uint64_t high = s->live > 0 && s->high > turn ? s->high : turn;

    if (g)
        g->caller = calloc(s->n, sizeof *g->caller);
    if (!g || !g->caller || widen(s, low, high, e) != 0) {
        if (g)
            free(g->caller);
        free(g);
        err_set(e, ERR_no_memory, "calls of %u ranks", s->n);
        return NULL;
    }
    g->series = s;
    g->turn = turn;
    g->id = *job;
    g->wanted = s->pair ? 2 : s->n;
    *place(s, turn) = g;
    s->live++;
    s->open++;
    return g;
}

void gather_free(struct gather *g)
{
    struct series *s = g->series;

    gather_keep_not(g);
    core_timer_clear(&g->deadline);
    leave(g);
    for (uint32_t i = 0; g->caller && i < s->n; i++)
        call_key_remove(g->caller[i].key);
    free(g->caller);
    free(g);
    if (s->gone && s->live == 0)
        series_free(s);
}

/* ---- all of them ---- */

static void each_of(struct series *s, void (*f)(struct gather *g, const struct err *why),
                    const struct err *why)
{
    uint64_t high = s->high;

    /* With the last gather a series may go. */
    for (uint64_t t = s->low, left = s->live; left > 0 && t <= high; t++) {
        struct gather *g = *place(s, t);

        if (!g)
            continue;
        left--;
        f(g, why);
    }
}

void series_each(const char *group, void (*f)(struct gather *g, const struct err *why),
                 const struct err *why)
{
    for (uint32_t i = 0; i < BUCKETS; i++) {
        for (struct series *s = table[i], *next; s; s = next) {
            next = s->next;
            if (!group || strcmp(s->group, group) == 0)
                each_of(s, f, why);
        }
    }
}

void series_end(const char *group)
{
    for (uint32_t i = 0; i < BUCKETS; i++) {
        for (struct series *s = table[i], *next; s; s = next) {
            next = s->next;
            if (strcmp(s->group, group) != 0)
                continue;
            s->gone = true;
            if (s->live == 0)
                series_free(s);
        }
    }
}

static void drop(struct gather *g, const struct err *why)
{
    (void)why;
    gather_free(g);
}

void series_fini(void)
{
    series_each(NULL, drop, NULL);
    for (uint32_t i = 0; i < BUCKETS; i++) {
        while (table[i])
            series_free(table[i]);
    }
}

/* ---- turns ---- */

void series_rejoin(struct series *s, uint32_t rank)
{
    uint64_t *mine = series_turn(s, rank), to = 0;

    for (uint64_t t = s->low; s->live > 0 && t <= s->high; t++) {
        struct gather *g = series_find(s, t);

        if (g)
            gather_start_anew(g, rank);
    }
    for (uint32_t i = 0; i < (s->pair ? 2 : s->n); i++)
        to = s->turn[i] > to ? s->turn[i] : to;
    for (uint64_t t = s->live > 0 && *mine < s->low ? s->low : *mine; t < to; t++) {
        struct gather *g = series_find(s, t);

        if (g && !g->over)
            to = t;
        else if (g && !g->came[rank])
            gather_pass(g, rank, NULL, NULL);
    }
    *mine = to;
}

/* A rank is where it has not come yet, or else behind the last. Whatever ended well has gone: all
 * had come to it. */
static void restore(struct series *s)
{
    for (uint32_t i = 0; s->live > 0 && i < s->n; i++) {
        uint64_t turn = s->high + 1;

        for (uint64_t t = s->high; t + 1 > s->low; t--) {
            const struct gather *g = *place(s, t);

            if (g && !g->came[i])
                turn = t;
            if (t == 0)
                break;
        }
        if (series_wants(s, i))
            *series_turn(s, i) = turn;
    }
}

void series_restore(void)
{
    for (uint32_t i = 0; i < BUCKETS; i++) {
        for (struct series *s = table[i]; s; s = s->next)
            restore(s);
    }
}
