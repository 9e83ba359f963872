/* counters_papi.c - counters through PAPI; which code means what is in counters_reasons.h.
 *
 * PAPI's own habits: a full event set answers EINVAL (-1), a missing PMU ECMP_DISABLED (-25) or
 * ENOEVNT (-7), and a set that could not start leaves the values untouched. A preset made of two
 * events takes two counters; what does not fit any more is left to another pass. */
#include "lib/base/arena.h"
#include "profiler/counters/counters.h"
#ifdef HAVE_PAPI
#include "profiler/counters/counters_events.h"
#include "profiler/counters/counters_reasons.h"
#include "profiler/device/facts_cpu.h"
#include <papi.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

_Static_assert(COUNTERS_CODE_FULL == PAPI_EINVAL && COUNTERS_CODE_SYSTEM == PAPI_ESYS &&
                   COUNTERS_CODE_NO_EVENT == PAPI_ENOEVNT &&
                   COUNTERS_CODE_NOT_PERMITTED == PAPI_EPERM,
               "codes as in papi.h");

#define MAX_PMUS 4

struct papi {
    struct arena *arena;
    const char *sysroot;
    bool is_scripted; /* the events of `only` instead of the table's */
    const char *only[COST_COUNTER_COUNT];
    const struct counters_pmu *pmus[MAX_PMUS]; /* of this processor, as libpfm found them */
    int pmu_count;
    const char *reasons[COST_COUNTER_COUNT];
    const char *added[COST_COUNTER_COUNT]; /* the event that was added last */
    struct counters_surroundings around;
    const char *describe;
    bool is_ready;
    int set;
    int order[COST_COUNTER_COUNT], opened; /* counters in the set, in order of adding */
};

static const PAPI_component_info_t *perf_event(void)
{
    int index = PAPI_get_component_index("perf_event");

    return index < 0 ? NULL : PAPI_get_component_info(index);
}

static const char *perf_event_disabled(void)
{
    const PAPI_component_info_t *info = perf_event();

    if (!info)
        return "no perf_event component";
    return !info->disabled            ? ""
           : info->disabled_reason[0] ? info->disabled_reason
                                      : "without words";
}

/* The variable must be set before PAPI starts, and only if it is needed: so another process asks.
 */
static void force_pmu(struct arena *arena, const char *sysroot)
{
    const struct counters_core *core = counters_core_find(facts_arm_part(arena, sysroot));
    int status = 0;

    if (!core || getenv("LIBPFM_FORCE_PMU"))
        return;
    pid_t child = fork();
    if (child == 0) {
        PAPI_library_init(PAPI_VER_CURRENT);
        _exit(strstr(perf_event_disabled(), "no default PMU") ? 1 : 0);
    }
    if (child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) &&
        WEXITSTATUS(status) == 1)
        setenv("LIBPFM_FORCE_PMU", core->pmu, 1);
}

static void find_pmus(struct papi *papi)
{
    const PAPI_component_info_t *info = perf_event();

    for (int i = 0; info && i < PAPI_PMU_MAX && info->pmu_names[i]; i++) {
        const struct counters_pmu *pmu = counters_pmu_find(info->pmu_names[i]);

        if (pmu && papi->pmu_count < MAX_PMUS)
            papi->pmus[papi->pmu_count++] = pmu;
    }
}

static void prepare(struct papi *papi)
{
    papi->is_ready = true;
    force_pmu(papi->arena, papi->sysroot);
    papi->around.has_perf_event_open = counters_has_perf_event_open();
    papi->around.has_kernel_pmu = counters_has_kernel_pmu(papi->arena, papi->sysroot);
    int version = PAPI_library_init(PAPI_VER_CURRENT);
    if (version != PAPI_VER_CURRENT) {
        papi->around.disabled = arena_printf(papi->arena, "PAPI did not start: %d", version);
        papi->describe = papi->around.disabled;
        return;
    }
    papi->around.disabled = arena_strdup(papi->arena, perf_event_disabled());
    find_pmus(papi);
    const char *forced = getenv("LIBPFM_FORCE_PMU");
    papi->describe = arena_printf(
        papi->arena, "PAPI %d.%d.%d, perf_event %s%s%s%s%s%s", PAPI_VERSION_MAJOR(version),
        PAPI_VERSION_MINOR(version), PAPI_VERSION_REVISION(version),
        papi->around.disabled[0] ? "disabled: " : "enabled", papi->around.disabled,
        papi->pmu_count && !forced ? ", events of " : "",
        papi->pmu_count && !forced ? papi->pmus[0]->name : "", forced ? ", forced " : "",
        forced ? forced : "");
}

/* Names to try, best first: the preset, then the events of the PMUs. */
#define MAX_NAMES (1 + MAX_PMUS * COUNTERS_MAX_EVENTS)
struct names {
    const char *event[MAX_NAMES];
    const char *listed[MAX_NAMES]; /* what the kernel's list must hold; NULL: not asked */
    int count;
};

static struct names names_of(const struct papi *papi, int counter)
{
    struct names names = { .count = 0 };

