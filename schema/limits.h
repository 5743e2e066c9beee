/* limits.h - every cap and timeout, units in the names.
 *
 * Each has a test at it and a test one past it, or a sentence here that says who enforces it.
 */
#ifndef TUTTI_SCHEMA_LIMITS_H
#define TUTTI_SCHEMA_LIMITS_H

/* The world. */
#define LIMIT_RANKS 1024          /* world size, and so ranks of a group */
#define LIMIT_NDIM 32             /* dimensions of a tensor, as in NumPy */
#define LIMIT_GROUPS 10000        /* named groups, `world` not counted */
#define LIMIT_GROUP_NAME_BYTES 64 /* [A-Za-z][A-Za-z0-9_.-]{0,63} */
#define LIMIT_LABEL_BYTES 256     /* UTF-8, no control characters */
#define LIMIT_KEY_BYTES 255       /* Idempotency-Key, printable ASCII */
#define LIMIT_ACCOUNT_BYTES 32    /* [A-Za-z][A-Za-z0-9_-]* */
#define LIMIT_FULL_GROUP_BYTES (LIMIT_ACCOUNT_BYTES + 1 + LIMIT_GROUP_NAME_BYTES)
#define LIMIT_FULL_KEY_BYTES (LIMIT_ACCOUNT_BYTES + 2 + LIMIT_KEY_BYTES)
#define LIMIT_CALL_KEY_BYTES \
    (LIMIT_FULL_GROUP_BYTES + LIMIT_KEY_BYTES + 16) /* with group and rank */
#define LIMIT_CALLS_BEHIND 10000 /* ended jobs that some rank of their group has not come to */
#define LIMIT_CALLS_AHEAD 10000  /* jobs of one group that still wait for some rank */
#define LIMIT_UNFINISHED_JOBS 200000
#define LIMIT_ATTEMPTS 3              /* runs of one job whose ranks keep dying */
#define LIMIT_LINES 10000             /* of one body that submits many jobs */
#define LIMIT_LINES_RANKS (1u << 18)  /* of all jobs of such a body: some 30 MB of answer */
#define LIMIT_BATCH_JOBS 32           /* small jobs of one group and stream that are run together */
#define LIMIT_BATCH_BYTES (64u << 10) /* one tensor of a small job */

/* HTTP. */
#define LIMIT_JSON_BODY_BYTES (64u << 20)      /* larger: use npy */
#define LIMIT_JSON_MEMORY_BYTES (256ull << 20) /* all JSON bodies held at once */
#define LIMIT_JSON_DEPTH 64                    /* of any JSON body */
#define LIMIT_JSON_MEMBERS 64                  /* members of one object in a body */
#define LIMIT_JSON_PARAM_BYTES (64u << 10)     /* of a member that is no tensor */
#define LIMIT_KV_KEYS 10000                    /* of all groups */
#define LIMIT_KV_KEY_BYTES 127                 /* printable ASCII, no space */
#define LIMIT_VALUE_BYTES (1u << 20)           /* a JSON value for other ranks */
#define LIMIT_KV_BYTES (256ull << 20)          /* all keys' values together, and so the database */
#define LIMIT_NPY_HEADER_BYTES (64u << 10)
#define LIMIT_SAFETENSORS_HEADER_BYTES (1u << 20)
#define LIMIT_TARGET_BYTES 8192         /* request target, raw */
#define LIMIT_HEADERS_BYTES (32u << 10) /* names and values */
#define LIMIT_HEADERS 200
#define LIMIT_WAIT_S 300
#define LIMIT_HEADER_MS 10000     /* from accept or last answer to a whole head, when bytes come */
#define LIMIT_IDLE_MS 75000       /* keep-alive connection without a byte */
#define LIMIT_BODY_GRACE_MS 10000 /* how far a body may be behind LIMIT_PEER_BYTES_PER_S */
#define LIMIT_ANSWER_GRACE_MS 30000 /* how far a client may be with the taking of an answer */
#define LIMIT_PEER_BYTES_PER_S 1024
#define LIMIT_DISCARD_BYTES (64ull << 20) /* of a refused body read on before closing */
#define LIMIT_DISCARD_MS 10000
#define LIMIT_CONNECTIONS 4096      /* fewer if RLIMIT_NOFILE says so */
#define LIMIT_CONNECTIONS_UNIX 1024 /* beside them, on the Unix socket; likewise */
#define LIMIT_WAITS_RESERVE 64      /* connections that no waiting request may take */
#define LIMIT_PAGE 500              /* rows of a list */
#define LIMIT_PAGE_DEFAULT 50
#define LIMIT_GIVEN_BYTES 4096         /* of a job's inputs together, to be kept past its end */
#define LIMIT_TRACE_JOBS 64            /* named one by one */
#define LIMIT_TRACE_SLICES (1u << 16)  /* of all ranks of a trace's jobs: some 16 MB of text */
#define LIMIT_INLINE_ELEMENTS 65536    /* outputs shown as JSON data unasked */
#define LIMIT_JSON_ELEMENTS (4u << 20) /* and with data=1: some 80 MB of text */
#define LIMIT_EVENTS 1024              /* the last ones, for those who were cut off */
#define LIMIT_EVENTS_KEPT_S 300        /* after the last of those who follow has left */
#define LIMIT_EVENT_STREAMS 256        /* at once */
#define LIMIT_EVENT_BEAT_S 15          /* a comment on each when nothing happens */

