/* codecs.h - a stage for tests of formats: an arena of 64 MiB, bodies fed in pieces.
 *
 * This file is long because every format is tested on this one stage.
 */
#ifndef TUTTI_TESTS_CODECS_H
#define TUTTI_TESTS_CODECS_H

#include "tests/unit/unit.h"

#include "schema/log.h"
#include "server/codec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CODECS_ARENA (64u << 20)

static char codecs_dir[64];
static struct arena *codecs_arena;

static inline uint64_t live_extents(void)
{
    struct extent_usage u;

    extent_usage(&u);
    return u.extents;
}

static inline int codecs_setup(void **state)
{
    struct err e;
    bool kept;

    (void)state;
    log_init("test", LOG_error, false);
    strcpy(codecs_dir, "/tmp/tutti-codecs-XXXXXX");
    if (!mkdtemp(codecs_dir) ||
        arena_open(&codecs_arena, codecs_dir, CODECS_ARENA, 0, &kept, &e) != 0)
        return -1;
    return extent_init(codecs_arena, &e) | tensor_table_init(&e);
}

/* Whatever a test did, nothing of it may be left in the arena. */
static inline int codecs_teardown(void **state)
{
    static const char *const names[] = {"arena", "arena.lock"};
    char path[96];
    uint64_t left;

    (void)state;
    tensor_table_fini();
    left = live_extents();
    extent_fini();
    arena_close(codecs_arena);
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", codecs_dir, names[i]);
        unlink(path);
    }
    return rmdir(codecs_dir) | (left != 0);
}

#define CODEC_TEST(f) cmocka_unit_test_setup_teardown(f, codecs_setup, codecs_teardown)

/* Feeds a body in pieces of `piece` bytes. Returns 0, or -1; out must be payload_fini'd. */
static inline int codecs_read(const struct codec *c, const struct codec_head *head,
                              const void *bytes, size_t len, size_t piece, struct payload *out,
                              struct err *e)
{
    void *state = NULL;
    int rc = c->begin(&state, head, e);

    *out = (struct payload){0};
    for (size_t at = 0; rc == 0 && at < len; at += piece) {
        size_t n = len - at < piece ? len - at : piece;
        uint8_t *copy = malloc(n); /* so that a sanitizer sees a read past the piece */

        assert_non_null(copy);
        memcpy(copy, (const uint8_t *)bytes + at, n);
        rc = c->feed(state, copy, n, e);
        free(copy);
    }
    if (rc == 0)
        rc = c->finish(state, out, e);
    c->drop(state);
    return rc;
}

/* With its length known and chunked, in pieces of several sizes: the same error each time. */
static inline void codecs_refuse(const struct codec *c, struct codec_head head, const void *bytes,
                                 size_t len, enum err_code code, const char *word, const char *name)
{
    static const size_t pieces[] = {1, 7, 1 << 20};

    for (int chunked = 0; chunked < 2; chunked++) {
        for (int i = 0; i < 3; i++) {
            struct payload p;
            struct err e = {0};

            head.length_bytes = chunked ? -1 : (int64_t)len;
            if (codecs_read(c, &head, bytes, len, pieces[i], &p, &e) == 0)
                fail_msg("%s was taken", name);
            payload_fini(&p);
            if (e.code != code || !strstr(e.detail, word))
                fail_msg("%s: %s: %s (wanted %s, \"%s\")", name, err_name(e.code), e.detail,
                         err_name(code), word);
            if (live_extents() != 0)
                fail_msg("%s left an extent behind", name);
        }
    }
}

/* Bytes past the end of a body that is whole: refused, and the extent beside it stays as it was (no
 * sanitizer watches the arena). */
static inline void codecs_overrun(const struct codec *c, const struct codec_head *head,
                                  const void *bytes, size_t len)
{
    enum { BESIDE = 4096 };
    static uint8_t more[2 * BESIDE];
    struct extent *beside = NULL;
    void *state = NULL;
    struct err e;

    assert_int_equal(c->begin(&state, head, &e), 0);
    assert_int_equal(c->feed(state, bytes, len, &e), 0);
    assert_int_equal(extent_alloc(BESIDE, &beside, &e), 0);
    memset(extent_bytes(beside), 0xaa, BESIDE);
    memset(more, 0x55, sizeof more);
    assert_int_equal(c->feed(state, more, sizeof more, &e), -1);
    for (int i = 0; i < BESIDE; i++)
        assert_int_equal(extent_bytes(beside)[i], 0xaa);
    c->drop(state);
    extent_unref(beside);
    assert_int_equal(live_extents(), 0);
}

/* Filled with a pattern; the caller unrefs. */
static inline struct tensor *codecs_tensor(enum dtype d, const struct shape *s)
{
    struct extent *x = NULL;
    struct tensor *t;
    uint64_t bytes;

    assert_int_equal(shape_measure(s, d, NULL, &bytes, NULL), 0);
    assert_int_equal(extent_alloc(bytes, &x, NULL), 0);
    for (uint64_t i = 0; i < bytes; i++)
        extent_bytes(x)[i] = d == DTYPE_bool ? i % 2 : (uint8_t)(i * 7 + 1);
    t = tensor_new(d, s, x, 0);
    assert_non_null(t);
    extent_unref(x);
    return t;
}

/* All parts as one piece of malloc'd memory. */
static inline uint8_t *codecs_join(const struct parts *p)
{
    uint8_t *all = malloc(p->total_bytes + 1);
    size_t at = 0;

    assert_non_null(all);
    for (uint32_t i = 0; i < p->n; i++) {
        memcpy(all + at, p->part[i].bytes, p->part[i].len);
        at += p->part[i].len;
    }
    assert_int_equal(at, p->total_bytes);
    all[at] = 0;
    return all;
}

#endif
