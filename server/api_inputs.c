/* api_inputs.c - a job's inputs: from the body to one checked tensor a rank. */
#include "server/api_submit.h"
#include "server/promise.h"

#include <stdio.h>
#include <string.h>
#include <xxhash.h>

enum dtype submit_json_dtype(const struct request *rq, const struct job_record *r)
{
    enum dtype known = r->shaped ? r->dtype : DTYPE_float32;

    return params_has(rq->params, PARAM_dtype) ? rq->params->dtype : known;
}

/* ---- from the body ---- */

/* name: what the request calls the list. */
static int from_list(struct request *rq, const char *name, const struct json_span *inputs,
                     bool has_inputs, const struct job_record *r, struct tensor **out,
                     struct err *e)
{
    enum dtype d = submit_json_dtype(rq, r);
    struct json_span element;
    bool wanted = false;
    size_t pos = 0;
    uint32_t n = 0;

    if (!has_inputs && r->op->in == PARTY_NOBODY)
        return 0;
    if (!has_inputs || json_kind(inputs) != JSON_ARRAY) {
        err_set(e, ERR_inputs_invalid, "%s is a list with one tensor a rank, or null", name);
        return err_pointer(e, "/%s", name);
    }
    for (; n < r->n && json_next(inputs, &pos, &element); n++) {
        char pointer[32];
        bool named;

        snprintf(pointer, sizeof pointer, "/%s/%u", name, n);
        if (!record_gives(r, n)) /* what others send is ignored */
            continue;
        if (wanted && json_kind(&element) != JSON_OBJECT) /* it will be read again */
            continue;
        if (rq->jobs)
            rq->jobs->rank = n;
        if (json_tensor_read(&element, d, pointer, rq->jobs, &out[n], &named, e) == 0)
            continue;
        if (e->code != ERR_input_wanted)
            return -1;
        wanted = true;
    }
    if (n == r->n && !json_next(inputs, &pos, &element))
        return wanted ? err_set(e, ERR_input_wanted, "jobs are to be looked up") : 0;
    err_set(e, ERR_inputs_invalid, "the group has %u ranks, and %s has %s%u", r->n, name,
            n == r->n ? "more than " : "", n);
    return err_pointer(e, "/%s", name);
}

static int from_named(const struct payload *p, const struct job_record *r, struct tensor **out,
                      struct err *e)
{
    for (uint32_t i = 0; i < p->n; i++) {
        char want[32];
        uint32_t rank = 0;

        while (rank < r->n) {
            snprintf(want, sizeof want, "%u", rank);
            if (strcmp(want, p->items[i].name) == 0)
                break;
            rank++;
        }
        if (rank == r->n)
            return err_set(e, ERR_bad_rank_name,
                           "\"%s\" is no rank: tensors are named \"0\" to \"%u\"", p->items[i].name,
                           r->n - 1);
        out[rank] = tensor_ref(p->items[i].tensor);
    }
    return 0;
}

int submit_check_stated(const struct params *p, const struct tensor *t, bool shaped, struct err *e)
{
    char stated[SHAPE_TEXT], got[SHAPE_TEXT];

    if (params_has(p, PARAM_dtype) && p->dtype != t->dtype) {
        err_set(e, ERR_conflicting_parameter, "dtype is %s, but the body holds %s",
                dtypes[p->dtype].name, dtypes[t->dtype].name);
        return err_pointer(e, "/dtype");
    }
    if (shaped && params_has(p, PARAM_shape) && !shape_equal(&p->shape, &t->shape)) {
        err_set(e, ERR_conflicting_parameter, "shape is %s, but the body holds %s",
                shape_format(&p->shape, stated, sizeof stated),
                shape_format(&t->shape, got, sizeof got));
        return err_pointer(e, "/shape");
    }
    return 0;
}

static int from_binary(const struct request *rq, const struct job_record *r, struct tensor **out,
                       struct err *e)
{
    const struct payload *p = &rq->body.payload;

    for (uint32_t i = 0; i < p->n; i++) {
        if (submit_check_stated(rq->params, p->items[i].tensor, false, e) != 0)
            return -1;
    }
    if (!p->whole)
        return from_named(p, r, out, e);
    return submit_check_stated(rq->params, p->whole, true, e) != 0
               ? -1
               : payload_split(p->whole, r->n, out, e);
}

