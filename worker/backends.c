/* backends.c - the compiled-in backends. */
#include "worker/backend.h"

#include <string.h>

extern const struct backend backend_shm;
#ifdef TUTTI_HAVE_NCCL
extern const struct backend backend_nccl;
#endif

#ifdef TUTTI_HAVE_GLOO
extern const struct backend backend_gloo;
#endif

static const struct backend *const backends[] = {
    &backend_shm,
#ifdef TUTTI_HAVE_NCCL
    &backend_nccl,
#endif
#ifdef TUTTI_HAVE_GLOO
    &backend_gloo, /* behind shm, which is "auto" on a CPU */
#endif
};

#define BACKENDS (sizeof backends / sizeof backends[0])

const struct backend *backend_find(const char *name, const char *device)
{
    bool gpu = strncmp(device, "gpu:", 4) == 0;

    for (size_t i = 0; i < BACKENDS; i++) {
        if (strcmp(backends[i]->name, name) == 0)
            return backends[i];
        if (strcmp(name, "auto") == 0 && gpu == (backends[i]->devices != NULL))
            return backends[i];
    }
    return NULL;
}

uint32_t backend_gpus(void)
{
    for (size_t i = 0; i < BACKENDS; i++) {
        uint32_t n = backends[i]->devices ? backends[i]->devices() : 0;

        if (n > 0)
            return n;
    }
    return 0;
}

const char *backend_names(void)
{
#if defined TUTTI_HAVE_NCCL && defined TUTTI_HAVE_GLOO
    return "shm nccl gloo";
#elif defined TUTTI_HAVE_NCCL
    return "shm nccl; this build has no gloo";
#elif defined TUTTI_HAVE_GLOO
    return "shm gloo; this build has no nccl";
#else
    return "shm; this build has neither nccl nor gloo";
#endif
}
