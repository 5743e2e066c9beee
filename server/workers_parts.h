/* workers_parts.h - what workers*.c and resident*.c share; nobody else includes it. Core thread. */
#ifndef TUTTI_SERVER_WORKERS_PARTS_H
#define TUTTI_SERVER_WORKERS_PARTS_H

#include "server/comms.h"
#include "server/core.h"
#include "server/launch.h"
#include "server/peer.h"
#include "server/workers.h"

#include <stdatomic.h>

#define HOW_BYTES 160

/* One rank's place, and who holds it. */
struct worker {
    struct worker_info info;            /* written under workers.lock */
    bool launched;                      /* we start it, and start it again */
    struct launched process;            /* ours or adopted; none while absent; no pidfd where
                                           the kernel does not name it: fence.h */
    struct core_watch exit;             /* of process.pidfd */
    struct peer *peer;                  /* from HELLO until it is lost */
    char how[HOW_BYTES];                /* it was lost */
    uint64_t heard_us;                  /* clock_us() of its last frame */
    uint64_t ready_us;                  /* clock_us() of its HELLO; 0: not yet */
    uint64_t backoff_us;                /* before the next start */
    struct core_timer beat;             /* silence, or a start that takes too long */
    struct core_timer retry;            /* the next start */
    struct core_timer kill;             /* CANCEL was not answered */
    struct core_timer say;              /* by lock: our next heartbeat */
    struct core_timer fence;            /* by lock: does it still hold it? */
    struct host *host;                  /* another one than the server's; under workers.lock */
    bool left;                          /* it said so */
    uint64_t lease_us;                  /* given up there: clock_us() at which it has ended */
    struct job_rank_link *running;      /* its parts of jobs: told to run, not answered */
    uint16_t in_lane[LIMIT_STREAM + 1]; /* of them */
    char ticket[LIMIT_TICKET_BYTES];    /* unused; "": none */
};

struct workers {
    struct workers_options options;
    struct worker *rank; /* world_size */
    bool stopping;
    atomic_uint ready; /* ranks that are ready or busy */
    uint32_t remote;   /* with a host of their own */
    uint64_t session;  /* of this server: arenas of other hosts are made anew for each */
    bool one_machine;  /* no rank can come from another one */
};
extern struct workers workers;

/* workers.c: what others may see. worker_state asserts that the move is in states.def. */
void worker_state(struct worker *w, enum worker_state s);
void worker_introduced(struct worker *w, uint64_t epoch, bool tcp, const struct frame_hello *hello);
void worker_heard(struct worker *w);
void worker_count_job(struct worker *w, bool done, uint64_t busy_us, uint64_t moved_bytes);
void worker_count_loss(struct worker *w);
void worker_count_restart(struct worker *w);
void worker_count_resident(struct worker *w, int64_t change); /* INT64_MIN: to 0 */
void worker_move(struct worker *w, struct host *h);           /* NULL: it has left its host */

/* workers_door.c */
int workers_listen(const char *address, struct err *e);
void workers_unlisten(void);

/* workers_tcp.c; host "" is none */
int workers_listen_tcp(const char *host, uint16_t port, struct err *e);
void workers_unlisten_tcp(void);

/* workers_frames.c: of the peer of a worker that has joined */
void worker_frame(struct peer *p, const struct frame *f);
void worker_unlinked(struct peer *p, const char *how);
/* REFUSE with that reason; until the next call. */
const struct frame *worker_refusal(enum err_code code, const char *why);

/* workers_life.c */
void worker_start(struct worker *w);
void worker_stop_start(struct worker *w); /* ends the wait for its next start */
/* Watches the process that holds or will hold the rank. Returns 0 or -1. */
int worker_watch_exit(struct worker *w, struct err *e);
/* It was welcomed, and will say that it is ready soon. */
void worker_expected(struct worker *w, struct peer *p);
/* It said HELLO on p and was welcomed: it holds its rank from now on. */
void worker_joined(struct worker *w, struct peer *p);
/* Its link broke or it is given up: killed, and absent once its exit is confirmed. */
void worker_lose(struct worker *w, const char *how);
/* Its end is confirmed: its rank is free, its jobs hear of it. */
void worker_gone(struct worker *w, const char *how);

/* workers_regions.c: of those that can map memory that clients share with us */
bool worker_maps(const struct worker *w);
void worker_maps_all(struct worker *w); /* it has joined */
void workers_follow_regions(bool on);
/* Do all ranks see what the job's tensors lie in? Returns 0, or -1 with ERR_group_invalid. */
int workers_see(const struct job *j, struct err *e);

/* workers_hosts.c: of workers that have an arena of their own */
/* It said READY, with an arena that is not the server's. Returns 0, or -1 with e: not to be had. */
int worker_settles(struct worker *w, const struct frame_ready *f, struct err *e);
/* It may take part: it carries the host's tensors, if nobody does. */
void worker_settled(struct worker *w);
/* It is given up: what it carries, nobody does until it has ended; heard: its link has ended. */
void worker_suspected(struct worker *w, bool heard);
/* Has it ended, as far as can be known? Asks those who can tell. */
bool worker_has_ended(struct worker *w);
void worker_seen(struct worker *w, const struct frame_seen *f);
void worker_moves_out(struct worker *w); /* it has ended */
/* A connection that proved itself says it is the data channel of that worker's host. Takes fd when
 * it returns 0; else -1 with ERR_refused. */
int worker_attaches(uint64_t epoch, int fd, struct err *e);

/* What carries this job among its ranks: decided here alone. Returns 0, or -1 with
 * ERR_group_invalid. */
int workers_backend(const struct job_record *r, const char **out, struct err *e);
void workers_hosts_of(const uint32_t *ranks, uint32_t n, uint32_t *out); /* as JOIN wants them */

/* workers_send.c */
/* Its part of that attempt, if it runs it; else NULL. */
struct job_rank_link *worker_part(struct worker *w, uint64_t seq, uint32_t attempt);
void worker_answered(struct worker *w, struct job_rank_link *part); /* the part runs no more */
/* Can it take a job in this lane? For the scheduler. */
void worker_offer(struct worker *w, uint32_t lane);
/* What a worker says to the other ranks of a communicator. */
void workers_pass_on(const struct worker *w, const struct frame_store_put *f);
void workers_meet(void); /* all ranks of a world that needs tickets are there: its group is made */

#endif
