/* reaper.h - what the first process of a container has to do beside its work. */
#ifndef TUTTI_SERVER_REAPER_H
#define TUTTI_SERVER_REAPER_H

#include "schema/error.h"

/* Where this is process 1: returns 0 in a child, which is to be the server, and never in process 1
 * itself. That one hands signals on to the server, takes away the dead that lost their parents (of
 * a health check, of a shell that somebody opened), and leaves with the server's status. Anywhere
 * else it only returns 0. Before there are threads. -1: there can be no child. */
int reaper_start(struct err *e);

#endif
