/* test_frame.c - a frame read is the frame written; anything else is refused. */
#include "tests/unit/unit.h"

#include "schema/frame.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct frame sent, got; /* tens of KiB each */
static uint8_t wire[LIMIT_FRAME_BYTES];

static void make_run(uint32_t n)
{
    memset(&sent, 0, sizeof sent);
    sent.type = FRAME_run;
    sent.run.job = 7;
    strcpy(sent.run.id, "j_01ARZ3NDEKTSV4RRFFQ69G5FAV");
    sent.run.attempt = 2;
    sent.run.split_axis = -3;
    sent.run.in_shape = (struct shape){.ndim = 2, .dim = {3, 4}};
    sent.run.n_inputs = sent.run.n_outputs = n;
    for (uint32_t r = 0; r < n; r++) {
        sent.run.inputs[r] = 64 * r;
        sent.run.outputs[r] = FRAME_NO_OFFSET;
    }
}

static void the_largest_run_survives_the_wire(void **state)
{
    size_t len;
    struct err e;

    (void)state;
    make_run(LIMIT_RANKS);
    len = frame_encode(&sent, wire, sizeof wire);
    assert_true(len > 0);
    assert_int_equal(frame_decode(wire, len, &got, &e), (long)len);
    assert_int_equal(got.type, FRAME_run);
    assert_int_equal(got.run.split_axis, -3);
    assert_int_equal(got.run.in_shape.dim[1], 4);
    assert_int_equal(got.run.n_inputs, LIMIT_RANKS);
    assert_memory_equal(got.run.inputs, sent.run.inputs, sizeof sent.run.inputs);
    assert_true(got.run.outputs[LIMIT_RANKS - 1] == FRAME_NO_OFFSET);
    assert_string_equal(got.run.id, sent.run.id);
}

static void every_type_has_a_name_and_survives_empty(void **state)
{
    struct err e;

    (void)state;
    for (int t = FRAME_none + 1; t < FRAME_TYPE_COUNT; t++) {
        size_t len;

        memset(&sent, 0, sizeof sent);
        sent.type = (enum frame_type)t;
        len = frame_encode(&sent, wire, sizeof wire);
        assert_true(len >= FRAME_HEADER_BYTES);
        assert_int_equal(frame_decode(wire, len, &got, &e), (long)len);
        assert_int_equal(got.type, t);
        assert_string_not_equal(frame_type_name((enum frame_type)t), "none");
    }
}

static void a_part_of_a_frame_is_not_yet_a_frame(void **state)
{
    size_t len;
    struct err e;

    (void)state;
    make_run(3);
    len = frame_encode(&sent, wire, sizeof wire);
    for (size_t part = 0; part < len; part++)
        assert_int_equal(frame_decode(wire, part, &got, &e), 0);
}

static void a_count_that_overruns_is_refused(void **state)
{
    static const struct {
        size_t at;
        uint32_t value;
    } lies[] = {
        {0, LIMIT_FRAME_BYTES}, {4, 0}, {4, FRAME_TYPE_COUNT}, {4, UINT32_MAX}, {8, UINT32_MAX}};
    size_t len;
    struct err e;

    (void)state;
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        memset(&sent, 0, sizeof sent);
        sent.type = FRAME_refuse; /* begins with a string's length */
        strcpy(sent.refuse.code, "refused");
        len = frame_encode(&sent, wire, sizeof wire);
        memcpy(wire + lies[i].at, &lies[i].value, sizeof lies[i].value);
        assert_int_equal(frame_decode(wire, sizeof wire, &got, &e), -1);
        assert_int_equal(e.code, ERR_link);
        assert_true(len > 0);
    }
}

static void bytes_left_over_in_a_payload_are_refused(void **state)
{
    uint32_t longer;
    size_t len;
    struct err e;

    (void)state;
    memset(&sent, 0, sizeof sent);
    sent.type = FRAME_stop;
    len = frame_encode(&sent, wire, sizeof wire);
    longer = (uint32_t)(len - FRAME_HEADER_BYTES + 1);
    memcpy(wire, &longer, sizeof longer);
    assert_int_equal(frame_decode(wire, len + 1, &got, &e), -1);
}

static void no_garbage_makes_the_decoder_overrun(void **state)
{
    struct err e;

    (void)state;
    srand(1);
    for (int round = 0; round < 20000; round++) {
        size_t len = (size_t)(rand() % 200);
        uint8_t *exact = malloc(len + 1); /* the sanitizer sees one byte past */
        uint32_t type = 1 + (uint32_t)rand() % (FRAME_TYPE_COUNT - 1), size = (uint32_t)len - 8;

        for (size_t i = 0; i < len; i++)
            exact[i] = (uint8_t)(rand() % 3 ? 0 : rand());
        if (len >= FRAME_HEADER_BYTES) {
            memcpy(exact, &size, sizeof size);
            memcpy(exact + 4, &type, sizeof type);
        }
        assert_true(frame_decode(exact, len, &got, &e) <= (long)len);
        free(exact);
    }
}

