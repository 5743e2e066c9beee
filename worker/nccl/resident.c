/* resident.c - the tensors that live on the device: found by the server's number for them. */
#include "worker/nccl/resident.h"
#include "worker/nccl/nccl_parts.h"

#include <stdlib.h>

#define BUCKETS 512

struct kept {
    struct kept *next;
    uint64_t id, bytes;
    uint8_t *at;
};

struct resident {
    struct kept *bucket[BUCKETS];
    struct kept *dropped; /* still to be freed */
};

static struct kept **find(struct device *d, uint64_t id)
{
    struct kept **at = &d->resident->bucket[id % BUCKETS];

    while (*at && (*at)->id != id)
        at = &(*at)->next;
    return at;
}

uint8_t *resident_find(struct device *d, uint64_t id, uint64_t bytes)
{
    struct kept *k = d->resident ? *find(d, id) : NULL;

    return k && k->bytes == bytes ? k->at : NULL;
}

int resident_make(struct device *d, uint64_t id, uint64_t bytes, uint8_t **out, struct err *e)
{
    struct kept *k = calloc(1, sizeof *k);
    rtError_t rc;

    if (!d->resident)
        d->resident = calloc(1, sizeof *d->resident);
    if (!k || !d->resident) {
        free(k);
        return err_set(e, ERR_no_memory, "a resident tensor");
    }
    rc = rtMalloc((void **)&k->at, bytes ? bytes : 1);
    if (rc != rtSuccess) {
        free(k);
        return err_set(e, ERR_worker_failed, "%s: a resident tensor of %llu bytes: %s",
                       d->at.device, (unsigned long long)bytes, rtGetErrorString(rc));
    }
    k->id = id;
    k->bytes = bytes;
    k->next = d->resident->bucket[id % BUCKETS];
    d->resident->bucket[id % BUCKETS] = k;
    *out = k->at;
    return 0;
}

/* At most SLOT_BYTES where the arena is not pinned. */
static rtError_t fetch_piece(struct device *d, uint8_t *to, const uint8_t *at, uint64_t bytes)
{
    uint8_t *pinned = d->registered ? to : d->aside_host;
    rtError_t rc = rtMemcpyAsync(pinned, at, bytes, rtDeviceToHost, d->aside);

    if (rc == rtSuccess)
        rc = rtStreamSynchronize(d->aside);
    if (rc == rtSuccess && pinned != to)
        memcpy(to, pinned, bytes);
    return rc;
}

int resident_fetch(struct device *d, uint64_t id, uint8_t *to, uint64_t bytes, struct err *e)
{
    uint8_t *at = resident_find(d, id, bytes);
    uint64_t most = d->registered ? bytes : SLOT_BYTES;
    rtError_t rc = rtSuccess;

    if (!at)
        return err_set(e, ERR_worker_failed, "%s does not hold the tensor", d->at.device);
    if (bytes == 0)
        return 0;
    for (uint64_t done = 0; done < bytes && rc == rtSuccess; done += most)
        rc = fetch_piece(d, to + done, at + done, bytes - done < most ? bytes - done : most);
    if (rc == rtSuccess)
        return 0;
    nccl_cuda_failed(e, "copy a resident tensor", rc);
    e->code = ERR_link; /* the device is of no use any more */
    return -1;
}

void resident_drop(struct device *d, uint64_t id)
{
    struct kept **at = d->resident && id ? find(d, id) : NULL, *k = at ? *at : NULL;

    if (!k)
        return;
    *at = k->next;
    k->next = d->resident->dropped;
    d->resident->dropped = k;
}

void resident_sweep(struct device *d)
{
    while (d->resident && d->resident->dropped) {
        struct kept *k = d->resident->dropped;

        d->resident->dropped = k->next;
        if (!nccl_broken())
            rtFree(k->at);
        free(k);
    }
}

void resident_close(struct device *d)
{
    for (uint32_t i = 0; d->resident && i < BUCKETS; i++) {
        while (d->resident->bucket[i])
            resident_drop(d, d->resident->bucket[i]->id);
    }
    resident_sweep(d);
    free(d->resident);
    d->resident = NULL;
}
