/* split.c - services and their shares, as the command line gives them. */
#include "sim/generate/split.h"

#include "lib/base/arena.h"
#include "lib/base/dmath.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include "sim/generate/generate.h"
#include <string.h>

#define MAX_SHARE 1e9
#define MAX_ALPHA 10.0
#define DEFAULT_ALPHA 0.5 /* AlpaServe's */

enum rule { UNIFORM, POWER_LAW, TRIANGLE, LIST, RULE_COUNT };
static const char *const rule_names[RULE_COUNT] = { "uniform", "power-law", "triangle", "list" };

struct generate_service *split_add(struct arena *arena, struct generate_options *options)
{
    int count = options->service_count;

    if ((count & (count - 1)) == 0) /* full: doubled at powers of two */
        options->services =
            arena_grow(arena, options->services, (size_t)count, count > 0 ? 2 * (size_t)count : 1,
                       sizeof(*options->services));
    options->services[count].share = 1;
    return &options->services[count];
}

bool split_parse_share(const char *text, double *share)
{
    return units_parse_double(text, share) && *share > 0 && *share <= MAX_SHARE;
}

bool split_services(struct arena *arena, const char *text, struct generate_options *options,
                    struct err *err)
{
    const char *colon = strchr(text, ':'), *prefix = colon ? colon + 1 : "s";
    const char *number = colon ? arena_strndup(arena, text, (size_t)(colon - text)) : text;
    int64_t count;

    if (options->service_count > 0)
        return err_set(err, ERR_USAGE, "--services names all of them: --service adds none");
    if (!units_parse_int(number, &count) || count < 1 || count > GENERATE_MAX_SERVICES)
        return err_set(err, ERR_USAGE,
                       "--services is '%.60s': expected N or N:PREFIX, N a whole number from 1 to "
                       "%d",
                       text, GENERATE_MAX_SERVICES);
    for (int i = 0; i < (int)count; i++) {
        split_add(arena, options)->name = arena_printf(arena, "%s%d", prefix, i);
        options->service_count++;
    }
    return true;
}

/* "A,B,...": a share for each service, in their order. */
static bool parse_list(struct arena *arena, const char *list, const char *text,
                       struct generate_options *options, struct err *err)
{
    int i = 0;

    for (const char *at = list;; at++) {
        size_t length = strcspn(at, ",");
        double share;

        if (!split_parse_share(arena_strndup(arena, at, length), &share))
            return err_set(err, ERR_USAGE,
                           "--split is '%.60s': '%.*s' is not a number above 0 and at most 1e9",
                           text, length < 30 ? (int)length : 30, at);
        if (i < options->service_count)
            options->services[i].share = share;
        i++;
        at += length;
        if (*at == '\0')
            break;
    }
    return i == options->service_count ||
           err_set(err, ERR_USAGE, "--split is '%.60s': %d shares for %d services", text, i,
                   options->service_count);
}

static bool parse_rule(struct arena *arena, const char *text, enum rule *rule, const char **rest,
                       struct err *err)
{
    const char *colon = strchr(text, ':');
    const char *name = colon ? arena_strndup(arena, text, (size_t)(colon - text)) : text;
    char choices[ERR_CHOICES_BYTES];

    *rest = colon ? colon + 1 : NULL;
    for (int i = 0; i < RULE_COUNT; i++)
        if (strcmp(name, rule_names[i]) == 0) {
            *rule = (enum rule)i;
            return true;
        }
    return err_set(err, ERR_USAGE, "--split is '%.60s': %s", text,
                   err_choices(name, rule_names, RULE_COUNT, choices));
}

bool split_shares(struct arena *arena, const char *text, bool has_shares,
                  struct generate_options *options, struct err *err)
{
    double alpha = DEFAULT_ALPHA;
    enum rule rule;
    const char *rest;

    if (!parse_rule(arena, text, &rule, &rest, err))
        return false;
    if (has_shares && (rule != LIST || rest))
        return err_set(err, ERR_USAGE,
                       "--split is '%.60s', and --service gives shares of its own: expected one of "
                       "them",
                       text);
    if (rest && (rule == UNIFORM || rule == TRIANGLE))
        return err_set(err, ERR_USAGE, "--split is '%.60s': %s takes no value", text,
                       rule_names[rule]);
    if (rule == POWER_LAW && rest &&
        (!units_parse_double(rest, &alpha) || alpha < 0 || alpha > MAX_ALPHA))
        return err_set(err, ERR_USAGE,
                       "--split is '%.60s': expected power-law:ALPHA, ALPHA from 0 to %g", text,
                       MAX_ALPHA);
    if (rule == LIST)
        return !rest || parse_list(arena, rest, text, options, err);
    for (int i = 0; i < options->service_count; i++) {
        double *share = &options->services[i].share;

        if (rule == POWER_LAW)
            *share = dmath_pow(i + 1.0, 0.0 - alpha);
        else if (rule == TRIANGLE)
            *share = options->service_count - i;
    }
    return true;
}
