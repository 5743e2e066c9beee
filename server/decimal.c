/* decimal.c - a number literal as exact decimal digits. */
#include "server/decimal.h"

#include <string.h>

#define FAR ((int64_t)1 << 40) /* an exponent as good as infinite */

static const char *skip_digits(const char *p, const char *end)
{
    while (p < end && *p >= '0' && *p <= '9')
        p++;
    return p;
}

/* "e-12" at p; returns its value, and its end in *p, which is p itself when it is none. */
static int64_t read_exponent(const char **p, const char *end)
{
    const char *digits = *p + 1;
    int64_t value = 0;
    bool down = false;

    if (*p == end || (**p != 'e' && **p != 'E'))
        return 0;
    if (digits < end && (*digits == '+' || *digits == '-'))
        down = *digits++ == '-';
    end = skip_digits(digits, end);
    if (digits == end)
        return 0;
    for (*p = end; digits < end; digits++)
        value = value < FAR ? value * 10 + (*digits - '0') : value;
    return down ? -value : value;
}

int decimal_read(const char *text, size_t len, struct decimal *out)
{
    bool negative = len > 0 && *text == '-';
    const char *from = text + negative, *end = text + len;
    const char *point = skip_digits(from, end), *stop = point;
    int64_t exponent;

    if (stop < end && *stop == '.') {
        stop = skip_digits(stop + 1, end);
        if (stop == point + 1)
            return -1;
    }
    *out = (struct decimal){.at = from, .negative = negative};
    if (point == from)
        return -1;
    for (text = stop; text > from && (text[-1] == '0' || text[-1] == '.'); text--)
        ;
    while (out->at < text && (*out->at == '0' || *out->at == '.'))
        out->at++;
    exponent = read_exponent(&stop, end);
    if (stop != end)
        return -1;
    if (out->at == text)
        return 0;
    out->count = text - out->at - (out->at < point && point < text);
    out->exponent = exponent + (point - text) + (text > point);
    return 0;
}

int64_t decimal_top(const struct decimal *d)
{
    return d->count + d->exponent;
}

static char next_digit(const char **p)
{
    *p += **p == '.';
    return *(*p)++;
}

int decimal_compare(const struct decimal *a, const struct decimal *b)
{
    const char *p = a->at, *q = b->at;

    if (decimal_top(a) != decimal_top(b))
        return decimal_top(a) < decimal_top(b) ? -1 : 1;
    for (int64_t i = 0; i < a->count && i < b->count; i++) {
        int differ = next_digit(&p) - next_digit(&q);

        if (differ != 0)
            return differ;
    }
    return a->count < b->count ? -1 : a->count > b->count;
}

size_t decimal_write(const struct decimal *d, char *out, size_t cap)
{
    size_t digits = d->count > 0 ? (size_t)decimal_top(d) : 1;
    const char *p = d->at;

    if (d->negative + digits > cap)
        return 0;
    if (d->negative)
        *out++ = '-';
    memset(out, '0', digits);
    for (int64_t i = 0; i < d->count; i++)
        out[i] = next_digit(&p);
    return d->negative + digits;
}
