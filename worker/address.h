/* address.h - the address at which other hosts reach this one. Main thread. */
#ifndef TUTTI_WORKER_ADDRESS_H
#define TUTTI_WORKER_ADDRESS_H

#include "schema/error.h"

#include <stdint.h>

#define ADDRESS_BYTES 256

/* wish: an interface's name, an address or a host's name; NULL: the address that the server is
 * spoken with from (link_fd, over TCP), or else (-1) that of the first interface that is up and no
 * loopback. Returns 0, or -1 with ERR_option when there is no such interface or address here. */
int address_find(const char *wish, int link_fd, char out[ADDRESS_BYTES], struct err *e);

#endif
