/* text.c - the JSON writer: growing memory, commas, escapes. */
#include "server/text.h"
#include "schema/clock.h"
#include "server/number.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void text_init(struct text *t)
{
    *t = (struct text){0};
}

void text_fini(struct text *t)
{
    free(t->data);
    *t = (struct text){.up = t->up};
}

char *text_room(struct text *t, size_t n)
{
    size_t cap = t->cap ? t->cap : 512;
    char *data;

    if (t->failed)
        return NULL;
    if (t->data && t->len + n < t->cap) /* one byte more, for the NUL */
        return t->data + t->len;
    while (cap <= t->len + n)
        cap += cap / 2;
    data = realloc(t->data, cap);
    if (!data) {
        t->failed = true;
        return NULL;
    }
    t->data = data;
    t->cap = cap;
    return data + t->len;
}

void text_raw(struct text *t, const char *bytes, size_t n)
{
    char *room = text_room(t, n);

    if (!room)
        return;
    memcpy(room, bytes, n);
    t->len += n;
    t->data[t->len] = '\0';
}

void text_format(struct text *t, const char *fmt, ...)
{
    va_list args, again;
    int n;
    char *room;

    va_start(args, fmt);
    va_copy(again, args);
    n = vsnprintf(NULL, 0, fmt, args);
    room = n < 0 ? NULL : text_room(t, (size_t)n);
    if (room) {
        vsnprintf(room, (size_t)n + 1, fmt, again);
        t->len += (size_t)n;
    }
    va_end(again);
    va_end(args);
}

/* Length of the UTF-8 sequence at s, 0 when it is none. */
static size_t sequence(const unsigned char *s)
{
    size_t n = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;

    if (s[0] < 0xc2 || s[0] > 0xf4)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
        (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return n;
}

static void quote(struct text *t, const char *value)
{
    const unsigned char *s = (const unsigned char *)value;

    text_raw(t, "\"", 1);
    while (*s) {
        size_t plain = 0, n;

        while (s[plain] >= 0x20 && s[plain] < 0x7f && s[plain] != '"' && s[plain] != '\\')
            plain++;
        text_raw(t, (const char *)s, plain);
        s += plain;
        if (!*s)
            break;
        if (*s == '"' || *s == '\\') {
            text_raw(t, (const char[]){'\\', (char)*s++}, 2);
        } else if (*s < 0x80) {
            text_format(t, "\\u%04x", *s++);
        } else if ((n = sequence(s)) > 0) {
            text_raw(t, (const char *)s, n);
            s += n;
        } else {
            text_raw(t, "\xef\xbf\xbd", 3); /* U+FFFD */
            s++;
        }
    }
    text_raw(t, "\"", 1);
}

void text_name(struct text *t, const char *name)
{
    if (t->comma)
        text_raw(t, ",", 1);
    if (name) {
        quote(t, name);
        text_raw(t, ":", 1);
    }
}

void text_value_end(struct text *t)
{
    t->comma = true;
}

static void begin(struct text *t, const char *name, const char *bracket)
{
    text_name(t, name);
    text_raw(t, bracket, 1);
    t->comma = false;
}

static void end(struct text *t, const char *bracket)
{
    text_raw(t, bracket, 1);
    t->comma = true;
}

void text_object(struct text *t, const char *name)
{
    begin(t, name, "{");
}

void text_end_object(struct text *t)
{
    end(t, "}");
}

void text_array(struct text *t, const char *name)
{
    begin(t, name, "[");
}

void text_end_array(struct text *t)
{
    end(t, "]");
}

void text_string(struct text *t, const char *name, const char *value)
{
    text_name(t, name);
    if (value)
        quote(t, value);
    else
        text_raw(t, "null", 4);
    text_value_end(t);
}

void text_uint(struct text *t, const char *name, uint64_t value)
{
    text_name(t, name);
    text_format(t, "%" PRIu64, value);
    text_value_end(t);
}

void text_int(struct text *t, const char *name, int64_t value)
{
    text_name(t, name);
    text_format(t, "%" PRId64, value);
    text_value_end(t);
}

void text_double(struct text *t, const char *name, double value)
{
    char *room;

    text_name(t, name);
    if (!isfinite(value))
        text_raw(t, "null", 4);
    else if ((room = text_room(t, NUMBER_TEXT)) != NULL)
        t->data[t->len += number_write_double(value, room)] = '\0';
    text_value_end(t);
}

void text_bool(struct text *t, const char *name, bool value)
{
    text_name(t, name);
    text_raw(t, value ? "true" : "false", value ? 4 : 5);
    text_value_end(t);
}

void text_null(struct text *t, const char *name)
{
    text_name(t, name);
    text_raw(t, "null", 4);
    text_value_end(t);
}

void text_time(struct text *t, const char *name, uint64_t wall_us)
{
    char buf[CLOCK_TEXT];

    text_string(t, name, wall_us ? clock_format(wall_us, buf) : NULL);
}
