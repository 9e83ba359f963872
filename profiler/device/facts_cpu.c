/* facts_cpu.c - board, processor, cores and caches. */
#include "profiler/device/facts_cpu.h"
#include "lib/base/arena.h"
#include "lib/base/units.h"
#include "profiler/device/facts.h"
#include "profiler/device/sysfile.h"
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#define CPUS "/sys/devices/system/cpu"
#define CPU0 CPUS "/cpu0"
#define MIDR "regs/identification/midr_el1"
#define CPUINFO "/proc/cpuinfo"
#define MAX_CPUS 1024

struct core_kind { /* bits 31-24 and 15-4 of MIDR_EL1; 0: not known */
    int64_t implementer, part;
};

/* A number of /proc/cpuinfo, "0x41"; 0 when there is none. text: from the CPU's own block on. */
static int64_t hex_field(const char *text, const char *key)
{
    const char *end = text ? strstr(text, "\n\n") : NULL;
    const char *at = text ? strstr(text, key) : NULL;

    if (!at || (end && at > end))
        return 0;
    at += strlen(key);
    at += strspn(at, " \t:");
    return strncmp(at, "0x", 2) == 0 ? (int64_t)(strtoul(at, NULL, 16) & 0xffff) : 0;
}

/* cpuinfo: the text of /proc/cpuinfo or NULL. */
static struct core_kind kind_of(struct arena *arena, const char *sysroot, const char *cpuinfo,
                                int cpu)
{
    int64_t midr;
    const char *at = cpuinfo ? strstr(cpuinfo, "processor") : NULL;

    if (sysfile_int(arena, sysroot, arena_printf(arena, CPUS "/cpu%d/" MIDR, cpu), &midr))
        return (struct core_kind){ midr >> 24 & 0xff, midr >> 4 & 0xfff };
    for (; at; at = strstr(at + 9, "processor")) { /* offline cores have no block */
        const char *colon = at + 9 + strspn(at + 9, " \t");

        if (*colon == ':' && strtol(colon + 1, NULL, 10) == cpu)
            break;
    }
    if (!at && cpu == 0)
        at = cpuinfo;
    return (struct core_kind){ hex_field(at, "CPU implementer"), hex_field(at, "CPU part") };
}

int64_t facts_arm_part(struct arena *arena, const char *sysroot)
{
    return kind_of(arena, sysroot, sysfile_text(arena, sysroot, CPUINFO, NULL), 0).part;
}

const char *facts_arm_name(int64_t implementer, int64_t part)
{
    static const struct {
        int implementer, part;
        const char *name;
    } cores[] = { /* Arm, MIDR_EL1 of each core's technical reference manual */
                  { 0x41, 0xc07, "Cortex-A7" },
                  { 0x41, 0xc08, "Cortex-A8" },
                  { 0x41, 0xc09, "Cortex-A9" },
                  { 0x41, 0xc0f, "Cortex-A15" },
                  { 0x41, 0xb76, "ARM1176" },
                  { 0x41, 0xd03, "Cortex-A53" },
                  { 0x41, 0xd04, "Cortex-A35" },
                  { 0x41, 0xd05, "Cortex-A55" },
                  { 0x41, 0xd07, "Cortex-A57" },
                  { 0x41, 0xd08, "Cortex-A72" },
                  { 0x41, 0xd09, "Cortex-A73" },
                  { 0x41, 0xd0a, "Cortex-A75" },
                  { 0x41, 0xd0b, "Cortex-A76" },
                  { 0x41, 0xd0c, "Neoverse-N1" },
                  { 0x41, 0xd0d, "Cortex-A77" },
                  { 0x41, 0xd0e, "Cortex-A76AE" },
                  { 0x41, 0xd40, "Neoverse-V1" },
                  { 0x41, 0xd41, "Cortex-A78" },
                  { 0x41, 0xd42, "Cortex-A78AE" },
                  { 0x41, 0xd44, "Cortex-X1" },
                  { 0x41, 0xd46, "Cortex-A510" },
                  { 0x41, 0xd47, "Cortex-A710" },
                  { 0x41, 0xd48, "Cortex-X2" },
                  { 0x41, 0xd49, "Neoverse-N2" },
                  { 0x41, 0xd4b, "Cortex-A78C" },
                  { 0x41, 0xd4d, "Cortex-A715" },
                  { 0x41, 0xd4e, "Cortex-X3" },
                  { 0x41, 0xd4f, "Neoverse-V2" },
                  { 0x41, 0xd80, "Cortex-A520" },
                  { 0x41, 0xd81, "Cortex-A720" },
                  { 0x48, 0xd01, "TaiShan-v110" },
                  { 0x4e, 0x003, "NVIDIA Denver 2" },
                  { 0x4e, 0x004, "NVIDIA Carmel" },
                  { 0x61, 0x022, "Apple M1 Icestorm" },
                  { 0x61, 0x023, "Apple M1 Firestorm" },
                  { 0xc0, 0xac3, "Ampere-1" }
    };

    for (size_t i = 0; i < sizeof(cores) / sizeof(cores[0]); i++)
        if (cores[i].implementer == (implementer ? implementer : 0x41) && cores[i].part == part)
            return cores[i].name;
    return NULL;
}

