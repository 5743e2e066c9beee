/* dial.h - a connection to the server: unix:PATH, or HOST:PORT over TCP. */
#ifndef TUTTI_WORKER_DIAL_H
#define TUTTI_WORKER_DIAL_H

#include "schema/error.h"

#include <stdbool.h>
#include <stdint.h>

/* Is it HOST:PORT? */
bool dial_is_tcp(const char *server);

/* A connected, blocking socket, or -1 with ERR_link. */
int dial(const char *server, struct err *e);

/* Once more over TCP, to the address that dial() reached: asks nobody for names. */
int dial_again(struct err *e);

/* The address family of that, for the sandbox; 0: none was reached. */
int dial_family(void);

/* Over TCP: how long ago the kernel got the last byte, read or not. */
uint32_t dial_silent_ms(int fd);

#endif
