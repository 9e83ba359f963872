/* facts_clock.c - governor, frequency, heat, throttling, cooling, power mode. */
#include "profiler/device/facts_clock.h"
#include "lib/base/arena.h"
#include "lib/base/units.h"
#include "profiler/device/command.h"
#include "profiler/device/facts.h"
#include "profiler/device/sysfile.h"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define CPU0_FREQ "/sys/devices/system/cpu/cpu0/cpufreq"
#define POLICIES "/sys/devices/system/cpu/cpufreq"
#define THERMAL "/sys/class/thermal"
#define MIN_TEMP_MC (-40000) /* beyond these a zone is off (Jetson: -256 C) or broken */
#define MAX_TEMP_MC 200000

int64_t facts_freq_khz(struct arena *arena, const char *sysroot)
{
    const char *const *names;
    int count = sysfile_names(arena, sysroot, POLICIES, "policy", &names);
    int64_t value, slowest = -1;

    for (int i = 0; i < count; i++)
        if (sysfile_int(arena, sysroot,
                        arena_printf(arena, POLICIES "/%s/scaling_cur_freq", names[i]), &value) &&
            value > 0 && (slowest < 0 || value < slowest))
            slowest = value;
    if (slowest < 0 && sysfile_int(arena, sysroot, CPU0_FREQ "/scaling_cur_freq", &value) &&
        value > 0)
        slowest = value;
    return slowest;
}

/* The hottest zone's folder, or NULL. */
static const char *hottest_zone(struct arena *arena, const char *sysroot, int64_t *temp_mc)
{
    const char *const *names, *hottest = NULL;
    int count = sysfile_names(arena, sysroot, THERMAL, "thermal_zone", &names);
    int64_t value;

    for (int i = 0; i < count; i++)
        if (sysfile_int(arena, sysroot, arena_printf(arena, THERMAL "/%s/temp", names[i]),
                        &value) &&
            value >= MIN_TEMP_MC && value <= MAX_TEMP_MC && (!hottest || value > *temp_mc)) {
            *temp_mc = value;
            hottest = arena_printf(arena, THERMAL "/%s", names[i]);
        }
    return hottest;
}

int64_t facts_temp_mc(struct arena *arena, const char *sysroot)
{
    int64_t temp_mc;

    return hottest_zone(arena, sysroot, &temp_mc) ? temp_mc : -1;
}

static bool parse_hex(const char *text, int64_t *value)
{
    char *end;

    if (strncmp(text, "0x", 2) == 0)
        text += 2;
    if (text[0] == '\0' || strlen(text) > 8 || strspn(text, "0123456789abcdefABCDEF") == 0)
        return false;
    *value = (int64_t)strtoull(text, &end, 16);
    return *end == '\0';
}

/* Property 0x00030046 of the firmware's mailbox; value 0 leaves the sticky bits as they are. */
static int64_t mailbox_bits(void)
{
    uint32_t message[8] = { sizeof(message), 0, 0x00030046, 4, 4, 0, 0, 0 };
    int fd = open("/dev/vcio", O_RDWR | O_CLOEXEC);

    if (fd < 0)
        return -1;
    int status = ioctl(fd, _IOWR(100, 0, char *), message);
    close(fd);
    return status >= 0 && message[1] == 0x80000000u ? (int64_t)message[5] : -1;
}

static int64_t sysfs_bits(struct arena *arena, const char *sysroot)
{
    static const char platform[] = "/sys/devices/platform";
    const char *const *names;
    int count = sysfile_names(arena, sysroot, platform, "soc", &names);
    int64_t value;

    for (int i = 0; i < count; i++) { /* "soc" on a Pi 4, "soc@107c000000" on a Pi 5 */
        const char *line = sysfile_line(
            arena, sysroot,
            arena_printf(arena, "%s/%s/%s:firmware/get_throttled", platform, names[i], names[i]));

        if (line && parse_hex(line, &value))
            return value;
    }
    return -1;
}

int64_t facts_throttle_bits(struct arena *arena, const char *sysroot)
{
    int64_t bits = sysfs_bits(arena, sysroot);

    return bits < 0 && sysroot[0] == '\0' ? mailbox_bits() : bits;
}

/* "throttled=0x50005" */
static int64_t command_bits(void)
{
    static const char *const argv[] = { COMMAND_VCGENCMD, "get_throttled", NULL };
    char text[128];
    int64_t value;

    if (access(argv[0], X_OK) != 0 || !command_output(argv, 1000, text, sizeof(text)) ||
        strncmp(text, "throttled=", 10) != 0)
        return -1;
    text[strcspn(text, "\n")] = '\0';
    return parse_hex(text + 10, &value) ? value : -1;
}

