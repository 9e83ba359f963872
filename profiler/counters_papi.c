/* counters_papi.c - counters through PAPI; which code means what is in profiler/README.md.
 *
 * PAPI's own habits: a full event set answers EINVAL (-1), a missing PMU ECMP_DISABLED (-25) or
 * ENOEVNT (-7), and a set that could not start leaves the values untouched. */
#include "lib/base/arena.h"
#include "profiler/counters.h"
#ifdef HAVE_PAPI
#include "profiler/facts_cpu.h"
#include <dirent.h>
#include <papi.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_NAMES 3
#define CODE_FULL PAPI_EINVAL

/* Preset first, then the native names of ARM cores for which PAPI has no presets. */
static const char *const EVENT_NAMES[COST_COUNTER_COUNT][MAX_NAMES] = {
    [COST_CYC] = { "PAPI_TOT_CYC", "CPU_CYCLES", NULL },
    [COST_INS] = { "PAPI_TOT_INS", "INST_RETIRED", NULL },
    [COST_L1D_REFILL] = { "PAPI_L1_DCM", "L1D_CACHE_REFILL", NULL },
    [COST_L2D_REFILL] = { "PAPI_L2_DCM", "L2D_CACHE_REFILL", NULL },
    [COST_LLC_MISS] = { "PAPI_L3_TCM", "L3D_CACHE_REFILL", "LL_CACHE_MISS_RD" },
    [COST_STALL_BE] = { "PAPI_RES_STL", "STALL_BACKEND", NULL },
};

struct papi {
    struct arena *arena;
    const char *sysroot;
    const char *names[COST_COUNTER_COUNT][MAX_NAMES];
    const char *reasons[COST_COUNTER_COUNT];
    const char *disabled; /* text of perf_event, "" when it works */
    const char *describe;
    bool is_ready;
    int set;
    int order[COST_COUNTER_COUNT], opened; /* counters in the set, in order of adding */
};

static const char *perf_event_disabled(void)
{
    int index = PAPI_get_component_index("perf_event");
    const PAPI_component_info_t *info = index < 0 ? NULL : PAPI_get_component_info(index);

    if (!info)
        return "no perf_event component";
    return info->disabled ? info->disabled_reason : "";
}

/* libpfm in Debian 12 does not know A72, A76 and A78, whose counters are those of A57 and N1. */
static const char *pmu_to_force(int64_t part)
{
    switch (part) {
    case 0xd08:
        return "arm_ac57";
    case 0xd0b:
    case 0xd0c:
    case 0xd41:
    case 0xd42:
        return "arm_n1";
    default:
        return NULL;
    }
}

/* The variable must be set before PAPI starts, and only if it is needed: so another process asks.
 */
static void force_pmu(struct arena *arena, const char *sysroot)
{
    const char *pmu = pmu_to_force(facts_arm_part(arena, sysroot));
    int status = 0;

    if (!pmu || getenv("LIBPFM_FORCE_PMU"))
        return;
    pid_t child = fork();
    if (child == 0) {
        PAPI_library_init(PAPI_VER_CURRENT);
        _exit(strstr(perf_event_disabled(), "no default PMU") ? 1 : 0);
    }
    if (child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) &&
        WEXITSTATUS(status) == 1)
        setenv("LIBPFM_FORCE_PMU", pmu, 1);
}

static void prepare(struct papi *papi)
{
    papi->is_ready = true;
    force_pmu(papi->arena, papi->sysroot);
    int version = PAPI_library_init(PAPI_VER_CURRENT);
    if (version != PAPI_VER_CURRENT) {
        papi->disabled = arena_printf(papi->arena, "PAPI did not start: %d", version);
        papi->describe = papi->disabled;
        return;
    }
    papi->disabled = arena_strdup(papi->arena, perf_event_disabled());
    const char *forced = getenv("LIBPFM_FORCE_PMU");
    papi->describe =
        arena_printf(papi->arena, "PAPI %d.%d.%d, perf_event %s%s%s%s", PAPI_VERSION_MAJOR(version),
                     PAPI_VERSION_MINOR(version), PAPI_VERSION_REVISION(version),
                     papi->disabled[0] ? "disabled: " : "enabled", papi->disabled,
                     forced ? ", forced " : "", forced ? forced : "");
}

