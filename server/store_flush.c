/* store_flush.c - with --durable, tensors' bytes come to the disk before the commit of the rows
 * that name them. Store thread. */
#include "server/store_internal.h"

#include "schema/failpoint.h"
#include "server/durable.h"

#include <stdlib.h>

/* What the rows of this transaction name and is not on the disk yet; their messages hold them. */
static struct {
    struct extent **x;
    size_t n, room;
    bool no_memory;
} named;

void flush_begin(void)
{
    named.n = 0;
    named.no_memory = false;
}

static int grow(void)
{
    size_t room = named.room ? 2 * named.room : 64;
    struct extent **x = realloc(named.x, room * sizeof(struct extent *));

    if (!x)
        return -1;
    named.x = x;
    named.room = room;
    return 0;
}

void flush_name(const struct tensor *t)
{
    struct extent *x = durable && t ? t->extent : NULL;

    if (!x || extent_on_disk(x))
        return;
    if (named.n == named.room && grow() != 0)
        named.no_memory = true;
    else
        named.x[named.n++] = x;
}

/* After a flush that failed the kernel calls pages clean that are not on the disk: a second one
 * would prove nothing, and so the outcome is unknown. */
int flush_named(struct err *e)
{
    int fault;

    if (named.no_memory)
        return db_error(store_writer(), SQLITE_NOMEM, e);
    if (named.n == 0)
        return 0;
    fault = failpoint("store.flush");
    if (fault == 0 && extent_flush(named.x, named.n, e) == 0)
        return 0;
    if (fault)
        err_sys(e, ERR_arena, fault, "flush the arena");
    store_writer()->failed = SQLITE_IOERR_FSYNC;
    return -1;
}
