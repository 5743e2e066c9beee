/* static.h - the files that the server carries (static.def), with an ETag each.
 *
 * The bytes are part of the program: nothing is read from a disk, and nothing is copied to answer.
 */
#ifndef TUTTI_SERVER_STATIC_H
#define TUTTI_SERVER_STATIC_H

#include <stddef.h>

struct static_file {
    const char *route; /* "/openapi.yaml" */
    const char *type;  /* its media type */
    const void *bytes;
    size_t len;
    char etag[24]; /* with its quotes, the same as long as the bytes are */
};

/* Main thread, once, before requests come: works out the ETags. */
void static_init(void);

/* The file of a route of static.def, or NULL. Any thread. */
const struct static_file *static_find(const char *route);

#endif
