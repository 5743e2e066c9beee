/* health.h - asks a running service whether it answers, as a container's health check does. */
#ifndef TUTTI_SERVER_HEALTH_H
#define TUTTI_SERVER_HEALTH_H

#include "schema/error.h"

#include <stdbool.h>
#include <stdint.h>

/* GET /healthz of the service at host and port; or where host is "", on the Unix socket at path.
 * With tls its certificate is not looked at: it is this machine's own. Blocks, for some seconds at
 * most. Returns 0, or -1 with what is wrong. */
int health_ask(const char *host, uint16_t port, const char *path, bool tls, struct err *e);

#endif
