/* lane.h - the socket where clients of this machine are given regions (region.h).
 *
 * A Unix stream socket with a thread of its own: what takes time there is waited for by nobody
 * else. A client writes a line and reads one (lane_line.h), with a descriptor where a region was
 * opened. Its regions are closed when its connection ends, however it ends. Where nobody is asked
 * for a token it has to be of the server's user. Main thread.
 */
#ifndef TUTTI_SERVER_LANE_H
#define TUTTI_SERVER_LANE_H

#include "schema/error.h"

/* path "": there is no lane. Returns 0, or -1 with ERR_option or ERR_link. */
int lane_start(const char *path, struct err *e);

/* Every client is sent away, and what they had is closed. */
void lane_stop(void);

/* Any thread; NULL: there is none. */
const char *lane_path(void);

#endif