/* libpfm goes by the processor's name; in a guest the kernel may offer none of its counters. */
static bool has_kernel_pmu(const struct papi *papi)
{
    DIR *dir = opendir(arena_printf(papi->arena, "%s/sys/bus/event_source/devices", papi->sysroot));
    bool is_found = false;

    for (const struct dirent *entry; dir && (entry = readdir(dir));)
        is_found = is_found || strncmp(entry->d_name, "cpu", 3) == 0 ||
                   strncmp(entry->d_name, "armv", 4) == 0;
    if (dir)
        closedir(dir);
    return is_found;
}

/* "papi:-25:no_default_pmu": the code, and what is behind it. */
static const char *explain(const struct papi *papi, int code)
{
    const char *paranoid = strstr(papi->disabled, "paranoid");
    const char *what = "failed";

    if (paranoid)
        what = "perf_event_paranoid";
    else if (strstr(papi->disabled, "no default PMU"))
        what = "no_default_pmu";
    else if (papi->disabled[0])
        what = "component_disabled";
    else if (code == CODE_FULL)
        what = "capacity";
    else if (!has_kernel_pmu(papi))
        what = "kernel_has_no_pmu";
    else if (code == PAPI_ENOEVNT || code == PAPI_ENOTPRESET)
        what = "no_such_event";
    else if (code == PAPI_EPERM)
        what = "not_permitted";
    return arena_printf(papi->arena, "papi:%d:%s", code, what);
}

static bool add_event(struct papi *papi, int counter)
{
    int first_code = PAPI_ENOEVNT; /* the preset's: the other names belong to other cores */

    for (int n = 0; n < MAX_NAMES && papi->names[counter][n]; n++) {
        int code = PAPI_add_named_event(papi->set, papi->names[counter][n]);

        if (n == 0)
            first_code = code;
        if (code == PAPI_OK) {
            papi->order[papi->opened++] = counter;
            return true;
        }
        if (code == CODE_FULL && papi->opened > 0)
            return false; /* fits another pass */
    }
    papi->reasons[counter] = explain(papi, first_code);
    return false;
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
            papi->reasons[c] = explain(papi, code);
        else if (add_event(papi, c))
            bits |= 1u << c;
    }
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

static void papi_close(struct counters *counters)
{
    struct papi *papi = counters->state;

    PAPI_cleanup_eventset(papi->set);
    PAPI_destroy_eventset(&papi->set);
    papi->opened = 0;
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

static struct counters *create(struct arena *arena, const char *sysroot, struct papi **state)
{
    struct counters *counters = arena_alloc(arena, sizeof(*counters));
    struct papi *papi = arena_alloc(arena, sizeof(*papi));

    papi->arena = arena;
    papi->sysroot = sysroot;
    papi->disabled = "";
    *counters = (struct counters){ "papi",    papi,       papi_open,   papi_start,
                                   papi_stop, papi_close, papi_reason, papi_describe };
    *state = papi;
    return counters;
}

struct counters *counters_create_papi(struct arena *arena, const char *sysroot)
{
    struct papi *papi;
    struct counters *counters = create(arena, sysroot, &papi);

    memcpy(papi->names, EVENT_NAMES, sizeof(papi->names));
    return counters;
}

struct counters *counters_create_papi_events(struct arena *arena, const char *sysroot,
                                             const char *const events[COST_COUNTER_COUNT])
{
    struct papi *papi;
    struct counters *counters = create(arena, sysroot, &papi);

    for (int c = 0; c < COST_COUNTER_COUNT; c++)
        papi->names[c][0] = events[c];
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
