/* reproduce.c - a job as a shell script: the request that it was, and what it was given. */
#include "server/reproduce.h"
#include "server/codec.h"
#include "server/number.h"
#include "server/rank_list.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Where the id of an uploaded input goes in the body: control characters, which JSON never has. */
enum { PLACE = 1, PLACE_END = 2 };

enum source { SOURCE_NONE, SOURCE_JSON, SOURCE_BYTES, SOURCE_TENSOR, SOURCE_FILE };

struct script {
    struct text *out;
    const struct job_record *r;
    const struct given *given;
    const struct visitor *who;
    enum source *source; /* n */
    uint32_t files;
};

/* ---- what each input comes from ---- */

/* A NaN has many bits and one name. */
static bool json_is_exact(enum dtype d, const uint8_t *bytes, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        const uint8_t *element = bytes + i * dtypes[d].size_bytes;
        char text[NUMBER_TEXT];
        size_t len = number_write(d, element, text);
        uint8_t back[8];
        struct err e;

        if (text[0] == '"' && (number_read_string(text + 1, len - 2, d, back, &e) != 0 ||
                               memcmp(back, element, dtypes[d].size_bytes) != 0))
            return false;
    }
    return true;
}

static bool is_there(const struct script *s, const struct id *id)
{
    struct tensor *t = tensor_find(id);
    bool there = t && visitor_sees(s->who, t->owner) && !tensor_lost(t);

    tensor_unref(t);
    return there;
}

static const uint8_t *bytes_of(const struct script *s, uint32_t rank)
{
    uint64_t at = 0;

    for (uint32_t i = 0; i < rank; i++)
        at += record_gives(s->r, i) ? given_input_bytes(s->r) : 0;
    return s->given->bytes + at;
}

static enum source source_of(const struct script *s, uint32_t rank)
{
    const struct job_record *r = s->r;

    if (!record_gives(r, rank))
        return SOURCE_NONE;
    if (!s->given->bytes)
        return is_there(s, &s->given->ids[rank]) ? SOURCE_TENSOR : SOURCE_FILE;
    return json_is_exact(r->dtype, bytes_of(s, rank), shape_count(&r->in_shape)) ? SOURCE_JSON
                                                                                 : SOURCE_BYTES;
}

static bool uploads(enum source s)
{
    return s == SOURCE_BYTES || s == SOURCE_FILE;
}

/* ---- the body ---- */

static void shape_write(struct text *b, const struct shape *s)
{
    text_array(b, "shape");
    for (uint32_t d = 0; d < s->ndim; d++)
        text_uint(b, NULL, s->dim[d]);
    text_end_array(b);
}

/* An empty one has nothing in its lists that would say its shape. */
static void json_input(const struct script *s, struct text *b, uint32_t rank)
{
    const struct job_record *r = s->r;
    uint64_t count = shape_count(&r->in_shape);
    const uint8_t *at = bytes_of(s, rank);
    char number[NUMBER_TEXT];

    text_object(b, NULL);
    text_string(b, "dtype", dtypes[r->dtype].name);
    shape_write(b, &r->in_shape);
    text_array(b, "data");
    for (uint64_t i = 0; i < count; i++) {
        size_t len = number_write(r->dtype, at + i * dtypes[r->dtype].size_bytes, number);

        text_name(b, NULL);
        text_raw(b, number, len);
        text_value_end(b);
    }
    text_end_array(b);
    text_end_object(b);
}

static void input_write(const struct script *s, struct text *b, uint32_t rank)
{
    char id[ID_TEXT];

    switch (s->source[rank]) {
    case SOURCE_NONE:
        text_null(b, NULL);
        break;
    case SOURCE_JSON:
        json_input(s, b, rank);
        break;
    case SOURCE_TENSOR:
        text_object(b, NULL);
        text_string(b, "tensor", id_format('t', &s->given->ids[rank], id));
        text_end_object(b);
        break;
    default:
        text_object(b, NULL);
        text_name(b, "tensor");
        text_format(b, "\"%c%u%c\"", PLACE, rank, PLACE_END);
        text_value_end(b);
        text_end_object(b);
    }
}

