/* test_peer.c - a descriptor on the worker link leaves with its own frame, and in its turn. */
#include "tests/unit/unit.h"

#include "schema/log.h"
#include "server/peer.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define FRAMES 3000 /* more than a socket takes at once */

static struct frame out, in;
static struct frame_reader *reader;

static void on_frame(struct peer *p, const struct frame *f)
{
    (void)p;
    (void)f;
}

static void on_lost(struct peer *p, const char *how)
{
    (void)p;
    fail_msg("the peer is lost: %s", how);
}

/* Frame i names how many bytes its descriptor has; every tenth has one. */
static void send_one(struct peer *p, uint64_t i)
{
    int fd;

    out = (struct frame){.type = FRAME_region_gone, .region_gone.offset = i};
    if (i % 10) {
        peer_send_frame(p, &out);
        return;
    }
    out = (struct frame){.type = FRAME_region, .region.offset = i};
    fd = memfd_create("test", MFD_CLOEXEC);
    assert_int_equal(ftruncate(fd, (off_t)i), 0);
    peer_send_fd(p, &out, fd);
    close(fd);
}

static void expect_one(uint64_t i)
{
    struct err e;
    int fd, rc;

    while ((rc = frame_read(reader, MSG_DONTWAIT, &in, &e)) == 0)
        core_turn(1000);
    assert_int_equal(rc, 1);
    assert_int_equal(in.type == FRAME_region ? in.region.offset : in.region_gone.offset, i);
    assert_int_equal(in.type == FRAME_region, i % 10 == 0);
    if (in.type != FRAME_region)
        return; /* what has come already is of a frame behind it */
    fd = frame_take_first_fd(reader);
    assert_true(fd >= 0);
    assert_int_equal(lseek(fd, 0, SEEK_END), i);
    close(fd);
}

static void a_descriptor_waits_in_its_turn(void **state)
{
    struct peer *p;
    struct err e;
    int link[2];

    (void)state;
    assert_int_equal(core_init(&e), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, link), 0);
    p = peer_open(link[0], &e);
    assert_non_null(p);
    p->frame = on_frame;
    p->lost = on_lost;
    reader = malloc(sizeof *reader);
    frame_reader_init(reader, link[1]);
    for (uint64_t i = 1; i <= FRAMES; i++)
        send_one(p, i);
    assert_true(p->out_end > p->out_start && p->fds != NULL); /* it did not all fit */
    for (uint64_t i = 1; i <= FRAMES; i++)
        expect_one(i);
    assert_true(p->fds == NULL && p->out_start == p->out_end);
    for (uint64_t i = 1; i <= FRAMES; i++) /* what has not left is closed with the link */
        send_one(p, i);
    peer_close(p);
    frame_reader_fini(reader);
    close(link[1]);
    free(reader);
    core_fini();
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_descriptor_waits_in_its_turn)};

    log_init("test", LOG_error, false);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
