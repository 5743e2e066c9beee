/* workers.h - the link to the rank processes: who holds which rank, frames, heartbeats, fencing.
 * Core thread only, but for workers_list. */
#ifndef TUTTI_SERVER_WORKERS_H
#define TUTTI_SERVER_WORKERS_H

#include "schema/error.h"
#include "schema/frame.h"
#include "schema/state.h"
#include "server/arena.h"
#include "server/host.h"
#include "server/job.h"

#include <stdbool.h>
#include <stdint.h>

struct workers_options {
    uint32_t world_size;
    uint32_t launch;         /* ranks 0..launch-1 are started and restarted by us */
    const char *listen;      /* "unix:PATH"; PATH is made anew */
    const char *tcp_host;    /* listen there too, for workers with a token; "": no */
    uint16_t tcp_port;       /* 0: a free one, which the log names */
    const char *fence_dir;   /* of the fence file: the arena's */
    const char *worker_path; /* the tutti-worker binary */
    const char *backend;     /* for launched workers */
    bool gpus;               /* each has a GPU: rank r has number r */
    uint64_t resident_bytes; /* most of them on one device; 0: half of its memory */
    const char *log_level, *log_format;
    struct arena *arena;
};

/* Waits until no worker of a server before us is alive (kills those that stay), then listens and
 * launches. Main thread, before core_start. Returns 0 or -1. */
int workers_init(const struct workers_options *o, struct err *e);

/* Sends STOP to all, waits for their exits up to the deadline, kills the rest. What they still say
 * is not listened to: an unfinished job runs again at the next start. Main thread, after core_stop.
 */
void workers_fini(uint64_t deadline_us);

/* Can the ranks of this job's group, as far as they are known, do it together? Returns 0, or -1
 * with ERR_dtype_op or ERR_group_invalid. */
int workers_check(const struct job_record *r, struct err *e);

/* Gives the job's group a name on the link, and a ticket where its backend needs one. Returns 0; 1
 * when the ticket has not come yet (scheduler_freed tells); or -1 with ERR_no_memory. */
int workers_prepare(struct job *j, struct err *e);

/* Sends one RUN a job to every rank of its group (with JOIN before it where the rank does not know
 * the group yet) and marks them busy. The n jobs are on the same ranks and stream, and are run
 * together. A send that fails counts as the loss of that worker, reported by
 * job_rank_lost after this returns (never from inside). */
void workers_run(struct job *const *jobs, uint32_t n);

/* The two halves of that, for a job whose tensors have to get there in between: its ranks are busy;
 * they are told. And back, before they were told: they are free, and never hear of it. */
void workers_take(struct job *const *jobs, uint32_t n);
void workers_tell(struct job *const *jobs, uint32_t n);
void workers_untake(struct job *j);

/* Is any rank on another host? On which is this one: NULL: on the server's machine, or nowhere. */
bool workers_any_remote(void);
struct host *worker_host(uint32_t world_rank);

/* Sends CANCEL to the ranks that are still at it; one that has not answered LIMIT_CANCEL_MS later
 * is killed, and reported lost once its exit is confirmed. */
void workers_cancel(struct job *j);

/* What its HELLO said of its GPU, and of the libraries that drive it. */
struct worker_gpu {
    uint64_t memory_bytes; /* 0: it has none */
    char name[64], uuid[48], pci_id[24];
    char driver_version[16], runtime_version[16], nccl_version[16];
    char runtime_path[128], nccl_path[128];
    bool simulated;
};

struct worker_info {
    uint32_t rank;
    enum worker_state state;
    uint64_t since_us; /* wall: when it entered the state */
    uint32_t pid;
    uint64_t epoch;
    bool tcp;                  /* its link; false: the Unix socket */
    bool remote;               /* on another host, with an arena of its own: */
    struct host_figures arena; /* all of its workers' */
    char backend[16], device[64], host[64], version[32];
    uint32_t reduces[REDUCTION_COUNT]; /* a bit per dtype */
    bool says_reduces;                 /* false: nobody has held the rank yet */
    bool by_ticket;
    bool across; /* it can work with CPUs of other hosts */
    struct worker_gpu gpu;
    uint64_t resident_bytes; /* of tensors on its device */
    uint64_t jobs_done, jobs_failed, restarts, heartbeat_age_us;
    uint64_t busy_us;     /* spent in collectives */
    uint64_t moved_bytes; /* that it gave and got */
    uint64_t losses;      /* times that who held the rank was lost */
};

/* Any thread (a copy under the mutex named in ARCHITECTURE.md). Fills out[0..world_size). */
void workers_list(struct worker_info *out);

uint32_t workers_ready_count(void); /* any thread: ranks that are ready or busy */

#endif
