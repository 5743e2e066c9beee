/* test_transfers.c - the server's end of data channels, against a host that is a thread of the
 * test: bytes there and back, turns, breaks, corruption, ends.
 */
#include "tests/unit/unit.h"

#include "schema/chunk.h"
#include "schema/clock.h"
#include "schema/log.h"
#include "server/transfers.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MIB (1ull << 20)
#define ARENA (16 * MIB)

/* ---- the host ---- */

static struct {
    pthread_t thread;
    int fd;
    uint8_t *arena;
    uint32_t heads, corrupts, drop_after; /* heads; 0: never */
    uint64_t offsets[256];                /* of what was asked, in order */
    enum chunk_answer answer;             /* of a RESERVE */
} host;

static void send_all(const void *bytes, size_t n)
{
    const uint8_t *at = bytes;

    while (n > 0) {
        ssize_t sent = send(host.fd, at, n, MSG_NOSIGNAL);

        if (sent < 0)
            return; /* the server has hung up */
        at += sent;
        n -= (size_t)sent;
    }
}

static void answer(struct chunk *c)
{
    uint8_t wire[CHUNK_HEAD_BYTES];
    bool data = c->kind == CHUNK_GET;

    c->answer = c->kind == CHUNK_RESERVE ? host.answer : CHUNK_FINE;
    if (c->kind == CHUNK_PUT && chunk_digest(host.arena + c->offset, c->bytes) != c->digest)
        c->answer = CHUNK_CORRUPT;
    c->kind = data ? CHUNK_DATA : CHUNK_ACK;
    c->digest = chunk_digest(host.arena + c->offset, c->kind == CHUNK_DATA ? c->bytes : 0);
    if (host.corrupts > 0) {
        host.corrupts--;
        c->answer = CHUNK_CORRUPT;
        c->digest++;
    }
    chunk_encode(c, wire);
    send_all(wire, sizeof wire);
    if (data)
        send_all(host.arena + c->offset, c->bytes);
}

static void *host_main(void *arg)
{
    struct chunk_reader r = {.fd = host.fd};
    struct chunk c;
    struct err e;

    (void)arg;
    for (;;) {
        int rc;

        while ((rc = chunk_read_head(&r, 0, &c, &e)) == 0)
            ;
        if (rc < 0 || (host.drop_after && host.heads == host.drop_after))
            break;
        host.offsets[host.heads++ % 256] = c.offset;
        chunk_expect(&r, &c, host.arena + c.offset);
        while ((rc = chunk_read_body(&r, 0, &e)) == 0)
            ;
        if (rc < 0)
            break;
        answer(&c);
    }
    shutdown(host.fd, SHUT_RDWR);
    return NULL;
}

/* ---- the server ---- */

static struct channel *channel;
static uint32_t broke, closed, ended;
static uint8_t *bytes;

static void on_broke(struct channel_owner *o)
{
    (void)o;
    broke++;
}

static void on_closed(struct channel_owner *o)
{
    (void)o;
    closed++;
}

static struct channel_owner owner = {.broke = on_broke, .closed = on_closed};

static void on_done(struct transfer *t)
{
    (void)t;
    ended++;
}

static void turn_until(const uint32_t *count, uint32_t wanted)
{
    uint64_t deadline = clock_us() + 20000000;

    while (*count < wanted && clock_us() < deadline)
        core_turn(1000);
    assert_int_equal(*count, wanted);
}

static void connect_host(void)
{
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    host.fd = pair[1];
    assert_int_equal(pthread_create(&host.thread, NULL, host_main, NULL), 0);
    channel_attach(channel, pair[0]);
}

static void host_gone(void)
{
    pthread_join(host.thread, NULL);
    close(host.fd);
}

static int set_up(void **state)
{
    struct err e;

    (void)state;
    log_init("test", LOG_error, false);
    host.arena = calloc(1, ARENA);
    bytes = malloc(ARENA);
    for (size_t i = 0; i < ARENA; i++)
        bytes[i] = (uint8_t)(i * 2654435761u >> 13);
    broke = closed = ended = host.heads = host.corrupts = host.drop_after = 0;
    host.answer = CHUNK_FINE;
    if (core_init(&e) != 0 || transfers_start(&e) != 0)
        return -1;
    channel = channel_new(&owner, &e);
    return channel ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    channel_close(channel);
    turn_until(&closed, 1);
    transfers_stop();
    core_fini();
    free(host.arena);
    free(bytes);
    return 0;
}

static void begin(struct transfer *t, enum transfer_way way, uint64_t offset, uint64_t n)
{
    *t = (struct transfer){
        .done = on_done, .way = way, .at = bytes + offset, .offset = offset, .bytes = n};
    channel_start(channel, t);
}

static void end_connection(void)
{
    channel_detach(channel);
    host_gone();
}

/* ---- the rules ---- */

