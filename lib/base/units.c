/* units.c - reads and writes quantities digit by digit, so that no rounding creeps in.
 *
 * A decimal is scanned into a `struct number` that points at its digits; scaling by a power of ten
 * only moves the point, and a small integer factor (60 for minutes) is carried through by hand. */
#include "lib/base/units.h"

#include "lib/base/digits.h"
#include "lib/base/wide.h"
#include <assert.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Exponents beyond this are as good as infinite: no text holds so many digits. */
#define EXPONENT_MAX INT64_C(1000000000000)

struct number {
    bool is_negative;
    const char *digits;  /* from the first digit that is not 0; may hold one '.' */
    const char *end;     /* after the whole number */
    int64_t digit_count; /* digits without the '.' */
    int64_t point;       /* digits before the decimal point, the exponent included */
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* "e-3" at *text; leaves *text alone when it is no whole exponent. */
static int64_t scan_exponent(const char **text)
{
    const char *at = *text;
    int64_t exponent = 0;
    bool is_negative;

    if (*at != 'e' && *at != 'E')
        return 0;
    at++;
    is_negative = *at == '-';
    if (*at == '-' || *at == '+')
        at++;
    if (!is_digit(*at))
        return 0;
    for (; is_digit(*at); at++)
        if (exponent < EXPONENT_MAX)
            exponent = exponent * 10 + (*at - '0');
    *text = at;
    return is_negative ? -exponent : exponent;
}

/* The longest decimal number at the start of text; false when there is none. */
static bool scan_number(const char *text, struct number *number)
{
    bool has_digit = false, has_point = false;

    *number = (struct number){ .is_negative = *text == '-' };
    if (*text == '-' || *text == '+')
        text++;
    for (; is_digit(*text) || (*text == '.' && !has_point); text++) {
        if (*text == '.') {
            has_point = true;
            continue;
        }
        has_digit = true;
        if (!number->digits && *text != '0')
            number->digits = text;
        if (number->digits)
            number->digit_count++;
        if (number->digits && !has_point)
            number->point++;
        if (!number->digits && has_point)
            number->point--;
    }
    number->point += scan_exponent(&text);
    number->end = text;
    return has_digit;
}

/* Appends one digit; false when the sum leaves 64 bits. */
static bool push_digit(uint64_t *sum, unsigned digit)
{
    return !__builtin_mul_overflow(*sum, 10U, sum) && !__builtin_add_overflow(*sum, digit, sum);
}

/* The fraction 0.000ddd (`zeros` zeros, then the digits of text) times factor: gives what becomes
 * whole, and tells whether the rest is below (-1), at (0) or above (1) one half. */
static int carry_fraction(const char *text, size_t length, int64_t zeros, uint64_t factor,
                          uint64_t *whole)
{
    uint64_t carry = 0, digit = 0;
    bool is_rest = false;

    for (size_t i = length; i-- > 0;) {
        if (text[i] == '.')
            continue;
        is_rest = is_rest || digit != 0;
        carry += (uint64_t)(text[i] - '0') * factor;
        digit = carry % 10;
        carry /= 10;
    }
    for (; zeros > 0; zeros--) {
        is_rest = is_rest || digit != 0;
        digit = carry % 10;
        carry /= 10;
    }
    *whole = carry;
    if (digit != 5)
        return digit < 5 ? -1 : 1;
    return is_rest ? 1 : 0;
}

/* number * 10^decimals * factor, rounded half to even; false when it leaves int64. */
static bool scale(const struct number *number, int decimals, uint64_t factor, int64_t *value)
{
    int64_t whole_digits = number->point + decimals;
    const char *at = number->digits, *last;
    uint64_t whole = 0, carried;
    uint64_t limit = (uint64_t)INT64_MAX + (number->is_negative ? 1 : 0);
    int side;

    *value = 0;
    if (!number->digits || whole_digits < -20) /* even times the largest factor below one half */
        return true;
    if (whole_digits > 20)
        return false;
    last = at + number->digit_count;
    if (memchr(at, '.', (size_t)number->digit_count))
        last++;
    for (int64_t i = 0; i < whole_digits; i++) {
        if (at < last && *at == '.')
            at++;
        if (!push_digit(&whole, at < last ? (unsigned)(*at++ - '0') : 0))
            return false;
    }
    side = carry_fraction(at, (size_t)(last - at), whole_digits < 0 ? -whole_digits : 0, factor,
                          &carried);
    if (__builtin_mul_overflow(whole, factor, &whole) ||
        __builtin_add_overflow(whole, carried, &whole))
        return false;
    if (side > 0 || (side == 0 && whole % 2 == 1))
        whole++;
    if (whole > limit)
        return false;
    *value = (int64_t)(number->is_negative ? 0 - whole : whole);
    return true;
}

bool units_parse_decimal(const char *text, int decimals, int64_t *value)
{
    struct number number;

    return scan_number(text, &number) && *number.end == '\0' && scale(&number, decimals, 1, value);
}

static bool parse_time(const char *text, int decimals, int64_t *time_ps)
{
    return units_parse_decimal(text, decimals, time_ps) && *time_ps <= UNITS_MAX_PS &&
           *time_ps >= -UNITS_MAX_PS;
}

bool units_parse_seconds(const char *text, int64_t *time_ps)
{
    return parse_time(text, 12, time_ps);
}

bool units_parse_ns(const char *text, int64_t *time_ps)
{
    return parse_time(text, 3, time_ps);
}

struct suffix {
    const char *name;
    int decimals;
    uint64_t factor;
};

/* A number that is not negative and one of the suffixes. */
static bool parse_suffixed(const char *text, const struct suffix *suffixes, size_t count,
                           int64_t *value)
{
    struct number number;

    if (!scan_number(text, &number) || (number.is_negative && number.digits))
        return false;
    for (size_t i = 0; i < count; i++)
        if (strcmp(number.end, suffixes[i].name) == 0)
            return scale(&number, suffixes[i].decimals, suffixes[i].factor, value);
    return false;
}

bool units_parse_duration(const char *text, int64_t *time_ps)
{
    static const struct suffix suffixes[] = {
        { "s", 12, 1 }, { "ms", 9, 1 },    { "us", 6, 1 },    { "ns", 3, 1 },
        { "ps", 0, 1 }, { "min", 12, 60 }, { "h", 12, 3600 },
    };

    if (strcmp(text, "0") == 0) {
        *time_ps = 0;
        return true;
    }
    return parse_suffixed(text, suffixes, sizeof suffixes / sizeof suffixes[0], time_ps) &&
           *time_ps <= UNITS_MAX_PS;
}

bool units_parse_bytes(const char *text, int64_t *size_bytes)
{
    static const struct suffix suffixes[] = {
        { "", 0, 1 },
        { "B", 0, 1 },
        { "kB", 3, 1 },
        { "MB", 6, 1 },
        { "GB", 9, 1 },
        { "TB", 12, 1 },
        { "KiB", 0, UINT64_C(1) << 10 },
        { "MiB", 0, UINT64_C(1) << 20 },
        { "GiB", 0, UINT64_C(1) << 30 },
        { "TiB", 0, UINT64_C(1) << 40 },
    };

    return parse_suffixed(text, suffixes, sizeof suffixes / sizeof suffixes[0], size_bytes);
}

bool units_parse_rate(const char *text, double *rate_per_s)
{
    struct number number;
    double seconds;

    if (!scan_number(text, &number))
        return false;
    if (*number.end == '\0' || strcmp(number.end, "/s") == 0)
        seconds = 1;
    else if (strcmp(number.end, "/min") == 0)
        seconds = 60;
    else if (strcmp(number.end, "/h") == 0)
        seconds = 3600;
    else
        return false;
    *rate_per_s = strtod(text, NULL) / seconds;
    return *rate_per_s > 0 && isfinite(*rate_per_s);
}

bool units_parse_double(const char *text, double *value)
{
    struct number number;

    if (!scan_number(text, &number) || *number.end != '\0')
        return false;
    *value = strtod(text, NULL);
    return isfinite(*value);
}

bool units_parse_int(const char *text, int64_t *value)
{
    const char *at = *text == '-' || *text == '+' ? text + 1 : text;

    if (*at == '\0')
        return false;
    for (; *at != '\0'; at++)
        if (!is_digit(*at))
            return false;
    return units_parse_decimal(text, 0, value);
}

static uint64_t magnitude(int64_t value)
{
    return value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
}

/* "-12.050" from a sign, 12 and 50 with 3 decimals. Returns the length. */
static int put_decimal(char text[UNITS_TEXT_BYTES], bool is_negative, uint64_t whole,
                       uint64_t fraction, int decimals)
{
    char *end = digits_put(digits_text(text, is_negative ? "-" : ""), whole);

    if (decimals > 0) {
        *end = '.';
        end = digits_put_fixed(end + 1, fraction, decimals);
    }
    *end = '\0';
    return (int)(end - text);
}

/* value / power, which is 10^decimals, without trailing zeros. */
static const char *format_decimal(int64_t value, int decimals, uint64_t power,
                                  char text[UNITS_TEXT_BYTES])
{
    uint64_t fraction = magnitude(value) % power;

    for (; decimals > 0 && fraction % 10 == 0; fraction /= 10)
        decimals--;
    put_decimal(text, value < 0, magnitude(value) / power, fraction, decimals);
    return text;
}

const char *units_format_seconds(int64_t time_ps, char text[UNITS_TEXT_BYTES])
{
    return format_decimal(time_ps, 12, (uint64_t)UNITS_PS_PER_S, text);
}

const char *units_format_ns(int64_t time_ps, char text[UNITS_TEXT_BYTES])
{
    return format_decimal(time_ps, 3, (uint64_t)UNITS_PS_PER_NS, text);
}

/* Three significant digits in the first unit that keeps the number below 1000; whole numbers in the
 * smallest unit, which cannot be divided, and beyond the largest. */
static const char *format_three(int64_t value, const char *const *names, const int64_t *sizes,
                                int count, char text[UNITS_TEXT_BYTES])
{
    static const int64_t powers[] = { 1, 10, 100 };
    int64_t size = value == INT64_MIN ? INT64_MAX : value < 0 ? -value : value, scaled;
    int unit = 0, decimals = 0, length;

    while ((scaled = units_mul_div(size, powers[decimals], sizes[unit])) >= 1000 &&
           (decimals > 0 || unit < count - 1)) {
        unit += decimals == 0 ? 1 : 0;
        decimals = decimals == 0 ? 2 : decimals - 1;
    }
    length = put_decimal(text, value < 0, (uint64_t)(scaled / powers[decimals]),
                         (uint64_t)(scaled % powers[decimals]), decimals);
    (void)snprintf(text + length, UNITS_TEXT_BYTES - (size_t)length, " %s", names[unit]);
    return text;
}

const char *units_format_human(int64_t time_ps, char text[UNITS_TEXT_BYTES])
{
    static const char *const names[] = { "ps", "ns", "us", "ms", "s" };
    static const int64_t sizes[] = { 1, UNITS_PS_PER_NS, UNITS_PS_PER_US, UNITS_PS_PER_MS,
                                     UNITS_PS_PER_S };

    if (time_ps == 0)
        return memcpy(text, "0 s", sizeof "0 s");
    return format_three(time_ps, names, sizes, 5, text);
}

const char *units_format_bytes(int64_t size_bytes, char text[UNITS_TEXT_BYTES])
{
    static const char *const names[] = { "B", "KiB", "MiB", "GiB", "TiB" };
    static const int64_t sizes[] = { 1, INT64_C(1) << 10, INT64_C(1) << 20, INT64_C(1) << 30,
                                     INT64_C(1) << 40 };

    return format_three(size_bytes, names, sizes, 5, text);
}

const char *units_format_double(double value, char text[UNITS_TEXT_BYTES])
{
    /* Every normal double keeps 15 digits, and %g drops trailing zeros; subnormals have fewer. */
    int digits = fabs(value) < DBL_MIN ? 1 : 15;

    text[0] = '\0';
    if (!isfinite(value))
        return text;
    do
        (void)snprintf(text, UNITS_TEXT_BYTES, "%.*g", digits, value);
    while (digits++ < 17 && strtod(text, NULL) != value);
    return text;
}

int64_t units_mul_div(int64_t a, int64_t b, int64_t c)
{
    struct wide product;
    uint64_t quotient, rest, limit = (uint64_t)INT64_MAX + (a < 0 ? 1 : 0);

    assert(b > 0 && c > 0);
    product = wide_mul(magnitude(a), (uint64_t)b);
    if (product.high >= (uint64_t)c)
        return a < 0 ? INT64_MIN : INT64_MAX;
    quotient = wide_div(product, (uint64_t)c, &rest);
    if (rest > (uint64_t)c - rest || (rest == (uint64_t)c - rest && quotient % 2 == 1))
        quotient += quotient < UINT64_MAX ? 1 : 0;
    if (quotient > limit)
        quotient = limit;
    return (int64_t)(a < 0 ? 0 - quotient : quotient);
}
