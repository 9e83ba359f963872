/* facts.c - the list of facts: this program and its surroundings, and how all are written. */
#include "profiler/device/facts.h"
#include "lib/base/arena.h"
#include "lib/base/cli.h"
#include "lib/base/json.h"
#include "lib/base/out.h"
#include "lib/base/units.h"
#include "lib/kernels/kernels.h"
#include "profiler/device/command.h"
#include "profiler/device/energy.h"
#include "profiler/device/facts_cpu.h"
#include "profiler/device/facts_host.h"
#include "profiler/device/sensors.h"
#include "profiler/device/sysfile.h"
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#ifndef BUILD_FLAGS
#define BUILD_FLAGS ""
#endif
#define IDLE_NS INT64_C(500000000)

void facts_put(struct facts *facts, const char *key, const char *value, const char *unit,
               const char *source, const char *reason)
{
    bool is_known = value && value[0] != '\0';

    if (facts->count == facts->room) {
        int room = facts->room ? 2 * facts->room : 64;

        facts->list = arena_grow(facts->arena, facts->list, (size_t)facts->count, (size_t)room,
                                 sizeof(*facts->list));
        facts->room = room;
    }
    facts->list[facts->count++] =
        (struct fact){ arena_strdup(facts->arena, key),
                       is_known ? arena_strdup(facts->arena, value) : "", is_known ? unit : "",
                       arena_strdup(facts->arena, source), is_known ? "" : reason };
}

void facts_put_int(struct facts *facts, const char *key, int64_t value, bool is_known,
                   const char *unit, const char *source, const char *reason)
{
    facts_put(facts, key, is_known ? arena_printf(facts->arena, "%lld", (long long)value) : NULL,
              unit, source, reason);
}

void facts_put_file(struct facts *facts, const char *key, const char *path, const char *unit)
{
    facts_put(facts, key, sysfile_line(facts->arena, facts->sysroot, path), unit, path,
              "not_there");
}

const char *facts_get(const struct facts *facts, const char *key)
{
    for (int i = 0; i < facts->count; i++)
        if (strcmp(facts->list[i].key, key) == 0)
            return facts->list[i].value;
    return "";
}

double facts_number(const struct facts *facts, const char *key, double otherwise)
{
    double value;

    return units_parse_double(facts_get(facts, key), &value) ? value : otherwise;
}

bool facts_is_emulated(const struct facts *facts)
{
    const char *emulated = facts_get(facts, "emulated");

    return emulated[0] != '\0' && strcmp(emulated, "no") != 0;
}

static void collect_blas(struct facts *facts)
{
    const char *source = "openblas_get_config and others";
    const char *reason = "blas_does_not_say";
    int threads = kernel_blas_threads();

    facts_put(facts, "blas_config", kernel_blas_config(), "", source, reason);
    facts_put(facts, "blas_core", kernel_blas_core(), "", source, reason);
    facts_put_int(facts, "blas_threads", threads, threads > 0, "threads", source, reason);
}

/* Longer names before their beginnings. Sources: OpenBLAS's USAGE.md, the OpenMP specification. */
const char *facts_variable_effect(const char *name)
{
    static const char *const effects[][2] = {
        { "OPENBLAS_CORETYPE", "other kernels than this processor's own: up to 1.6 times slower, "
                               "and other last digits" },
        { "OPENBLAS_BLOCK_FACTOR", "other block sizes in products" },
        { "OPENBLAS_L2_SIZE", "other block sizes in products" },
        { "OPENBLAS_THREAD_TIMEOUT", "idle threads give up their core sooner or later" },
        { "OPENBLAS_MAIN_FREE", "threads are not bound to cores" },
        { "OPENBLAS_NUM_THREADS", "the number of threads until the profiler sets it" },
        { "OPENBLAS_DEFAULT_NUM_THREADS", "the number of threads until the profiler sets it" },
        { "GOTO_NUM_THREADS", "the number of threads until the profiler sets it" },
        { "GOTOBLAS_MAIN_FREE", "threads are not bound to cores" },
        { "GOTO_THREAD_TIMEOUT", "idle threads give up their core sooner or later" },
        { "OMP_NUM_THREADS", "the number of threads until the profiler sets it" },
        { "OMP_THREAD_LIMIT", "no more threads than this" },
        { "OMP_PROC_BIND", "threads are bound to cores" },
        { "OMP_PLACES", "threads are bound to cores" },
        { "OMP_WAIT_POLICY", "whether idle threads spin" },
        { "OMP_DYNAMIC", "fewer threads may run than were asked for" },
    };

    for (size_t i = 0; i < sizeof(effects) / sizeof(effects[0]); i++)
        if (strcmp(name, effects[i][0]) == 0)
            return effects[i][1];
    return NULL;
}

