/* promise.c - makes and frees what stands for a tensor that is not there yet. */
#include "server/promise.h"

#include <stdlib.h>

struct tensor *promise_new(const struct id *job, uint32_t rank, enum dtype d, const struct shape *s)
{
    struct promise *p = calloc(1, sizeof *p);
    struct tensor *t = p ? tensor_new(d, s, NULL, 0) : NULL;

    if (!t) {
        free(p);
        return NULL;
    }
    p->job = *job;
    p->rank = rank;
    t->promise = p;
    return t;
}

void promise_enter(struct promise **list, struct promise *p)
{
    p->next = *list;
    p->prev = list;
    if (p->next)
        p->next->prev = &p->next;
    *list = p;
}

void promise_leave(struct promise *p)
{
    if (!p->prev)
        return;
    *p->prev = p->next;
    if (p->next)
        p->next->prev = p->prev;
    p->next = NULL;
    p->prev = NULL;
}

void promise_keep(struct promise *p, struct tensor *output)
{
    promise_leave(p);
    p->over = true;
    p->kept = tensor_ref(output);
}

void promise_break(struct promise *p, const struct err *why)
{
    promise_leave(p);
    p->over = true;
    p->broken = malloc(sizeof *p->broken);
    if (p->broken)
        *p->broken = *why;
}

static void dispose(struct promise *p)
{
    promise_leave(p);
    tensor_unref(p->kept);
    free(p->broken);
    free(p);
}

static void on_gone(struct core_msg *m)
{
    dispose(CORE_OWNER(m, struct promise, msg));
}

void promise_gone(struct promise *p)
{
    p->msg.run = on_gone;
    if (p->shared && !core_here())
        core_post(&p->msg);
    else
        dispose(p);
}
