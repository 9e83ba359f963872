/* sensors.c - finds and reads the sensors of sensors.h. */
#include "profiler/device/sensors.h"
#include "lib/base/arena.h"
#include "lib/base/units.h"
#include "profiler/device/command.h"
#include "profiler/device/sysfile.h"
#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#define PMIC_TIMEOUT_MS 1000
#define MAX_POWER_UW 1e10 /* 10 kW: beyond it the files hold nonsense */

struct search {
    struct arena *arena;
    const char *root;
    struct sensor *sensor;
    bool is_forbidden; /* one was there, and could not be read */
};

static void drop_rails(struct sensor *sensor)
{
    sensor->rail_count = 0;
    sensor->name = "";
}

static void add_rail(struct search *search, const char *name, const char *first, const char *second,
                     int64_t range_uj)
{
    struct sensor *sensor = search->sensor;
    struct arena *arena = search->arena;
    int at = sensor->rail_count;

    if (at == SENSOR_MAX_RAILS)
        return;
    sensor->rails[at].first = arena_printf(arena, "%s%s", search->root, first);
    sensor->rails[at].second = second ? arena_printf(arena, "%s%s", search->root, second) : NULL;
    sensor->rails[at].range_uj = range_uj;
    sensor->name = at == 0 ? name : arena_printf(arena, "%s + %s", sensor->name, name);
    sensor->rail_count++;
}

/* The rail that feeds the whole module makes the others superfluous. */
static bool is_whole(const char *label)
{
    return strcmp(label, "VDD_IN") == 0 || strcmp(label, "POM_5V_IN") == 0;
}

/* Takes a rail unless the whole was found before; true when it is the whole. */
static bool take_rail(struct search *search, const char *label, const char *first,
                      const char *second)
{
    if (strcmp(label, "NC") == 0) /* not connected */
        return false;
    if (sysfile_is_forbidden(search->arena, search->root, first)) {
        search->is_forbidden = true;
        return false;
    }
    if (is_whole(label))
        drop_rails(search->sensor);
    add_rail(search, label, first, second, 0);
    return is_whole(label);
}

static bool find_ina3221(struct search *search)
{
    struct arena *arena = search->arena;
    const char *const *names;
    int count = sysfile_names(arena, search->root, "/sys/class/hwmon", "hwmon", &names);

    for (int i = 0; i < count; i++) {
        const char *base = arena_printf(arena, "/sys/class/hwmon/%s", names[i]);
        const char *chip = sysfile_line(arena, search->root, arena_printf(arena, "%s/name", base));

        if (!chip || strcmp(chip, "ina3221") != 0)
            continue;
        for (int n = 1; n <= 3; n++) {
            const char *label =
                sysfile_line(arena, search->root, arena_printf(arena, "%s/in%d_label", base, n));
            const char *volt = arena_printf(arena, "%s/in%d_input", base, n);
            const char *amps = arena_printf(arena, "%s/curr%d_input", base, n);
            const char *full = arena_printf(arena, "%s%s", search->root, amps);

            if (!label || access(full, F_OK) != 0)
                continue;
            search->sensor->source = base;
            if (take_rail(search, label, volt, amps))
                return true;
        }
    }
    return search->sensor->rail_count > 0;
}

static bool find_iio(struct search *search)
{
    struct arena *arena = search->arena;
    const char *const *names;
    int count = sysfile_names(arena, search->root, "/sys/bus/iio/devices", "iio:device", &names);

    for (int i = 0; i < count; i++) {
        const char *base = arena_printf(arena, "/sys/bus/iio/devices/%s", names[i]);

        for (int n = 0; n < 3; n++) {
            const char *label =
                sysfile_line(arena, search->root, arena_printf(arena, "%s/rail_name_%d", base, n));
            const char *power = arena_printf(arena, "%s/in_power%d_input", base, n);
            const char *full = arena_printf(arena, "%s%s", search->root, power);

            if (!label || access(full, F_OK) != 0)
                continue;
            search->sensor->source = base;
            if (take_rail(search, label, power, NULL))
                return true;
        }
    }
    return search->sensor->rail_count > 0;
}

/* Packages alone: their parts (core, uncore) are in them. */
static bool find_rapl(struct search *search)
{
    struct arena *arena = search->arena;
    const char *const *names;
    int count = sysfile_names(arena, search->root, "/sys/class/powercap", "intel-rapl:", &names);

    for (int i = 0; i < count; i++) {
        const char *base = arena_printf(arena, "/sys/class/powercap/%s", names[i]);
        const char *name = sysfile_line(arena, search->root, arena_printf(arena, "%s/name", base));
        const char *energy = arena_printf(arena, "%s/energy_uj", base);
        int64_t range;

        if (strchr(names[i] + strlen("intel-rapl:"), ':') || !name ||
            strncmp(name, "package", 7) != 0)
            continue;
        if (sysfile_is_forbidden(arena, search->root, energy)) {
            search->is_forbidden = true;
            continue;
        }
        if (!sysfile_int(arena, search->root, arena_printf(arena, "%s/max_energy_range_uj", base),
                         &range) ||
            range < 0)
            range = 0;
        if (!sysfile_line(arena, search->root, energy))
            continue;
        search->sensor->source = "/sys/class/powercap";
        add_rail(search, name, energy, NULL, range);
    }
    return search->sensor->rail_count > 0;
}

