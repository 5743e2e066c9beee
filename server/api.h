/* api.h - the handlers that routes.c lists, one per endpoint. Pool threads.
 *
 * Each takes a request whose head, parameters and body are already read, and returns HANDLED,
 * SUSPENDED, or -1 with an err.
 *
 * This file is long because it lists all handlers, and what they share, in one place.
 */
#ifndef TUTTI_SERVER_API_H
#define TUTTI_SERVER_API_H

#include "schema/error.h"
#include "server/api_wait.h"
#include "server/http.h"
#include "server/job.h"
#include "server/record.h"
#include "server/store.h"

#define API(name) int name(struct request *rq, struct err *e)

/* api_meta.c */
API(api_v1);      /* GET /v1 */
API(api_healthz); /* GET /healthz: the process answers */
API(api_readyz);  /* GET /readyz: all ranks joined, database and arena open; else 503 */
/* api_metrics.c */
API(api_metrics);
API(api_prometheus);
/* api_static.c */
API(api_static); /* the files of static.def */
/* api_docs.c */
API(api_error_list);
API(api_error_page);
/* api_workers.c */
API(api_worker_list);
API(api_worker_get);
/* api_events.c */
API(api_events);
API(api_job_events);
/* api_trace.c */
API(api_trace);
/* api_groups.c */
API(api_group_create);
API(api_group_list);
API(api_group_get);
API(api_group_delete);
/* api_tensors.c */
API(api_tensor_create);
API(api_tensor_get);
API(api_tensor_delete);
/* api_jobs.c */
API(api_job_create);
/* api_batch.c */
API(api_jobs_batch);
/* api_backward.c */
API(api_job_backward);
/* api_calls.c */
API(api_call_create);
API(api_barrier); /* a call without a tensor */
API(api_bcast);   /* of a JSON value */
/* api_kv.c */
API(api_kv_list);
API(api_kv_get);
API(api_kv_put);
API(api_kv_delete);
/* api_jobs_read.c */
API(api_job_list);
API(api_job_get);
API(api_job_cancel);
/* api_reproduce.c */
API(api_job_reproduce);
/* api_jobs_delete.c */
API(api_job_delete);
/* api_outputs.c */
API(api_outputs_get);
API(api_output_get);

#undef API

/* Of ERR_tensor_lost. */
#define TENSOR_LOST "the bytes did not survive a restart, or the end of the worker that had them"

/* A rank's document. api_workers.c. */
struct worker_info;
void worker_doc_write(struct text *out, const struct worker_info *w);

/* A tensor's document, to which data is added when data is set; omitted: why it is not, or NULL. */
void tensor_doc_write(struct text *out, struct tensor *t, bool data, const char *omitted);

/* What a document shows of a job's outputs. */
struct shown {
    int data;    /* their elements: 1 always, 0 never, -1 by size */
    bool unique; /* and of one that several ranks have once, with the first of them */
    bool full;   /* not these: the answer's other jobs have as many as JSON shows */
};
#define SHOWN_NOT ((struct shown){0})

/* ?data= and ?outputs=. Returns 0, or -1 with ERR_parameter_range. api_outputs.c. */
int shown_read(const struct request *rq, struct shown *out, struct err *e);

/* Can this job's outputs be shown as JSON data? Returns 0, or -1 with ERR_not_acceptable. */
int job_doc_check(const struct job_record *r, struct shown shown, struct err *e);

/* Outputs of a succeeded job as the document's array. */
void outputs_doc_write(struct text *out, const char *name, const struct job_record *r,
                       struct shown shown);

/* ETag, Vary and Cache-Control of a tensor in a format; tag gets the ETag. api_tensors.c. */
#define ETAG_TEXT (ID_TEXT + 20)
const char *etag_text(const struct tensor *t, enum format f, char tag[ETAG_TEXT]);
void etag_header(struct request *rq, const struct tensor *t, enum format f);

