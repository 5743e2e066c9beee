/* api_reproduce.c - a job as a shell script that repeats it. */
#include "server/api.h"
#include "server/reproduce.h"

#include <stdlib.h>

/* What the request keeps until its answer. */
struct reproduction {
    struct job_request jr; /* first: rq->state is taken for one */
};

static void state_free(void *state)
{
    struct reproduction *p = state;

    record_free(p->jr.wait.job);
    given_free(p->jr.wait.given);
    free(p);
}

/* An unfinished job's inputs are in memory, those of the others in the database. */
static int find_given(struct job_wait *w, const struct id *id, struct err *e)
{
    if (w->rc == 0 && !w->given)
        return err_set(e, ERR_job_running, "the job is %s, and its inputs are not all there yet",
                       job_state_name(w->job->state));
    if (w->rc != 0 && store_job_given(id, w->job, &w->given, e) != 0)
        return -1;
    if (w->given)
        return 0;
    return err_set(e, ERR_inputs_lost,
                   "it is not known what the job was given: it ended before all of it had come");
}

static int looked(struct request *rq, struct err *e)
{
    struct job_wait *w = &((struct reproduction *)rq->state)->jr.wait;
    char id_text[ID_TEXT];
    struct id id;

    if (job_id_read(rq, &id, e) != 0 || job_settle(w, &id, e) != 0 || find_given(w, &id, e) != 0)
        return -1;
    reproduce_write(&rq->reply.text, w->job, w->given, request_header(rq, "Host"), api_facts.tls,
                    &rq->visitor);
    reply_header(rq, "Content-Disposition", "inline; filename=\"%s.sh\"",
                 id_format('j', &id, id_text));
    return reply_text(rq, 200, "text/x-shellscript; charset=us-ascii");
}

int api_job_reproduce(struct request *rq, struct err *e)
{
    struct reproduction *p;
    struct id id;

    if (job_id_read(rq, &id, e) != 0)
        return -1;
    p = calloc(1, sizeof *p);
    if (!p)
        return err_set(e, ERR_no_memory, "a request");
    job_request_init(&p->jr, rq, 0);
    p->jr.wait.wants_given = true;
    request_state(rq, p, state_free);
    rq->resume = looked;
    job_request_suspend(&p->jr);
    job_watch(&id, &p->jr.wait);
    return SUSPENDED;
}
