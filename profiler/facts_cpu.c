/* facts_cpu.c - board, processor, caches, frequency, heat, and whether any of it is real. */
#include "profiler/facts_cpu.h"
#include "lib/base/arena.h"
#include "lib/base/units.h"
#include "profiler/facts.h"
#include "profiler/sysfile.h"
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#define CPU0 "/sys/devices/system/cpu/cpu0"
#define MIDR CPU0 "/regs/identification/midr_el1"

int64_t facts_arm_part(struct arena *arena, const char *sysroot)
{
    int64_t midr;
    const char *part = sysfile_field(arena, sysroot, "/proc/cpuinfo", "CPU part");

    if (sysfile_int(arena, sysroot, MIDR, &midr))
        return midr >> 4 & 0xfff;
    return part ? strtol(part, NULL, 16) : 0;
}

static const char *arm_name(int64_t part)
{
    static const struct {
        int part;
        const char *name;
    } cores[] = { { 0xd03, "Cortex-A53" }, { 0xd05, "Cortex-A55" },   { 0xd07, "Cortex-A57" },
                  { 0xd08, "Cortex-A72" }, { 0xd0b, "Cortex-A76" },   { 0xd0c, "Neoverse-N1" },
                  { 0xd41, "Cortex-A78" }, { 0xd42, "Cortex-A78AE" }, { 0xd40, "Neoverse-V1" },
                  { 0xd49, "Neoverse-N2" } };

    for (size_t i = 0; i < sizeof(cores) / sizeof(cores[0]); i++)
        if (cores[i].part == part)
            return cores[i].name;
    return NULL;
}

/* "0-3,6" -> 5 */
static int count_cpus(const char *list)
{
    int count = 0;

    while (list && *list) {
        char *end;
        long first = strtol(list, &end, 10), last = first;

        if (end == list)
            return 0;
        if (*end == '-')
            last = strtol(end + 1, &end, 10);
        if (last >= first)
            count += (int)(last - first) + 1;
        list = *end == ',' ? end + 1 : "";
    }
    return count;
}

static void put_int(struct facts *facts, const char *key, int64_t value, bool is_known,
                    const char *unit, const char *source, const char *reason)
{
    facts_put(facts, key, is_known ? arena_printf(facts->arena, "%lld", (long long)value) : NULL,
              unit, source, reason);
}

static void collect_identity(struct facts *facts)
{
    struct arena *arena = facts->arena;
    const char *root = facts->sysroot, *cpuinfo = "/proc/cpuinfo";
    const char *board = sysfile_line(arena, root, "/proc/device-tree/model");
    const char *product = sysfile_line(arena, root, "/sys/class/dmi/id/product_name");
    const char *model = sysfile_field(arena, root, cpuinfo, "model name");
    int64_t part = facts_arm_part(arena, root);
    int online = count_cpus(sysfile_line(arena, root, "/sys/devices/system/cpu/online"));
    struct utsname names;

    facts_put(facts, "board", board ? board : product, "",
              board ? "/proc/device-tree/model" : "/sys/class/dmi/id/product_name", "not_there");
    facts_put(facts, "arch", uname(&names) == 0 ? names.machine : NULL, "", "uname",
              "uname_failed");
    facts_put(facts, "cpu", model ? model : arm_name(part), "", cpuinfo,
              part ? "unknown_part" : "not_there");
    facts_put(facts, "cpu_part",
              part ? arena_printf(arena, "0x%03llx", (unsigned long long)part) : NULL, "",
              "midr_el1 or /proc/cpuinfo", "no_midr_here");
    put_int(facts, "cores_online", online, online > 0, "cores", "/sys/devices/system/cpu/online",
            "not_there");
}

static void collect_caches(struct facts *facts)
{
    struct arena *arena = facts->arena;
    int64_t llc = sysfile_llc_bytes(arena, facts->sysroot);

    for (int index = 0; index < 8; index++) {
        const char *base = arena_printf(arena, CPU0 "/cache/index%d", index);
        const char *level =
            sysfile_line(arena, facts->sysroot, arena_printf(arena, "%s/level", base));
        const char *type =
            sysfile_line(arena, facts->sysroot, arena_printf(arena, "%s/type", base));
        int64_t size;

        if (!level || !type || strcmp(type, "Instruction") == 0)
            continue;
        bool is_known =
            sysfile_int(arena, facts->sysroot, arena_printf(arena, "%s/size", base), &size);
        put_int(
            facts,
            arena_printf(arena, "cache_l%s%s_bytes", level, strcmp(type, "Data") == 0 ? "d" : ""),
            size, is_known, "bytes", base, "size_not_stated");
    }
    put_int(facts, "llc_bytes", llc, llc > 0, "bytes", CPU0 "/cache", "no_cache_sizes");
}