/* One of them, which is there. omitted: why it is without data, or NULL. */
void output_doc_write(struct text *out, const struct job_record *r, uint32_t rank, bool data,
                      const char *omitted);

/* Why so many elements are not shown, and how to get them; NULL where they would be. asks: ?data=1
 * is a way. Returns buf or NULL. job_doc.c. */
#define OMITTED_TEXT 240
const char *data_omitted(char buf[OMITTED_TEXT], uint64_t elements, bool asks);

/* ?view= as the codecs take it. Returns 0, or -1 with ERR_parameter_range. api_outputs.c. */
int view_read(const struct request *rq, bool *as_uint16, struct err *e);
enum dtype viewed(enum dtype d, bool as_uint16);

/* What goes with a tensor's bytes, or with those of `stack` tensors stacked (0: of one). A scalar
 * has no Tutti-Shape. api_outputs.c. */
void bytes_headers(struct request *rq, enum dtype d, const struct shape *s, uint32_t stack);

/* The format that outputs are asked for in, JSON when nothing is said. Returns 0, or -1 with
 * ERR_not_acceptable. api_outputs.c. */
int outputs_format(const struct request *rq, enum format *f, struct err *e);

/* The outputs themselves as the answer, in a binary format. rank: one group rank, or -1 for all, of
 * which with ?outputs=unique each is sent once, and Tutti-Outputs says which is whose. Returns
 * HANDLED, or -1. api_outputs.c. */
int outputs_reply(struct request *rq, const struct job_record *r, int64_t rank, enum format f,
                  struct err *e);

/* The job named by the path's first {segment}. Returns 0, or -1 with ERR_job_unknown. */
int job_id_read(const struct request *rq, struct id *out, struct err *e);

/* The full name of the group that the path's first {segment} names: the asker's own, or, where an
 * admin writes alice%2Fpair, that of another account. Returns 0, or -1 with ERR_group_unknown.
 * api_groups.c. */
int group_arg(const struct request *rq, char out[LIMIT_FULL_GROUP_BYTES + 1], struct err *e);

/* After a watch: the record in w, from memory or else from the store, if w->scope may see it.
 * Returns 0, or -1 with ERR_job_unknown. api_jobs_read.c. */
int job_settle(struct job_wait *w, const struct id *id, struct err *e);

/* To the POST that waited for it a failed or cancelled job is a problem like any other. api_jobs.c.
 */
int job_failed_reply(struct request *rq, const struct job_record *r);

/* Location of the job, relative to the request's own path: the service may be behind a prefix.
 * api_jobs.c. */
void job_location(struct request *rq, const struct job_record *r);

/* Of ERR_not_acceptable. */
#define NPY_BFLOAT16 ".npy has no bfloat16; ask for safetensors or raw, or add view=uint16"

/* The answer to a finished or waiting job: document, outputs, or the problem it failed with. Takes
 * ownership of nothing. api_jobs.c. */
int job_reply(struct request *rq, const struct job_record *r, bool submitted, struct err *e);

/* Lets go of a tensor that was taken out of the table. When its row stays in the database, back
 * into the table: bytes that a restart would find must not be given away. api_tensors.c. */
void tensor_forget(struct tensor *t, bool row_stays);

/* A group's short name, and its account as the member `owner` when it has one. job_doc.c. */
void group_name_write(struct text *out, const char *name, const char *full);

/* A job document, Job of schema/openapi.yaml. job_doc.c. */
void job_doc_write(struct text *out, const struct job_record *r, struct shown shown);

/* What the service is, for api_meta. Set once before http_start. */
struct api_facts {
    const char *version, *backend;
    uint64_t started_us; /* wall */
    uint64_t begun_us;   /* clock_us(), which does not jump */
    struct id instance;  /* of this process, and of no other */
    uint64_t retain_us;  /* of uploads and results */
    bool tls;            /* it is asked over TLS */
};
extern struct api_facts api_facts;

#endif
