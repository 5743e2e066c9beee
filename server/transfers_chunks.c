/* transfers_chunks.c - the chunks of one channel: whose turn it is, out, and in. */
#include "server/transfers_parts.h"
#include "schema/clock.h"
#include "schema/log.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

/* ---- turns and ends ---- */

static void take_turn(struct channel *c, struct transfer *t)
{
    t->queued = true;
    t->next_turn = NULL;
    *c->turn_end = t;
    c->turn_end = &t->next_turn;
}

void channel_enter(struct channel *c, struct transfer *t)
{
    t->next = c->all;
    t->prev = &c->all;
    if (t->next)
        t->next->prev = &t->next;
    c->all = t;
    take_turn(c, t);
}

void transfer_finish(struct transfer *t, enum err_code code, const char *why)
{
    *t->prev = t->next;
    if (t->next)
        t->next->prev = t->prev;
    if (code != ERR_none && !t->failed)
        err_set(&t->err, code, "%s", why);
    t->rc = code == ERR_none && !t->failed ? 0 : -1;
    core_post(&t->msg);
}

/* It has failed or is not wanted, or all of it is answered: the asker hears, once nothing of it is
 * on its way. Those that wait for their turn are looked at there. */
static void settle(struct transfer *t)
{
    if (t->flying > 0 || t->queued)
        return;
    if (t->failed || t->answered == t->bytes)
        transfer_finish(t, ERR_none, NULL);
    else
        transfer_finish(t, ERR_aborted, "the bytes are not wanted any more");
}

/* ---- a connection ends ---- */

/* From the first chunk that was not answered: those on their way are lost, or will be. */
static void start_over(struct channel *c)
{
    c->first = c->flying = 0;
    c->head_left = c->body_left = 0;
    c->in_body = false;
    c->turn = NULL;
    c->turn_end = &c->turn;
    for (struct transfer *t = c->all; t; t = t->next) {
        t->sent = t->answered;
        t->flying = 0;
        take_turn(c, t);
    }
}

void channel_hang_up(struct channel *c)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    start_over(c);
}

void channel_break(struct channel *c, const char *how)
{
    log_warn("a data channel has ended: %s", how);
    channel_hang_up(c);
    atomic_fetch_add(&c->broken, 1);
    if (!atomic_exchange(&c->broke_posted, true))
        core_post(&c->broke);
}

/* ---- out ---- */

static bool next_chunk(struct channel *c, struct chunk *out)
{
    struct transfer *t = c->turn;
    struct flight *f;

    c->turn = t->next_turn;
    if (!c->turn)
        c->turn_end = &c->turn;
    t->queued = false;
    if (t->failed || atomic_load_explicit(&t->unwanted, memory_order_relaxed)) {
        settle(t);
        return false;
    }
    f = &c->window[(c->first + c->flying) % WINDOW];
    *f = (struct flight){.transfer = t, .at = t->sent, .bytes = t->bytes - t->sent};
    if (t->way != TRANSFER_RESERVE && f->bytes > CHUNK_BYTES)
        f->bytes = CHUNK_BYTES;
    *out = (struct chunk){.kind = t->way == TRANSFER_OUT  ? CHUNK_PUT
                                  : t->way == TRANSFER_IN ? CHUNK_GET
                                                          : CHUNK_RESERVE,
                          .offset = t->offset + f->at,
                          .bytes = f->bytes};
    if (c->flying++ == 0)
        c->heard_us = clock_us();
    t->flying++;
    t->sent += f->bytes;
    if (t->sent < t->bytes)
        take_turn(c, t);
    if (t->way == TRANSFER_OUT) {
        c->body = t->at + f->at;
        c->body_left = f->bytes;
        out->digest = chunk_digest(c->body, f->bytes);
    }
    return true;
}

