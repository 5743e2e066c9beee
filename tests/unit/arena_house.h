/* arena_house.h - an arena in a directory of the test's own. */
#ifndef TUTTI_TESTS_ARENA_HOUSE_H
#define TUTTI_TESTS_ARENA_HOUSE_H

#include "tests/unit/unit.h"

#include "schema/log.h"
#include "server/arena.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char dir[64];
static struct arena *arena;

/* where: mkdtemp's pattern. Returns 0 or -1. */
static inline int arena_house_open(const char *where, uint64_t size_bytes)
{
    struct err e;
    bool kept;

    log_init("test", LOG_error, false);
    snprintf(dir, sizeof dir, "%s", where);
    return mkdtemp(dir) && arena_open(&arena, dir, size_bytes, 0, &kept, &e) == 0 ? 0 : -1;
}

/* Returns 0, or -1 when something is left in the directory. */
static inline int arena_house_close(void)
{
    static const char *const files[] = {"arena", "arena.lock"};
    char path[96];

    arena_close(arena);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, files[i]);
        unlink(path);
    }
    return rmdir(dir);
}

#endif
