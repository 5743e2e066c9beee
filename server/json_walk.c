/* json_walk.c - walks text that was checked, by spans. No recursion, no tree. */
#include "server/json.h"
#include "server/json_text.h"
#include "schema/limits.h"

#include <stdio.h>
#include <string.h>

enum json_kind json_kind(const struct json_span *s)
{
    switch (*s->at) {
    case '{':
        return JSON_OBJECT;
    case '[':
        return JSON_ARRAY;
    case '"':
        return JSON_STRING;
    case 't':
        return JSON_TRUE;
    case 'f':
        return JSON_FALSE;
    case 'n':
        return JSON_NULL;
    default:
        return JSON_NUMBER;
    }
}

static const char *end_of_string(const char *p)
{
    for (p++; *p != '"'; p++)
        if (*p == '\\')
            p++;
    return p + 1;
}

const char *json_end_of_leaf(const char *p, const char *end)
{
    static const bool ends[256] = {
        [' '] = 1, ['\t'] = 1, ['\n'] = 1, ['\r'] = 1, [','] = 1, [']'] = 1, ['}'] = 1};

    if (*p == '"')
        return end_of_string(p);
    while (p < end && !ends[(unsigned char)*p])
        p++;
    return p;
}

static const char *end_of_value(const char *p, const char *end)
{
    static const bool nests[256] = {['"'] = 1, ['{'] = 1, ['['] = 1, ['}'] = 1, [']'] = 1};
    uint32_t depth = 0;

    if (*p != '{' && *p != '[')
        return json_end_of_leaf(p, end);
    do {
        while (!nests[(unsigned char)*p])
            p++;
        if (*p == '"') {
            p = end_of_string(p);
        } else {
            depth += *p == '{' || *p == '[' ? 1u : -1u;
            p++;
        }
    } while (depth > 0);
    return p;
}

static const char *after_space(const char *p)
{
    while (is_space(*p))
        p++;
    return p;
}

/* Returns whether the name fits. */
static bool read_name(const struct json_span *name, struct json_member *m)
{
    size_t len = sizeof m->name - sizeof "...";

    if (json_string(name, m->name, sizeof m->name) >= 0)
        return true;
    len = strnlen(m->name, len);
    while (len > 0 && ((unsigned char)m->name[len] & 0xc0) == 0x80)
        len--;
    strcpy(m->name + len, "...");
    return false;
}

int json_members(const struct json_span *object, struct json_member *out, uint32_t max, uint32_t *n,
                 struct err *e)
{
    const char *p = after_space(object->at + 1), *end = object->at + object->len;

    for (*n = 0; *p != '}'; (*n)++) {
        struct json_member *m = &out[*n];
        struct json_span name = {.base = object->base, .at = p};
        bool whole;

        if (*n == max)
            return err_set(e, ERR_bad_json, "an object has more than %u members", max);
        name.len = (size_t)(end_of_string(p) - p);
        whole = read_name(&name, m);
        for (uint32_t i = 0; whole && i < *n; i++) {
            if (strcmp(out[i].name, m->name) == 0)
                return err_set(e, ERR_duplicate_member, "the member \"%s\" is there twice",
                               m->name);
        }
        p = after_space(after_space(name.at + name.len) + 1);
        m->value = (struct json_span){.base = object->base, .at = p};
        m->value.len = (size_t)(end_of_value(p, end) - p);
        p = after_space(p + m->value.len);
        if (*p == ',')
            p = after_space(p + 1);
    }
    return 0;
}

bool json_next(const struct json_span *array, size_t *pos, struct json_span *element)
{
    const char *p = after_space(array->at + (*pos ? *pos : 1));

    if (*p == ',')
        p = after_space(p + 1);
    if (*p == ']')
        return false;
    *element = (struct json_span){.base = array->base, .at = p};
    element->len = (size_t)(end_of_value(p, array->at + array->len) - p);
    *pos = (size_t)(p + element->len - array->at);
    return true;
}

int json_shown(const struct json_span *s, size_t max)
{
    size_t n = s->len < max ? s->len : max;

    while (n < s->len && n > 0 && ((unsigned char)s->at[n] & 0xc0) == 0x80)
        n--;
    return (int)n;
}

static size_t put_utf8(uint32_t code, char *out)
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xc0 | code >> 6);
        out[1] = (char)(0x80 | (code & 0x3f));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (char)(0xe0 | code >> 12);
        out[1] = (char)(0x80 | (code >> 6 & 0x3f));
        out[2] = (char)(0x80 | (code & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | code >> 18);
    out[1] = (char)(0x80 | (code >> 12 & 0x3f));
    out[2] = (char)(0x80 | (code >> 6 & 0x3f));
    out[3] = (char)(0x80 | (code & 0x3f));
    return 4;
}

/* One escape, of checked text; p stands behind the backslash. */
static size_t unescape(const char **p, const char *end, char out[4])
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    char c = *(*p)++;
    uint32_t code;

    if (c != 'u') {
        out[0] = to[strchr(from, c) - from];
        return 1;
    }
    code = (uint32_t)hex4(*p, end);
    *p += 4;
    if (code >= 0xd800 && code < 0xdc00) {
        code = 0x10000 + ((code - 0xd800) << 10) + ((uint32_t)hex4(*p + 2, end) - 0xdc00);
        *p += 6;
    }
    return put_utf8(code, out);
}

long json_string(const struct json_span *string, char *out, size_t cap)
{
    const char *p = string->at + 1, *end = string->at + string->len - 1;
    size_t len = 0;

    while (p < end) {
        char bytes[4];
        size_t n = 1;

        bytes[0] = *p++;
        if (bytes[0] == '\\')
            n = unescape(&p, end, bytes);
        if (len + n >= cap) {
            if (cap > 0)
                out[len] = '\0';
            return -1;
        }
        memcpy(out + len, bytes, n);
        len += n;
    }
    out[len] = '\0';
    return (long)len;
}
