/* cli_value.c - values of options, for the callbacks that argp calls. Bad text ends the program
 * through cli_error, which exits with status 2; the values after it are never used. */
#include "lib/base/cli.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Options are named with or without their dashes by the callers. */
static const char *dashes(const char *option)
{
    return option[0] == '-' ? "" : "--";
}

int64_t cli_int(struct argp_state *state, const char *option, const char *text, int64_t min,
                int64_t max)
{
    int64_t value = min;

    if (units_parse_int(text, &value) && value >= min && value <= max)
        return value;
    if (max == INT64_MAX || max == INT32_MAX)
        cli_error(state, "%s%s is '%.60s': expected a whole number of at least %" PRId64,
                  dashes(option), option, text, min);
    else
        cli_error(state, "%s%s is '%.60s': expected a whole number from %" PRId64 " to %" PRId64,
                  dashes(option), option, text, min, max);
    return min;
}

int64_t cli_duration_ps(struct argp_state *state, const char *option, const char *text)
{
    int64_t time_ps = 0;

    if (units_parse_duration(text, &time_ps) && time_ps >= 0 && time_ps <= UNITS_MAX_PS)
        return time_ps;
    cli_error(state,
              "%s%s is '%.60s': expected a duration with its unit, such as 250us or 60s, of at "
              "most 9000000s",
              dashes(option), option, text);
    return 0;
}

int64_t cli_duration_positive_ps(struct argp_state *state, const char *option, const char *text)
{
    int64_t time_ps = cli_duration_ps(state, option, text);

    if (time_ps == 0)
        cli_error(state, "%s%s is '%.60s': expected a duration above 0", dashes(option), option,
                  text);
    return time_ps;
}

double cli_rate_per_s(struct argp_state *state, const char *option, const char *text)
{
    double rate_per_s = 1;

    if (units_parse_rate(text, &rate_per_s))
        return rate_per_s;
    cli_error(state, "%s%s is '%.60s': expected a rate above 0, such as 200/s or 12/min",
              dashes(option), option, text);
    return 1;
}

double cli_ratio(struct argp_state *state, const char *option, const char *text)
{
    size_t length = strlen(text);
    char number[32];
    double value = -1;
    bool is_percent = length > 0 && text[length - 1] == '%';

    length -= is_percent;
    if (length < sizeof(number)) {
        memcpy(number, text, length);
        number[length] = '\0';
        if (!units_parse_double(number, &value))
            value = -1;
    }
    if (value < 0)
        cli_error(state, "%s%s is '%.60s': expected a ratio such as 5%% or 0.05", dashes(option),
                  option, text);
    if (!is_percent && value > 1)
        cli_error(state, "%s%s is '%s', which is %.6g %%: did you mean '%s%%'?", dashes(option),
                  option, text, 100 * value, text);
    return is_percent ? value / 100 : value;
}

int cli_choice(struct argp_state *state, const char *option, const char *text,
               const char *const *names, int count)
{
    char choices[ERR_CHOICES_BYTES];

    for (int i = 0; i < count; i++) {
        if (strcmp(names[i], text) == 0)
            return i;
    }
    cli_error(state, "%s%s is '%.60s': %s", dashes(option), option, text,
              err_choices(text, names, count, choices));
    return 0;
}