/* Variables that change which kernels run or on how many cores; those set are all recorded. */
static void collect_environment(struct facts *facts)
{
    static const char *const prefixes[] = { "OPENBLAS_", "OMP_", "GOTO_", "GOTOBLAS_" };
    static const char *const usual[] = { "OPENBLAS_CORETYPE", "OPENBLAS_NUM_THREADS",
                                         "OMP_NUM_THREADS" };

    for (char **at = environ; at && *at; at++) {
        size_t length = strcspn(*at, "=");
        bool is_ours = false;

        for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
            is_ours = is_ours || strncmp(*at, prefixes[i], strlen(prefixes[i])) == 0;
        if (is_ours && (*at)[length] == '=')
            facts_put(facts, arena_printf(facts->arena, "env_%.*s", (int)length, *at),
                      *at + length + 1, "", "environment", "set_but_empty");
    }
    for (size_t i = 0; i < sizeof(usual) / sizeof(usual[0]); i++)
        if (!getenv(usual[i]))
            facts_put(facts, arena_printf(facts->arena, "env_%s", usual[i]), NULL, "",
                      "environment", "not_set");
}

static const char *policy_name(int policy)
{
    switch (policy) { /* not an enum */
    case SCHED_OTHER:
        return "normal";
    case SCHED_BATCH:
        return "batch";
    case SCHED_IDLE:
        return "idle";
    case SCHED_FIFO:
        return "fifo";
    case SCHED_RR:
        return "round_robin";
    default:
        return NULL;
    }
}

/* How the system treats this process, and so those that it will start. */
static void collect_process(struct facts *facts)
{
    cpu_set_t allowed;

    CPU_ZERO(&allowed);
    errno = 0;
    int nice_value = getpriority(PRIO_PROCESS, 0);
    facts_put_int(facts, "nice", nice_value, errno == 0, "", "getpriority", "refused");
    facts_put(facts, "scheduling", policy_name(sched_getscheduler(0)), "", "sched_getscheduler",
              "unknown_policy");
    bool is_known = sched_getaffinity(0, sizeof(allowed), &allowed) == 0;
    facts_put_int(facts, "cores_allowed", CPU_COUNT(&allowed), is_known, "cores",
                  "sched_getaffinity", "refused");
}

static void collect_build(struct facts *facts)
{
    struct timespec now;
    struct tm utc;
    char date[32] = "";

    clock_gettime(CLOCK_REALTIME, &now);
    if (gmtime_r(&now.tv_sec, &utc))
        strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%SZ", &utc);
    facts_put(facts, "tool_version", CLI_VERSION, "", "orrery-profile", "");
    facts_put(facts, "compiler", __VERSION__, "", "build", "");
    facts_put(facts, "build_flags", BUILD_FLAGS, "", "build", "not_stated_by_the_build");
    facts_put(facts, "date_utc", date, "", "clock", "clock_not_set");
}

struct facts *facts_collect(struct arena *arena, const char *sysroot)
{
    struct facts *facts = arena_alloc(arena, sizeof(*facts));

    facts->arena = arena;
    facts->sysroot = sysroot;
    facts_collect_cpu(facts);
    facts_collect_clock(facts);
    facts_collect_host(facts);
    collect_blas(facts);
    collect_environment(facts);
    collect_process(facts);
    collect_build(facts);
    return facts;
}

void facts_collect_energy(struct facts *facts)
{
    const char *vcgencmd = facts->sysroot[0] == '\0' ? COMMAND_VCGENCMD : NULL;
    const struct sensor *sensor = sensor_find(facts->arena, facts->sysroot, vcgencmd);
    const char *source = sensor->source[0] ? sensor->source : "hwmon, iio, vcgencmd, powercap";
    struct energy_reading idle = energy_idle(facts->arena, sensor, IDLE_NS);

    facts_put(facts, "energy_sensor", sensor->name, "", source, sensor->reason);
    facts_put(facts, "idle_power_mw",
              idle.reason[0] ? NULL : arena_printf(facts->arena, "%.0f", idle.power_uw / 1e3), "mW",
              source, idle.reason);
}

void facts_write_csv(struct out *out, const struct facts *facts)
{
    out_text(out, "# orrery: device 1\nkey,value,unit,source,reason\n");
    for (int i = 0; i < facts->count; i++) {
        const struct fact *fact = &facts->list[i];
        const char *fields[] = { fact->key, fact->value, fact->unit, fact->source, fact->reason };

        for (int f = 0; f < 5; f++) {
            if (f > 0)
                out_char(out, ',');
            out_csv(out, fields[f]);
        }
        out_char(out, '\n');
    }
}

void facts_write_json(struct json_writer *json, const char *key, const struct facts *facts)
{
    json_begin_array(json, key);
    for (int i = 0; i < facts->count; i++) {
        const struct fact *fact = &facts->list[i];

        json_begin_object(json, NULL);
        json_put_text(json, "key", fact->key);
        json_put_text(json, "value", fact->value[0] ? fact->value : NULL);
        json_put_text(json, "unit", fact->unit);
        json_put_text(json, "source", fact->source);
        json_put_text(json, "reason", fact->reason);
        json_end_object(json);
    }
    json_end_array(json);
}
