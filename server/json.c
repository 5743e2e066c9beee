/* json.c - checks a text, once. No recursion, no tree. */
#include "server/json.h"
#include "server/json_text.h"
#include "schema/limits.h"

#include <stdio.h>
#include <string.h>

struct scan {
    const char *base, *at, *end;
    uint32_t depth;
    char open[LIMIT_JSON_DEPTH]; /* '{' or '[' */
    struct err *e;
};

static int fail_at(struct scan *s, const char *where, const char *what)
{
    unsigned line = 1, column = 1;

    for (const char *p = s->base; p < where; p++) {
        column++;
        if (*p == '\n') {
            line++;
            column = 1;
        }
    }
    return err_set(s->e, ERR_bad_json, "line %u, column %u: %s", line, column, what);
}

static int fail(struct scan *s, const char *what)
{
    return fail_at(s, s->at, what);
}

static void skip_space(struct scan *s)
{
    const char *p = s->at;

    while (p < s->end && is_space(*p))
        p++;
    s->at = p;
}

static bool starts(const struct scan *s, const char *word)
{
    size_t len = strlen(word);

    return (size_t)(s->end - s->at) >= len && memcmp(s->at, word, len) == 0;
}

static int check_escape(struct scan *s)
{
    int code;

    s->at++;
    if (s->at == s->end || !memchr("\"\\/bfnrtu", *s->at, 9))
        return fail(s, "there is no such escape; after a backslash stands one of \"\\/bfnrtu");
    if (*s->at++ != 'u')
        return 0;
    code = hex4(s->at, s->end);
    if (code < 0)
        return fail(s, "\\u is followed by four hexadecimal digits");
    if (code == 0)
        return fail(s, "\\u0000 is not allowed");
    s->at += 4;
    if (code < 0xd800 || code > 0xdfff)
        return 0;
    if (code < 0xdc00 && s->end - s->at >= 6 && s->at[0] == '\\' && s->at[1] == 'u') {
        int low = hex4(s->at + 2, s->end);

        if (low >= 0xdc00 && low <= 0xdfff) {
            s->at += 6;
            return 0;
        }
    }
    return fail(s, "a surrogate stands alone");
}