/* Fills cpus from "0-3,6" and returns 5; 0 when the list is malformed. */
static int parse_cpus(const char *list, int cpus[MAX_CPUS])
{
    int count = 0;

    while (list && *list) {
        char *end;
        long first = strtol(list, &end, 10), last = first;

        if (end == list || first < 0)
            return 0;
        if (*end == '-') {
            list = end + 1;
            last = strtol(list, &end, 10);
            if (end == list)
                return 0;
        }
        for (long cpu = first; cpu <= last && count < MAX_CPUS; cpu++)
            cpus[count++] = (int)cpu;
        if (*end != ',' && *end != '\0')
            return 0;
        list = *end == ',' ? end + 1 : "";
    }
    return count;
}

static const char *board_compatible(struct facts *facts)
{
    size_t length = 0;
    char *text =
        sysfile_text(facts->arena, facts->sysroot, "/proc/device-tree/compatible", &length);

    if (!text)
        return NULL;
    while (length > 0 && text[length - 1] == '\0')
        length--;
    for (size_t i = 0; i < length; i++) /* one string after the other, each ended by a NUL */
        text[i] = text[i] == '\0' ? ' ' : text[i];
    return text;
}

static void collect_board(struct facts *facts)
{
    struct arena *arena = facts->arena;
    const char *root = facts->sysroot, *dmi = "/sys/class/dmi/id/product_name";
    const char *board = sysfile_line(arena, root, "/proc/device-tree/model");
    const char *arch = sysfile_line(arena, root, "/proc/sys/kernel/arch");
    struct utsname names;

    facts_put(facts, "board", board ? board : sysfile_line(arena, root, dmi), "",
              board ? "/proc/device-tree/model" : dmi, "not_there");
    facts_put(facts, "board_vendor", sysfile_line(arena, root, "/sys/class/dmi/id/sys_vendor"), "",
              "/sys/class/dmi/id/sys_vendor", "not_there");
    facts_put(facts, "board_compatible", board_compatible(facts), "",
              "/proc/device-tree/compatible", "not_there");
    /* another tree's architecture is not that of this program's kernel */
    if (!arch && root[0] == '\0' && uname(&names) == 0)
        facts_put(facts, "arch", names.machine, "", "uname", "");
    else
        facts_put(facts, "arch", arch, "", "/proc/sys/kernel/arch", "not_there");
}

/* "4 x Cortex-A55 + 2 x Cortex-A76", in the order of their numbers. */
static const char *core_kinds(struct facts *facts, const char *cpuinfo, const int *cpus, int count)
{
    struct arena *arena = facts->arena;
    const char *text = NULL, *previous = NULL;
    int run = 0;

    for (int i = 0; i <= count; i++) {
        const char *name = NULL;

        if (i < count) {
            struct core_kind kind = kind_of(arena, facts->sysroot, cpuinfo, cpus[i]);

            name = facts_arm_name(kind.implementer, kind.part);
            if (!name && kind.part == 0)
                return NULL;
            if (!name)
                name = arena_printf(arena, "part 0x%02llx:0x%03llx",
                                    (unsigned long long)kind.implementer,
                                    (unsigned long long)kind.part);
        }
        if (run > 0 && previous && (!name || strcmp(name, previous) != 0)) {
            text = arena_printf(arena, "%s%s%d x %s", text ? text : "", text ? " + " : "", run,
                                previous);
            run = 0;
        }
        previous = name;
        run++;
    }
    return text;
}

