/* launch.h - starts a local worker process and confirms its exit. Core thread. */
#ifndef TUTTI_SERVER_LAUNCH_H
#define TUTTI_SERVER_LAUNCH_H

#include "schema/error.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct launched {
    pid_t pid; /* 0 when there is none */
    int pidfd; /* readable when it has exited; -1 when there is none */
};

/* posix_spawns argv (argv[0] is a path) with the parent's environment and signal dispositions
 * reset, descriptors above stderr closed, in a process group of its own. Returns 0, or -1 with
 * ERR_internal. */
int launch_start(struct launched *out, const char *const argv[], struct err *e);

/* The worker program, which lies beside this one. Returns 0, or -1 with ERR_internal. */
int launch_find_worker(char *path, uint32_t size, struct err *e);

/* GPUs that workers can use here, as the worker program says; 0 when there is none, or no program.
 * Waits for it. Any thread. */
uint32_t launch_gpus(void);

/* A process that somebody else started. Returns 0, or -1 with ERR_link when it is gone or not in
 * our process namespace. */
int launch_adopt(struct launched *out, pid_t pid, struct err *e);

/* Has it exited? Then reaps it, closes pidfd, and sets how to "exit 3", "signal 9 (Killed)", or
 * "its own exit" for an adopted one. */
bool launch_reaped(struct launched *l, char *how, uint32_t how_size);

void launch_kill(const struct launched *l, int sig); /* by pidfd: never another process */

#endif
