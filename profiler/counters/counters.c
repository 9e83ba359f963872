/* counters.c - choice of a back end, passes of what fits at once, and the rule that no counter is
 * ever a false zero. */
#include "profiler/counters/counters.h"
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include <string.h>

#define ALL_COUNTERS ((1u << COST_COUNTER_COUNT) - 1)

static unsigned none_open(struct counters *counters, unsigned wanted)
{
    (void)counters;
    (void)wanted;
    return 0;
}

static int none_start(struct counters *counters)
{
    (void)counters;
    return -1;
}

static int none_stop(struct counters *counters, int64_t values[COST_COUNTER_COUNT])
{
    (void)counters;
    (void)values;
    return -1;
}

static void none_close(struct counters *counters)
{
    (void)counters;
}

static const char *none_reason(struct counters *counters, enum cost_counter counter)
{
    (void)counter;
    return *(const char **)counters->state;
}

static const char *none_describe(struct counters *counters)
{
    return *(const char **)counters->state;
}

static const char *none_event(struct counters *counters, enum cost_counter counter)
{
    (void)counters;
    (void)counter;
    return NULL;
}

struct counters *counters_create_none(struct arena *arena, const char *reason)
{
    struct counters *counters = arena_alloc(arena, sizeof(*counters));
    const char **kept = arena_alloc(arena, sizeof(*kept));

    *kept = arena_strdup(arena, reason);
    *counters = (struct counters){ "none",     kept,        none_open,     none_start, none_stop,
                                   none_close, none_reason, none_describe, none_event };
    return counters;
}

struct counters *counters_create(struct arena *arena, const char *spec, const char *sysroot,
                                 struct err *err)
{
    if (strcmp(spec, "off") == 0)
        return counters_create_none(arena, "off");
    if (strcmp(spec, "auto") == 0 || strcmp(spec, "papi") == 0)
        return counters_create_papi(arena, sysroot);
    if (strncmp(spec, "fake:", 5) == 0 && spec[5] != '\0')
        return counters_create_fake(arena, spec + 5, err);
    err_set(err, ERR_USAGE, "--counters is '%s': expected auto, off, papi or fake:FILE", spec);
    return NULL;
}

struct counters_pass counters_first_pass(struct counters *counters)
{
    struct counters_pass pass = { ALL_COUNTERS, 0 };

    counters_next_pass(counters, &pass);
    return pass;
}

void counters_next_pass(struct counters *counters, struct counters_pass *pass)
{
    if (pass->bits != 0)
        counters->close(counters);
    pass->left &= ~pass->bits;
    for (int c = 0; c < COST_COUNTER_COUNT; c++)
        if (pass->left >> c & 1u && counters->reason(counters, (enum cost_counter)c))
            pass->left &= ~(1u << c);
    pass->bits = pass->left ? counters->open(counters, pass->left) & pass->left : 0;
}

void counters_begin(struct counters *counters, struct counters_read *read)
{
    for (int c = 0; c < COST_COUNTER_COUNT; c++)
        read->values[c] = COUNTERS_SENTINEL;
    read->started = counters->start(counters);
}

void counters_end(struct counters *counters, const struct counters_pass *pass,
                  struct counters_read *read, const char *reasons[COST_COUNTER_COUNT],
                  struct arena *arena)
{
    int stopped = read->started < 0 ? read->started : counters->stop(counters, read->values);

    for (int c = 0; c < COST_COUNTER_COUNT; c++) {
        bool is_counted =
            pass->bits >> c & 1u && stopped >= 0 && read->values[c] != COUNTERS_SENTINEL;

        if (is_counted)
            continue;
        read->values[c] = COST_UNKNOWN;
        if (!(pass->bits >> c & 1u) || reasons[c])
            continue;
        if (stopped < 0)
            reasons[c] = arena_printf(arena, "%s:%d:%s", counters->name, stopped,
                                      read->started < 0 ? "start" : "stop");
        else
            reasons[c] = arena_printf(arena, "%s:value_untouched", counters->name);
    }
}

const char *counters_reason(struct counters *counters, enum cost_counter counter)
{
    const char *reason = counters->reason(counters, counter);

    return reason ? reason : "not_counted";
}

const char *counters_join_reasons(struct arena *arena, const int64_t values[COST_COUNTER_COUNT],
                                  const char *const reasons[COST_COUNTER_COUNT])
{
    const char *text = "", *first = NULL;
    bool is_shared = true;
    int unknown = 0;

    for (int c = 0; c < COST_COUNTER_COUNT; c++) {
        const char *reason = reasons[c] ? reasons[c] : "not_counted";

        if (values[c] != COST_UNKNOWN)
            continue;
        unknown++;
        is_shared = is_shared && (!first || strcmp(first, reason) == 0);
        first = first ? first : reason;
        text = arena_printf(arena, "%s%s%s:%s", text, text[0] ? ";" : "", cost_counter_names[c],
                            reason);
    }
    return is_shared && unknown == COST_COUNTER_COUNT ? first : text;
}
