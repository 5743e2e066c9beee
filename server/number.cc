// number.cc - the one place that reads and writes numbers, over <charconv>.
#include "server/number.h"
#include "server/decimal.h"
#include "server/narrow.h"

#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>

namespace
{

template <typename T> T parse(const char *text, size_t len)
{
    T v{};
    decimal d;

    if (std::from_chars(text, text + len, v).ec != std::errc::result_out_of_range ||
        decimal_read(text, len, &d) != 0)
        return v;
    v = decimal_top(&d) > 0 ? std::numeric_limits<T>::infinity() : T{0};
    return d.negative ? -v : v;
}

// v moved by one unit in its last place, up or down in magnitude.
double nudged(double v, bool up)
{
    return std::nextafter(v, up == !std::signbit(v) ? HUGE_VAL : -HUGE_VAL);
}

// The text rounded once: where its double is a tie, the text itself may lie to either side of it.
uint16_t parse_narrow(const char *text, size_t len, const narrow &f)
{
    char exact[200]; // a tie has at most 12 bits, the last one above 2^-135
    decimal written, tie;
    bool is_tie;
    double v = parse<double>(text, len);
    uint16_t bits = narrow_from_double(v, &f, &is_tie);

    if (!is_tie)
        return bits;
    char *end =
        std::to_chars(exact, exact + sizeof exact, v, std::chars_format::scientific, 150).ptr;
    if (decimal_read(text, len, &written) != 0 ||
        decimal_read(exact, static_cast<size_t>(end - exact), &tie) != 0)
        return bits;
    int side = decimal_compare(&written, &tie);
    return side == 0 ? bits : narrow_from_double(nudged(v, side > 0), &f, nullptr);
}

// How much of a text a detail shows: not half a character.
int shown(const char *text, size_t len)
{
    size_t n = len < 40 ? len : 40;

    while (n < len && n > 0 && (text[n] & 0xc0) == 0x80)
        n--;
    return static_cast<int>(n);
}

// ---- reading ----

int out_of_range(const char *text, size_t len, enum dtype d, struct err *e)
{
    return err_set(e, ERR_number_out_of_range, "%.*s does not fit %s", shown(text, len), text,
                   dtypes[d].name);
}

template <typename T>
int store_float(T v, const char *text, size_t len, enum dtype d, void *out, struct err *e)
{
    if (std::isinf(v))
        return out_of_range(text, len, d, e);
    std::memcpy(out, &v, sizeof v);
    return 0;
}

int read_float(const char *text, size_t len, enum dtype d, void *out, struct err *e)
{
    if (d == DTYPE_float64)
        return store_float(parse<double>(text, len), text, len, d, out, e);
    if (d == DTYPE_float32)
        return store_float(parse<float>(text, len), text, len, d, out, e);
    uint16_t bits = parse_narrow(text, len, *narrow_of(d));
    if ((bits & 0x7fff) == narrow_of(d)->infinity)
        return out_of_range(text, len, d, e);
    std::memcpy(out, &bits, sizeof bits);
    return 0;
}

template <typename T>
int store_digits(const char *text, size_t len, enum dtype d, void *out, struct err *e)
{
    T v{};

    if (len > 1 && text[0] == '-' && !std::numeric_limits<T>::is_signed) {
        size_t zeros = 1;

        while (zeros < len && text[zeros] == '0')
            zeros++;
        if (zeros != len)
            return out_of_range(text, len, d, e);
        text++;
        len--;
    }
    auto r = std::from_chars(text, text + len, v);
    if (r.ec != std::errc() || r.ptr != text + len)
        return out_of_range(text, len, d, e);
    std::memcpy(out, &v, sizeof v);
    return 0;
}

int read_digits(const char *text, size_t len, enum dtype d, void *out, struct err *e)
{
    switch (d) {
    case DTYPE_int8:
        return store_digits<int8_t>(text, len, d, out, e);
    case DTYPE_uint8:
        return store_digits<uint8_t>(text, len, d, out, e);
    case DTYPE_int16:
        return store_digits<int16_t>(text, len, d, out, e);
    case DTYPE_uint16:
        return store_digits<uint16_t>(text, len, d, out, e);
    case DTYPE_int32:
        return store_digits<int32_t>(text, len, d, out, e);
    case DTYPE_uint32:
        return store_digits<uint32_t>(text, len, d, out, e);
    case DTYPE_int64:
        return store_digits<int64_t>(text, len, d, out, e);
    default:
        return store_digits<uint64_t>(text, len, d, out, e);
    }
}

// 1.0 and 1e2 are integers written oddly; 1.5 is none.
int read_integer(const char *text, size_t len, enum dtype d, void *out, struct err *e)
{
    char plain[24];
    decimal v;

    if (std::memchr(text, '.', len) == nullptr && std::memchr(text, 'e', len) == nullptr &&
        std::memchr(text, 'E', len) == nullptr)
        return read_digits(text, len, d, out, e);
    if (decimal_read(text, len, &v) != 0 || v.exponent < 0)
        return err_set(e, ERR_value_invalid, "%.*s is not an integer, and the dtype is %s",
                       shown(text, len), text, dtypes[d].name);
    size_t n = decimal_write(&v, plain, sizeof plain);
    if (n == 0 || read_digits(plain, n, d, out, nullptr) != 0)
        return out_of_range(text, len, d, e);
    return 0;
}

// ---- writing ----

template <typename T> size_t write_as(const void *element, char *out)
{
    T v;

    std::memcpy(&v, element, sizeof v);
    return static_cast<size_t>(std::to_chars(out, out + NUMBER_TEXT, v).ptr - out);
}

struct digits {
    uint64_t value;
    int count;
    int exponent; // of the first one
};

// Does it read back as these bits? Up to 10^22 the double is the nearest, as a reader's would be.
bool reads_back(const digits &g, uint16_t bits, const narrow &f)
{
    static const double power[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                   1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                   1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    int shift = g.exponent - g.count + 1;
    char text[64];

    if (shift >= 0 && shift <= 22)
        return narrow_from_double(static_cast<double>(g.value) * power[shift], &f, nullptr) == bits;
    if (shift < 0 && shift >= -22)
        return narrow_from_double(static_cast<double>(g.value) / power[-shift], &f, nullptr) ==
               bits;
    int n = std::snprintf(text, sizeof text, "%llue%d", static_cast<unsigned long long>(g.value),
                          shift);
    return parse_narrow(text, static_cast<size_t>(n), f) == bits;
}

digits rounded(digits g, int count)
{
    uint64_t unit = 1, top = 1;

    for (int i = g.count; i > count; i--)
        unit *= 10;
    for (int i = 0; i < count; i++)
        top *= 10;
    g.value = (g.value + unit / 2) / unit;
    g.count = count;
    if (g.value == top) {
        g.value /= 10;
        g.exponent++;
    }
    return g;
}

// The fewest digits that read back to the same bits: five are enough for half, four for brain.
digits shortest(double magnitude, uint16_t bits, const narrow &f)
{
    char text[32];
    digits all = {0, 0, 0};
    float exact = static_cast<float>(magnitude);
    char *end = std::to_chars(text, text + sizeof text, exact, std::chars_format::scientific).ptr;
    char *p = text;

    for (; *p != 'e'; p++) {
        if (*p == '.')
            continue;
        all.value = all.value * 10 + static_cast<uint64_t>(*p - '0');
        all.count++;
    }
    std::from_chars(p + (p[1] == '+' ? 2 : 1), end, all.exponent);
    for (int count = 1; count < all.count; count++) {
        digits g = rounded(all, count);

        if (reads_back(g, bits, f))
            return g;
    }
    return all;
}

size_t write_scientific(const digits &g, char *out)
{
    char *p = std::to_chars(out + 1, out + NUMBER_TEXT, g.value).ptr;
    int exponent = g.exponent < 0 ? -g.exponent : g.exponent;

    out[0] = out[1];
    out[1] = '.';
    p = g.count > 1 ? p : out + 1;
    *p++ = 'e';
    *p++ = g.exponent < 0 ? '-' : '+';
    *p++ = static_cast<char>('0' + exponent / 10);
    *p++ = static_cast<char>('0' + exponent % 10);
    return static_cast<size_t>(p - out);
}

// No integer: the point stands among the digits or before them.
size_t write_plain(const digits &g, char *out)
{
    char *p = out;

    if (g.exponent < 0) {
        std::memset(p, '0', static_cast<size_t>(1 - g.exponent));
        p[1] = '.';
        p += 1 - g.exponent;
        return static_cast<size_t>(std::to_chars(p, out + NUMBER_TEXT, g.value).ptr - out);
    }
    p = std::to_chars(out, out + NUMBER_TEXT, g.value).ptr;
    char *point = out + g.exponent + 1;
    std::memmove(point + 1, point, static_cast<size_t>(p - point));
    *point = '.';
    return static_cast<size_t>(p - out) + 1;
}

// No integer. As <charconv> writes a float: plain or scientific, whichever is shorter.
size_t write_narrow(double v, uint16_t bits, const narrow &f, char *out)
{
    digits g = shortest(std::fabs(v), bits & 0x7fff, f);
    int plain = g.exponent < 0 ? g.count - g.exponent + 1 : g.count + 1;
    size_t sign = std::signbit(v) ? 1 : 0;

    *out = '-';
    out += sign;
    return sign +
           (plain <= g.count + (g.count > 1) + 4 ? write_plain(g, out) : write_scientific(g, out));
}

size_t put(const char *text, char *out)
{
    size_t len = std::strlen(text);

    std::memcpy(out, text, len);
    return len;
}

double float_value(enum dtype d, const void *element)
{
    uint16_t bits;
    float f;
    double v;

    switch (d) {
    case DTYPE_float64:
        std::memcpy(&v, element, sizeof v);
        return v;
    case DTYPE_float32:
        std::memcpy(&f, element, sizeof f);
        return static_cast<double>(f);
    default:
        std::memcpy(&bits, element, sizeof bits);
        return narrow_to_double(bits, narrow_of(d));
    }
}

size_t write_float(enum dtype d, const void *element, char *out)
{
    double v = float_value(d, element);
    uint16_t bits;

    if (std::isnan(v))
        return put("\"NaN\"", out);
    if (std::isinf(v))
        return put(v > 0 ? "\"Infinity\"" : "\"-Infinity\"", out);
    if (v == 0 && std::signbit(v)) // many readers take "-0" for the integer 0
        return put("-0.0", out);
    if (d == DTYPE_float64)
        return write_as<double>(element, out);
    if (d == DTYPE_float32)
        return write_as<float>(element, out);
    if (v == std::floor(v)) // 65504 and not 65500, though that reads back to the same bits
        return static_cast<size_t>(
            std::to_chars(out, out + NUMBER_TEXT, static_cast<float>(v)).ptr - out);
    std::memcpy(&bits, element, sizeof bits);
    return write_narrow(v, bits, *narrow_of(d), out);
}

size_t write_uint64(const void *element, char *out)
{
    uint64_t v;

    std::memcpy(&v, element, sizeof v);
    if (v <= static_cast<uint64_t>(INT64_MAX))
        return write_as<uint64_t>(element, out);
    out[0] = '"';
    size_t len = write_as<uint64_t>(element, out + 1);
    out[len + 1] = '"';
    return len + 2;
}

} // namespace

extern "C" {

int number_read(const char *text, size_t len, enum dtype d, void *out, struct err *e)
{
    switch (dtypes[d].kind) {
    case CLASS_FLOAT:
        return read_float(text, len, d, out, e);
    case CLASS_BOOL:
        return err_set(e, ERR_value_invalid, "a bool tensor holds true and false, not %.*s",
                       shown(text, len), text);
    default:
        return read_integer(text, len, d, out, e);
    }
}

int number_read_string(const char *text, size_t len, enum dtype d, void *out, struct err *e)
{
    static const struct {
        const char *text;
        double value;
    } words[] = {{"NaN", NAN}, {"Infinity", HUGE_VAL}, {"-Infinity", -HUGE_VAL}};
    size_t digits = len > 0 && text[0] == '-' ? 1 : 0;

    if (dtypes[d].kind == CLASS_FLOAT) {
        for (const auto &w : words) {
            if (std::strlen(w.text) != len || std::memcmp(w.text, text, len) != 0)
                continue;
            float f = static_cast<float>(w.value);
            uint16_t bits = narrow_from_double(w.value, narrow_of(d), nullptr);

            if (d == DTYPE_float64)
                std::memcpy(out, &w.value, sizeof w.value);
            else if (d == DTYPE_float32)
                std::memcpy(out, &f, sizeof f);
            else
                std::memcpy(out, &bits, sizeof bits);
            return 0;
        }
        return err_set(e, ERR_value_invalid,
                       "\"%.*s\" is no %s: write numbers without quotes; the only strings are "
                       "\"NaN\", \"Infinity\" and \"-Infinity\"",
                       shown(text, len), text, dtypes[d].name);
    }
    size_t at = digits;
    while (at < len && text[at] >= '0' && text[at] <= '9')
        at++;
    if ((d == DTYPE_int64 || d == DTYPE_uint64) && at == len && at > digits)
        return read_digits(text, len, d, out, e);
    return err_set(e, ERR_value_invalid, "\"%.*s\" is no %s: write the number without quotes",
                   shown(text, len), text, dtypes[d].name);
}

size_t number_write(enum dtype d, const void *element, char *out)
{
    unsigned char truth;

    switch (d) {
    case DTYPE_float16:
    case DTYPE_bfloat16:
    case DTYPE_float32:
    case DTYPE_float64:
        return write_float(d, element, out);
    case DTYPE_int8:
        return write_as<int8_t>(element, out);
    case DTYPE_uint8:
        return write_as<uint8_t>(element, out);
    case DTYPE_int16:
        return write_as<int16_t>(element, out);
    case DTYPE_uint16:
        return write_as<uint16_t>(element, out);
    case DTYPE_int32:
        return write_as<int32_t>(element, out);
    case DTYPE_uint32:
        return write_as<uint32_t>(element, out);
    case DTYPE_int64:
        return write_as<int64_t>(element, out);
    case DTYPE_uint64:
        return write_uint64(element, out);
    default:
        std::memcpy(&truth, element, 1);
        return put(truth ? "true" : "false", out);
    }
}

size_t number_write_double(double v, char *out)
{
    return write_as<double>(&v, out);
}

uint16_t number_f16_from_double(double v)
{
    return narrow_from_double(v, &narrow_half, nullptr);
}

double number_f16_to_double(uint16_t bits)
{
    return narrow_to_double(bits, &narrow_half);
}

} // extern "C"
