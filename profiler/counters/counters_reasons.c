/* counters_reasons.c - the words of counters_reasons.h, and the two places where the kernel tells
 * what it can count. */
#include "profiler/counters/counters_reasons.h"
#include "lib/base/arena.h"
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define DEVICES "/sys/bus/event_source/devices"

static const char *word(const struct counters_surroundings *around, int code)
{
    /* what is wrong with the whole component comes first: every code follows from it */
    if (strstr(around->disabled, "paranoid"))
        return "perf_event_paranoid";
    if (strstr(around->disabled, "no default PMU"))
        return "no_default_pmu";
    if (strstr(around->disabled, "no PMUs found"))
        return "forced_pmu_unknown";
    if (around->disabled[0])
        return "component_disabled";
    if (code == COUNTERS_CODE_FULL)
        return "capacity";
    if (!around->has_perf_event_open)
        return "perf_event_open_missing";
    if (!around->has_kernel_pmu)
        return "kernel_has_no_pmu";
    if (code == COUNTERS_CODE_NO_EVENT)
        return "no_such_event";
    if (code == COUNTERS_CODE_NOT_PERMITTED)
        return "not_permitted";
    return code == COUNTERS_CODE_SYSTEM ? "system_call_failed" : "failed";
}

const char *counters_explain(struct arena *arena, const struct counters_surroundings *around,
                             int code)
{
    return arena_printf(arena, "papi:%d:%s", code, word(around, code));
}

const char *counters_advice(const char *reason)
{
    static const struct {
        const char *word, *advice;
    } table[] = {
        { "perf_event_paranoid", "not allowed here: sysctl kernel.perf_event_paranoid=1" },
        { "not_permitted",
          "not allowed to this user: sysctl kernel.perf_event_paranoid=1, or cap_perfmon" },
        { "no_default_pmu",
          "libpfm does not know this processor: LIBPFM_FORCE_PMU=NAME takes the table of another" },
        { "forced_pmu_unknown",
          "libpfm has no PMU of the name in LIBPFM_FORCE_PMU: unset it, or mend the name" },
        { "component_disabled", "PAPI gave up on perf_event; its words are in the first lines" },
        { "perf_event_open_missing",
          "the kernel lacks perf_event_open (an emulator, or CONFIG_PERF_EVENTS=n)" },
        { "kernel_has_no_pmu",
          "the kernel offers no counters: in a virtual machine the host must pass its PMU on" },
        { "no_such_event", "this processor has no such event" },
        { "not_in_PMCEID", "the core does not have this event; it would read 0" },
        { "capacity",
          "it does not fit even alone: is another program counting (perf, NMI watchdog)?" },
        { "always_zero", "it counts nothing: the core does not have the event" },
        { "several_threads", "counters follow one thread: count with one thread" },
        { "not_built_in", "built without PAPI: install libpapi-dev and build again" },
        { "off", "switched off: --counters auto" },
        { "value_untouched", "it stopped without giving a value" },
        { "start", "the set of events did not start" },
        { "stop", "the set of events did not stop" },
        { "add", "the script says that it cannot be added" },
        { "not_in_script", "the script has no line for it" },
    };
    const char *last = strrchr(reason, ':');

    last = last ? last + 1 : reason;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        if (strcmp(table[i].word, last) == 0)
            return table[i].advice;
    return "an error that this program has no words for";
}

bool counters_has_perf_event_open(void)
{
    /* no attributes: EFAULT where the call exists */
    return syscall(SYS_perf_event_open, NULL, 0, -1, -1, 0UL) >= 0 || errno != ENOSYS;
}

static bool is_processor(const char *device)
{
    return strncmp(device, "cpu", 3) == 0 || strncmp(device, "armv", 4) == 0;
}

bool counters_has_kernel_pmu(struct arena *arena, const char *sysroot)
{
    DIR *dir = opendir(arena_printf(arena, "%s" DEVICES, sysroot));
    bool is_found = false;

    for (const struct dirent *entry; dir && (entry = readdir(dir));)
        is_found = is_found || is_processor(entry->d_name);
    if (dir)
        closedir(dir);
    return is_found;
}

/* "arm_n1::L1D_CACHE_REFILL:u" is the file l1d_cache_refill. */
static const char *file_of_event(struct arena *arena, const char *event)
{
    const char *pmu_end = strstr(event, "::");
    char *name = arena_strdup(arena, pmu_end ? pmu_end + 2 : event);

    name[strcspn(name, ":")] = '\0';
    for (char *c = name; *c; c++)
        *c = (char)tolower((unsigned char)*c);
    return name;
}

bool counters_kernel_lacks(struct arena *arena, const char *sysroot, const char *event)
{
    DIR *dir = opendir(arena_printf(arena, "%s" DEVICES, sysroot));
    const char *file = file_of_event(arena, event);
    bool has_list = false, is_listed = false;

    for (const struct dirent *entry; dir && (entry = readdir(dir));) {
        const char *list = arena_printf(arena, "%s" DEVICES "/%s/events", sysroot, entry->d_name);

        if (strncmp(entry->d_name, "armv", 4) != 0 || access(list, F_OK) != 0)
            continue;
        has_list = true;
        is_listed = is_listed || access(arena_printf(arena, "%s/%s", list, file), F_OK) == 0;
    }
    if (dir)
        closedir(dir);
    return has_list && !is_listed;
}
