/* across.c - the backend of groups that span hosts. */
#include "worker/across.h"
#include "worker/link.h"

#include <stdio.h>
#include <string.h>

static struct {
    const struct backend *backend; /* NULL: none */
    struct device *device;
} across;

int across_open(const struct backend *b, const struct place *at, struct err *e)
{
    if (b->open(&across.device, at, e) != 0)
        return -1;
    across.backend = b;
    return 0;
}

const struct backend *across_backend(void)
{
    return across.backend;
}

void across_close(void)
{
    if (across.backend)
        across.backend->close(across.device);
    across.backend = NULL;
}

int across_choose(const char *name, const struct backend **own, struct device **device,
                  struct err *e)
{
    if (strcmp(name, (*own)->name) == 0)
        return 0;
    if (!across.backend || strcmp(name, across.backend->name) != 0)
        return err_set(e, ERR_link, "JOIN wants a group on %s, and this worker has %s%s%s", name,
                       (*own)->name, across.backend ? " and " : "",
                       across.backend ? across.backend->name : "");
    *own = across.backend;
    *device = across.device;
    return 0;
}

int across_put(uint64_t comm, const char *key, const uint8_t *value, uint32_t bytes, struct err *e)
{
    static struct frame f; /* large */

    if (bytes > sizeof f.store_put.value)
        return err_set(e, ERR_worker_failed, "%u bytes are too many for the server to pass on",
                       bytes);
    f.type = FRAME_store_put;
    f.store_put.comm = comm;
    f.store_put.n_value = bytes;
    snprintf(f.store_put.key, sizeof f.store_put.key, "%s", key);
    memcpy(f.store_put.value, value, bytes);
    return link_send(&f, e);
}
