/* prepare.h - what the process sets for itself before anything starts. Main thread, once. */
#ifndef TUTTI_SERVER_PREPARE_H
#define TUTTI_SERVER_PREPARE_H

#include <signal.h>

/* Failpoints, malloc, descriptors; these signals are taken by sigwaitinfo, and by no thread. */
void prepare_process(const sigset_t *signals);

#endif
