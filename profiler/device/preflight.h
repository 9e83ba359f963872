/* preflight.h - what would disturb a measurement on this device, in words, with what helps. */
#ifndef ORRERY_PROFILER_PREFLIGHT_H
#define ORRERY_PROFILER_PREFLIGHT_H

#include <stdbool.h>

struct facts;
struct json_writer;

enum preflight_level {
    PREFLIGHT_WARNING, /* times will be wrong or wander: `run --strict` refuses */
    PREFLIGHT_NOTE,    /* belongs to this device, or costs only counters: said, never refused */
};

struct preflight_item {
    const char *id; /* stable, for programs: "governor", "swap", ... */
    enum preflight_level level;
    const char *text;   /* what is the matter */
    const char *advice; /* what to do about it */
};

#define PREFLIGHT_MAX 24

/* Fills items, warnings first, and returns their number (at most PREFLIGHT_MAX). Facts that are not
 * known give no item. Texts live in the facts' arena. */
int preflight_check(const struct facts *facts, struct preflight_item items[PREFLIGHT_MAX]);
/* How many of them are warnings: what --strict refuses for. */
int preflight_warnings(const struct preflight_item *items, int count);
/* An array of {id, level, text, advice}. */
void preflight_write_json(struct json_writer *json, const char *key,
                          const struct preflight_item *items, int count);

#endif
