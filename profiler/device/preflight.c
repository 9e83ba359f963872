/* preflight.c - the rules of preflight.h, each a few lines over facts. */
#include "profiler/device/preflight.h"
#include "lib/base/arena.h"
#include "lib/base/json.h"
#include "profiler/device/facts.h"
#include <string.h>

#define LOAD_PER_CORE 0.5 /* beyond it, what else runs will take the core that is measured */
#define PRESSURE_PERCENT 10.0
#define SWAPPED_BYTES 64e6
#define MEMORY_LOW_BYTES 512e6
#define MEMORY_LOW_SHARE 0.10
#define HEAT_MARGIN_MC 10000.0
#define HEAT_LIMIT_MC                                                                              \
    80000.0 /* where a Raspberry Pi begins to slow, for boards that do not say                     \
             */
#define STEAL_PERCENT 1.0
#define CAP_SHARE 0.98

struct check {
    const struct facts *facts;
    struct preflight_item *items;
    int count;
};

static void add(struct check *check, const char *id, enum preflight_level level, const char *text,
                const char *advice)
{
    if (check->count < PREFLIGHT_MAX)
        check->items[check->count++] = (struct preflight_item){ id, level, text, advice };
}

static void check_reality(struct check *check)
{
    const struct facts *facts = check->facts;
    const char *hypervisor = facts_get(facts, "hypervisor");
    double steal = facts_number(facts, "steal_percent", 0);

    if (facts_is_emulated(facts))
        add(check, "emulated", PREFLIGHT_WARNING,
            arena_printf(facts->arena, "this processor is emulated (%s): its times mean nothing",
                         facts_get(facts, "emulated")),
            "profile on the board itself; a table from here is marked and good for tests alone");
    if (steal > STEAL_PERCENT)
        add(check, "steal", PREFLIGHT_WARNING,
            arena_printf(facts->arena, "the host gave %.1f %% of this machine's time to others",
                         steal),
            "use a machine of your own, or measure at a quieter hour");
    if (hypervisor[0] && strcmp(hypervisor, "no") != 0)
        add(check, "hypervisor", PREFLIGHT_NOTE,
            arena_printf(facts->arena, "this is a virtual machine (%s)",
                         strcmp(hypervisor, "yes") == 0 ? "its host does not say which"
                                                        : hypervisor),
            "its neighbours may slow it unseen: compare two profiles (verify) before trusting one");
}

static void check_clock(struct check *check)
{
    const struct facts *facts = check->facts;
    struct arena *arena = facts->arena;
    const char *governor = facts_get(facts, "governor");
    double cap = facts_number(facts, "freq_cap_khz", 0);
    double max = facts_number(facts, "freq_max_khz", 0);

    if (governor[0] && strcmp(governor, "performance") != 0)
        add(check, "governor", PREFLIGHT_WARNING,
            arena_printf(arena,
                         "the frequency governor is '%s', not 'performance': times may wander",
                         governor),
            "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor");
    if (cap > 0 && max > 0 && cap < CAP_SHARE * max)
        add(check, "frequency_capped", PREFLIGHT_WARNING,
            arena_printf(arena, "the clock may not go above %.2f GHz of %.2f GHz", cap / 1e6,
                         max / 1e6),
            "lift the limit (scaling_max_freq, or the board's power mode) if deployment will too");
}

static void check_heat(struct check *check)
{
    const struct facts *facts = check->facts;
    struct arena *arena = facts->arena;
    double temp = facts_number(facts, "temp_mc", -1e9);
    double limit = facts_number(facts, "temp_limit_mc", HEAT_LIMIT_MC);
    long long bits = (long long)facts_number(facts, "throttle_bits", 0);

    if (bits & 0xf)
        add(check, "throttled_now", PREFLIGHT_WARNING,
            arena_printf(arena, "the board is being slowed at this moment: %s",
                         facts_get(facts, "throttled_now")),
            bits & 1 ? "use the maker's power supply and a short, thick cable"
                     : "let it cool, give it a fan or heat sink");
    if (bits & 0xf0000)
        add(check, "throttled_since_boot", PREFLIGHT_NOTE,
            arena_printf(arena, "the board has been slowed since it was started: %s",
                         facts_get(facts, "throttled_since_boot")),
            bits & 0x10000 ? "check its power supply; a restart clears the record"
                           : "check its cooling; a restart clears the record");
    if (temp > limit - HEAT_MARGIN_MC)
        add(check, "hot", PREFLIGHT_WARNING,
            arena_printf(arena, "it is %.1f C hot, and boards slow down from %.1f C on", temp / 1e3,
                         limit / 1e3),
            "let it cool before measuring, or give it a fan or heat sink");
    if (facts_number(facts, "overcurrent_events", 0) > 0)
        add(check, "overcurrent", PREFLIGHT_NOTE,
            arena_printf(arena, "the board was slowed %s times since boot for drawing too much",
                         facts_get(facts, "overcurrent_events")),
            "use a stronger supply or a lower power mode");
    if (strstr(facts_get(facts, "power_supply"), "Discharging"))
        add(check, "battery", PREFLIGHT_WARNING, "the machine runs on its battery",
            "plug it in: on battery the clock is often held low");
}