static void bytes_go_there_and_back(void **state)
{
    static struct transfer there, back;
    struct channel_counts n;
    uint64_t size = 5 * MIB + 17;

    (void)state;
    begin(&there, TRANSFER_OUT, 64, size); /* before there is a connection */
    connect_host();
    turn_until(&ended, 1);
    assert_int_equal(there.rc, 0);
    assert_memory_equal(host.arena + 64, bytes + 64, size);
    memset(host.arena + 64, 0x5a, size);
    begin(&back, TRANSFER_IN, 64, size);
    turn_until(&ended, 2);
    assert_int_equal(back.rc, 0);
    assert_memory_equal(host.arena + 64, bytes + 64, size);
    channel_count(channel, &n);
    assert_int_equal(n.sent_bytes, size);
    assert_int_equal(n.received_bytes, size);
    assert_int_equal(n.broken, 0);
    end_connection();
}

static void a_small_one_does_not_stand_behind_a_large_one(void **state)
{
    static struct transfer large, small;

    (void)state;
    begin(&large, TRANSFER_OUT, 0, 8 * MIB);
    begin(&small, TRANSFER_OUT, 12 * MIB, 64);
    connect_host();
    turn_until(&ended, 2);
    assert_true(host.offsets[0] == 12 * MIB || host.offsets[1] == 12 * MIB);
    end_connection();
}

static void a_break_costs_what_was_not_acknowledged(void **state)
{
    static struct transfer t;

    (void)state;
    host.drop_after = 5;
    begin(&t, TRANSFER_OUT, 0, 12 * MIB);
    connect_host();
    turn_until(&broke, 1);
    host_gone();
    assert_int_equal(ended, 0);
    host.drop_after = 0;
    connect_host();
    turn_until(&ended, 1);
    assert_int_equal(t.rc, 0);
    assert_memory_equal(host.arena, bytes, 12 * MIB);
    /* Five came and were answered; what the server heard of that is not asked for again. */
    assert_true(host.heads <= 5 + 12);
    assert_true(host.offsets[5] <= 5 * MIB);
    for (uint32_t i = 6; i < host.heads; i++)
        assert_int_equal(host.offsets[i], host.offsets[i - 1] + MIB);
    assert_int_equal(host.offsets[host.heads - 1], 11 * MIB);
    end_connection();
}

static void what_arrives_corrupt_goes_again(enum transfer_way way)
{
    static struct transfer t;

    memcpy(host.arena, bytes, 3 * MIB);
    host.corrupts = 1;
    begin(&t, way, 0, 3 * MIB);
    connect_host();
    turn_until(&broke, 1);
    assert_int_equal(ended, 0);
    host_gone();
    connect_host();
    turn_until(&ended, 1);
    assert_int_equal(t.rc, 0);
    assert_memory_equal(host.arena, bytes, 3 * MIB);
    end_connection();
}

static void what_arrives_corrupt_there_is_sent_again(void **state)
{
    (void)state;
    what_arrives_corrupt_goes_again(TRANSFER_OUT);
}

static void what_arrives_corrupt_here_is_asked_for_again(void **state)
{
    (void)state;
    what_arrives_corrupt_goes_again(TRANSFER_IN);
}

static void a_host_without_room_says_so(void **state)
{
    static struct transfer t, next;

    (void)state;
    host.answer = CHUNK_NO_ROOM;
    begin(&t, TRANSFER_RESERVE, 0, 8 * MIB);
    begin(&next, TRANSFER_OUT, 0, 64);
    connect_host();
    turn_until(&ended, 2);
    assert_int_equal(t.rc, -1);
    assert_int_equal(t.err.code, ERR_arena_full);
    assert_int_equal(next.rc, 0); /* and the channel goes on */
    end_connection();
}

static void what_nobody_wants_stops(void **state)
{
    static struct transfer t;

    (void)state;
    begin(&t, TRANSFER_OUT, 0, 8 * MIB);
    atomic_store(&t.unwanted, true);
    connect_host();
    turn_until(&ended, 1);
    assert_int_equal(t.rc, -1);
    assert_int_equal(t.err.code, ERR_aborted);
    assert_true(host.heads < 8);
    end_connection();
}

static void the_end_of_a_channel_ends_its_transfers(void **state)
{
    static struct transfer t;
    struct err e;

    (void)state;
    begin(&t, TRANSFER_OUT, 0, 8 * MIB);
    channel_close(channel);
    turn_until(&closed, 1);
    assert_int_equal(ended, 1);
    assert_int_equal(t.rc, -1);
    assert_int_equal(t.err.code, ERR_link);
    closed = 0;
    channel = channel_new(&owner, &e); /* for tear_down */
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(bytes_go_there_and_back),
        TEST(a_small_one_does_not_stand_behind_a_large_one),
        TEST(a_break_costs_what_was_not_acknowledged),
        TEST(what_arrives_corrupt_there_is_sent_again),
        TEST(what_arrives_corrupt_here_is_asked_for_again),
        TEST(a_host_without_room_says_so),
        TEST(what_nobody_wants_stops),
        TEST(the_end_of_a_channel_ends_its_transfers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
