/* instant.c - dates and decimal seconds, digit by digit. */
#include "sim/import/instant.h"

#include "lib/base/units.h"
#include <string.h>

#define PS_PER_S UNITS_PS_PER_S
#define SECONDS_PER_DAY 86400
#define MAX_SECONDS INT64_C(1000000000000000)
#define FRACTION_BYTES 40

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static struct instant normal(int64_t seconds, int64_t ps)
{
    struct instant instant = { seconds + ps / PS_PER_S, ps % PS_PER_S };

    if (instant.ps < 0) {
        instant.seconds--;
        instant.ps += PS_PER_S;
    }
    return instant;
}

/* Digits, a point, digits: for what passes 64 bits of picoseconds. */
static bool parse_long(const char *text, struct instant *instant)
{
    bool is_negative = *text == '-';
    int64_t seconds = 0, ps = 0;

    text += *text == '-' || *text == '+';
    if (!is_digit(*text))
        return false;
    for (; is_digit(*text); text++) {
        seconds = seconds * 10 + (*text - '0');
        if (seconds > MAX_SECONDS)
            return false;
    }
    if (*text != '\0' && (*text != '.' || text[1 + strspn(text + 1, "0123456789")] != '\0'))
        return false;
    if (text[0] == '.' && text[1] != '\0' && !units_parse_decimal(text, 12, &ps))
        return false;
    *instant = is_negative ? normal(-seconds, -ps) : normal(seconds, ps);
    return true;
}

bool instant_parse_seconds(const char *text, struct instant *instant)
{
    int64_t ps;

    if (!units_parse_decimal(text, 12, &ps))
        return parse_long(text, instant);
    *instant = normal(0, ps);
    return true;
}

/* Exactly `count` digits at *text, then `after` unless that is 0. Moves *text behind both. */
static bool take(const char **text, int count, char after, int *value)
{
    *value = 0;
    for (int i = 0; i < count; i++, (*text)++) {
        if (!is_digit(**text))
            return false;
        *value = *value * 10 + (**text - '0');
    }
    if (after != '\0' && *(*text)++ != after)
        return false;
    return true;
}

/* Days from 1970-01-01 (H. Hinnant, days_from_civil: years that begin in March). */
static int64_t days(int year, int month, int day)
{
    int64_t y = year - (month <= 2 ? 1 : 0), era = y / 400, of_era = y - era * 400;
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;

    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static bool is_date(int year, int month, int day)
{
    static const int lengths[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    bool is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

    return year >= 1 && month >= 1 && month <= 12 && day >= 1 &&
           day <= lengths[month - 1] + (month == 2 && is_leap ? 1 : 0);
}

static int64_t seconds_of(int64_t hours, int64_t minutes, int64_t seconds)
{
    return hours * 3600 + minutes * 60 + seconds;
}

/* "" or "Z" or "+02:00"; what is ahead of UTC was earlier there. */
static bool parse_zone(const char *text, int64_t *ahead_s)
{
    bool is_behind = *text == '-';
    int hours, minutes;

    *ahead_s = 0;
    if (*text == '\0' || strcmp(text, "Z") == 0)
        return true;
    if (*text != '+' && *text != '-')
        return false;
    text++;
    if (!take(&text, 2, ':', &hours) || !take(&text, 2, '\0', &minutes) || *text != '\0' ||
        hours > 23 || minutes > 59)
        return false;
    *ahead_s = seconds_of(hours, minutes, 0);
    if (is_behind)
        *ahead_s = -*ahead_s;
    return true;
}

bool instant_parse_date(const char *text, struct instant *instant)
{
    char fraction[FRACTION_BYTES];
    int year, month, day, hour, minute, second;
    int64_t ps = 0, ahead_s;
    size_t length;

    if (!take(&text, 4, '-', &year) || !take(&text, 2, '-', &month) ||
        !take(&text, 2, '\0', &day) || (*text != ' ' && *text != 'T'))
        return false;
    text++;
    if (!take(&text, 2, ':', &hour) || !take(&text, 2, ':', &minute) ||
        !take(&text, 2, '\0', &second) || !is_date(year, month, day) || hour > 23 || minute > 59 ||
        second > 59)
        return false;
    if (*text == '.') {
        length = 1 + strspn(text + 1, "0123456789");
        if (length == 1 || length >= sizeof fraction)
            return false;
        memcpy(fraction, text, length);
        fraction[length] = '\0';
        if (!units_parse_decimal(fraction, 12, &ps))
            return false;
        text += length;
    }
    if (!parse_zone(text, &ahead_s))
        return false;
    *instant = normal(
        days(year, month, day) * SECONDS_PER_DAY + seconds_of(hour, minute, second) - ahead_s, ps);
    return true;
}

struct instant instant_minus(struct instant instant, int64_t ps)
{
    return normal(instant.seconds - ps / PS_PER_S, instant.ps - ps % PS_PER_S);
}

int instant_compare(struct instant a, struct instant b)
{
    if (a.seconds != b.seconds)
        return a.seconds < b.seconds ? -1 : 1;
    return a.ps < b.ps ? -1 : a.ps > b.ps;
}

bool instant_difference(struct instant later, struct instant earlier, int64_t *ps)
{
    int64_t seconds = later.seconds - earlier.seconds;

    if (seconds > UNITS_MAX_PS / PS_PER_S || seconds < -(UNITS_MAX_PS / PS_PER_S))
        return false;
    *ps = seconds * PS_PER_S + (later.ps - earlier.ps);
    return *ps <= UNITS_MAX_PS && *ps >= -UNITS_MAX_PS;
}