int64_t facts_freq_khz(struct arena *arena, const char *sysroot)
{
    int64_t value;

    return sysfile_int(arena, sysroot, CPU0 "/cpufreq/scaling_cur_freq", &value) ? value : -1;
}

int64_t facts_temp_mc(struct arena *arena, const char *sysroot)
{
    int64_t hottest = -1;

    for (int zone = 0; zone < 16; zone++) {
        int64_t value;

        if (sysfile_int(arena, sysroot,
                        arena_printf(arena, "/sys/class/thermal/thermal_zone%d/temp", zone),
                        &value) &&
            value > hottest)
            hottest = value;
    }
    return hottest;
}

int64_t facts_throttle_bits(struct arena *arena, const char *sysroot)
{
    const char *line =
        sysfile_line(arena, sysroot, "/sys/devices/platform/soc/soc:firmware/get_throttled");

    return line ? (int64_t)strtoll(line, NULL, 16) : -1;
}

int64_t facts_pressure_us(struct arena *arena, const char *sysroot)
{
    const char *line = sysfile_line(arena, sysroot, "/proc/pressure/cpu");
    const char *total = line ? strstr(line, "total=") : NULL;
    int64_t value;

    return total && units_parse_int(total + 6, &value) ? value : -1;
}

static void collect_clock(struct facts *facts)
{
    struct arena *arena = facts->arena;
    const char *root = facts->sysroot, *freq = CPU0 "/cpufreq";
    int64_t value = facts_freq_khz(arena, root);

    facts_put(facts, "governor", sysfile_line(arena, root, CPU0 "/cpufreq/scaling_governor"), "",
              freq, "no_cpufreq");
    put_int(facts, "freq_khz", value, value >= 0, "kHz", freq, "no_cpufreq");
    bool is_known = sysfile_int(arena, root, CPU0 "/cpufreq/cpuinfo_max_freq", &value);
    put_int(facts, "freq_max_khz", value, is_known, "kHz", freq, "no_cpufreq");
    value = facts_temp_mc(arena, root);
    put_int(facts, "temp_mc", value, value >= 0, "millidegree C", "/sys/class/thermal",
            "no_thermal_zone");
    value = facts_throttle_bits(arena, root);
    facts_put(facts, "throttle_bits",
              value >= 0 ? arena_printf(arena, "%lld", (long long)value) : NULL, "",
              "firmware get_throttled", "no_such_firmware");
}

/* A timing from an emulator must never pass for a device's. */
static void collect_emulation(struct facts *facts)
{
    struct arena *arena = facts->arena;
    const char *root = facts->sysroot, *cpuinfo = "/proc/cpuinfo";
    const char *flags = sysfile_field(arena, root, cpuinfo, "flags");
    const char *type = sysfile_line(arena, root, "/sys/hypervisor/type");
    const char *tree = sysfile_line(arena, root, "/proc/device-tree/compatible");
    const char *emulated = "no";
    bool is_guest = flags && strstr(flags, "hypervisor");

#if defined(__aarch64__) || defined(__arm__)
    if (sysfile_field(arena, root, cpuinfo, "vendor_id"))
        emulated = "qemu-user"; /* it shows the host's /proc/cpuinfo */
#endif
    if (tree && strstr(tree, "dummy-virt"))
        emulated = "qemu-system";
    facts_put(facts, "hypervisor",
              type       ? type
              : is_guest ? "yes"
              : flags    ? "no"
                         : NULL,
              "", "/sys/hypervisor/type or cpuinfo flags", "cpuinfo_has_no_flags");
    facts_put(facts, "emulated", emulated, "", "/proc/cpuinfo and device tree", "");
}

void facts_collect_cpu(struct facts *facts)
{
    collect_identity(facts);
    collect_caches(facts);
    collect_clock(facts);
    collect_emulation(facts);
}