const char *facts_throttle_words(struct arena *arena, int64_t bits, int first)
{
    static const char *const words[] = { "under-voltage", "clock capped", "throttled",
                                         "soft temperature limit" };
    const char *text = "";

    for (int i = 0; i < 4; i++)
        if (bits >> (first + i) & 1)
            text = arena_printf(arena, "%s%s%s", text, text[0] ? ", " : "", words[i]);
    return text[0] ? text : "nothing";
}

int64_t facts_pressure_us(struct arena *arena, const char *sysroot)
{
    const char *line = sysfile_line(arena, sysroot, "/proc/pressure/cpu");
    const char *total = line ? strstr(line, "total=") : NULL;
    int64_t value;

    return total && units_parse_int(total + 6, &value) && value >= 0 ? value : -1;
}

/* The governors of all groups of cores, once each: "performance" or "performance, powersave". */
static const char *governors(struct facts *facts)
{
    struct arena *arena = facts->arena;
    const char *const *names, *text = NULL;
    int count = sysfile_names(arena, facts->sysroot, POLICIES, "policy", &names);

    for (int i = 0; i < count; i++) {
        const char *one = sysfile_line(
            arena, facts->sysroot, arena_printf(arena, POLICIES "/%s/scaling_governor", names[i]));

        if (one && (!text || !strstr(text, one)))
            text = text ? arena_printf(arena, "%s, %s", text, one) : one;
    }
    return text ? text : sysfile_line(arena, facts->sysroot, CPU0_FREQ "/scaling_governor");
}

static void collect_frequency(struct facts *facts)
{
    static const struct {
        const char *key, *file;
    } limits[] = { { "freq_min_khz", "cpuinfo_min_freq" },
                   { "freq_max_khz", "cpuinfo_max_freq" },
                   { "freq_cap_khz", "scaling_max_freq" } };
    int64_t value = facts_freq_khz(facts->arena, facts->sysroot);

    facts_put(facts, "governor", governors(facts), "", CPU0_FREQ "/scaling_governor", "no_cpufreq");
    facts_put_int(facts, "freq_khz", value, value >= 0, "kHz", CPU0_FREQ "/scaling_cur_freq",
                  "no_cpufreq");
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        const char *path = arena_printf(facts->arena, CPU0_FREQ "/%s", limits[i].file);
        bool is_known = sysfile_int(facts->arena, facts->sysroot, path, &value) && value > 0;

        facts_put_int(facts, limits[i].key, value, is_known, "kHz", path, "no_cpufreq");
    }
}

static void collect_heat(struct facts *facts)
{
    struct arena *arena = facts->arena;
    int64_t temp_mc = 0, limit_mc = 0, value;
    const char *zone = hottest_zone(arena, facts->sysroot, &temp_mc);
    const char *const *names;
    bool is_known = false;
    int count = zone ? sysfile_names(arena, facts->sysroot, zone, "trip_point_", &names) : 0;

    for (int i = 0; i < count;
         i++) { /* the first trip point that slows: a fan or the end is none */
        size_t length = strlen(names[i]);
        const char *base = arena_printf(arena, "%s/%s", zone, names[i]);

        if (length < 5 || strcmp(names[i] + length - 5, "_temp") != 0)
            continue;
        const char *type = sysfile_line(
            arena, facts->sysroot, arena_printf(arena, "%.*s_type", (int)strlen(base) - 5, base));
        if (type && strcmp(type, "active") != 0 && strcmp(type, "critical") != 0 &&
            sysfile_int(arena, facts->sysroot, base, &value) && value > 0 && value <= MAX_TEMP_MC &&
            (!is_known || value < limit_mc)) {
            limit_mc = value;
            is_known = true;
        }
    }
    facts_put_int(facts, "temp_mc", temp_mc, zone, "millidegree C", zone ? zone : THERMAL,
                  "no_thermal_zone");
    facts_put(facts, "temp_zone",
              zone ? sysfile_line(arena, facts->sysroot, arena_printf(arena, "%s/type", zone))
                   : NULL,
              "", zone ? zone : THERMAL, zone ? "no_type" : "no_thermal_zone");
    facts_put_int(facts, "temp_limit_mc", limit_mc, is_known, "millidegree C",
                  zone ? arena_printf(arena, "%s/trip_point_*", zone) : THERMAL, "no_trip_point");
}