static int check_utf8(struct scan *s)
{
    const unsigned char *p = (const unsigned char *)s->at;
    ptrdiff_t n = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;

    if (p[0] < 0xc2 || p[0] > 0xf4 || s->end - s->at < n)
        return fail(s, "the text is not UTF-8");
    for (ptrdiff_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return fail(s, "the text is not UTF-8");
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
        (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
        return fail(s, "the text is not UTF-8");
    s->at += n;
    return 0;
}

static int check_string(struct scan *s)
{
    s->at++;
    while (s->at < s->end && *s->at != '"') {
        unsigned char c = (unsigned char)*s->at;

        if (c < 0x20)
            return fail(s, "a control character stands in a string; write it as \\u00XX");
        if (c == '\\' ? check_escape(s) != 0 : c >= 0x80 && check_utf8(s) != 0)
            return -1;
        if (c != '\\' && c < 0x80)
            s->at++;
    }
    if (s->at == s->end)
        return fail(s, "a string does not end");
    s->at++;
    return 0;
}

static bool skip_digits(struct scan *s)
{
    const char *from = s->at, *p = from;

    while (p < s->end && *p >= '0' && *p <= '9')
        p++;
    s->at = p;
    return p > from;
}

static int check_number(struct scan *s)
{
    const char *digits;

    if (*s->at == '-')
        s->at++;
    if (starts(s, "Infinity"))
        return fail(s, "write \"-Infinity\", in quotes");
    digits = s->at;
    if (!skip_digits(s))
        return fail(s, "a number has digits after its sign");
    if (*digits == '0' && s->at - digits > 1)
        return fail_at(s, digits, "a number has no leading zero");
    if (s->at < s->end && *s->at == '.') {
        s->at++;
        if (!skip_digits(s))
            return fail(s, "digits follow a decimal point");
    }
    if (s->at < s->end && (*s->at == 'e' || *s->at == 'E')) {
        s->at++;
        if (s->at < s->end && (*s->at == '+' || *s->at == '-'))
            s->at++;
        if (!skip_digits(s))
            return fail(s, "digits follow an exponent");
    }
    return 0;
}

static int check_word(struct scan *s)
{
    static const char *const words[] = {"true", "false", "null"};

    for (int i = 0; i < 3; i++) {
        if (starts(s, words[i])) {
            s->at += strlen(words[i]);
            return 0;
        }
    }
    if (starts(s, "NaN"))
        return fail(s, "write \"NaN\", in quotes");
    if (starts(s, "Infinity"))
        return fail(s, "write \"Infinity\", in quotes");
    if (starts(s, "/"))
        return fail(s, "JSON has no comments");
    if (starts(s, "'"))
        return fail(s, "strings stand in double quotes");
    if (starts(s, "]") || starts(s, "}"))
        return fail(s, "a value is missing here (is there a trailing comma?)");
    return fail(s, "a value is expected here");
}

/* A value that is no container, or the opening of one. */
static int check_value(struct scan *s)
{
    if (s->at == s->end)
        return fail(s, "the text ends where a value is expected");
    if (*s->at == '{' || *s->at == '[') {
        if (s->depth == LIMIT_JSON_DEPTH)
            return err_set(s->e, ERR_too_deep, "the JSON is nested more than %d deep",
                           LIMIT_JSON_DEPTH);
        s->open[s->depth++] = *s->at++;
        return 1;
    }
    if (*s->at == '"')
        return check_string(s);
    if (*s->at == '-' || (*s->at >= '0' && *s->at <= '9'))
        return check_number(s);
    return check_word(s);
}

static int check_name(struct scan *s)
{
    skip_space(s);
    if (s->at == s->end || *s->at != '"')
        return fail(s, s->at < s->end && *s->at == '}'
                           ? "a member is missing here (is there a trailing comma?)"
                           : "a member's name in double quotes is expected here");
    if (check_string(s) != 0)
        return -1;
    skip_space(s);
    if (s->at == s->end || *s->at != ':')
        return fail(s, "a colon is expected here");
    s->at++;
    return 0;
}

/* Closes what ends here; then, unless all is closed, steps over the comma before the next value. */
static int check_after(struct scan *s)
{
    for (;;) {
        char close;

        if (s->depth == 0)
            return 0;
        close = s->open[s->depth - 1] == '{' ? '}' : ']';
        skip_space(s);
        if (s->at == s->end)
            return fail(s, close == '}' ? "an object does not end" : "a list does not end");
        if (*s->at == ',') {
            s->at++;
            return close == '}' ? check_name(s) : 0;
        }
        if (*s->at != close)
            return fail(s, close == '}' ? "a comma or } is expected here"
                                        : "a comma or ] is expected here");
        s->at++;
        s->depth--;
    }
}

static int check_tree(struct scan *s)
{
    do {
        int rc;

        skip_space(s);
        rc = check_value(s);
        if (rc < 0)
            return -1;
        if (rc == 1) { /* a container was opened */
            char open = s->open[s->depth - 1];

            skip_space(s);
            if (s->at < s->end && *s->at == (open == '{' ? '}' : ']')) {
                s->at++;
                s->depth--;
            } else {
                if (open == '{' && check_name(s) != 0)
                    return -1;
                continue;
            }
        }
        if (check_after(s) != 0)
            return -1;
    } while (s->depth > 0);
    return 0;
}

int json_check(const char *text, size_t len, struct json_span *doc, struct err *e)
{
    struct scan s = {.base = text, .at = text, .end = text + len, .e = e};
    const char *from;

    if (starts(&s, "\xef\xbb\xbf"))
        return err_set(e, ERR_bad_json, "remove the byte order mark before the JSON");
    skip_space(&s);
    if (s.at == s.end)
        return err_set(e, ERR_empty_body, "the body is empty; JSON is expected");
    from = s.at;
    if (check_tree(&s) != 0)
        return -1;
    *doc = (struct json_span){.base = text, .at = from, .len = (size_t)(s.at - from)};
    skip_space(&s);
    return s.at == s.end ? 0 : fail(&s, "something follows the JSON value");
}
