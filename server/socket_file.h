/* socket_file.h - the file of a Unix socket: whether its place is free, who may connect, and who
 * removes it. Main thread.
 */
#ifndef TUTTI_SERVER_SOCKET_FILE_H
#define TUTTI_SERVER_SOCKET_FILE_H

#include "schema/error.h"

#include <stdint.h>
#include <sys/types.h>
#include <sys/un.h>

struct socket_file {
    struct sockaddr_un at; /* of no path: there is none */
    dev_t device;          /* which file it is */
    ino_t inode;
};

/* Binds fd, a new stream socket, to path. A socket that nobody listens on any more is removed
 * first; anything else that is there is left. Until its mode is set nobody else can connect.
 * Returns 0, or -1 with ERR_option; what was made is then to be removed all the same. */
int socket_file_bind(struct socket_file *f, int fd, const char *path, uint32_t mode, struct err *e);

/* As long as it is still the file that was made; none is ignored. */
void socket_file_remove(struct socket_file *f);

#endif