/* Accounts. What each may use unless its line of the token file says otherwise. */
#define LIMIT_TOKENS 10000 /* lines of a token file */
#define LIMIT_TOKEN_LINE_BYTES 512
#define LIMIT_AUTH_FAILURES 10 /* wrong tokens of one address in LIMIT_AUTH_WINDOW_S */
#define LIMIT_AUTH_WINDOW_S 60
#define LIMIT_ACCOUNT_ARENA_PERCENT 50
#define LIMIT_ACCOUNT_JOBS 20000
#define LIMIT_ACCOUNT_WAITS 512
#define LIMIT_ACCOUNT_STREAMS 16
#define LIMIT_ACCOUNT_GROUPS 1000
#define LIMIT_ACCOUNT_KEYS 2000

/* Memory. */
#define LIMIT_TRIM_S 10             /* between two looks at what is free in the heap */
#define LIMIT_TRIM_BYTES (4u << 20) /* free there, and kept for the next requests */

/* Jobs. */
#define LIMIT_TIMEOUT_S 86400
#define LIMIT_TIMEOUT_DEFAULT_S 60
#define LIMIT_CALL_WAIT_S 65        /* of a call that says nothing else: past its timeout */
#define LIMIT_PRIORITY 100          /* -100 .. 100 */
#define LIMIT_STREAM 63             /* 0 .. 63 */
#define LIMIT_RETAIN_DEFAULT_S 3600 /* tensors, after their job ended */
#define LIMIT_RECORD_S (7 * 86400)  /* job records */

/* Worker link. */
#define LIMIT_TICKET_BYTES 260 /* a NCCL unique id in hex, and its end */
#define LIMIT_FRAME_BYTES (64u << 10)
#define LIMIT_HEARTBEAT_MS 1000
#define LIMIT_HEARTBEATS_MISSED 10
#define LIMIT_HELLO_MS 5000      /* from connect to HELLO */
#define LIMIT_HELLO_BYTES 1536   /* a HELLO frame, inside AUTH */
#define LIMIT_START_MS 30000     /* from the start of a worker to its HELLO */
#define LIMIT_CANCEL_MS 2000     /* from CANCEL to SIGKILL */
#define LIMIT_FETCH_MS 30000     /* from FETCH to SIGKILL */
#define LIMIT_GRACE_MS 10000     /* SIGTERM: running jobs may finish */
#define LIMIT_LOCK_MS 1000       /* that a dead server's lock on its directory may outlive it */
#define LIMIT_RESTART_MIN_MS 100 /* back-off of a worker that dies at once */
#define LIMIT_RESTART_MAX_MS 10000

/* Worker link over TCP: a network may break without a word, and strangers may come. */
#define LIMIT_TCP_BEATS_MISSED 3     /* by a worker: it is lost */
#define LIMIT_TCP_SILENT_MS 5000     /* of the server: the worker ends itself */
#define LIMIT_AUTH_BYTES 2048        /* a frame of somebody who has not proved who he is */
#define LIMIT_STRANGERS 64           /* such connections at once */
#define LIMIT_STRANGERS_ADDRESS 16   /* of one address */
#define LIMIT_WRONG_PROOFS 10        /* of one address within */
#define LIMIT_WRONG_PROOFS_S 60      /* these seconds; the next are turned away */
#define LIMIT_CHANNEL_SILENT_MS 8000 /* of a data channel with chunks on their way: another one */
#define LIMIT_CHANNEL_BACK_MS 15000  /* without one: the worker that has to make it is lost */
#define LIMIT_LEASE_MS 12000         /* given up on another host: by then it has ended */

/* Between hosts. */
#define LIMIT_PEER_SILENT_MS \
    30000 /* of a rank that another waits for: the job fails, and names it */
#define LIMIT_STORE_KEY_BYTES 64
#define LIMIT_STORE_BYTES 8192 /* what a rank tells the others of its communicator, at once */

/* Arena. */
#define LIMIT_ARENA_MIN_BYTES (1ull << 20)
#define LIMIT_EXTENT_ALIGN_BYTES 64    /* a cache line */
#define LIMIT_CHUNK_BYTES (2ull << 20) /* reserved and populated at once */

/* The lane. */
#define LIMIT_REGIONS 512         /* at once */
#define LIMIT_REGIONS_CLIENT 64   /* of one connection */
#define LIMIT_REGION_LEFT_S 60    /* that results are kept when the client has left whose it is */
#define LIMIT_LANE_CLIENTS 128    /* connections */
#define LIMIT_LANE_HELD 16384     /* tensors that one of them holds */
#define LIMIT_LANE_LINE_BYTES 512 /* a request, with its end */
#define LIMIT_LANE_MS 5000        /* from connect to the first region */
#define LIMIT_LANE_WINDOW 4       /* addresses behind the arena, in sizes of the lane */

#endif
