/* failpoint.c - TUTTI_FAILPOINTS, parsed once; passages counted. */
#include "schema/failpoint.h"
#include "schema/clock.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MAX_POINTS 16

enum action { ACT_KILL, ACT_SLEEP, ACT_SPIN, ACT_ERR };

struct point {
    char name[48];
    long rank; /* the worker that it is for; -1: every process */
    enum action action;
    int value;         /* ms or errno */
    unsigned at;       /* passage, 0: every one */
    atomic_uint count; /* passages so far */
};

bool failpoints_on;
static struct point points[MAX_POINTS];
static int n_points;
static long own_rank = -1;

/* name=kill@2, name=sleep:100, name=err:28, 1:name/all_gather=spin:100 */
static int parse(char *item, struct point *p)
{
    char *equals = strchr(item, '='), *at = strchr(item, '@'), *name = item;
    long rank = strtol(item, &name, 10);

    if (name > item && *name == ':') {
        name++;
    } else {
        name = item;
        rank = -1;
    }
    if (!equals || (size_t)(equals - name) >= sizeof p->name)
        return -1;
    *equals = '\0';
    snprintf(p->name, sizeof p->name, "%s", name);
    p->rank = rank;
    p->at = at ? (unsigned)strtoul(at + 1, NULL, 10) : 0;
    if (strncmp(equals + 1, "kill", 4) == 0) {
        p->action = ACT_KILL;
        p->at = p->at ? p->at : 1;
    } else if (strncmp(equals + 1, "sleep:", 6) == 0) {
        p->action = ACT_SLEEP;
        p->value = atoi(equals + 7);
    } else if (strncmp(equals + 1, "spin:", 5) == 0) {
        p->action = ACT_SPIN;
        p->value = atoi(equals + 6);
    } else if (strncmp(equals + 1, "err:", 4) == 0) {
        p->action = ACT_ERR;
        p->value = atoi(equals + 5);
    } else {
        return -1;
    }
    return 0;
}

void failpoint_init(void)
{
    const char *text = getenv("TUTTI_FAILPOINTS");
    char copy[1024], *save = NULL;

    if (!text || !*text)
        return;
    snprintf(copy, sizeof copy, "%s", text);
    for (char *item = strtok_r(copy, ",", &save); item && n_points < MAX_POINTS;
         item = strtok_r(NULL, ",", &save)) {
        if (parse(item, &points[n_points]) == 0)
            n_points++;
        else
            fprintf(stderr, "TUTTI_FAILPOINTS: cannot read \"%s\"\n", item);
    }
    failpoints_on = n_points > 0;
}

void failpoint_rank(uint32_t rank)
{
    own_rank = (long)rank;
}

/* Is it "name", or "name/of"? */
static bool names(const struct point *p, const char *name, const char *of)
{
    size_t len = strlen(name);

    if (strncmp(p->name, name, len) != 0)
        return false;
    return p->name[len] == '\0' ||
           (of && p->name[len] == '/' && strcmp(p->name + len + 1, of) == 0);
}

static void spin(int ms)
{
    uint64_t end = clock_us() + (uint64_t)ms * 1000;

    while (clock_us() < end)
        ;
}

int failpoint_hit(const char *name, const char *of)
{
    for (struct point *p = points; p < points + n_points; p++) {
        if (!names(p, name, of) || (p->rank >= 0 && p->rank != own_rank))
            continue;
        unsigned passage = atomic_fetch_add(&p->count, 1) + 1;

        if (p->at && passage != p->at)
            continue;
        if (p->action == ACT_KILL)
            kill(getpid(), SIGKILL);
        if (p->action == ACT_ERR)
            return p->value;
        if (p->action == ACT_SPIN)
            spin(p->value);
        else
            nanosleep(&(struct timespec){.tv_sec = p->value / 1000,
                                         .tv_nsec = (long)(p->value % 1000) * 1000000},
                      NULL);
    }
    return 0;
}