/* Returns 0, or -1 with errno. */
static int send_some(struct channel *c)
{
    struct iovec part[2] = {
        {.iov_base = c->head + sizeof c->head - c->head_left, .iov_len = c->head_left},
        {.iov_base = (uint8_t *)(uintptr_t)c->body, .iov_len = c->body_left}};
    struct msghdr m = {.msg_iov = part, .msg_iovlen = 2};
    ssize_t n = sendmsg(c->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
    size_t of_head;

    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -1;
    of_head = (size_t)n < c->head_left ? (size_t)n : c->head_left;
    c->head_left -= of_head;
    if ((size_t)n > of_head) {
        c->body += (size_t)n - of_head;
        c->body_left -= (size_t)n - of_head;
    }
    return 0;
}

bool channel_has_unsent(const struct channel *c)
{
    return c->head_left + c->body_left > 0;
}

/* As much as the socket takes; so that others have their turn, a window's chunks at most. */
void channel_ask(struct channel *c)
{
    struct chunk chunk;

    for (uint32_t i = 0; i < WINDOW && c->fd >= 0; i++) {
        if (!channel_has_unsent(c)) {
            if (!c->turn || c->flying == WINDOW)
                return;
            if (!next_chunk(c, &chunk))
                continue;
            chunk_encode(&chunk, c->head);
            c->head_left = sizeof c->head;
        }
        if (send_some(c) != 0)
            channel_break(c, strerror(errno));
        else if (channel_has_unsent(c))
            return;
    }
}

/* ---- in ---- */

static void answered(struct channel *c, struct flight *f)
{
    struct transfer *t = f->transfer;

    c->first = (c->first + 1) % WINDOW;
    c->flying--;
    t->flying--;
    t->answered += f->bytes;
    if (t->way == TRANSFER_OUT)
        atomic_fetch_add_explicit(&c->sent_bytes, f->bytes, memory_order_relaxed);
    if (t->way == TRANSFER_IN)
        atomic_fetch_add_explicit(&c->received_bytes, f->bytes, memory_order_relaxed);
    settle(t);
}

/* An answer's head. Returns NULL, or what is wrong with it. */
static const char *on_head(struct channel *c, const struct chunk *k)
{
    struct flight *f = &c->window[c->first];
    struct transfer *t = f->transfer;

    if (c->flying == 0 || k->offset != t->offset + f->at || k->bytes != f->bytes ||
        k->kind != (t->way == TRANSFER_IN ? CHUNK_DATA : CHUNK_ACK))
        return "it answers what was not asked";
    if (k->kind == CHUNK_DATA) {
        chunk_expect(&c->in, k, t->at + f->at);
        c->digest = k->digest;
        c->in_body = true;
        return NULL;
    }
    if (k->answer == CHUNK_CORRUPT)
        return "a chunk arrived corrupt; it is sent again";
    if (k->answer == CHUNK_NO_ROOM && !t->failed) {
        t->failed = true;
        err_set(&t->err, ERR_arena_full,
                "the filesystem of the host's arena has no room for %llu more bytes",
                (unsigned long long)f->bytes);
    }
    answered(c, f);
    return NULL;
}

static const char *on_body(struct channel *c)
{
    struct flight *f = &c->window[c->first];

    c->in_body = false;
    if (chunk_digest(f->transfer->at + f->at, f->bytes) != c->digest)
        return "a chunk arrived corrupt; it is asked for again";
    answered(c, f);
    return NULL;
}

void channel_hear(struct channel *c)
{
    struct chunk k;
    struct err e;

    for (uint32_t i = 0; i < 2 * WINDOW && c->fd >= 0; i++) {
        const char *wrong = NULL;
        int rc = c->in_body ? chunk_read_body(&c->in, MSG_DONTWAIT, &e)
                            : chunk_read_head(&c->in, MSG_DONTWAIT, &k, &e);

        if (rc < 0)
            wrong = e.detail;
        else if (rc == 0)
            return;
        else
            wrong = c->in_body ? on_body(c) : on_head(c, &k);
        c->heard_us = clock_us();
        if (wrong)
            channel_break(c, wrong);
    }
}
