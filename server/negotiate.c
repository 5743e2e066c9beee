/* negotiate.c - Content-Type, Accept and ?format= to a format. */
#include "server/negotiate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char *list(unsigned mask, bool names, char *buf, size_t size)
{
    size_t at = 0;

    buf[0] = '\0';
    for (int f = 0; f < FORMAT_COUNT; f++) {
        const struct codec *c = codec_of((enum format)f);

        if (mask >> f & 1 && at < size)
            at += (size_t)snprintf(buf + at, size - at, "%s%s", at ? ", " : "",
                                   names ? c->name : c->media);
    }
    return buf;
}

static size_t trimmed(const char **text, size_t len)
{
    while (len > 0 && (**text == ' ' || **text == '\t')) {
        (*text)++;
        len--;
    }
    while (len > 0 && ((*text)[len - 1] == ' ' || (*text)[len - 1] == '\t'))
        len--;
    return len;
}

static bool same(const char *text, size_t len, const char *word)
{
    return strlen(word) == len && strncasecmp(text, word, len) == 0;
}

static bool foreign_charset(const char *parameters)
{
    const char *charset = strcasestr(parameters, "charset=");

    if (!charset)
        return false;
    charset += strlen("charset=");
    charset += *charset == '"';
    return strncasecmp(charset, "utf-8", 5) != 0 && strncasecmp(charset, "utf8", 4) != 0;
}

#define FORM_MEDIA "application/x-www-form-urlencoded" /* what curl says unless it is told */

int negotiate_in(const char *content_type, unsigned mask, enum format *out, struct err *e)
{
    char taken[200];
    const char *type = content_type ? content_type : "";
    size_t len = trimmed(&type, strcspn(type, ";"));

    for (int f = 0; f < FORMAT_COUNT; f++) {
        if (!(mask >> f & 1) || !same(type, len, codec_of((enum format)f)->media))
            continue;
        if (f == FORMAT_json && foreign_charset(content_type))
            return err_set(e, ERR_unsupported_media, "JSON is UTF-8 here");
        *out = (enum format)f;
        return 0;
    }
    list(mask, false, taken, sizeof taken);
    if (same(type, len, FORM_MEDIA) && mask >> FORMAT_json & 1)
        return err_set(e, ERR_unsupported_media,
                       FORM_MEDIA ", as curl -d calls it, is not taken: add -H 'Content-Type: "
                                  "application/json'; what is taken is %s",
                       taken);
    if (len == 0)
        return err_set(e, ERR_unsupported_media, "say what the body is: Content-Type is one of %s",
                       taken);
    return err_set(e, ERR_unsupported_media, "Content-Type %.*s is not taken; it is one of %s",
                   (int)(len < 64 ? len : 64), type, taken);
}

/* Of a media range such as "application/" "*": how exactly it names the type; 0 when it does not.
 */
static int matches(const char *range, size_t len, const char *media)
{
    size_t major = strcspn(media, "/") + 1;

    if (same(range, len, media))
        return 3;
    if (len == major + 1 && range[major] == '*' && strncasecmp(range, media, major) == 0)
        return 2;
    return same(range, len, "*/*") ? 1 : 0;
}

static double quality(const char *parameters, size_t len)
{
    for (size_t i = 0; i + 2 < len; i++)
        if (parameters[i] == ';') {
            const char *p = parameters + i + 1;

            while (*p == ' ')
                p++;
            if ((*p == 'q' || *p == 'Q') && p[1] == '=')
                return atof(p + 2);
        }
    return 1.0;
}

/* The quality the header gives a type: that of the most exact range that names it. */
static double accept_quality(const char *accept, const char *media, bool *exact)
{
    double best = 0;
    int how = 0;

    for (const char *at = accept; *at;) {
        size_t len = strcspn(at, ","), type_len = strcspn(at, ";,");
        const char *type = at;
        int m;

        type_len = trimmed(&type, type_len);
        m = matches(type, type_len, media);
        if (m > how) {
            how = m;
            best = quality(at, len);
        }
        at += len + (at[len] == ',');
    }
    *exact = how == 3;
    return best;
}

static int by_name(const char *format, unsigned mask, enum format *out, struct err *e)
{
    char there[200];

    for (int f = 0; f < FORMAT_COUNT; f++) {
        if (mask >> f & 1 && strcmp(codec_of((enum format)f)->name, format) == 0) {
            *out = (enum format)f;
            return 0;
        }
    }
    return err_set(e, ERR_not_acceptable, "there is no format %s here; there are: %s", format,
                   list(mask, true, there, sizeof there));
}

int negotiate_out(const char *accept, const char *format, unsigned mask, enum format fallback,
                  enum format *out, struct err *e)
{
    char there[200];
    double best = 0;
    bool best_exact = false;

    if (format)
        return by_name(format, mask, out, e);
    if (!accept || !*accept) {
        *out = fallback;
        return 0;
    }
    for (int i = 0; i <= FORMAT_COUNT; i++) {
        enum format f = i == 0 ? fallback : (enum format)(i - 1); /* the fallback wins ties */
        bool exact;
        double q;

        if (!(mask >> f & 1))
            continue;
        q = accept_quality(accept, codec_of(f)->media, &exact);
        if (q > best || (q == best && q > 0 && exact && !best_exact)) {
            best = q;
            best_exact = exact;
            *out = f;
        }
    }
    if (best > 0)
        return 0;
    return err_set(e, ERR_not_acceptable, "Accept names none of: %s",
                   list(mask, false, there, sizeof there));
}

static const char *const lines_media[] = {LINES_MEDIA, "application/ndjson", "application/jsonl"};
#define LINES_MEDIAS (sizeof lines_media / sizeof lines_media[0])

int negotiate_lines_in(const char *content_type, struct err *e)
{
    const char *type = content_type ? content_type : "";
    size_t len = trimmed(&type, strcspn(type, ";"));

    for (size_t i = 0; i < LINES_MEDIAS; i++) {
        if (!same(type, len, lines_media[i]))
            continue;
        return foreign_charset(content_type)
                   ? err_set(e, ERR_unsupported_media, "JSON is UTF-8 here")
                   : 0;
    }
    if (same(type, len, FORM_MEDIA))
        return err_set(e, ERR_unsupported_media,
                       "a batch is a JSON document a line: add -H 'Content-Type: " LINES_MEDIA "'");
    return err_set(e, ERR_unsupported_media,
                   "a batch is a JSON document a line: Content-Type is " LINES_MEDIA "%s%.*s",
                   len ? ", not " : "", (int)(len < 64 ? len : 64), type);
}

int negotiate_lines_out(const char *accept, struct err *e)
{
    bool exact;

    for (size_t i = 0; accept && *accept && i < LINES_MEDIAS; i++) {
        if (accept_quality(accept, lines_media[i], &exact) > 0)
            return 0;
    }
    return !accept || !*accept
               ? 0
               : err_set(e, ERR_not_acceptable,
                         "the answer to a batch is " LINES_MEDIA ": Accept does not name it");
}
