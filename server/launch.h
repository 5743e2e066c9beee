/* launch.h - starts a local worker process and confirms its exit. Core thread. */
#ifndef TUTTI_SERVER_LAUNCH_H
#define TUTTI_SERVER_LAUNCH_H

#include "schema/error.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct launched {
    pid_t pid;
    int pidfd; /* readable when it has exited */
};

/* posix_spawns argv with the parent's environment and signal dispositions reset, descriptors above
 * stderr closed. */
int launch_start(struct launched *out, const char *const argv[], struct err *e);

/* Reaps. Returns true and "exit 3" or "signal 9 (Killed)" in how when it has exited. */
bool launch_reaped(struct launched *l, char *how, uint32_t how_size);

void launch_kill(const struct launched *l, int sig); /* by pidfd: never another process */

#endif
