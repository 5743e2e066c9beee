/* strangers.h - how much those who have not proved who they are may take: connections at once, and
 * wrong proofs a minute, of each address and in all. Core thread.
 */
#ifndef TUTTI_SERVER_STRANGERS_H
#define TUTTI_SERVER_STRANGERS_H

#include "schema/error.h"

#include <stdint.h>

#define STRANGER_BYTES 64 /* an address as text, without the port */

/* Somebody connects from there. Returns 0, and he counts until stranger_leaves; or -1 with
 * ERR_refused. */
int stranger_comes(const char *address, uint64_t now_us, struct err *e);

/* He has gone, or is no stranger any more. */
void stranger_leaves(const char *address);

void stranger_was_wrong(const char *address, uint64_t now_us);

#endif
