/* backends.c - the compiled-in backends, best first. */
#include "worker/backend.h"

#include <string.h>

extern const struct backend backend_shm;

static const struct backend *const backends[] = {&backend_shm};

const struct backend *backend_find(const char *name)
{
    if (strcmp(name, "auto") == 0)
        return backends[0];
    for (size_t i = 0; i < sizeof backends / sizeof backends[0]; i++)
        if (strcmp(backends[i]->name, name) == 0)
            return backends[i];
    return NULL;
}

const char *backend_names(void)
{
    return "shm";
}