static int from_body(struct request *rq, const char *name, const struct json_span *inputs,
                     bool has_inputs, const struct job_record *r, struct tensor **out,
                     struct err *e)
{
    if (rq->body.codec)
        return from_binary(rq, r, out, e);
    if (params_has(rq->params, PARAM_shape)) {
        err_set(e, ERR_shape_invalid, "shape is for raw bytes; JSON inputs show theirs");
        return err_pointer(e, "/shape");
    }
    return from_list(rq, name, inputs, has_inputs, r, out, e);
}

/* ---- checked ---- */

static int missing(const struct job_record *r, struct tensor *const *t, struct err *e)
{
    bool all_there = true;

    err_set(e, ERR_inputs_invalid,
            "%s needs an input of every rank that gives one, and these have none", r->op->name);
    for (uint32_t i = 0; i < r->n; i++) {
        if (record_gives(r, i) && !t[i]) {
            all_there = false;
            err_rank(e, i);
        }
    }
    return all_there ? 0 : err_pointer(e, "/inputs/%u", e->ranks[0]);
}

/* All that give agree with the first that does. */
static int agree(const struct job_record *r, struct tensor *const *t, const struct tensor **first,
                 struct err *e)
{
    char a[SHAPE_TEXT], b[SHAPE_TEXT];
    uint32_t of = 0;

    *first = NULL;
    for (uint32_t i = 0; i < r->n; i++) {
        if (!record_gives(r, i))
            continue;
        if (!*first) {
            *first = t[i];
            of = i;
        }
        if (t[i]->dtype == (*first)->dtype && shape_equal(&t[i]->shape, &(*first)->shape))
            continue;
        err_set(e, ERR_inputs_differ,
                "rank %u gives %s %s, rank %u gives %s %s; inputs agree in dtype and shape", of,
                dtypes[(*first)->dtype].name, shape_format(&(*first)->shape, a, sizeof a), i,
                dtypes[t[i]->dtype].name, shape_format(&t[i]->shape, b, sizeof b));
        err_rank(e, of);
        err_rank(e, i);
        return err_pointer(e, "/inputs/%u", i);
    }
    return 0;
}

/* What a rank that does not give has sent is not kept. */
static void drop_unused(const struct job_record *r, struct tensor **t)
{
    for (uint32_t i = 0; i < r->n; i++) {
        if (!record_gives(r, i)) {
            tensor_unref(t[i]);
            t[i] = NULL;
        }
    }
}

int submit_read_inputs(struct request *rq, const struct json_span *inputs, bool has_inputs,
                       struct job_record *r, struct tensor **tensors, struct err *e)
{
    const struct tensor *first;

    if (from_body(rq, "inputs", inputs, has_inputs, r, tensors, e) != 0 ||
        missing(r, tensors, e) != 0 || agree(r, tensors, &first, e) != 0 ||
        (first && op_check_dtype(r->op, first->dtype, e) != 0))
        return -1;
    if (first) {
        r->dtype = first->dtype;
        r->in_shape = first->shape;
    } else { /* nobody gives */
        record_no_tensor(r);
    }
    if (op_out_shape(r->op, &r->params, r->n, &r->in_shape, &r->out_shape, e) != 0 ||
        shape_measure(&r->out_shape, r->dtype, NULL, NULL, e) != 0)
        return -1;
    drop_unused(r, tensors);
    return 0;
}

int submit_check_grad(const struct job_record *r, const struct tensor *t, uint32_t rank,
                      struct err *e)
{
    char want[SHAPE_TEXT], got[SHAPE_TEXT];

    if (!t || (t->dtype == r->dtype && shape_equal(&t->shape, &r->in_shape)))
        return 0;
    return err_set(e, ERR_grads_invalid, "the output of rank %u is %s %s, its gradient %s %s", rank,
                   dtypes[r->dtype].name, shape_format(&r->in_shape, want, sizeof want),
                   dtypes[t->dtype].name, shape_format(&t->shape, got, sizeof got));
}

