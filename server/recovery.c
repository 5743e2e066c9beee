/* recovery.c - from the database and the arena to tables in memory. */
#include "server/recovery.h"

#include "schema/log.h"
#include "server/call.h"
#include "server/group.h"
#include "server/job.h"
#include "server/store.h"
#include "server/tensor.h"

#include <stdlib.h>

struct counts {
    unsigned long long groups, tensors, lost, jobs, failed;
};

/* A world that has become smaller leaves out what it cannot hold; the row stays for a larger one.
 */
static int on_group(void *arg, const struct group *g, struct err *e)
{
    struct counts *n = arg;
    struct err why;

    if (group_check_ranks(g->ranks, g->n, &why) != 0) {
        log_warn("group=%s is left out: %s", g->name, why.detail);
        return 0;
    }
    n->groups++;
    return group_restore(g, e) < 0 ? -1 : 0;
}

static int on_tensor(void *arg, struct tensor *t, struct err *e)
{
    struct counts *n = arg;
    int rc = tensor_publish(t);

    n->tensors++;
    n->lost += !t->extent;
    tensor_unref(t);
    return rc == 0 ? 0 : err_set(e, ERR_no_memory, "the tensor table");
}

static int fail_job(struct job_record *record, struct tensor **inputs, const struct err *why,
                    struct err *e)
{
    for (uint32_t i = 0; inputs && i < record_needs(record); i++)
        tensor_unref(inputs[i]);
    free(inputs);
    return job_restore_failed(record, why, e);
}

static int on_job(void *arg, struct job_record *record, struct tensor **inputs, bool lost,
                  struct err *e)
{
    struct counts *n = arg;
    struct err why;

    n->jobs++;
    if (lost) {
        n->failed++;
        err_set(&why, ERR_inputs_lost,
                record->called
                    ? "the service ended before every rank had called, or what they brought did "
                      "not survive: call again"
                    : "the inputs were in memory that did not survive a restart: submit the job "
                      "again");
        return fail_job(record, inputs, &why, e);
    }
    if (group_check_ranks(record->ranks, record->n, &why) != 0) {
        n->failed++;
        return fail_job(record, inputs, &why, e);
    }
    return job_restore(record, inputs, e);
}

static int on_call(void *arg, const struct job_record *record, const uint8_t *came, struct err *e)
{
    (void)arg;
    return call_restore(record, came, e);
}

int recover(bool arena_kept, struct err *e)
{
    struct counts n = {0};
    struct store_recovery r = {
        .arg = &n, .group = on_group, .tensor = on_tensor, .job = on_job, .call = on_call};
    uint64_t lost;

    if (!arena_kept && store_lose_tensors(&lost, e) != 0)
        return -1;
    if (store_recover(&r, e) != 0)
        return -1;
    job_restore_waiting();
    call_restored();
    if (n.lost > 0)
        log_warn("recovery: the bytes of %llu tensors did not survive; they answer 410", n.lost);
    log_info("recovery: groups=%llu tensors=%llu lost=%llu unfinished=%llu failed=%llu", n.groups,
             n.tensors, n.lost, n.jobs, n.failed);
    return 0;
}
