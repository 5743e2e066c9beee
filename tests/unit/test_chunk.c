/* test_chunk.c - heads of chunks: bytes and back, what is refused, and whole ones from any pieces.
 */
#include "tests/unit/unit.h"

#include "schema/chunk.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct err e;

static void a_head_survives_the_wire(void **state)
{
    (void)state;
    for (uint32_t kind = 1; kind < CHUNK_KINDS; kind++) {
        struct chunk c = {.kind = (enum chunk_kind)kind,
                          .answer = CHUNK_NO_ROOM,
                          .offset = 0x0102030405060708u,
                          .bytes = CHUNK_BYTES,
                          .digest = UINT64_MAX - 1},
                     back = {.kind = CHUNK_KINDS};
        uint8_t wire[CHUNK_HEAD_BYTES];

        chunk_encode(&c, wire);
        assert_int_equal(chunk_decode(wire, &back, &e), 0);
        assert_int_equal(back.kind, c.kind);
        assert_int_equal(back.answer, c.answer);
        assert_int_equal(back.offset, c.offset);
        assert_int_equal(back.bytes, c.bytes);
        assert_int_equal(back.digest, c.digest);
        assert_int_equal(chunk_body_bytes(&back),
                         kind == CHUNK_PUT || kind == CHUNK_DATA ? CHUNK_BYTES : 0);
    }
}

static void refuses(struct chunk c, const char *text)
{
    uint8_t wire[CHUNK_HEAD_BYTES];

    chunk_encode(&c, wire);
    assert_int_equal(chunk_decode(wire, &c, &e), -1);
    assert_int_equal(e.code, ERR_link);
    assert_non_null(strstr(e.detail, text));
}

static void what_is_no_head_is_refused(void **state)
{
    struct chunk c = {.kind = CHUNK_RESERVE, .bytes = UINT64_MAX};
    uint8_t wire[CHUNK_HEAD_BYTES];

    (void)state;
    refuses((struct chunk){.kind = 0}, "of kind 0");
    refuses((struct chunk){.kind = CHUNK_KINDS}, "of kind");
    refuses((struct chunk){.kind = CHUNK_ACK, .answer = CHUNK_ANSWERS}, "answer");
    refuses((struct chunk){.kind = CHUNK_PUT, .bytes = CHUNK_BYTES + 1}, "of 1048577 bytes");
    chunk_encode(&c, wire); /* its bytes do not follow, and may be any number */
    assert_int_equal(chunk_decode(wire, &c, &e), 0);
    c.kind = CHUNK_ACK; /* of that */
    chunk_encode(&c, wire);
    assert_int_equal(chunk_decode(wire, &c, &e), 0);
}

static void a_digest_sees_one_bit(void **state)
{
    static uint8_t bytes[4096];
    uint64_t before = chunk_digest(bytes, sizeof bytes);

    (void)state;
    bytes[4095] ^= 0x80;
    assert_int_not_equal(chunk_digest(bytes, sizeof bytes), before);
    bytes[4095] ^= 0x80;
    assert_int_equal(chunk_digest(bytes, sizeof bytes), before);
}

static void whole_chunks_come_of_any_pieces(void **state)
{
    struct chunk c = {.kind = CHUNK_PUT, .offset = 64, .bytes = 100, .digest = 7}, got;
    uint8_t wire[CHUNK_HEAD_BYTES + 100], body[100];
    struct chunk_reader r = {.fd = -1};
    int pair[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    r.fd = pair[1];
    chunk_encode(&c, wire);
    memset(wire + CHUNK_HEAD_BYTES, 0xab, 100);
    for (size_t at = 0; at < sizeof wire; at++) {
        bool head = at < CHUNK_HEAD_BYTES;

        assert_int_equal(head ? chunk_read_head(&r, MSG_DONTWAIT, &got, &e)
                              : chunk_read_body(&r, MSG_DONTWAIT, &e),
                         0);
        assert_int_equal(write(pair[0], wire + at, 1), 1);
        if (at == CHUNK_HEAD_BYTES - 1) {
            assert_int_equal(chunk_read_head(&r, MSG_DONTWAIT, &got, &e), 1);
            chunk_expect(&r, &got, body);
        } else if (at == sizeof wire - 1) {
            assert_int_equal(chunk_read_body(&r, MSG_DONTWAIT, &e), 1);
        } else if (head) {
            assert_int_equal(chunk_read_head(&r, MSG_DONTWAIT, &got, &e), 0);
        } else {
            assert_int_equal(chunk_read_body(&r, MSG_DONTWAIT, &e), 0);
        }
    }
    assert_memory_equal(body, wire + CHUNK_HEAD_BYTES, 100);
    close(pair[0]);
    assert_int_equal(chunk_read_head(&r, 0, &got, &e), -1);
    assert_non_null(strstr(e.detail, "closed"));
    close(pair[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_head_survives_the_wire),
        cmocka_unit_test(what_is_no_head_is_refused),
        cmocka_unit_test(a_digest_sees_one_bit),
        cmocka_unit_test(whole_chunks_come_of_any_pieces),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
