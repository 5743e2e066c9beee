/* nccl_run.c - a launch on its stream's thread: the ranks meet in shared memory, chunk by chunk. */
#include "tests/simgpu/sim_nccl.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_US 5000000 /* then it is said who waits for whom */

static bool aborted(const struct ncclComm *c)
{
    return __atomic_load_n(&c->aborted, __ATOMIC_ACQUIRE);
}

/* Spins a while, then sleeps: false when the communicator was aborted. */
bool sim_wait(struct ncclComm *c, const atomic_ullong *value, uint64_t at_least, const char *what,
              uint32_t rank)
{
    uint64_t waited_us = 0;
    bool said = false;

    for (uint32_t spins = 0; atomic_load(value) < at_least; spins++) {
        if (aborted(c))
            return false;
        if (spins < 200)
            continue;
        simgpu_sleep_us(20);
        waited_us += 70; /* about */
        if (waited_us > PATIENCE_US && !said) {
            said = true;
            simgpu_note(
                "rank %u waits at call %llu for %s of rank %u, which is at call %llu: on a GPU it "
                "would hang",
                c->rank, (unsigned long long)c->calls, what, rank,
                (unsigned long long)atomic_load(&c->shared->slot[rank].call));
        }
    }
    return true;
}

/* ---- collectives ---- */

static bool same(const struct sim_signature *a, const struct sim_signature *b)
{
    return a->kind == b->kind && a->dtype == b->dtype && a->redop == b->redop &&
           a->root == b->root && a->count == b->count;
}

/* Every rank has begun the same call. */
static bool agree(struct ncclComm *c, const struct sim_call *call)
{
    struct sim_shared *all = c->shared;

    all->slot[c->rank].is = call->is;
    atomic_store(&all->slot[c->rank].call, ++c->calls);
    for (uint32_t r = 0; r < c->n; r++) {
        const struct sim_slot *s = &all->slot[r];

        if (!sim_wait(c, &s->call, c->calls, "the call", r))
            return false;
        if (atomic_load(&s->call) == c->calls && !same(&s->is, &call->is)) {
            simgpu_misuse(
                call->name,
                "rank %u calls kind %u, %llu elements of type %u, op %u, root %u; rank %u calls "
                "kind %u, %llu elements of type %u, op %u, root %u",
                c->rank, call->is.kind, (unsigned long long)call->is.count, call->is.dtype,
                call->is.redop, call->is.root, r, s->is.kind, (unsigned long long)s->is.count,
                s->is.dtype, s->is.redop, s->is.root);
            atomic_store(&c->state, ncclInvalidUsage);
            return false;
        }
    }
    return true;
}

/* Rank r's bytes [lo, hi) of its whole send buffer into what this rank's recv buffer wants of them.
 */
static void receive(const struct ncclComm *c, const struct sim_call *call, uint32_t r, uint64_t lo,
                    uint64_t hi)
{
    const uint8_t *from = c->shared->slot[r].chunk;
    uint32_t size = sim_dtype_bytes(call->is.dtype);
    uint64_t part = call->is.count * size, at = 0; /* of one block; where lo belongs */
    bool reduces;

    if (!call->recv_bytes)
        return;
    switch (call->is.kind) {
    case SIM_ALL_GATHER:
    case SIM_GATHER:
        at = r * part + lo;
        break;
    case SIM_REDUCE_SCATTER:
    case SIM_SCATTER:
    case SIM_ALL_TO_ALL: { /* only my block of it */
        uint64_t begin = c->rank * part > lo ? c->rank * part : lo;
        uint64_t end = (c->rank + 1) * part < hi ? (c->rank + 1) * part : hi;

        if (begin >= end)
            return;
        from += begin - lo;
        hi = end;
        lo = begin;
        at = begin - c->rank * part + (call->is.kind == SIM_ALL_TO_ALL ? r * part : 0);
        break;
    }
    default:
        at = lo;
    }
    reduces = call->is.kind == SIM_ALL_REDUCE || call->is.kind == SIM_REDUCE ||
              call->is.kind == SIM_REDUCE_SCATTER;
    if (reduces && r == 0 && call->is.redop == ncclAvg)
        memset(call->recv + at, 0, hi - lo); /* the first one is scaled, too */
    if (reduces && (r > 0 || call->is.redop == ncclAvg))
        sim_reduce(call->recv + at, from, (hi - lo) / size, call->is.dtype, call->is.redop, c->n);
    else
        memcpy(call->recv + at, from, hi - lo);
}

static bool gives(const struct sim_call *call, uint32_t r)
{
    return (call->is.kind != SIM_BROADCAST && call->is.kind != SIM_SCATTER) || r == call->is.root;
}

/* Bytes of a giver's send buffer. */
static uint64_t given_bytes(const struct ncclComm *c, const struct sim_call *call)
{
    uint64_t part = call->is.count * sim_dtype_bytes(call->is.dtype);
    bool blocks = call->is.kind == SIM_REDUCE_SCATTER || call->is.kind == SIM_SCATTER ||
                  call->is.kind == SIM_ALL_TO_ALL;

    return blocks ? part * c->n : part;
}