static void check_memory(struct check *check)
{
    const struct facts *facts = check->facts;
    struct arena *arena = facts->arena;
    double swapped =
        facts_number(facts, "swap_total_bytes", 0) - facts_number(facts, "swap_free_bytes", 0);
    double total = facts_number(facts, "memory_total_bytes", 0);
    double available = facts_number(facts, "memory_available_bytes", total);
    const char *thp = facts_get(facts, "thp");

    if (swapped > SWAPPED_BYTES)
        add(check, "swap", PREFLIGHT_WARNING,
            arena_printf(arena, "%.0f MB are swapped out: memory was short", swapped / 1e6),
            "stop other programs, then: sudo swapoff -a && sudo swapon -a");
    if (total > 0 && (available < MEMORY_LOW_BYTES || available < MEMORY_LOW_SHARE * total))
        add(check, "memory_low", PREFLIGHT_WARNING,
            arena_printf(arena, "only %.0f of %.0f MB of memory are free", available / 1e6,
                         total / 1e6),
            "stop other programs: large models will not fit or will be swapped");
    if (strcmp(thp, "always") == 0)
        add(check, "thp", PREFLIGHT_NOTE, "large memory pages are given to every program (always)",
            "fine if deployment has the same; it changes times by a few per cent");
    if (strcmp(thp, "never") == 0)
        add(check, "thp", PREFLIGHT_NOTE, "large memory pages are switched off (never)",
            "fine if deployment has the same; 'madvise' is usual, and a few per cent faster");
}

static void check_load(struct check *check)
{
    const struct facts *facts = check->facts;
    struct arena *arena = facts->arena;
    double load = facts_number(facts, "load_1min", 0);
    double cores = facts_number(facts, "cores_online", 1);
    double allowed = facts_number(facts, "cores_allowed", cores);
    bool is_here = facts->sysroot[0] == '\0'; /* this process says nothing of another tree */
    double nice_value = is_here ? facts_number(facts, "nice", 0) : 0;
    const char *advice = "stop them (top shows which), wait a minute, look again";

    if (load > LOAD_PER_CORE * cores)
        add(check, "load", PREFLIGHT_WARNING,
            arena_printf(arena, "other programs are running: load_1min is %.2f on %.0f core%s",
                         load, cores, cores > 1 ? "s" : ""),
            advice);
    else if (facts_number(facts, "cpu_pressure_10s", 0) > PRESSURE_PERCENT)
        add(check, "load", PREFLIGHT_WARNING,
            arena_printf(arena, "programs waited for a core in %s %% of the last 10 s",
                         facts_get(facts, "cpu_pressure_10s")),
            advice);
    if (nice_value > 0)
        add(check, "low_priority", PREFLIGHT_WARNING,
            arena_printf(arena, "this program runs at low priority (nice %.0f)", nice_value),
            "start it without nice");
    if (is_here && strcmp(facts_get(facts, "scheduling"), "idle") == 0)
        add(check, "low_priority", PREFLIGHT_WARNING,
            "this program runs only when nothing else does (scheduling: idle)",
            "start it without chrt --idle");
    if (facts_number(facts, "cores_online", 0) == 1)
        add(check, "few_cores", PREFLIGHT_NOTE, "there is one core alone",
            "whatever else runs takes it from the measurement: stop all you can");
    else if (is_here && allowed < cores)
        add(check, "few_cores", PREFLIGHT_NOTE,
            arena_printf(arena, "this program may use %.0f of %.0f cores", allowed, cores),
            "thread counts above that share cores: start it without taskset for a full table");
}

static void check_environment(struct check *check)
{
    const struct facts *facts = check->facts;
    struct arena *arena = facts->arena;

    for (int i = 0; i < facts->count; i++) {
        const struct fact *fact = &facts->list[i];
        const char *name = fact->key + 4;
        const char *effect;

        if (strncmp(fact->key, "env_", 4) != 0 || !fact->value[0])
            continue;
        effect = facts_variable_effect(name);
        if (effect || strncmp(name, "OPENBLAS_", 9) == 0)
            add(check, "environment", PREFLIGHT_NOTE,
                arena_printf(arena, "%s is set to '%s': %s", name, fact->value,
                             effect ? effect : "its effect is not known here"),
                arena_printf(arena, "unset %s, unless deployment sets it as well", name));
    }
    if (facts_number(facts, "perf_event_paranoid", 0) > 2)
        add(check, "perf_event_paranoid", PREFLIGHT_NOTE,
            arena_printf(arena, "hardware counters are barred to users (perf_event_paranoid %s)",
                         facts_get(facts, "perf_event_paranoid")),
            "sudo sysctl kernel.perf_event_paranoid=2; times do not need it");
}

int preflight_check(const struct facts *facts, struct preflight_item items[PREFLIGHT_MAX])
{
    struct preflight_item found[PREFLIGHT_MAX];
    struct check check = { facts, found, 0 };
    int count = 0;

    check_reality(&check);
    check_clock(&check);
    check_heat(&check);
    check_load(&check);
    check_memory(&check);
    check_environment(&check);
    for (int level = PREFLIGHT_WARNING; level <= PREFLIGHT_NOTE; level++)
        for (int i = 0; i < check.count; i++)
            if ((int)found[i].level == level)
                items[count++] = found[i];
    return count;
}

int preflight_warnings(const struct preflight_item *items, int count)
{
    int warnings = 0;

    for (int i = 0; i < count; i++)
        warnings += items[i].level == PREFLIGHT_WARNING;
    return warnings;
}

void preflight_write_json(struct json_writer *json, const char *key,
                          const struct preflight_item *items, int count)
{
    json_begin_array(json, key);
    for (int i = 0; i < count; i++) {
        json_begin_object(json, NULL);
        json_put_text(json, "id", items[i].id);
        json_put_text(json, "level", items[i].level == PREFLIGHT_WARNING ? "warning" : "note");
        json_put_text(json, "text", items[i].text);
        json_put_text(json, "advice", items[i].advice);
        json_end_object(json);
    }
    json_end_array(json);
}