static void descriptors_travel_and_strangers_are_closed(void **state)
{
    struct frame_reader *r = malloc(sizeof *r);
    int link[2], pipes[2];
    struct err e;
    char byte = 0;

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, link), 0);
    assert_int_equal(pipe(pipes), 0);
    memset(&sent, 0, sizeof sent);
    sent.type = FRAME_welcome;
    sent.welcome.epoch = 42;
    assert_int_equal(frame_send(link[0], &sent, (int[]){pipes[1], pipes[1]}, 2, 1000, &e), 0);
    close(pipes[1]);
    frame_reader_init(r, link[1]);
    assert_int_equal(frame_read(r, 0, &got, &e), 1);
    assert_int_equal(got.welcome.epoch, 42);
    int fd = frame_take_fd(r, 0);
    assert_true(fd >= 0);
    assert_int_equal(frame_take_fd(r, 0), -1);
    assert_int_equal(write(fd, "x", 1), 1);
    close(fd);
    frame_reader_fini(r); /* closes the second */
    assert_int_equal(read(pipes[0], &byte, 1), 1);
    assert_int_equal(read(pipes[0], &byte, 1), 0); /* no writer is left */
    close(pipes[0]);
    close(link[0]);
    assert_int_equal(frame_read(r, 0, &got, &e), -1);
    assert_string_equal(e.detail, "closed by peer");
    close(link[1]);
    free(r);
}

static void frames_in_pieces_and_in_bunches_come_out_one_by_one(void **state)
{
    struct frame_reader *r = malloc(sizeof *r);
    int link[2], read_frames = 0;
    uint8_t bunch[4096];
    size_t len = 0;
    struct err e;

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, link), 0);
    memset(&sent, 0, sizeof sent);
    sent.type = FRAME_cancel;
    for (uint32_t i = 0; i < 50; i++) {
        sent.cancel.attempt = i;
        len += frame_encode(&sent, bunch + len, sizeof bunch - len);
    }
    frame_reader_init(r, link[1]);
    for (size_t at = 0; at < len; at += 7) {
        size_t piece = len - at < 7 ? len - at : 7;

        assert_int_equal(write(link[0], bunch + at, piece), (long)piece);
        while (frame_read(r, MSG_DONTWAIT, &got, &e) == 1)
            assert_int_equal(got.cancel.attempt, read_frames++);
    }
    assert_int_equal(read_frames, 50);
    close(link[0]);
    close(link[1]);
    free(r);
}

static void a_frame_over_the_readers_cap_is_refused_by_its_first_bytes(void **state)
{
    struct frame_reader *r = malloc(sizeof *r);
    uint32_t payload = 0;
    struct err e;
    int link[2];
    size_t len;

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, link), 0);
    memset(&sent, 0, sizeof sent);
    sent.type = FRAME_refuse;
    len = frame_encode(&sent, wire, sizeof wire);
    frame_reader_init(r, link[1]);
    r->most = (uint32_t)len;
    assert_int_equal(write(link[0], wire, len), (ssize_t)len);
    assert_int_equal(frame_read(r, 0, &got, &e), 1);
    payload = (uint32_t)(len - FRAME_HEADER_BYTES + 1);
    assert_int_equal(write(link[0], &payload, sizeof payload), sizeof payload);
    assert_int_equal(frame_read(r, 0, &got, &e), -1);
    close(link[0]);
    close(link[1]);
    free(r);
}

static void the_hash_is_stable_within_a_build(void **state)
{
    (void)state;
    assert_true(schema_hash() != 0);
    assert_true(schema_hash() == schema_hash());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_largest_run_survives_the_wire),
        cmocka_unit_test(every_type_has_a_name_and_survives_empty),
        cmocka_unit_test(a_part_of_a_frame_is_not_yet_a_frame),
        cmocka_unit_test(a_count_that_overruns_is_refused),
        cmocka_unit_test(bytes_left_over_in_a_payload_are_refused),
        cmocka_unit_test(no_garbage_makes_the_decoder_overrun),
        cmocka_unit_test(descriptors_travel_and_strangers_are_closed),
        cmocka_unit_test(frames_in_pieces_and_in_bunches_come_out_one_by_one),
        cmocka_unit_test(a_frame_over_the_readers_cap_is_refused_by_its_first_bytes),
        cmocka_unit_test(the_hash_is_stable_within_a_build),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
