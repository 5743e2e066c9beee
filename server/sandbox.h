/* sandbox.h - which files and which system calls the server keeps. Best effort: what this kernel
 * cannot is said in the log, and the service runs. Main thread. */
#ifndef TUTTI_SERVER_SANDBOX_H
#define TUTTI_SERVER_SANDBOX_H

#include "schema/error.h"

#include <stdbool.h>

struct sandbox_options {
    const char *data_dir, *arena_dir;
    const char *worker_listen; /* "unix:PATH" */
    const char *lane;          /* the path of its socket; "": none */
    bool worker_tcp;           /* and at a port */
    const char *http_path;     /* of the Unix socket for requests; "": none */
    const char *token_file;    /* is read again; "": none */
    bool launches;             /* workers, which inherit all of it */
    bool workers_dial;         /* which connect to each other, and to workers elsewhere */
    bool gpus;                 /* those run libraries that use files as they please */
};

/* Before any thread starts, when the port is bound: makes the two directories; from then on nothing
 * is written outside them and the sockets', no connection goes out but with workers_dial, and what
 * stands in schema/denied.def is refused. With gpus files are not limited; without launches reading
 * is, too. Returns 0, or -1 with the code of the directory that cannot be made. */
int sandbox_start(const struct sandbox_options *o, struct err *e);

/* Once all threads run: a server that launches no workers keeps the calls that serving needs, and
 * no others. */
void sandbox_serve(const struct sandbox_options *o);

#endif
