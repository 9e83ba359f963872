/* facts_screen.c - words for facts. */
#include "profiler/device/facts_screen.h"
#include "lib/base/arena.h"
#include "lib/base/out.h"
#include "lib/base/units.h"
#include "profiler/cmd/wrap.h"
#include "profiler/device/facts.h"
#include "profiler/device/preflight.h"
#include <string.h>

#define LABEL_COLUMNS 11
#define KEY_COLUMNS 25
#define MAX_SHOWN 7 /* items, so that all stays on a screen */

static void put_line(struct out *out, struct arena *arena, const char *label, const char *text)
{
    out_printf(out, "%-*s", LABEL_COLUMNS, label);
    wrap_put(out, LABEL_COLUMNS, LABEL_COLUMNS,
             wrap_cut(arena, text, WRAP_COLUMNS - LABEL_COLUMNS));
}

/* The value of a key, or otherwise. */
static const char *get(const struct facts *facts, const char *key, const char *otherwise)
{
    const char *value = facts_get(facts, key);

    return value[0] ? value : otherwise;
}

static const char *size_text(const struct facts *facts, const char *key)
{
    char text[UNITS_TEXT_BYTES];
    double size = facts_number(facts, key, -1);

    if (!(size >= 0 && size < 9e18))
        return "?";
    return arena_strdup(facts->arena, units_format_bytes((int64_t)size, text));
}

static const char *why(const struct facts *facts, const char *key)
{
    for (int i = 0; i < facts->count; i++)
        if (strcmp(facts->list[i].key, key) == 0)
            return facts->list[i].reason;
    return "not_looked_for";
}

static void put_processor(struct out *out, const struct facts *facts)
{
    struct arena *arena = facts->arena;
    const char *kinds = facts_get(facts, "core_kinds");
    double cores = facts_number(facts, "cores_online", 0);
    double threads = facts_number(facts, "threads_per_core", 1);
    const char *text = kinds[0]    ? kinds
                       : cores > 0 ? arena_printf(arena, "%.0f x %s", cores,
                                                  get(facts, "cpu", "a core of unknown kind"))
                                   : get(facts, "cpu", "not known");

    if (threads > 1)
        text = arena_printf(arena, "%s (%.0f hardware threads share a core)", text, threads);
    put_line(out, arena, "Processor", text);
    if (facts_get(facts, "core_capacities")[0] && strchr(kinds, '+'))
        put_line(
            out, arena, "",
            arena_printf(arena, "speed of each, of 1024: %s", facts_get(facts, "core_capacities")));
}

static void put_caches(struct out *out, const struct facts *facts)
{
    struct arena *arena = facts->arena;
    const char *text = "";

    for (int i = 0; i < facts->count; i++) {
        const struct fact *fact = &facts->list[i];
        const char *bytes = strstr(fact->key, "_bytes");

        if (strncmp(fact->key, "cache_l", 7) != 0 || !bytes || bytes[-1] == 'i')
            continue;
        const char *name = arena_strndup(arena, fact->key + 7, (size_t)(bytes - fact->key) - 7);
        const char *cpus = facts_get(facts, arena_printf(arena, "cache_l%s_cpus", name));
        text = arena_printf(arena, "%s%sL%s %s%s%s", text, text[0] ? "; " : "", name,
                            fact->value[0] ? size_text(facts, fact->key) : "of unknown size",
                            strpbrk(cpus, "-,") ? " shared by cores " : "",
                            strpbrk(cpus, "-,") ? cpus : "");
    }
    put_line(out, arena, "Caches",
             text[0] ? text : "sizes are not stated here: 32 MiB is assumed, or measure: roofline");
}

static void put_memory(struct out *out, const struct facts *facts)
{
    struct arena *arena = facts->arena;
    double swap = facts_number(facts, "swap_total_bytes", 0);
    double used = swap - facts_number(facts, "swap_free_bytes", swap);
    char used_text[UNITS_TEXT_BYTES];

    put_line(out, arena, "Memory",
             facts_get(facts, "memory_total_bytes")[0]
                 ? arena_printf(arena, "%s, %s available; %s; large pages: %s",
                                size_text(facts, "memory_total_bytes"),
                                size_text(facts, "memory_available_bytes"),
                                swap > 0
                                    ? arena_printf(arena, "swap %s, %s used",
                                                   size_text(facts, "swap_total_bytes"),
                                                   units_format_bytes((int64_t)used, used_text))
                                    : "no swap",
                                get(facts, "thp", "not known"))
                 : "not known");
}

