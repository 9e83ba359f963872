/* facts.c - the list of facts: software, memory and load, and how all are written. */
#include "profiler/facts.h"
#include "lib/base/arena.h"
#include "lib/base/cli.h"
#include "lib/base/json.h"
#include "lib/base/out.h"
#include "lib/base/units.h"
#include "lib/kernels/kernels.h"
#include "profiler/facts_cpu.h"
#include "profiler/sysfile.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#ifndef BUILD_FLAGS
#define BUILD_FLAGS ""
#endif

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

const char *facts_get(const struct facts *facts, const char *key)
{
    for (int i = 0; i < facts->count; i++)
        if (strcmp(facts->list[i].key, key) == 0)
            return facts->list[i].value;
    return "";
}

static void put_bytes(struct facts *facts, const char *key, const char *field)
{
    int64_t size;
    bool is_known = sysfile_field_kb(facts->arena, facts->sysroot, "/proc/meminfo", field, &size);

    facts_put(facts, key, is_known ? arena_printf(facts->arena, "%lld", (long long)size) : NULL,
              "bytes", arena_printf(facts->arena, "/proc/meminfo %s", field), "not_there");
}

/* "always [madvise] never" -> "madvise" */
static const char *bracketed(struct arena *arena, const char *line)
{
    const char *open = line ? strchr(line, '[') : NULL;
    const char *close = open ? strchr(open, ']') : NULL;

    return close ? arena_strndup(arena, open + 1, (size_t)(close - open - 1)) : line;
}

static void collect_system(struct facts *facts)
{
    struct arena *arena = facts->arena;
    const char *root = facts->sysroot, *thp = "/sys/kernel/mm/transparent_hugepage/enabled";
    const char *load = sysfile_line(arena, root, "/proc/loadavg");
    const char *pressure = sysfile_line(arena, root, "/proc/pressure/cpu");
    const char *avg = pressure ? strstr(pressure, "avg10=") : NULL;

    put_bytes(facts, "memory_total_bytes", "MemTotal");
    put_bytes(facts, "memory_available_bytes", "MemAvailable");
    put_bytes(facts, "swap_total_bytes", "SwapTotal");
    put_bytes(facts, "swap_free_bytes", "SwapFree");
    facts_put(facts, "thp", bracketed(arena, sysfile_line(arena, root, thp)), "", thp, "not_there");
    facts_put(facts, "kernel", sysfile_line(arena, root, "/proc/sys/kernel/osrelease"), "",
              "/proc/sys/kernel/osrelease", "not_there");
    facts_put(facts, "os", sysfile_field(arena, root, "/etc/os-release", "PRETTY_NAME"), "",
              "/etc/os-release PRETTY_NAME", "not_there");
    facts_put(facts, "clocksource",
              sysfile_line(arena, root,
                           "/sys/devices/system/clocksource/clocksource0/current_clocksource"),
              "", "/sys/devices/system/clocksource", "not_there");
    facts_put(facts, "perf_event_paranoid",
              sysfile_line(arena, root, "/proc/sys/kernel/perf_event_paranoid"), "",
              "/proc/sys/kernel/perf_event_paranoid", "not_there");
    facts_put(facts, "load_1min", load ? arena_strndup(arena, load, strcspn(load, " ")) : NULL,
              "tasks", "/proc/loadavg", "not_there");
    facts_put(facts, "cpu_pressure_10s",
              avg ? arena_strndup(arena, avg + 6, strcspn(avg + 6, " ")) : NULL, "percent",
              "/proc/pressure/cpu", "not_there");
}

static void collect_blas(struct facts *facts)
{
    const char *source = "openblas_get_config and others";
    const char *reason = "blas_does_not_say";
    int threads = kernel_blas_threads();

    facts_put(facts, "blas_config", kernel_blas_config(), "", source, reason);
    facts_put(facts, "blas_core", kernel_blas_core(), "", source, reason);
    facts_put(facts, "blas_threads", threads > 0 ? arena_printf(facts->arena, "%d", threads) : NULL,
              "threads", source, reason);
}

/* Variables that change which kernels run or on how many cores; those set are all recorded. */
static void collect_environment(struct facts *facts)
{
    static const char *const usual[] = { "OPENBLAS_CORETYPE", "OPENBLAS_NUM_THREADS",
                                         "OMP_NUM_THREADS" };

    for (char **at = environ; at && *at; at++) {
        size_t length = strcspn(*at, "=");

        if ((strncmp(*at, "OPENBLAS_", 9) != 0 && strncmp(*at, "OMP_", 4) != 0) ||
            (*at)[length] != '=')
            continue;
        facts_put(facts, arena_printf(facts->arena, "env_%.*s", (int)length, *at), *at + length + 1,
                  "", "environment", "set_but_empty");
    }
    for (size_t i = 0; i < sizeof(usual) / sizeof(usual[0]); i++)
        if (!getenv(usual[i]))
            facts_put(facts, arena_printf(facts->arena, "env_%s", usual[i]), NULL, "",
                      "environment", "not_set");
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
    collect_system(facts);
    collect_blas(facts);
    collect_environment(facts);
    collect_build(facts);
    return facts;
}

/* Beyond it, what else runs will take the core that is measured. */
static const double LOAD_LIMIT_PER_CORE = 0.5;

static double number(const struct facts *facts, const char *key, double otherwise)
{
    double value;

    return units_parse_double(facts_get(facts, key), &value) ? value : otherwise;
}

int facts_warnings(const struct facts *facts, const char **warnings, int max)
{
    struct arena *arena = facts->arena;
    const char *governor = facts_get(facts, "governor");
    double load = number(facts, "load_1min", 0), cores = number(facts, "cores_online", 1);
    double swapped = number(facts, "swap_total_bytes", 0) - number(facts, "swap_free_bytes", 0);
    int count = 0;

    if (count < max && governor[0] && strcmp(governor, "performance") != 0)
        warnings[count++] = arena_printf(arena,
                                         "the frequency governor is '%s', not 'performance': times "
                                         "may wander",
                                         governor);
    if (count < max && load > LOAD_LIMIT_PER_CORE * cores)
        warnings[count++] = arena_printf(arena,
                                         "other programs are running: load_1min is %.2f on %.0f "
                                         "core%s, more than %.1f a core",
                                         load, cores, cores > 1 ? "s" : "", LOAD_LIMIT_PER_CORE);
    if (count < max && swapped > 64e6)
        warnings[count++] = arena_printf(arena, "%.0f MB are swapped out", swapped / 1e6);
    if (count < max && facts_get(facts, "emulated")[0] &&
        strcmp(facts_get(facts, "emulated"), "no") != 0)
        warnings[count++] =
            arena_printf(arena, "this processor is emulated (%s): its times mean nothing",
                         facts_get(facts, "emulated"));
    if (count < max && number(facts, "throttle_bits", 0) != 0)
        warnings[count++] =
            arena_printf(arena, "the board reports throttling or low voltage: bits %s",
                         facts_get(facts, "throttle_bits"));
    return count;
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