int submit_read_grads(struct request *rq, const struct json_span *grads, bool has_grads,
                      const struct job_record *r, struct tensor **tensors, struct err *e)
{
    if (from_body(rq, "grads", grads, has_grads, r, tensors, e) != 0)
        return -1;
    drop_unused(r, tensors);
    for (uint32_t i = 0; i < r->n; i++) {
        if (submit_check_grad(r, tensors[i], i, e) != 0)
            return err_pointer(e, "/grads/%u", i);
    }
    return lane_settle_all(rq, r, tensors, e);
}

/* ---- digest ---- */

static void add_u64(XXH3_state_t *s, uint64_t value)
{
    XXH3_128bits_update(s, &value, sizeof value);
}

static void add_text(XXH3_state_t *s, const char *text)
{
    XXH3_128bits_update(s, text, strlen(text) + 1);
}

static void add_inputs(XXH3_state_t *s, const struct job_record *r, struct tensor *const *tensors)
{
    XXH3_128bits_update(s, r->parent.b, sizeof r->parent.b);
    for (uint32_t i = 0; i < r->n; i++) {
        const struct promise *p = tensors[i] ? tensors[i]->promise : NULL;

        add_u64(s, tensors[i] != NULL);
        if (p) { /* by name, so that it means the same when the job has ended */
            XXH3_128bits_update(s, p->job.b, sizeof p->job.b);
            add_u64(s, p->rank);
        } else if (tensors[i] &&
                   tensors[i]->home) /* its bytes may be elsewhere: its name will do */
            XXH3_128bits_update(s, tensors[i]->id.b, sizeof tensors[i]->id.b);
        else if (tensors[i] && region_is_written(tensors[i]->extent)) /* as will its place */
            add_u64(s, tensor_arena_offset(tensors[i]));
        else if (tensors[i] && tensors[i]->size_bytes > 0)
            XXH3_128bits_update(s, tensor_data(tensors[i]), tensors[i]->size_bytes);
    }
}

int submit_digest(const struct job_record *r, struct tensor *const *tensors, uint8_t digest[16],
                  struct err *e)
{
    XXH3_state_t *s = XXH3_createState();
    XXH128_canonical_t canonical;

    if (!s)
        return err_set(e, ERR_no_memory, "the request's digest");
    XXH3_128bits_reset(s);
    add_text(s, r->op->name);
    add_text(s, r->group);
    add_u64(s, r->n);
    for (uint32_t i = 0; i < r->n; i++)
        add_u64(s, r->ranks[i]);
    add_u64(s, (uint64_t)r->params.split_axis);
    add_u64(s, (uint64_t)r->params.concat_axis);
    add_u64(s, (uint64_t)r->params.src << 32 | r->params.dst);
    add_text(s, dtypes[r->dtype].name);
    add_u64(s, r->in_shape.ndim);
    for (uint32_t d = 0; d < r->in_shape.ndim; d++)
        add_u64(s, r->in_shape.dim[d]);
    add_u64(s, (uint64_t)(int64_t)r->priority);
    add_u64(s, (uint64_t)r->resident << 32 | r->stream);
    add_u64(s, r->timeout_us);
    add_text(s, r->label);
    add_inputs(s, r, tensors);
    XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(s));
    XXH3_freeState(s);
    memcpy(digest, canonical.digest, sizeof canonical.digest);
    return 0;
}

void submit_text_digest(const struct request *rq, uint8_t digest[16])
{
    const struct params *p = rq->params;
    XXH128_hash_t hash = XXH3_128bits(rq->body.text, rq->body.text_len);
    XXH128_canonical_t canonical;

    for (int id = 0; id < PARAM_COUNT; id++) {
        const char *text = p->from_query_text[id];

        if (!params_has(p, (enum param_id)id) || !params_taken(WHERE_LINE, (enum param_id)id) ||
            !*text)
            continue;
        hash = XXH3_128bits_withSeed(p->text[id], strlen(p->text[id]), hash.low64 + (uint64_t)id);
        hash = XXH3_128bits_withSeed(text, strlen(text), hash.low64);
        if (id == PARAM_group)
            hash = XXH3_128bits_withSeed(&p->group, sizeof p->group, hash.low64);
    }
    XXH128_canonicalFromHash(&canonical, hash);
    memcpy(digest, canonical.digest, sizeof canonical.digest);
}