/* "446 446 446 446 1024 1024": how much each core does, the fastest 1024. */
static const char *capacities(struct facts *facts, const int *cpus, int count)
{
    const char *text = NULL;

    for (int i = 0; i < count; i++) {
        int64_t capacity;

        if (!sysfile_int(facts->arena, facts->sysroot,
                         arena_printf(facts->arena, CPUS "/cpu%d/cpu_capacity", cpus[i]),
                         &capacity))
            return NULL;
        text = arena_printf(facts->arena, "%s%s%lld", text ? text : "", text ? " " : "",
                            (long long)capacity);
    }
    return text;
}

static void collect_cores(struct facts *facts)
{
    struct arena *arena = facts->arena;
    const char *root = facts->sysroot, *siblings_file = CPU0 "/topology/thread_siblings_list";
    const char *cpuinfo = sysfile_text(arena, root, CPUINFO, NULL);
    const char *model = sysfile_field(arena, root, CPUINFO, "model name");
    int cpus[MAX_CPUS], siblings[MAX_CPUS];
    int online = parse_cpus(sysfile_line(arena, root, CPUS "/online"), cpus);
    int threads = parse_cpus(sysfile_line(arena, root, siblings_file), siblings);
    struct core_kind kind = kind_of(arena, root, cpuinfo, online > 0 ? cpus[0] : 0);
    const char *name = facts_arm_name(kind.implementer, kind.part);

    facts_put(facts, "cpu",
              model && !kind.part ? model
              : name              ? name
                                  : model,
              "", CPUINFO, kind.part ? "unknown_part" : "not_there");
    facts_put(facts, "cpu_part",
              kind.part ? arena_printf(arena, "0x%03llx", (unsigned long long)kind.part) : NULL, "",
              "midr_el1 or /proc/cpuinfo", "no_midr_here");
    facts_put(facts, "cpu_implementer",
              kind.implementer
                  ? arena_printf(arena, "0x%02llx", (unsigned long long)kind.implementer)
                  : NULL,
              "", "midr_el1 or /proc/cpuinfo", "no_midr_here");
    facts_put_int(facts, "cores_online", online, online > 0, "cores", CPUS "/online", "not_there");
    facts_put(facts, "core_kinds", core_kinds(facts, cpuinfo, cpus, online), "",
              "midr_el1 or /proc/cpuinfo", "no_midr_here");
    facts_put(facts, "core_capacities", capacities(facts, cpus, online), "of 1024",
              CPUS "/cpu*/cpu_capacity", "not_there");
    facts_put_int(facts, "threads_per_core", threads, threads > 0, "threads", siblings_file,
                  "not_there");
}

static void collect_caches(struct facts *facts)
{
    struct arena *arena = facts->arena;
    const char *root = facts->sysroot, *const * names;
    int64_t llc = sysfile_llc_bytes(arena, root);
    int count = sysfile_names(arena, root, CPU0 "/cache", "index", &names);

    for (int i = 0; i < count; i++) {
        const char *base = arena_printf(arena, CPU0 "/cache/%s", names[i]);
        const char *level = sysfile_line(arena, root, arena_printf(arena, "%s/level", base));
        const char *type = sysfile_line(arena, root, arena_printf(arena, "%s/type", base));
        int64_t size;

        if (!level || !type)
            continue;
        const char *kind = strcmp(type, "Data") == 0          ? "d"
                           : strcmp(type, "Instruction") == 0 ? "i"
                                                              : "";
        bool is_known = sysfile_int(arena, root, arena_printf(arena, "%s/size", base), &size);
        facts_put_int(facts, arena_printf(arena, "cache_l%s%s_bytes", level, kind), size, is_known,
                      "bytes", base, "size_not_stated");
        facts_put(facts, arena_printf(arena, "cache_l%s%s_cpus", level, kind),
                  sysfile_line(arena, root, arena_printf(arena, "%s/shared_cpu_list", base)), "",
                  base, "not_there");
    }
    facts_put_int(facts, "llc_bytes", llc, llc > 0, "bytes", CPU0 "/cache", "no_cache_sizes");
}

void facts_collect_cpu(struct facts *facts)
{
    collect_board(facts);
    collect_cores(facts);
    collect_caches(facts);
}
