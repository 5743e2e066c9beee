/* lane_line.c - the lane's requests and answers as lines of JSON. */
#include "server/lane_line.h"
#include "server/json.h"
#include "server/number.h"
#include "server/problem.h"

#include <string.h>

static bool read_uint(const struct json_span *s, uint64_t *out)
{
    struct err unused;

    return json_kind(s) == JSON_NUMBER &&
           number_read(s->at, s->len, DTYPE_uint64, (uint8_t *)out, &unused) == 0;
}

static long read_text(const struct json_span *s, char *out, size_t cap)
{
    return json_kind(s) == JSON_STRING ? json_string(s, out, cap) : -1;
}

static int read_version(const struct json_span *s, struct lane_line *out, struct err *e)
{
    uint64_t version;

    (void)out;
    if (read_uint(s, &version) && version == LANE_VERSION)
        return 0;
    return err_set(e, ERR_bad_parameter, "this lane is of version %d: say \"lane\": %d",
                   LANE_VERSION, LANE_VERSION);
}

static int read_open(const struct json_span *s, struct lane_line *out, struct err *e)
{
    char text[16];

    out->verb = LANE_open;
    if (read_text(s, text, sizeof text) >= 0 && strcmp(text, "inputs") == 0)
        out->kind = REGION_inputs;
    else if (read_text(s, text, sizeof text) >= 0 && strcmp(text, "results") == 0)
        out->kind = REGION_results;
    else
        return err_set(e, ERR_bad_parameter, "open is \"inputs\" or \"results\"");
    return 0;
}

static bool read_id(const struct json_span *s, char prefix, struct lane_line *out)
{
    char text[ID_TEXT];
    long len = read_text(s, text, sizeof text);

    return len >= 0 && id_parse(prefix, text, (size_t)len, &out->id) == 0;
}

static int read_close(const struct json_span *s, struct lane_line *out, struct err *e)
{
    out->verb = LANE_close;
    return read_id(s, 'r', out) ? 0
                                : err_set(e, ERR_region_unknown, "close names a region, \"r_...\"");
}

static int read_tensor(const struct json_span *s, enum lane_verb verb, struct lane_line *out,
                       struct err *e)
{
    out->verb = verb;
    return read_id(s, 't', out)
               ? 0
               : err_set(e, ERR_tensor_unknown, "hold and release name a tensor, \"t_...\"");
}

static int read_hold(const struct json_span *s, struct lane_line *out, struct err *e)
{
    return read_tensor(s, LANE_hold, out, e);
}

static int read_release(const struct json_span *s, struct lane_line *out, struct err *e)
{
    return read_tensor(s, LANE_release, out, e);
}

static int read_size(const struct json_span *s, struct lane_line *out, struct err *e)
{
    if (read_uint(s, &out->size_bytes) && out->size_bytes > 0)
        return 0;
    return err_set(e, ERR_bad_parameter, "size_bytes is a whole number from 1 on");
}

static int read_token(const struct json_span *s, struct lane_line *out, struct err *e)
{
    if (json_kind(s) == JSON_NULL || read_text(s, out->token, sizeof out->token) >= 0)
        return 0;
    return err_set(e, ERR_unauthorized, "token is NAME.SECRET");
}

static const struct {
    const char *name;
    bool is_verb;
    int (*read)(const struct json_span *s, struct lane_line *out, struct err *e);
} members[] = {
    {"lane", false, read_version},   {"open", true, read_open},
    {"close", true, read_close},     {"hold", true, read_hold},
    {"release", true, read_release}, {"size_bytes", false, read_size},
    {"token", false, read_token},
};

#define MEMBERS (sizeof members / sizeof members[0])

/* Reads one; returns its row, or -1. */
static int read_member(const struct json_member *m, struct lane_line *out, struct err *e)
{
    for (size_t k = 0; k < MEMBERS; k++) {
        if (strcmp(m->name, members[k].name) == 0)
            return members[k].read(&m->value, out, e) == 0 ? (int)k : -1;
    }
    return err_set(e, ERR_unknown_parameter, "the lane knows no \"%s\"", m->name);
}

int lane_line_read(const char *text, size_t len, struct lane_line *out, struct err *e)
{
    struct json_member m[MEMBERS + 1];
    struct json_span doc;
    bool version = false;
    uint32_t n, verbs = 0;

    *out = (struct lane_line){.verb = LANE_open};
    if (json_check(text, len, &doc, e) != 0)
        return -1;
    if (json_kind(&doc) != JSON_OBJECT)
        return err_set(e, ERR_bad_json, "a line is an object: {\"lane\": %d, ...}", LANE_VERSION);
    if (json_members(&doc, m, MEMBERS + 1, &n, e) != 0)
        return -1;
    for (uint32_t i = 0; i < n; i++) {
        int k = read_member(&m[i], out, e);

        if (k < 0)
            return -1;
        verbs += members[k].is_verb;
        version |= members[k].read == read_version;
    }
    if (!version)
        return err_set(e, ERR_missing_parameter, "say which version: \"lane\": %d", LANE_VERSION);
    if (verbs != 1)
        return err_set(e, ERR_missing_parameter,
                       "say one of \"open\", \"close\", \"hold\" and \"release\"");
    if ((out->verb == LANE_open) != (out->size_bytes > 0))
        return err_set(e, ERR_missing_parameter, "\"open\" goes with \"size_bytes\"");
    return 0;
}

static void end_line(struct text *out)
{
    text_raw(out, "\n", 1);
}

void lane_line_opened(struct text *out, const struct region *r)
{
    char id[ID_TEXT];

    text_object(out, NULL);
    text_string(out, "region", id_format('r', &r->id, id));
    text_uint(out, "size_bytes", r->size_bytes);
    text_end_object(out);
    end_line(out);
}

void lane_line_held(struct text *out, const struct tensor *t)
{
    const struct region *r = region_of(t->extent);
    char id[ID_TEXT];

    text_object(out, NULL);
    text_string(out, "region", id_format('r', &r->id, id));
    text_uint(out, "offset", tensor_arena_offset(t) - r->offset);
    text_uint(out, "size_bytes", t->size_bytes);
    text_end_object(out);
    end_line(out);
}

void lane_line_over(struct text *out)
{
    text_object(out, NULL);
    text_end_object(out);
    end_line(out);
}

void lane_line_refused(struct text *out, const struct err *e)
{
    problem_write(out, e, NULL);
    end_line(out);
}