static void collect_throttle(struct facts *facts)
{
    struct arena *arena = facts->arena;
    const char *source = "firmware get_throttled (sysfs, /dev/vcio or vcgencmd)";
    int64_t bits = facts_throttle_bits(arena, facts->sysroot);

    if (bits < 0 && facts->sysroot[0] == '\0')
        bits = command_bits();
    facts_put_int(facts, "throttle_bits", bits, bits >= 0, "", source, "no_such_firmware");
    facts_put(facts, "throttled_now", bits >= 0 ? facts_throttle_words(arena, bits, 0) : NULL, "",
              source, "no_such_firmware");
    facts_put(facts, "throttled_since_boot",
              bits >= 0 ? facts_throttle_words(arena, bits, 16) : NULL, "", source,
              "no_such_firmware");
}

/* "pwm-fan 2/4": devices that are doing something. */
static void collect_cooling(struct facts *facts)
{
    struct arena *arena = facts->arena;
    const char *const *names, *text = NULL;
    int count = sysfile_names(arena, facts->sysroot, THERMAL, "cooling_device", &names);

    for (int i = 0; i < count; i++) {
        const char *base = arena_printf(arena, THERMAL "/%s", names[i]);
        const char *type =
            sysfile_line(arena, facts->sysroot, arena_printf(arena, "%s/type", base));
        int64_t now, max;

        if (!type ||
            !sysfile_int(arena, facts->sysroot, arena_printf(arena, "%s/cur_state", base), &now) ||
            !sysfile_int(arena, facts->sysroot, arena_printf(arena, "%s/max_state", base), &max))
            continue;
        if (!text)
            text = "";
        if (now > 0)
            text = arena_printf(arena, "%s%s%s %lld/%lld", text, text[0] ? ", " : "", type,
                                (long long)now, (long long)max);
    }
    facts_put(facts, "cooling_active", text && !text[0] ? "none" : text, "",
              THERMAL "/cooling_device*", "no_cooling_device");
}

/* The name that nvpmodel.conf gives to a mode: "< POWER_MODEL ID=0 NAME=MAXN >". */
static const char *power_mode_name(struct facts *facts, int64_t mode)
{
    const char *at = sysfile_text(facts->arena, facts->sysroot, "/etc/nvpmodel.conf", NULL);

    for (at = at ? strstr(at, "POWER_MODEL ID=") : NULL; at; at = strstr(at, "POWER_MODEL ID=")) {
        at += 15;
        size_t length = strcspn(at, " \n"), line = strcspn(at, "\n");
        const char *name = strstr(at, "NAME=");
        int64_t id;

        if (name && name < at + line &&
            units_parse_int(arena_strndup(facts->arena, at, length), &id) && id == mode)
            return arena_strndup(facts->arena, name + 5, strcspn(name + 5, " >\n"));
    }
    return NULL;
}

static void collect_jetson(struct facts *facts)
{
    struct arena *arena = facts->arena;
    const char *status = "/var/lib/nvpmodel/status", *value = NULL;
    const char *line = sysfile_line(arena, facts->sysroot, status);
    const char *const *names, *const *files;
    int64_t mode, events = 0, one;
    bool is_known = false;

    if (line && strncmp(line, "pmode:", 6) == 0 &&
        units_parse_int(arena_strndup(arena, line + 6, strcspn(line + 6, " ")), &mode)) {
        const char *name = power_mode_name(facts, mode);

        value = arena_printf(arena, name ? "%lld (%s)" : "%lld", (long long)mode, name);
    }
    facts_put(facts, "power_mode", value, "", status, line ? "unknown_form" : "no_nvpmodel");
    int count = sysfile_names(arena, facts->sysroot, "/sys/class/hwmon", "hwmon", &names);
    for (int i = 0; i < count; i++) {
        const char *base = arena_printf(arena, "/sys/class/hwmon/%s", names[i]);
        int file_count = sysfile_names(arena, facts->sysroot, base, "oc", &files);

        for (int f = 0; f < file_count; f++)
            if (strstr(files[f], "_event_cnt") &&
                sysfile_int(arena, facts->sysroot, arena_printf(arena, "%s/%s", base, files[f]),
                            &one) &&
                one >= 0 && one < INT32_MAX) {
                events += one;
                is_known = true;
            }
    }
    facts_put_int(facts, "overcurrent_events", events, is_known, "events since boot",
                  "/sys/class/hwmon/hwmon*/oc*_event_cnt", "no_soctherm");
}

void facts_collect_clock(struct facts *facts)
{
    collect_frequency(facts);
    collect_heat(facts);
    collect_throttle(facts);
    collect_cooling(facts);
    collect_jetson(facts);
}
