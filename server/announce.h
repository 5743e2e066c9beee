/* announce.h - what the program says to who started it: which ranks it waits for, where it listens,
 * a token that was made. Main thread. */
#ifndef TUTTI_SERVER_ANNOUNCE_H
#define TUTTI_SERVER_ANNOUNCE_H

#include "server/options.h"

#include <stdbool.h>

/* Are all ranks there? To be asked again and again until they are: the log says, ever more seldom,
 * who is missing and how they come. */
bool announce_world(const struct options *o);

/* "listening on URL", once it can serve; the URL is one that this machine can open. own_token: one
 * that was made for this process alone; "": none. */
void announce(const struct options *o, uint16_t port, const char *own_token);

/* --new-token: makes it and says it. Returns the program's exit status. */
int announce_new_token(const struct options *o);

/* --health: asks the service that runs. Returns the status to exit with; a reason on standard
 * error. */
int announce_health(const struct options *o);

#endif