static bool find_pmic(struct search *search, const char *vcgencmd)
{
    const char *argv[] = { vcgencmd, "pmic_read_adc", NULL };
    char text[8192];
    int64_t power_uw;

    if (!vcgencmd || access(vcgencmd, X_OK) != 0)
        return false;
    bool is_done = command_output(argv, PMIC_TIMEOUT_MS, text, sizeof(text));
    if (is_done && sensor_parse_pmic(text, &power_uw)) {
        search->sensor->program = arena_strdup(search->arena, vcgencmd);
        search->sensor->source = arena_printf(search->arena, "%s pmic_read_adc", vcgencmd);
        search->sensor->name = "sum of the PMIC's rails, without USB";
        return true;
    }
    /* what it prints for a user outside of the group "video" */
    if (strstr(text, "/dev/vcio") || strstr(text, "VCHI"))
        search->is_forbidden = true;
    return false;
}

const struct sensor *sensor_find(struct arena *arena, const char *sysroot, const char *vcgencmd)
{
    struct sensor *sensor = arena_alloc(arena, sizeof(*sensor));
    struct search search = { arena, sysroot, sensor, false };

    sensor->reason = sensor->name = sensor->source = "";
    sensor->kind = find_ina3221(&search)          ? SENSOR_INA3221
                   : find_iio(&search)            ? SENSOR_IIO
                   : find_pmic(&search, vcgencmd) ? SENSOR_PMIC
                   : find_rapl(&search)           ? SENSOR_RAPL
                                                  : SENSOR_NONE;
    if (sensor->kind == SENSOR_NONE)
        sensor->reason = search.is_forbidden ? "permission" : "no_sensor";
    return sensor;
}

bool sensor_is_counter(const struct sensor *sensor)
{
    return sensor->kind == SENSOR_RAPL;
}

int sensor_period_ms(const struct sensor *sensor)
{
    return sensor->kind == SENSOR_PMIC ? 200 : 50; /* a process each time costs what it measures */
}

/* Without an arena: the meter reads twenty times a second. */
static bool read_int(const char *path, int64_t *value)
{
    char text[32];
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return false;
    ssize_t got = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (got <= 0)
        return false;
    text[got] = '\0';
    text[strcspn(text, " \n")] = '\0';
    return units_parse_int(text, value);
}

static bool set_power(double power_uw, int64_t *result)
{
    if (!(power_uw >= 0 && power_uw <= MAX_POWER_UW))
        return false;
    *result = llround(power_uw);
    return true;
}

bool sensor_power_uw(const struct sensor *sensor, int64_t *power_uw)
{
    double sum = 0;

    if (sensor->kind == SENSOR_PMIC) {
        const char *argv[] = { sensor->program, "pmic_read_adc", NULL };
        char text[8192];

        return command_output(argv, PMIC_TIMEOUT_MS, text, sizeof(text)) &&
               sensor_parse_pmic(text, power_uw);
    }
    if (sensor->kind != SENSOR_INA3221 && sensor->kind != SENSOR_IIO)
        return false;
    for (int i = 0; i < sensor->rail_count; i++) {
        int64_t first, second = 1000; /* mV x mA = uW; an iio power is in mW */

        if (!read_int(sensor->rails[i].first, &first) ||
            (sensor->rails[i].second && !read_int(sensor->rails[i].second, &second)))
            return false;
        sum += (double)first * (double)second;
    }
    return set_power(sum, power_uw);
}

bool sensor_counter_uj(const struct sensor *sensor, int rail, int64_t *energy_uj)
{
    return sensor_is_counter(sensor) && rail >= 0 && rail < sensor->rail_count &&
           read_int(sensor->rails[rail].first, energy_uj) && *energy_uj >= 0;
}

/* The number of "NAME<suffix> ...=<number><unit>" on one line; false when the line is another. */
static bool parse_reading(const char *line, size_t length, char unit, size_t *name_length,
                          double *value)
{
    const char *equals = memchr(line, '=', length);
    char number[32];

    *name_length = strcspn(line, " =\n");
    if (!equals || length < 3 || line[length - 1] != unit || *name_length < 3 ||
        line[*name_length - 2] != '_' || line[*name_length - 1] != unit)
        return false;
    size_t digits = (size_t)(line + length - 1 - (equals + 1));
    if (digits == 0 || digits >= sizeof(number))
        return false;
    memcpy(number, equals + 1, digits);
    number[digits] = '\0';
    return units_parse_double(number, value);
}

static const char *next_line(const char *line, size_t *length)
{
    line += strspn(line, " \t\r\n");
    *length = strcspn(line, "\r\n");
    return *line ? line : NULL;
}

bool sensor_parse_pmic(const char *text, int64_t *power_uw)
{
    size_t length, other_length, name, other_name;
    double amps, volts, sum_w = 0;
    int pairs = 0;

    for (const char *line = text; (line = next_line(line, &length)); line += length) {
        if (!parse_reading(line, length, 'A', &name, &amps))
            continue;
        for (const char *other = text; (other = next_line(other, &other_length));
             other += other_length)
            if (parse_reading(other, other_length, 'V', &other_name, &volts) &&
                other_name == name && strncmp(line, other, name - 1) == 0) {
                sum_w += amps * volts;
                pairs++;
                break;
            }
    }
    return pairs > 0 && set_power(sum_w * 1e6, power_uw);
}
