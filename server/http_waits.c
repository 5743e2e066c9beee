/* http_waits.c - places for requests that wait for what others do. */
#include "schema/limits.h"
#include "server/http_internal.h"

static atomic_uint waits; /* requests that hold a place */

uint32_t http_waits(void)
{
    return atomic_load(&waits);
}

int http_take_wait(struct request *rq, struct err *e)
{
    uint32_t open, all, most;
    uint64_t too_slow;

    if (rq->holds_wait)
        return 0;
    if (account_take(rq->visitor.account, USE_waits, 1, e) != 0)
        return -1;
    http_connections(&open, &all, &too_slow);
    most = all > 2 * LIMIT_WAITS_RESERVE ? all - LIMIT_WAITS_RESERVE : all / 2;
    if (atomic_fetch_add(&waits, 1) >= most) {
        atomic_fetch_sub(&waits, 1);
        account_give_back(rq->visitor.account, USE_waits, 1);
        return err_set(e, ERR_too_many_waits,
                       "%u requests wait, and no more can: ask without wait, and again later",
                       most);
    }
    rq->holds_wait = true;
    return 0;
}

void http_give_wait_back(struct request *rq)
{
    if (!rq->holds_wait)
        return;
    rq->holds_wait = false;
    atomic_fetch_sub(&waits, 1);
    account_give_back(rq->visitor.account, USE_waits, 1);
}
