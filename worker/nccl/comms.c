/* comms.c - communicators, one for each group and stream.
 *
 * They are made without blocking and polled, so that the worker always hears CANCEL. Ranks meet by
 * a unique id, which the server carries from the group's first rank to the others. A process in
 * which making one failed is not used again: NCCL 2.28 keeps a group level open then.
 */
#include "worker/nccl/resident.h"
#include "worker/nccl/nccl_parts.h"
#include "schema/clock.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NAP_MIN_NS 2000
#define NAP_MAX_NS 100000
#define FINALIZE_MS 1000 /* then the communicator is aborted */

int nccl_failed(struct comm *c, struct err *e, const char *call, ncclResult_t rc)
{
    const char *last = ncclGetLastError(c->nccl);

    return err_set(e, ERR_worker_failed, "%s: NCCL error %d, %s%s%s", call, (int)rc,
                   ncclGetErrorString(rc), last && *last ? ": " : "", last ? last : "");
}

/* An eighth of the wait so far: a short batch is answered at once, a long one costs few wakes. */
void nccl_nap(uint64_t since_ns)
{
    uint64_t nap = (clock_ns() - since_ns) / 8;

    nap = nap < NAP_MIN_NS ? NAP_MIN_NS : nap > NAP_MAX_NS ? NAP_MAX_NS : nap;
    nanosleep(&(struct timespec){.tv_nsec = (long)nap}, NULL);
}

/* ---- tickets: a unique id in hex ---- */

static const char digits[] = "0123456789abcdef";

int nccl_ticket(struct device *d, char *out, size_t size, struct err *e)
{
    ncclUniqueId id;
    ncclResult_t rc = ncclGetUniqueId(&id);

    (void)d;
    if (rc != ncclSuccess)
        return err_set(e, ERR_worker_failed, "ncclGetUniqueId: %s: %s", ncclGetErrorString(rc),
                       ncclGetLastError(NULL));
    if (size < 2 * sizeof id + 1)
        return err_set(e, ERR_internal, "a ticket of %zu bytes does not fit", 2 * sizeof id + 1);
    for (size_t i = 0; i < sizeof id; i++) {
        out[2 * i] = digits[(uint8_t)id.internal[i] >> 4];
        out[2 * i + 1] = digits[(uint8_t)id.internal[i] & 15];
    }
    out[2 * sizeof id] = '\0';
    return 0;
}

static int read_ticket(const char *text, ncclUniqueId *id, struct err *e)
{
    uint8_t byte[sizeof *id];

    if (strlen(text) != 2 * sizeof *id || strspn(text, digits) != 2 * sizeof *id)
        return err_set(e, ERR_link, "JOIN carries no unique id");
    for (size_t i = 0; i < sizeof byte; i++)
        byte[i] = (uint8_t)((strchr(digits, text[2 * i]) - digits) << 4 |
                            (strchr(digits, text[2 * i + 1]) - digits));
    memcpy(id->internal, byte, sizeof byte);
    return 0;
}

/* ---- join, leave ---- */

static struct comm *new_comm(struct device *d, const struct seat *seat, struct err *e)
{
    struct comm *c = calloc(1, sizeof *c);

    if (!c) {
        err_set(e, ERR_no_memory, "communicator of %u ranks", seat->n);
        return NULL;
    }
    c->device = d;
    c->n = seat->n;
    c->rank = seat->rank;
    for (uint32_t i = 0; i < seat->n; i++) {
        bool same = seat->hosts[i] == seat->hosts[seat->rank];

        c->here += same;
        c->place += same && i < seat->rank;
    }
    if (nccl_stream(d, seat->stream, &c->run, e) == 0)
        return c;
    free(c);
    return NULL;
}

int nccl_join(struct device *d, const struct seat *seat, struct comm **out, struct err *e)
{
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    ncclUniqueId id;
    ncclResult_t rc;
    struct comm *c;

    if (read_ticket(seat->ticket, &id, e) != 0)
        return -1;
    c = new_comm(d, seat, e);
    if (!c)
        return -1;
    config.blocking = 0;
    rc = ncclCommInitRankConfig(&c->nccl, (int)seat->n, id, (int)seat->rank, &config);
    if (rc != ncclSuccess && rc != ncclInProgress) {
        nccl_break();
        nccl_failed(c, e, "ncclCommInitRankConfig", rc);
        free(c);
        return -1;
    }
    c->next = d->comms;
    d->comms = c;
    *out = c;
    return 0;
}

int nccl_meet(struct comm *c, struct err *e)
{
    ncclResult_t state = ncclSuccess, rc;

    if (c->ready)
        return 1;
    rc = ncclCommGetAsyncError(c->nccl, &state);
    if (rc == ncclSuccess)
        rc = state;
    if (rc == ncclInProgress)
        return 0;
    c->ready = rc == ncclSuccess;
    if (c->ready)
        return 1;
    nccl_break();
    return nccl_failed(c, e, "ncclCommInitRankConfig", rc);
}

static bool finalized(struct comm *c)
{
    uint64_t begun = clock_ns();
    ncclResult_t state, rc = ncclCommFinalize(c->nccl);

    if (rc != ncclSuccess && rc != ncclInProgress)
        return false;
    do {
        if (ncclCommGetAsyncError(c->nccl, &state) != ncclSuccess)
            return false;
        if (state != ncclInProgress)
            return state == ncclSuccess;
        nccl_nap(begun);
    } while (clock_ns() - begun < FINALIZE_MS * 1000000ull);
    return false;
}

void nccl_leave(struct comm *c, bool peers_lost)
{
    struct comm **at = &c->device->comms;

    if (c->phase != PHASE_IDLE)
        nccl_abort(c);
    if (c->nccl && !peers_lost && c->ready && finalized(c))
        ncclCommDestroy(c->nccl);
    else if (c->nccl)
        ncclCommAbort(c->nccl);
    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    free(c);
}

/* ---- abort ---- */

static bool is_active(const struct comm *c)
{
    return c->nccl && (c->phase == PHASE_MOVING || c->phase == PHASE_LAUNCHING);
}

/* After it nothing of the batch runs on the device. */
static void clear_away(struct comm *c)
{
    c->nccl = NULL;
    c->phase = PHASE_LOST;
    rtStreamSynchronize(c->stage->in);
    rtStreamSynchronize(c->run);
    rtStreamSynchronize(c->stage->out);
    c->stage->taken = false;
    for (uint32_t i = 0; i < c->n_parts; i++)
        resident_drop(c->device, c->parts[i].task->keep);
}

/* All that are at work on the device, in one group: the end of a kernel may have to wait for
 * another one's, that of a communicator that is not aborted yet. */
void nccl_abort(struct comm *c)
{
    struct comm *first = c->device->comms, *other;

    if (is_active(c)) {
        ncclGroupStart();
        for (other = first; other; other = other->next) {
            if (is_active(other))
                ncclCommAbort(other->nccl);
        }
        ncclGroupEnd();
        for (other = first; other; other = other->next) {
            if (is_active(other))
                clear_away(other);
        }
    }
    for (uint32_t i = c->reported; c->phase == PHASE_ENDED && i < c->n_parts; i++)
        resident_drop(c->device, c->parts[i].task->keep); /* nobody hears of them */
    c->phase = PHASE_IDLE;
    resident_sweep(c->device);
}
