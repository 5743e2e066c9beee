/* api.h - the handlers that routes.c lists, one per endpoint. Pool threads.
 *
 * Each takes a request whose head, parameters and body are already read, and returns HANDLED,
 * SUSPENDED, or -1 with an err.
 */
#ifndef TUTTI_SERVER_API_H
#define TUTTI_SERVER_API_H

#include "schema/error.h"
#include "server/http.h"
#include "server/record.h"

#define API(name) int name(struct request *rq, struct err *e)

/* api_meta.c */
API(api_root);    /* GET / : a short page or JSON that names the API */
API(api_v1);      /* GET /v1 */
API(api_healthz); /* GET /healthz: the process answers */
API(api_readyz);  /* GET /readyz: all ranks joined, database and arena open; else 503 */
API(api_openapi); /* GET /openapi.yaml */
API(api_metrics); /* GET /v1/metrics: JSON counters */
/* api_workers.c */
API(api_worker_list);
API(api_worker_get);
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
API(api_job_list);
API(api_job_get);
API(api_job_cancel);
API(api_job_delete);
/* api_outputs.c */
API(api_outputs_get);
API(api_output_get);

#undef API

/* A job document as API.md shows it, outputs' data by the request's `data` parameter. job_doc.c. */
void job_doc_write(struct text *out, const struct job_record *r, int data /* 1, 0, -1: by size */);

/* What the service is, for api_meta. Set once before http_start. */
struct api_facts {
    const char *version, *backend;
    uint64_t started_us; /* wall */
};
extern struct api_facts api_facts;

#endif