    if (papi->is_scripted) {
        if (papi->only[counter])
            names.event[names.count++] = papi->only[counter];
        return names;
    }
    names.event[names.count] = counters_preset((enum cost_counter)counter);
    names.listed[names.count++] = counters_pmu_find("arm_n1")->events[counter][0];
    for (int p = 0; p < papi->pmu_count; p++)
        for (int e = 0; e < COUNTERS_MAX_EVENTS && papi->pmus[p]->events[counter][e]; e++) {
            names.event[names.count] = arena_printf(papi->arena, "%s::%s", papi->pmus[p]->name,
                                                    papi->pmus[p]->events[counter][e]);
            names.listed[names.count++] = papi->pmus[p]->events[counter][e];
        }
    return names;
}

static bool add_event(struct papi *papi, int counter)
{
    struct names names = names_of(papi, counter);
    int code = PAPI_ENOEVNT;
    bool is_tried = false;

    for (int n = 0; n < names.count; n++) {
        if (!papi->around.disabled[0] && names.listed[n] &&
            counters_kernel_lacks(papi->arena, papi->sysroot, names.listed[n]))
            continue;
        is_tried = true;
        code = PAPI_add_named_event(papi->set, names.event[n]);
        if (code == PAPI_OK) {
            papi->added[counter] = names.event[n];
            papi->order[papi->opened++] = counter;
            return true;
        }
        if (code == COUNTERS_CODE_FULL && papi->opened > 0)
            return false; /* fits another pass */
    }
    papi->reasons[counter] = !is_tried && names.count > 0
                                 ? "not_in_PMCEID"
                                 : counters_explain(papi->arena, &papi->around, code);
    return false;
}

static void papi_close(struct counters *counters)
{
    struct papi *papi = counters->state;

    PAPI_cleanup_eventset(papi->set);
    PAPI_destroy_eventset(&papi->set);
    papi->opened = 0;
}

static unsigned papi_open(struct counters *counters, unsigned wanted)
{
    struct papi *papi = counters->state;
    unsigned bits = 0;

    if (!papi->is_ready)
        prepare(papi);
    papi->set = PAPI_NULL;
    papi->opened = 0;
    int code = PAPI_create_eventset(&papi->set);
    for (int c = 0; c < COST_COUNTER_COUNT; c++) {
        if (!(wanted >> c & 1u))
            continue;
        if (code != PAPI_OK)
            papi->reasons[c] = counters_explain(papi->arena, &papi->around, code);
        else if (add_event(papi, c))
            bits |= 1u << c;
    }
    if (bits == 0 && code == PAPI_OK)
        papi_close(counters); /* nobody will */
    return bits;
}

static int papi_start(struct counters *counters)
{
    return PAPI_start(((struct papi *)counters->state)->set);
}

static int papi_stop(struct counters *counters, int64_t values[COST_COUNTER_COUNT])
{
    struct papi *papi = counters->state;
    long long raw[COST_COUNTER_COUNT];

    for (int i = 0; i < COST_COUNTER_COUNT; i++)
        raw[i] = COUNTERS_SENTINEL;
    int code = PAPI_stop(papi->set, raw);
    for (int i = 0; i < papi->opened; i++)
        values[papi->order[i]] = raw[i];
    return code;
}

static const char *papi_reason(struct counters *counters, enum cost_counter counter)
{
    return ((struct papi *)counters->state)->reasons[counter];
}

static const char *papi_describe(struct counters *counters)
{
    struct papi *papi = counters->state;

    if (!papi->is_ready)
        prepare(papi);
    return papi->describe;
}

static const char *papi_event(struct counters *counters, enum cost_counter counter)
{
    return ((struct papi *)counters->state)->added[counter];
}

struct counters *counters_create_papi(struct arena *arena, const char *sysroot)
{
    return counters_create_papi_events(arena, sysroot, NULL);
}

struct counters *counters_create_papi_events(struct arena *arena, const char *sysroot,
                                             const char *const events[COST_COUNTER_COUNT])
{
    struct counters *counters = arena_alloc(arena, sizeof(*counters));
    struct papi *papi = arena_alloc(arena, sizeof(*papi));

    papi->arena = arena;
    papi->sysroot = sysroot;
    papi->around.disabled = "";
    papi->is_scripted = events != NULL;
    for (int c = 0; events && c < COST_COUNTER_COUNT; c++)
        papi->only[c] = events[c];
    *counters = (struct counters){ "papi",     papi,        papi_open,     papi_start, papi_stop,
                                   papi_close, papi_reason, papi_describe, papi_event };
    return counters;
}

#else

struct counters *counters_create_papi(struct arena *arena, const char *sysroot)
{
    (void)sysroot;
    return counters_create_none(arena, "papi:not_built_in");
}

struct counters *counters_create_papi_events(struct arena *arena, const char *sysroot,
                                             const char *const events[COST_COUNTER_COUNT])
{
    (void)events;
    return counters_create_papi(arena, sysroot);
}

#endif
