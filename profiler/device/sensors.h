/* sensors.h - what this board draws: the one sensor that covers most of it, and readings from it.
 *
 * Looked for in this order: Jetson's INA3221 in hwmon (VDD_IN or POM_5V_IN, the whole module; else
 * the sum of its rails), the same chip under iio (older JetPack), the Raspberry Pi 5's PMIC through
 * vcgencmd (sum of its rails, without what USB takes), intel-rapl in powercap (sum of the packages;
 * usually root alone may read it). A Raspberry Pi 4 has none. The paths are those of the makers'
 * documents and of the Linux documentation (hwmon/ina3221, power/powercap). */
#ifndef ORRERY_PROFILER_SENSORS_H
#define ORRERY_PROFILER_SENSORS_H

#include <stdbool.h>
#include <stdint.h>

struct arena;

enum sensor_kind { SENSOR_NONE, SENSOR_INA3221, SENSOR_IIO, SENSOR_PMIC, SENSOR_RAPL };

#define SENSOR_MAX_RAILS 8

struct sensor {
    enum sensor_kind kind;
    const char *reason; /* of SENSOR_NONE: "no_sensor" or "permission"; else "" */
    const char *name;   /* for people: "VDD_IN", "VDD_CPU_CV + VDD_SOC", "package-0"; else "" */
    const char *source; /* a folder, or the program */
    int rail_count;     /* INA3221, IIO, RAPL */
    struct {
        const char *first, *second; /* mV and mA; mW; uJ: full paths; second NULL but for INA3221 */
        int64_t range_uj;           /* RAPL: where the counter starts again; 0: not stated */
    } rails[SENSOR_MAX_RAILS];
    const char *program; /* PMIC */
};

/* Never fails: see kind and reason. vcgencmd: path of the program, NULL for none; used below an
 * empty sysroot or where a test brings its own. Lives in the arena. */
const struct sensor *sensor_find(struct arena *arena, const char *sysroot, const char *vcgencmd);
bool sensor_is_counter(const struct sensor *sensor); /* counts energy, else shows power */
int sensor_period_ms(const struct sensor *sensor);   /* how often reading it makes sense */
/* Power now, of all rails; false when one of them cannot be read. */
bool sensor_power_uw(const struct sensor *sensor, int64_t *power_uw);
/* A rail's counter. */
bool sensor_counter_uj(const struct sensor *sensor, int rail, int64_t *energy_uj);

/* Sum of current times voltage over the rails that `vcgencmd pmic_read_adc` prints as
 * "VDD_CORE_A current(7)=1.13A" and "VDD_CORE_V volt(15)=0.72V". False when no rail has both. */
bool sensor_parse_pmic(const char *text, int64_t *power_uw);

#endif
