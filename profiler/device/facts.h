/* facts.h - what is known of this device: the rows of device.csv.
 *
 * A fact that cannot be had is still a row: its value is empty and its reason says why. What is
 * wrong with the device is for preflight.h, what it looks like on a screen for facts_screen.h. */
#ifndef ORRERY_PROFILER_FACTS_H
#define ORRERY_PROFILER_FACTS_H

#include <stdbool.h>
#include <stdint.h>

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
/* Adds energy_sensor and idle_power_mw: reads the sensor for half a second, if there is one. Apart
 * because it takes that long, and means something only before anything is measured. */
void facts_collect_energy(struct facts *facts);
/* value NULL or "" is not known, for the given reason. */
void facts_put(struct facts *facts, const char *key, const char *value, const char *unit,
               const char *source, const char *reason);
void facts_put_int(struct facts *facts, const char *key, int64_t value, bool is_known,
                   const char *unit, const char *source, const char *reason);
/* The first line of a file below the sysroot, which is also the source; reason "not_there". */
void facts_put_file(struct facts *facts, const char *key, const char *path, const char *unit);
/* Value of a key; "" when not known. */
const char *facts_get(const struct facts *facts, const char *key);
/* The same as a number; otherwise when it is not known or no number. */
double facts_number(const struct facts *facts, const char *key, double otherwise);

/* Whether times taken here are those of an emulator: a table of such times must say so, and nothing
 * may take it for a device's. */
bool facts_is_emulated(const struct facts *facts);
/* What a variable of the environment does to measurements, or NULL when it is not known to. */
const char *facts_variable_effect(const char *name);

void facts_write_csv(struct out *out, const struct facts *facts);
void facts_write_json(struct json_writer *json, const char *key, const struct facts *facts);

#endif