static void op_write(struct text *b, const struct job_record *r)
{
    text_string(b, "op", r->op->name);
    text_array(b, "group");
    for (uint32_t i = 0; i < r->n; i++)
        text_uint(b, NULL, r->ranks[i]);
    text_end_array(b);
    if (op_takes_axis(r->op))
        text_int(b, "axis", r->params.split_axis);
    if (op_takes_two_axes(r->op)) {
        text_int(b, "split_axis", r->params.split_axis);
        text_int(b, "concat_axis", r->params.concat_axis);
    }
    if (op_takes_peers(r->op)) {
        text_uint(b, "src", r->params.src);
        text_uint(b, "dst", r->params.dst);
    }
}

/* A gradient is asked of the job whose gradient it is: that one has the mask. */
static void body_write(const struct script *s, struct text *b)
{
    const struct job_record *r = s->r;
    bool gradient = !id_is_zero(&r->parent);

    text_object(b, NULL);
    if (!gradient)
        op_write(b, r);
    text_uint(b, "stream", r->stream);
    text_int(b, "priority", r->priority);
    text_double(b, "timeout", (double)r->timeout_us / 1e6);
    if (r->resident)
        text_bool(b, "resident", true);
    if (r->label[0])
        text_string(b, "label", r->label);
    if (r->op->in != PARTY_NOBODY) {
        text_array(b, gradient ? "grads" : "inputs");
        for (uint32_t i = 0; i < r->n; i++)
            input_write(s, b, i);
        text_end_array(b);
    }
    text_end_object(b);
}

/* ---- the shell's ---- */

/* One character of valid UTF-8; returns its bytes. */
static size_t character(const unsigned char *s, uint32_t *out)
{
    size_t n = s[0] < 0x80 ? 1 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;

    *out = n == 1 ? s[0] : s[0] & (0xffu >> (n + 1));
    for (size_t i = 1; i < n; i++)
        *out = *out << 6 | (s[i] & 0x3f);
    return n;
}

/* JSON as one word of the shell's, between single quotes: whatever a shell, or who checks it, might
 * take for something else is written as JSON writes it in hex. It only stands in strings. */
static void quote_json(struct text *out, const struct text *json)
{
    const unsigned char *at = (const unsigned char *)json->data, *end = at + json->len;

    text_raw(out, "'", 1);
    while (at < end) {
        uint32_t c;

        at += character(at, &c);
        if (c == PLACE)
            text_format(out, "'\"$input_");
        else if (c == PLACE_END)
            text_format(out, "\"'");
        else if (c > 0xffff)
            text_format(out, "\\u%04x\\u%04x", 0xd7c0 + (c >> 10), 0xdc00 + (c & 0x3ff));
        else if (c > 0x7e || c == '\'' || c == '$' || c == '`')
            text_format(out, "\\u%04x", c);
        else
            text_raw(out, &(char){(char)c}, 1);
    }
    text_raw(out, "'", 1);
}

/* printf writes every byte, and reads % as its own. */
static void quote_bytes(struct text *out, const uint8_t *bytes, uint64_t n)
{
    text_raw(out, "'", 1);
    for (uint64_t i = 0; i < n; i++)
        text_format(out, bytes[i] == '%' ? "%%%%" : "\\%03o", bytes[i]);
    text_raw(out, "'", 1);
}

static bool is_plain(const char *host)
{
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.:-[]";

    return host && *host && strspn(host, plain) == strlen(host);
}

static bool is_from_file(const void *arg, uint32_t rank)
{
    return ((const struct script *)arg)->source[rank] == SOURCE_FILE;
}

