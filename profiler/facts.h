/* facts.h - what is known of this device: the rows of device.csv, and what is wrong with it.
 *
 * A fact that cannot be had is still a row: its value is empty and its reason says why. */
#ifndef ORRERY_PROFILER_FACTS_H
#define ORRERY_PROFILER_FACTS_H

struct arena;
struct json_writer;
struct out;

struct fact {
    const char *key, *value, *unit, *source, *reason; /* "" where empty, never NULL */
};

struct facts {
    struct arena *arena;
    const char *sysroot; /* prefix of /proc and /sys; "" on the device itself */
    struct fact *list;
    int count, room;
};

/* All facts of the system, the BLAS, the environment and this build. */
struct facts *facts_collect(struct arena *arena, const char *sysroot);
/* value NULL or "" is not known, for the given reason. */
void facts_put(struct facts *facts, const char *key, const char *value, const char *unit,
               const char *source, const char *reason);
/* Value of a key; "" when not known. */
const char *facts_get(const struct facts *facts, const char *key);

/* What makes measurements here less trustworthy, as sentences; returns their number (<= max). */
int facts_warnings(const struct facts *facts, const char **warnings, int max);

void facts_write_csv(struct out *out, const struct facts *facts);
void facts_write_json(struct json_writer *json, const char *key, const struct facts *facts);

#endif
