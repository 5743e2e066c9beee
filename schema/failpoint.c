/* failpoint.c - TUTTI_FAILPOINTS, parsed once; passages counted. */
#include "schema/failpoint.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MAX_POINTS 16

enum action { ACT_KILL, ACT_SLEEP, ACT_ERR };

struct point {
    char name[48];
    enum action action;
    int value;         /* ms or errno */
    unsigned at;       /* passage, 0: every one */
    atomic_uint count; /* passages so far */
};

bool failpoints_on;
static struct point points[MAX_POINTS];
static int n_points;

/* name=kill@2, name=sleep:100, name=err:28 */
static int parse(char *item, struct point *p)
{
    char *equals = strchr(item, '='), *at = strchr(item, '@');

    if (!equals || (size_t)(equals - item) >= sizeof p->name)
        return -1;
    *equals = '\0';
    snprintf(p->name, sizeof p->name, "%s", item);
    p->at = at ? (unsigned)strtoul(at + 1, NULL, 10) : 0;
    if (strncmp(equals + 1, "kill", 4) == 0) {
        p->action = ACT_KILL;
        p->at = p->at ? p->at : 1;
    } else if (strncmp(equals + 1, "sleep:", 6) == 0) {
        p->action = ACT_SLEEP;
        p->value = atoi(equals + 7);
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

int failpoint_hit(const char *name)
{
    for (struct point *p = points; p < points + n_points; p++) {
        if (strcmp(p->name, name) != 0)
            continue;
        unsigned passage = atomic_fetch_add(&p->count, 1) + 1;

        if (p->at && passage != p->at)
            continue;
        if (p->action == ACT_KILL)
            kill(getpid(), SIGKILL);
        if (p->action == ACT_ERR)
            return p->value;
        nanosleep(&(struct timespec){.tv_sec = p->value / 1000,
                                     .tv_nsec = (long)(p->value % 1000) * 1000000},
                  NULL);
    }
    return 0;
}