static bool run_collective(struct ncclComm *c, const struct sim_call *call)
{
    struct sim_shared *all = c->shared;
    struct sim_slot *mine = &all->slot[c->rank];
    uint64_t total = given_bytes(c, call);

    if (!agree(c, call))
        return false;
    for (uint64_t lo = 0; lo < total; lo += SIM_CHUNK) {
        uint64_t hi = total - lo < SIM_CHUNK ? total : lo + SIM_CHUNK;

        for (uint32_t r = 0; r < c->n; r++) {
            if (!sim_wait(c, &all->slot[r].consumed, c->chunks, "the last chunk", r))
                return false;
        }
        if (gives(call, c->rank))
            memcpy(mine->chunk, call->send + lo, hi - lo);
        atomic_store(&mine->published, ++c->chunks);
        for (uint32_t r = 0; r < c->n; r++) {
            if (!sim_wait(c, &all->slot[r].published, c->chunks, "a chunk", r))
                return false;
            if (gives(call, r))
                receive(c, call, r, lo, hi);
        }
        atomic_store(&mine->consumed, c->chunks);
    }
    return true;
}

/* ---- point to point: all of a launch at once ---- */

struct flow {
    const struct sim_call *call;
    uint64_t done;
};

/* One piece further, if the other side allows it. */
static bool step(struct ncclComm *c, struct flow *f)
{
    const struct sim_call *call = f->call;
    bool sends = call->is.kind == SIM_SEND;
    uint32_t from = sends ? c->rank : call->peer, to = sends ? call->peer : c->rank;
    struct sim_mail *m = &c->shared->mail[from * c->n + to];
    uint64_t total = sends ? call->send_bytes : call->recv_bytes, left = total - f->done;
    uint64_t bytes = left < SIM_MAIL ? left : SIM_MAIL;

    if (sends) {
        if (atomic_load(&m->received) < c->mail_sent[to])
            return false;
        m->bytes = (uint32_t)bytes;
        memcpy(m->piece, call->send + f->done, bytes);
        atomic_store(&m->sent, ++c->mail_sent[to]);
    } else {
        if (atomic_load(&m->sent) <= c->mail_received[from])
            return false;
        if (m->bytes != bytes)
            simgpu_misuse("ncclRecv", "rank %u sends %u bytes where rank %u expects %llu", from,
                          m->bytes, to, (unsigned long long)bytes);
        memcpy(call->recv + f->done, m->piece, bytes);
        atomic_store(&m->received, ++c->mail_received[from]);
    }
    f->done += bytes;
    return true;
}

static bool run_flows(struct ncclComm *c, struct flow *flows, uint32_t n)
{
    uint32_t left = n;

    while (left > 0) {
        bool moved = false;

        for (uint32_t i = 0; i < n; i++) {
            struct flow *f = &flows[i];
            uint64_t total = f->call ? f->call->send_bytes + f->call->recv_bytes : 0;

            if (!f->call)
                continue;
            /* One of a pair at a time, in order. */
            for (uint32_t k = 0; k < i; k++) {
                if (flows[k].call && flows[k].call->is.kind == f->call->is.kind &&
                    flows[k].call->peer == f->call->peer)
                    total = UINT64_MAX;
            }
            if (total == UINT64_MAX)
                continue;
            if (f->done < total && step(c, f))
                moved = true;
            if (f->done == total) {
                f->call = NULL;
                left--;
            }
        }
        if (aborted(c))
            return false;
        if (!moved)
            simgpu_sleep_us(20);
    }
    return true;
}

static bool run_point_to_point(struct sim_launch *l)
{
    struct flow *flows = calloc(l->n_calls ? l->n_calls : 1, sizeof *flows);
    uint32_t n = 0;
    bool ok;

    for (uint32_t i = 0; flows && i < l->n_calls; i++) {
        if (l->calls[i].is.kind >= SIM_SEND)
            flows[n++].call = &l->calls[i];
    }
    ok = flows && run_flows(l->comm, flows, n);
    free(flows);
    return ok;
}

/* ---- a launch ---- */

static void hang(const struct ncclComm *c)
{
    while (!aborted(c))
        simgpu_sleep_us(200);
}

void sim_run(struct simgpu_work *w)
{
    struct sim_launch *l = (struct sim_launch *)w;
    struct ncclComm *c = l->comm;
    bool ok;

    simgpu_kernel_wait(l->ticket);
    if (l->die)
        kill(getpid(), SIGKILL);
    if (l->slow_us)
        simgpu_sleep_us(l->slow_us);
    if (l->async_error) {
        sim_set_error("NET/IB : Got completion from peer with status=12 (a planted error)");
        atomic_store(&c->state, ncclSystemError);
    }
    if (l->async_error || l->hang)
        hang(c);
    ok = !aborted(c) && run_point_to_point(l);
    for (uint32_t i = 0; ok && i < l->n_calls; i++) {
        if (l->calls[i].is.kind < SIM_SEND)
            ok = run_collective(c, &l->calls[i]);
    }
    if (!ok)
        hang(c); /* a kernel that went wrong spins until it is aborted */
    free(l->calls);
    simgpu_kernel_done(l->ticket);
}
