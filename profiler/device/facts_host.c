/* facts_host.c - memory, operating system, load, supply, hypervisor, emulation. */
#include "profiler/device/facts_host.h"
#include "lib/base/arena.h"
#include "lib/base/units.h"
#include "profiler/device/facts.h"
#include "profiler/device/sysfile.h"
#include "profiler/measure/machine.h"
#include <string.h>
#include <unistd.h>

#define CLOCKSOURCE "/sys/devices/system/clocksource/clocksource0/current_clocksource"
#define THP "/sys/kernel/mm/transparent_hugepage/enabled"

static void put_bytes(struct facts *facts, const char *key, const char *field)
{
    int64_t size = 0;
    bool is_known = sysfile_field_kb(facts->arena, facts->sysroot, "/proc/meminfo", field, &size);

    facts_put_int(facts, key, size, is_known, "bytes",
                  arena_printf(facts->arena, "/proc/meminfo %s", field), "not_there");
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

    put_bytes(facts, "memory_total_bytes", "MemTotal");
    put_bytes(facts, "memory_available_bytes", "MemAvailable");
    put_bytes(facts, "swap_total_bytes", "SwapTotal");
    put_bytes(facts, "swap_free_bytes", "SwapFree");
    facts_put(facts, "thp", bracketed(arena, sysfile_line(arena, facts->sysroot, THP)), "", THP,
              "not_there");
    facts_put_file(facts, "kernel", "/proc/sys/kernel/osrelease", "");
    facts_put(facts, "os", sysfile_field(arena, facts->sysroot, "/etc/os-release", "PRETTY_NAME"),
              "", "/etc/os-release PRETTY_NAME", "not_there");
    facts_put_file(facts, "clocksource", CLOCKSOURCE, "");
    facts_put_file(facts, "perf_event_paranoid", "/proc/sys/kernel/perf_event_paranoid", "");
}

static void put_pressure(struct facts *facts, const char *key, const char *path)
{
    const char *line = sysfile_line(facts->arena, facts->sysroot, path);
    const char *avg = line ? strstr(line, "avg10=") : NULL;

    facts_put(facts, key, avg ? arena_strndup(facts->arena, avg + 6, strcspn(avg + 6, " ")) : NULL,
              "percent", path, "not_there");
}

static void collect_load(struct facts *facts)
{
    struct arena *arena = facts->arena;
    const char *load = sysfile_line(arena, facts->sysroot, "/proc/loadavg");
    struct machine_state state;

    facts_put(facts, "load_1min", load ? arena_strndup(arena, load, strcspn(load, " ")) : NULL,
              "tasks", "/proc/loadavg", "not_there");
    put_pressure(facts, "cpu_pressure_10s", "/proc/pressure/cpu");
    put_pressure(facts, "memory_pressure_10s", "/proc/pressure/memory");
    machine_read(&state, arena, facts->sysroot);
    double busy = (double)state.busy_ns + (double)state.steal_ns; /* steal: of what was asked for */
    facts_put(facts, "steal_percent",
              state.busy_ns >= 0 && busy > 0
                  ? arena_printf(arena, "%.2f", 100 * (double)state.steal_ns / busy)
                  : NULL,
              "percent of busy time since boot", "/proc/stat", "not_there");
}

static void collect_supply(struct facts *facts)
{
    static const char folder[] = "/sys/class/power_supply";
    struct arena *arena = facts->arena;
    const char *const *names, *text = NULL;
    int count = sysfile_names(arena, facts->sysroot, folder, "", &names);

    for (int i = 0; i < count; i++) {
        const char *base = arena_printf(arena, "%s/%s", folder, names[i]);
        const char *type =
            sysfile_line(arena, facts->sysroot, arena_printf(arena, "%s/type", base));
        const char *status =
            sysfile_line(arena, facts->sysroot, arena_printf(arena, "%s/status", base));

        if (type && status && strcmp(type, "Battery") == 0)
            text = arena_printf(arena, "battery: %s", status);
    }
    facts_put(facts, "power_supply", text, "", folder, "no_battery");
}

#if defined(__aarch64__) || defined(__arm__)
/* qemu-user shows the host's files, of which newer versions forge some: not this link. */
static bool runs_under_qemu_user(struct facts *facts)
{
    char path[256];
    ssize_t length =
        facts->sysroot[0] == '\0' ? readlink("/proc/thread-self/exe", path, sizeof(path) - 1) : -1;

    if (length > 0) {
        path[length] = '\0';
        if (strstr(path, "/qemu-"))
            return true;
    }
    return sysfile_field(facts->arena, facts->sysroot, "/proc/cpuinfo", "vendor_id");
}
#else
static bool runs_under_qemu_user(struct facts *facts)
{
    (void)facts;
    return false;
}
#endif

static const char *emulator(struct facts *facts)
{
    struct arena *arena = facts->arena;
    const char *tree = sysfile_line(arena, facts->sysroot, "/proc/device-tree/compatible");
    const char *cpu = sysfile_field(arena, facts->sysroot, "/proc/cpuinfo", "model name");

    if (runs_under_qemu_user(facts))
        return "qemu-user";
    if (tree && strstr(tree, "dummy-virt"))
        return "qemu-system";
    if (cpu && (strstr(cpu, "QEMU TCG") || strstr(cpu, "QEMU Virtual")))
        return "qemu-system";
    return "no";
}

/* Names of machines that exist as guests alone; NULL when vendor and product say nothing. */
static const char *guest_name(const char *vendor, const char *product)
{
    static const char *const vendors[][2] = { { "QEMU", "kvm" },
                                              { "VMware", "vmware" },
                                              { "innotek", "virtualbox" },
                                              { "Xen", "xen" },
                                              { "Amazon EC2", "amazon-ec2" },
                                              { "Google", "google-cloud" },
                                              { "Parallels", "parallels" } };

    if (strstr(product, "KVM"))
        return "kvm";
    if (strstr(vendor, "Microsoft") && strstr(product, "Virtual"))
        return "hyper-v";
    for (size_t i = 0; i < sizeof(vendors) / sizeof(vendors[0]); i++)
        if (strncmp(vendor, vendors[i][0], strlen(vendors[i][0])) == 0)
            return vendors[i][1];
    return NULL;
}

static void collect_reality(struct facts *facts)
{
    struct arena *arena = facts->arena;
    const char *root = facts->sysroot;
    const char *flags = sysfile_field(arena, root, "/proc/cpuinfo", "flags");
    const char *type = sysfile_line(arena, root, "/sys/hypervisor/type");
    const char *product = sysfile_line(arena, root, "/sys/class/dmi/id/product_name");
    const char *guest = guest_name(facts_get(facts, "board_vendor"), product ? product : "");
    bool is_guest = flags && strstr(flags, " hypervisor");
    bool is_bare = (flags && !is_guest) || facts_get(facts, "board_compatible")[0];

    /* bare metal of a cloud has the vendor's name as well: the processor's flag decides on x86 */
    facts_put(facts, "hypervisor",
              type                            ? type
              : guest && (is_guest || !flags) ? guest
              : is_guest                      ? "yes"
              : is_bare                       ? "no"
                                              : NULL,
              "", "/sys/hypervisor/type, cpuinfo flags, DMI", "cpuinfo_has_no_flags");
    facts_put(facts, "emulated", emulator(facts), "", "/proc/cpuinfo, own program, device tree",
              "");
}

void facts_collect_host(struct facts *facts)
{
    collect_reality(facts);
    collect_system(facts);
    collect_load(facts);
    collect_supply(facts);
}