/* Says which files it wants, and how a job is to be sent whose script wants none. */
static void files_write(const struct script *s)
{
    const struct job_record *r = s->r;
    char shape[SHAPE_TEXT], ranks[100];

    text_format(
        s->out,
        "if [ $# -ne %u ]; then\n"
        "    cat >&2 <<USAGE\n"
        "usage: $0 FILE...: %u file%s of raw bytes, %s %s each, for the input of group rank %s\n"
        "The service does not have %s any more. With a job it keeps at most %d bytes of inputs;\n"
        "larger ones that come in a request are freed when the job ends, and uploaded ones when\n"
        "they are deleted or past --retain. To have a script that wants no file, upload the "
        "inputs\n"
        "first (POST /v1/tensors), and give the job their ids.\n"
        "USAGE\n"
        "    exit 2\n"
        "fi\n",
        s->files, s->files, s->files == 1 ? "" : "s", dtypes[r->dtype].name,
        shape_format(&r->in_shape, shape, sizeof shape),
        rank_list(ranks, sizeof ranks, r->n, is_from_file, s), s->files == 1 ? "it" : "them",
        LIMIT_GIVEN_BYTES);
}

static void head_write(const struct script *s, const char *host, bool tls)
{
    const struct job_record *r = s->r;
    char id[ID_TEXT], shape[SHAPE_TEXT];
    bool has = record_has_tensor(r);

    text_format(s->out,
                "#!/bin/sh\n"
                "# Repeats the job %s with curl, and prints the new one with its outputs:\n"
                "# %s%s%s%s%s, on %u ranks%s.\n"
                "#\n"
                "#   TUTTI_URL    where the service is, when that is not where this came from\n"
                "#   TUTTI_TOKEN  a token, where the service wants one\n",
                id_format('j', &r->id, id), r->op->name, has ? " of " : "",
                has ? dtypes[r->dtype].name : "", has ? " " : "",
                has ? shape_format(&r->in_shape, shape, sizeof shape) : "", r->n,
                !id_is_zero(&r->parent) ? ", a gradient"
                : r->called             ? ", which called it one by one"
                                        : "");
    text_format(s->out,
                "set -eu\n\n"
                "url=${TUTTI_URL:-%s://%s}\n",
                tls ? "https" : "http", is_plain(host) ? host : "127.0.0.1:8080");
    if (s->files > 0)
        files_write(s);
}

/* What the rest of every script is made of. */
static void tools_write(struct text *out, bool with_uploads)
{
    static const char call[] =
        "work=$(mktemp -d)\n"
        "trap 'rm -rf \"$work\"' EXIT\n"
        "trap 'exit 1' INT TERM\n\n"
        "# call METHOD PATH [CURL OPTION...]: leaves the answer in $work/answer; a refusal is the "
        "end\n"
        "call() {\n"
        "    method=$1 path=$2\n"
        "    shift 2\n"
        "    status=$(printf '%s\\n' \"${TUTTI_TOKEN:+header = \\\"Authorization: Bearer "
        "$TUTTI_TOKEN\\\"}\" |\n"
        "        curl -sS -K - -X \"$method\" -o \"$work/answer\" -w '%{http_code}' \"$@\" "
        "\"${url%/}$path\")\n"
        "    case $status in\n"
        "    2*) ;;\n"
        "    *)\n"
        "        cat \"$work/answer\" >&2\n"
        "        exit 1\n"
        "        ;;\n"
        "    esac\n"
        "}\n\n";
    static const char upload[] =
        "# upload QUERY: makes stdin's bytes a tensor, and prints its id\n"
        "upload() {\n"
        "    cat >\"$work/bytes\"\n"
        "    call POST \"/v1/tensors?$1\" -H 'Content-Type: application/octet-stream' "
        "--data-binary \"@$work/bytes\"\n"
        "    sed -n 's/.*\"tensor\": *\"\\(t_[0-9A-Z]*\\)\".*/\\1/p' \"$work/answer\"\n"
        "}\n\n";

    text_raw(out, call, sizeof call - 1);
    if (with_uploads)
        text_raw(out, upload, sizeof upload - 1);
}

#define QUERY_TEXT (LIMIT_NDIM * 21 + 1)

