/* fuzz_request.c - up to a few HTTP requests, one after another, through all of the server but
 * libmicrohttpd, SQLite and the workers: head, route, query, headers, body, handler, answer. */
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/house.h"
#include "tests/fuzz/mhd.h"

#include "server/api.h"
#include "server/guard.h"
#include "server/static.h"

#include <stdlib.h>
#include <string.h>

#define REQUESTS 4

/* ---- the house ---- */

static void open_once(void)
{
    static bool opened;

    if (opened)
        return;
    opened = true;
    fuzz_house();
    static_init();
    guard_init("127.0.0.1", "allowed.example", "http://allowed.example");
    api_facts = (struct api_facts){.version = "0", .backend = "shm", .retain_us = 3600000000u};
    mhd_start();
}

/* A tensor of 24 bytes, the finished job's output, and a group: for whoever names them. */
static void furnish(void)
{
    struct shape shape = {.ndim = 2, .dim = {2, 3}};
    struct group g = {.name = "g", .n = 2, .ranks = {2, 1}};
    struct extent *x;
    struct tensor *t;
    struct err e;

    FUZZ_CHECK(extent_alloc(24, &x, &e) == 0 &&
                   (t = tensor_new(DTYPE_float32, &shape, x, 0)) != NULL,
               "no room for a tensor");
    t->id = house_id;
    t->expires_us = UINT64_MAX;
    FUZZ_CHECK(tensor_publish(t) == 0 && group_add(&g, &e) == 0, "no room for a group");
    tensor_unref(t);
    extent_unref(x);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct fuzz_in in = {data, len};

    open_once();
    fuzz_arena_fresh(0xa5);
    house_open(1);
    furnish();
    house_ready();
    for (int i = 0; i < REQUESTS && in.len > 0; i++) {
        mhd_request(&in, house_turn);
        house_turn();
        house_check();
        FUZZ_CHECK(body_json_bytes() == 0, "JSON bytes are left");
    }
    house_close();
    fuzz_arena_empty();
    return 0;
}