static void put_clock(struct out *out, const struct facts *facts)
{
    struct arena *arena = facts->arena;
    double now = facts_number(facts, "freq_khz", 0), max = facts_number(facts, "freq_max_khz", 0);
    double low = facts_number(facts, "freq_min_khz", 0),
           cap = facts_number(facts, "freq_cap_khz", 0);
    const char *text =
        now > 0 ? arena_printf(arena, "%.2f GHz now", now / 1e6) : "not shown by this system";

    if (max > 0)
        text = low > 0 ? arena_printf(arena, "%s, %.2f to %.2f GHz", text, low / 1e6, max / 1e6)
                       : arena_printf(arena, "%s, at most %.2f GHz", text, max / 1e6);
    if (cap > 0 && cap < max)
        text = arena_printf(arena, "%s, held below %.2f GHz", text, cap / 1e6);
    if (facts_get(facts, "governor")[0])
        text = arena_printf(arena, "%s; governor %s", text, facts_get(facts, "governor"));
    if (facts_get(facts, "power_mode")[0])
        text = arena_printf(arena, "%s; power mode %s", text, facts_get(facts, "power_mode"));
    put_line(out, arena, "Clock", text);
}

static void put_heat(struct out *out, const struct facts *facts)
{
    struct arena *arena = facts->arena;
    const char *text = "not shown by this system";

    if (facts_get(facts, "temp_mc")[0]) {
        text = arena_printf(arena, "%.1f C (%s)", facts_number(facts, "temp_mc", 0) / 1e3,
                            get(facts, "temp_zone", "unnamed sensor"));
        if (facts_get(facts, "temp_limit_mc")[0])
            text = arena_printf(arena, "%s, slows from %.1f C", text,
                                facts_number(facts, "temp_limit_mc", 0) / 1e3);
    }
    if (facts_get(facts, "cooling_active")[0])
        text = arena_printf(arena, "%s; cooling at work: %s", text,
                            facts_get(facts, "cooling_active"));
    put_line(out, arena, "Heat", text);
    if (facts_get(facts, "throttle_bits")[0])
        put_line(out, arena, "Slowed",
                 arena_printf(arena, "now: %s; since boot: %s", facts_get(facts, "throttled_now"),
                              facts_get(facts, "throttled_since_boot")));
    if (facts_get(facts, "overcurrent_events")[0])
        put_line(out, arena, "Slowed",
                 arena_printf(arena, "%s times since boot for drawing too much current",
                              facts_get(facts, "overcurrent_events")));
}

static void put_system(struct out *out, const struct facts *facts)
{
    struct arena *arena = facts->arena;
    const char *hypervisor = facts_get(facts, "hypervisor");
    const char *kind = facts_is_emulated(facts)         ? "EMULATED, times mean nothing"
                       : strcmp(hypervisor, "no") == 0  ? "no hypervisor"
                       : strcmp(hypervisor, "yes") == 0 ? "virtual machine"
                       : hypervisor[0] ? arena_printf(arena, "virtual machine (%s)", hypervisor)
                                       : "hypervisor: not known";

    put_line(out, arena, "System",
             arena_printf(arena, "%s; Linux %s%s%s; %s", get(facts, "os", "unknown system"),
                          get(facts, "kernel", "?"), facts_get(facts, "arch")[0] ? " " : "",
                          facts_get(facts, "arch"), kind));
    put_line(out, arena, "Load",
             arena_printf(arena, "%s tasks in the last minute; cores waited for %s %% of 10 s",
                          get(facts, "load_1min", "?"), get(facts, "cpu_pressure_10s", "?")));
}

