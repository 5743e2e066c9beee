/* meet.c - how ranks on different hosts find each other: each tells all, through the server, which
 * port waits for whom. */
#include "schema/clock.h"
#include "worker/gloo/comm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Also on this host: masked tasks take all ranks apart. */
static bool is_peer(const struct map *m, uint32_t r)
{
    return r != m->rank;
}

/* The key is the rank; the value its address, and a port a rank. */
static size_t value_bytes(const struct map *m)
{
    return WIRE_ADDRESS_BYTES + m->n * (size_t)WIRE_PORT_BYTES;
}

static int tell(struct comm *c, struct err *e)
{
    const struct map *m = c->map;
    uint8_t *value = calloc(1, value_bytes(m));
    char key[12];
    int rc;

    if (!value)
        return err_set(e, ERR_no_memory, "the addresses of %u ranks", m->n);
    snprintf(key, sizeof key, "%u", m->rank);
    wire_address(c->wire, value);
    for (uint32_t r = 0; r < m->n; r++) {
        if (is_peer(m, r))
            wire_port(c->wire, r, value + WIRE_ADDRESS_BYTES + r * WIRE_PORT_BYTES);
    }
    rc = c->device->at.put(c->id, key, value, (uint32_t)value_bytes(m), e);
    free(value);
    return rc;
}

int comm_listen(struct comm *c, struct err *e)
{
    const struct map *m = c->map;
    bool *peer = calloc(m->n, sizeof *peer);
    int rc;

    if (!peer)
        return err_set(e, ERR_no_memory, "a communicator of %u ranks", m->n);
    for (uint32_t r = 0; r < m->n; r++)
        peer[r] = is_peer(m, r);
    rc = wire_new(&c->wire, c->device->wire, m->n, m->rank, peer, e);
    free(peer);
    return rc != 0 || m->n == 1 ? rc : tell(c, e);
}

void comm_heard(struct comm *c, const char *key, const uint8_t *value, uint32_t bytes)
{
    const struct map *m = c->map;
    char *end;
    unsigned long rank = strtoul(key, &end, 10);
    struct peer *p;

    if (*end || end == key || rank >= m->n || !is_peer(m, (uint32_t)rank) ||
        bytes != value_bytes(m))
        return; /* no rank of this build has said so: that one will be missed */
    pthread_mutex_lock(&c->lock);
    p = &c->peers[rank];
    memcpy(p->address, value, sizeof p->address);
    memcpy(p->port, value + WIRE_ADDRESS_BYTES + m->rank * WIRE_PORT_BYTES, sizeof p->port);
    p->heard = true;
    pthread_cond_broadcast(&c->news);
    pthread_mutex_unlock(&c->lock);
}

/* Returns 0 with what is known of the rank. */
static int wait_for(struct comm *c, uint32_t rank, uint64_t until_us, struct peer *out,
                    struct err *e)
{
    pthread_mutex_lock(&c->lock);
    while (!c->peers[rank].heard && !atomic_load(&c->stop) && clock_us() < until_us)
        comm_wait(c, &c->news, until_us - clock_us());
    *out = c->peers[rank];
    pthread_mutex_unlock(&c->lock);
    if (atomic_load(&c->stop))
        return err_set(e, ERR_aborted, "stopped");
    if (out->heard)
        return 0;
    err_set(e, ERR_worker_failed, "rank %u has not said for %u ms where it listens", rank,
            c->device->silent_ms);
    return err_rank(e, rank);
}

int comm_connect(struct comm *c, struct err *e)
{
    const struct map *m = c->map;
    uint64_t until_us = clock_us() + c->device->silent_ms * 1000ull;

    for (uint32_t r = 0; r < m->n; r++) {
        struct peer p;

        if (!is_peer(m, r))
            continue;
        if (wait_for(c, r, until_us, &p, e) != 0 ||
            wire_connect(c->wire, r, p.address, p.port, e) != 0)
            return -1;
    }
    return 0;
}
