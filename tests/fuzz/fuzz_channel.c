/* fuzz_channel.c - the data channel, from either end: what a server asks a worker, and what a
 * worker answers a server. The input's first byte says which, and whether the digest of the first
 * chunk is put right; else the rest is what comes over the socket.
 */
#include "tests/fuzz/fuzz.h"

#include "schema/chunk.h"
#include "server/transfers_parts.h"
#include "worker/arena_map.h"
#include "worker/arena_own.h"
#include "worker/carrier.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HOW_SERVER = 1, HOW_RIGHT = 2 };

#define ARENA (4u << 20)
#define BYTES 100u

static void say(int fd, const uint8_t *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);

        if (n < 0)
            return; /* the other end has hung up */
        bytes += n;
        len -= (size_t)n;
    }
}

static void put_digest_right(uint8_t *bytes, size_t len)
{
    struct chunk c;
    struct err e;

    if (len < CHUNK_HEAD_BYTES || chunk_decode(bytes, &c, &e) != 0 ||
        chunk_body_bytes(&c) > len - CHUNK_HEAD_BYTES)
        return;
    c.digest = chunk_digest(bytes + CHUNK_HEAD_BYTES, chunk_body_bytes(&c));
    chunk_encode(&c, bytes);
}

/* ---- a worker ---- */

static void open_arena(void)
{
    struct arena_own own;
    struct err e;

    if (arena_map_base())
        return;
    FUZZ_CHECK(arena_own_open(fuzz_dir(), ARENA, 1, 1, &own, &e) == 0, "%s", e.detail);
    FUZZ_CHECK(arena_map_open(own.map_fd, own.size_bytes, &e) == 0, "%s", e.detail);
}

static void *drain(void *fd)
{
    static uint8_t nothing[1 << 16];

    while (recv(*(int *)fd, nothing, sizeof nothing, 0) > 0)
        ;
    return NULL;
}

static void as_worker(const uint8_t *bytes, size_t len)
{
    pthread_t thread;
    struct err e;
    int pair[2], size = 8 << 20;

    open_arena();
    FUZZ_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0, "a socket");
    setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    FUZZ_CHECK(pthread_create(&thread, NULL, drain, &pair[0]) == 0, "a thread");
    say(pair[0], bytes, len < 100000 ? len : 100000); /* fits: nobody reads yet */
    shutdown(pair[0], SHUT_WR);
    carrier_serve(pair[1], &e);
    fuzz_check_err(&e);
    close(pair[1]);
    pthread_join(thread, NULL);
    close(pair[0]);
}

/* ---- a server ---- */

static uint32_t ended;

static void on_done(struct transfer *t)
{
    if (t->rc != 0)
        fuzz_check_err(&t->err);
    ended++;
}

static void run_done(struct core_msg *m)
{
    struct transfer *t = CORE_OWNER(m, struct transfer, msg);

    t->done(t);
}

static void ignore(struct channel_owner *o)
{
    (void)o;
}

static void as_server(const uint8_t *bytes, size_t len)
{
    static struct channel_owner owner = {.broke = ignore, .closed = ignore};
    static struct transfer t[3];
    static bool core;
    uint8_t *out = fuzz_copy("out", 3), *in = calloc(1, BYTES);
    struct channel *c;
    struct err e;
    int pair[2];

    FUZZ_CHECK(core || core_init(&e) == 0, "a core");
    core = true;
    c = channel_new(&owner, &e);
    FUZZ_CHECK(c && in && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0,
               "a socket");
    c->fd = c->in.fd = pair[0];
    t[0] = (struct transfer){
        .done = on_done, .way = TRANSFER_IN, .at = in, .offset = 64, .bytes = BYTES};
    t[1] = (struct transfer){
        .done = on_done, .way = TRANSFER_OUT, .at = out, .offset = 256, .bytes = 3};
    t[2] = (struct transfer){
        .done = on_done, .way = TRANSFER_RESERVE, .offset = 4096, .bytes = 1 << 21};
    ended = 0;
    for (int i = 0; i < 3; i++) {
        t[i].msg.run = run_done;
        channel_enter(c, &t[i]);
    }
    channel_ask(c);
    say(pair[1], bytes, len < 100000 ? len : 100000);
    shutdown(pair[1], SHUT_WR);
    for (int i = 0; i < 1000 && c->fd >= 0; i++) /* its end at the latest */
        channel_hear(c);
    FUZZ_CHECK(c->fd < 0, "it hears no end");
    while (c->all)
        transfer_finish(c->all, ERR_link, "the host has gone");
    core_turn(0);
    FUZZ_CHECK(ended == 3, "%u transfers have ended", ended);
    close(pair[1]);
    free(c);
    free(in);
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct fuzz_in in = {data, len};
    uint8_t how = fuzz_u8(&in);
    uint8_t *bytes = fuzz_copy(in.at, in.len);

    if (how & HOW_RIGHT)
        put_digest_right(bytes, in.len);
    if (how & HOW_SERVER)
        as_server(bytes, in.len);
    else
        as_worker(bytes, in.len);
    free(bytes);
    return 0;
}
