// number.cc - the one place that reads and writes numbers, over <charconv>.
#include "server/number.h"

#include <cfenv>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <string>

namespace
{

// A binary float narrower than double: how it rounds.
struct narrow {
    int mantissa;   // stored bits
    int least;      // exponent of the smallest subnormal
    double too_big; // from here on rounding gives infinity
};

const narrow half = {10, -24, 65520.0};
const narrow brain = {7, -133, 0x1.ffp127};

double quantum(double magnitude, const narrow &f)
{
    int e = magnitude == 0 ? f.least : std::ilogb(magnitude) - f.mantissa;

    return std::ldexp(1.0, e < f.least ? f.least : e);
}

// |v| rounded to nearest even, as a double; infinity when it is too big.
double round_to(double magnitude, const narrow &f)
{
    if (magnitude >= f.too_big)
        return HUGE_VAL;
    double q = quantum(magnitude, f);
    return std::nearbyint(magnitude / q) * q;
}

bool is_tie(double magnitude, const narrow &f)
{
    if (!(magnitude < f.too_big))
        return false;
    double steps = magnitude / quantum(magnitude, f);
    return steps - std::floor(steps) == 0.5;
}

uint16_t half_bits(double v)
{
    uint16_t sign = std::signbit(v) ? 0x8000 : 0;

    if (std::isnan(v))
        return static_cast<uint16_t>(sign | 0x7e00);
    double r = round_to(std::fabs(v), half);
    if (std::isinf(r))
        return static_cast<uint16_t>(sign | 0x7c00);
    if (r < 0x1p-14)
        return static_cast<uint16_t>(sign | static_cast<unsigned>(r * 0x1p24));
    int e = std::ilogb(r);
    unsigned m = static_cast<unsigned>(std::ldexp(r, 10 - e)) - 1024;
    return static_cast<uint16_t>(sign | static_cast<unsigned>(e + 15) << 10 | m);
}

uint16_t brain_bits(double v)
{
    if (std::isnan(v))
        return static_cast<uint16_t>(std::signbit(v) ? 0xffc0 : 0x7fc0);
    float f = static_cast<float>(std::copysign(round_to(std::fabs(v), brain), v));
    uint32_t bits;

    std::memcpy(&bits, &f, sizeof bits);
    return static_cast<uint16_t>(bits >> 16);
}

double brain_value(uint16_t bits)
{
    uint32_t wide = static_cast<uint32_t>(bits) << 16;
    float f;

    std::memcpy(&f, &wide, sizeof f);
    return f;
}

// strtod of any text, in the rounding mode asked for (glibc honours it).
double parse_rounded(const std::string &text, int mode)
{
    int before = std::fegetround();

    std::fesetround(mode);
    double v = std::strtod(text.c_str(), nullptr);
    std::fesetround(before);
    return v;
}

template <typename T> T parse_slow(const std::string &text)
{
    if constexpr (sizeof(T) == sizeof(float))
        return std::strtof(text.c_str(), nullptr);
    else
        return std::strtod(text.c_str(), nullptr);
}

template <typename T> T parse(const char *text, size_t len)
{
    T v{};
    auto r = std::from_chars(text, text + len, v);

    if (r.ec == std::errc::result_out_of_range) // infinity, or tiny: strtod tells which
        return parse_slow<T>(std::string(text, len));
    return v;
}

// The double nearest to the text, nudged off a tie of the narrow format that the text is not on.
double parse_for(const char *text, size_t len, const narrow &f)
{
    double v = parse<double>(text, len);

    if (!is_tie(std::fabs(v), f))
        return v;
    std::string copy(text, len);
    double below = parse_rounded(copy, FE_DOWNWARD), above = parse_rounded(copy, FE_UPWARD);
    if (below == above)
        return v;
    return below == v ? std::nextafter(v, HUGE_VAL) : std::nextafter(v, -HUGE_VAL);
}

int out_of_range(const char *text, size_t len, enum dtype d, struct err *e)
{
    return err_set(e, ERR_number_out_of_range, "%.*s does not fit %s",
                   static_cast<int>(len < 40 ? len : 40), text, dtypes[d].name);
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
    const narrow &f = d == DTYPE_float16 ? half : brain;
    double v = parse_for(text, len, f);
    if (std::isinf(round_to(std::fabs(v), f)))
        return out_of_range(text, len, d, e);
    uint16_t bits = d == DTYPE_float16 ? half_bits(v) : brain_bits(v);
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
    size_t digits = 0, end;

    while (digits < len && text[digits] != '.' && text[digits] != 'e' && text[digits] != 'E')
        digits++;
    if (digits == len)
        return read_digits(text, len, d, out, e);
    for (end = digits + 1; text[digits] == '.' && end < len && text[end] == '0'; end++)
        ;
    if (text[digits] == '.' && end == len)
        return read_digits(text, digits, d, out, e);
    double v = parse<double>(text, len);
    if (std::isinf(v))
        return out_of_range(text, len, d, e);
    if (v != std::floor(v))
        return err_set(e, ERR_value_invalid, "%.*s is not an integer, and the dtype is %s",
                       static_cast<int>(len < 40 ? len : 40), text, dtypes[d].name);
    if (std::fabs(v) > 0x1p53)
        return out_of_range(text, len, d, e);
    std::string plain = std::to_string(static_cast<long long>(v));
    return read_digits(plain.c_str(), plain.size(), d, out, e);
}

template <typename T> size_t write_as(const void *element, char *out)
{
    T v;

    std::memcpy(&v, element, sizeof v);
    return static_cast<size_t>(std::to_chars(out, out + NUMBER_TEXT, v).ptr - out);
}

// The fewest digits that read back to the same 16 bits; five are always enough.
size_t write_narrow(double v, uint16_t bits, enum dtype d, char *out)
{
    for (int digits = 1;; digits++) {
        char *end =
            std::to_chars(out, out + NUMBER_TEXT, v, std::chars_format::general, digits).ptr;
        double back = parse<double>(out, static_cast<size_t>(end - out));

        if ((d == DTYPE_float16 ? half_bits(back) : brain_bits(back)) == bits || digits == 9)
            return static_cast<size_t>(end - out);
    }
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
        return d == DTYPE_float16 ? number_f16_to_double(bits) : brain_value(bits);
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
    return write_narrow(v, bits, d, out);
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
                       static_cast<int>(len < 40 ? len : 40), text);
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
            uint16_t bits = d == DTYPE_float16 ? half_bits(w.value) : brain_bits(w.value);

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
                       static_cast<int>(len < 40 ? len : 40), text, dtypes[d].name);
    }
    size_t at = digits;
    while (at < len && text[at] >= '0' && text[at] <= '9')
        at++;
    if ((d == DTYPE_int64 || d == DTYPE_uint64) && at == len && at > digits)
        return read_digits(text, len, d, out, e);
    return err_set(e, ERR_value_invalid, "\"%.*s\" is no %s: write the number without quotes",
                   static_cast<int>(len < 40 ? len : 40), text, dtypes[d].name);
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
    return half_bits(v);
}

double number_f16_to_double(uint16_t bits)
{
    double sign = bits & 0x8000 ? -1.0 : 1.0;
    int e = bits >> 10 & 31, m = bits & 1023;

    if (e == 31)
        return m ? NAN : sign * HUGE_VAL;
    return sign * (e ? std::ldexp(1024 + m, e - 25) : std::ldexp(m, -24));
}
}