static void put_program(struct out *out, const struct facts *facts)
{
    struct arena *arena = facts->arena;
    const char *config = get(facts, "blas_config", "a BLAS that does not say its name");
    int words = (int)strcspn(config, " ");

    if (strncmp(config, "OpenBLAS ", 9) == 0)
        words = 9 + (int)strcspn(config + 9, " ");
    put_line(out, arena, "BLAS",
             arena_printf(arena, "%.*s, kernels for %s, %s threads", words, config,
                          get(facts, "blas_core", "an unnamed core"),
                          get(facts, "blas_threads", "?")));
    put_line(out, arena, "Process",
             arena_printf(arena, "nice %s, scheduling %s, %s cores allowed",
                          get(facts, "nice", "?"), get(facts, "scheduling", "?"),
                          get(facts, "cores_allowed", "?")));
}

static void put_measuring(struct out *out, const struct facts *facts)
{
    struct arena *arena = facts->arena;
    const char *sensor = facts_get(facts, "energy_sensor");
    const char *reason = why(facts, "energy_sensor");
    const char *idle = facts_get(facts, "idle_power_mw");

    put_line(out, arena, "Counters",
             arena_printf(arena,
                          "perf_event_paranoid %s; which can be read: orrery-profile counters",
                          get(facts, "perf_event_paranoid", "not known")));
    if (sensor[0])
        sensor = arena_printf(arena, "%s; %s", sensor,
                              idle[0] ? arena_printf(arena, "%.2f W when idle",
                                                     facts_number(facts, "idle_power_mw", 0) / 1e3)
                                      : arena_printf(arena, "idle power not known (%s)",
                                                     why(facts, "idle_power_mw")));
    else if (strcmp(reason, "permission") == 0)
        sensor = "there is a sensor, but not for this user: try sudo";
    else
        sensor = "no sensor that this program knows";
    put_line(out, arena, "Energy", sensor);
}

static void put_items(struct out *out, const struct facts *facts,
                      const struct preflight_item *items, int count)
{
    struct arena *arena = facts->arena;

    if (count == 0) {
        out_text(out, "\nNothing here would disturb a measurement.\n");
        return;
    }
    out_text(out, "\nWhat would disturb a measurement, and what to do:\n");
    for (int i = 0; i < count && i < MAX_SHOWN; i++) {
        out_text(out, items[i].level == PREFLIGHT_WARNING ? "! " : "- ");
        wrap_put(out, 2, 2, wrap_cut(arena, items[i].text, WRAP_COLUMNS - 4));
        out_text(out, "  > ");
        wrap_put(out, 4, 4, items[i].advice);
    }
    if (count > MAX_SHOWN)
        out_printf(out, "and %d more: --all\n", count - MAX_SHOWN);
}

void facts_print_screen(struct out *out, const struct facts *facts,
                        const struct preflight_item *items, int count)
{
    int known = 0;

    put_line(out, facts->arena, "Board",
             arena_printf(facts->arena, "%s%s%s", get(facts, "board_vendor", ""),
                          facts_get(facts, "board_vendor")[0] ? " " : "",
                          get(facts, "board", "not named by this system")));
    put_processor(out, facts);
    put_caches(out, facts);
    put_memory(out, facts);
    put_clock(out, facts);
    put_heat(out, facts);
    put_system(out, facts);
    put_program(out, facts);
    put_measuring(out, facts);
    put_items(out, facts, items, count);
    for (int i = 0; i < facts->count; i++)
        known += facts->list[i].value[0] != '\0';
    out_printf(out, "\n%d of %d facts are known; --all lists them with sources and reasons.\n",
               known, facts->count);
}

void facts_print_all(struct out *out, const struct facts *facts)
{
    for (int i = 0; i < facts->count; i++) {
        const struct fact *fact = &facts->list[i];
        const char *key = wrap_cut(facts->arena, fact->key, WRAP_COLUMNS);
        const char *text =
            fact->value[0]
                ? arena_printf(facts->arena, "%s%s%s [%s]", fact->value, fact->unit[0] ? " " : "",
                               fact->unit, fact->source)
                : arena_printf(facts->arena, "(not known: %s) [%s]", fact->reason, fact->source);
        int length = (int)strlen(key);

        out_printf(out, "%-*s", KEY_COLUMNS, key);
        if (length >= KEY_COLUMNS)
            out_printf(out, "\n%*s", KEY_COLUMNS, "");
        wrap_put(out, KEY_COLUMNS, KEY_COLUMNS,
                 wrap_cut(facts->arena, text, WRAP_COLUMNS - KEY_COLUMNS));
    }
}