/* As the query says it: 2,3; nothing for a scalar. */
static void shape_query(const struct shape *s, char out[QUERY_TEXT])
{
    out[0] = '\0';
    for (uint32_t d = 0; d < s->ndim; d++) {
        size_t len = strlen(out);

        snprintf(out + len, QUERY_TEXT - len, d ? ",%llu" : "%llu", (unsigned long long)s->dim[d]);
    }
}

static void uploads_write(const struct script *s)
{
    const struct job_record *r = s->r;
    char shape[QUERY_TEXT];
    uint32_t file = 0;

    shape_query(&r->in_shape, shape);
    for (uint32_t i = 0; i < r->n; i++) {
        if (!uploads(s->source[i]))
            continue;
        text_format(s->out, "input_%u=$(", i);
        if (s->source[i] == SOURCE_BYTES) {
            text_format(s->out, "printf ");
            quote_bytes(s->out, bytes_of(s, i), given_input_bytes(r));
            text_format(s->out, " | upload 'dtype=%s&shape=%s')\n", dtypes[r->dtype].name, shape);
        } else {
            text_format(s->out, "upload 'dtype=%s&shape=%s' <\"${%u}\")\n", dtypes[r->dtype].name,
                        shape, ++file);
        }
    }
}

/* More than JSON shows unasked are left where they are. */
static bool shows_outputs(const struct job_record *r)
{
    uint64_t all = 0;

    for (uint32_t i = 0; i < r->n; i++)
        all += record_gets(r, i) ? json_tensor_elements(&r->out_shape) : 0;
    return all <= LIMIT_INLINE_ELEMENTS;
}

/* web/ui/remember.js finds the request in these lines. */
static void request_write(const struct script *s)
{
    const struct job_record *r = s->r;
    const char *query = shows_outputs(r) ? "wait=300&data=1" : "wait=300&data=0";
    char id[ID_TEXT], path[64] = "/v1/jobs";
    struct text body;

    text_init(&body);
    body_write(s, &body);
    if (!id_is_zero(&r->parent))
        snprintf(path, sizeof path, "/v1/jobs/%s/backward", id_format('j', &r->parent, id));
    text_format(s->out, "printf '%%s' ");
    if (!body.failed)
        quote_json(s->out, &body);
    s->out->failed |= body.failed;
    text_fini(&body);
    text_format(
        s->out,
        " >\"$work/job\"\n"
        "call POST '%s?%s' -H 'Content-Type: application/json' -H 'Accept: application/json' "
        "--data-binary \"@$work/job\"\n"
        "job=$(sed -n 's/^{\"id\":\"\\(j_[0-9A-Z]*\\)\".*/\\1/p' \"$work/answer\")\n"
        "while grep -qE '\"state\":\"(waiting|queued|running)\"' \"$work/answer\"; do\n"
        "    call GET \"/v1/jobs/$job?%s\"\n"
        "done\n"
        "cat \"$work/answer\"\n",
        path, query, query);
    for (uint32_t i = 0; i < r->n; i++) {
        if (uploads(s->source[i]))
            text_format(s->out, "call DELETE \"/v1/tensors/$input_%u\"\n", i);
    }
}

void reproduce_write(struct text *out, const struct job_record *r, const struct given *g,
                     const char *host, bool tls, const struct visitor *who)
{
    struct script s = {.out = out, .r = r, .given = g, .who = who};
    bool with_uploads = false;

    s.source = calloc(r->n, sizeof *s.source);
    if (!s.source) {
        out->failed = true;
        return;
    }
    for (uint32_t i = 0; i < r->n; i++) {
        s.source[i] = source_of(&s, i);
        s.files += s.source[i] == SOURCE_FILE;
        with_uploads |= uploads(s.source[i]);
    }
    head_write(&s, host, tls);
    text_format(out, "\n");
    tools_write(out, with_uploads);
    uploads_write(&s);
    request_write(&s);
    free(s.source);
}
