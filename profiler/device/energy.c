/* energy.c - the metering thread, and kernels in a loop beside it. */
#include "profiler/device/energy.h"
#include "lib/base/arena.h"
#include "lib/base/clock.h"
#include "profiler/device/sensors.h"
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <time.h>

#define MIN_READINGS 4
#define COUNTER_STEP_UJ 61.0 /* the coarsest common RAPL unit, 2^-14 J */

struct meter {
    const struct sensor *sensor;
    pthread_t thread;
    pthread_mutex_t lock; /* guards is_stopping alone; the rest belongs to the thread */
    pthread_cond_t wake;
    bool is_stopping;
    bool is_broken;
    int64_t began_ns, last_ns;
    int64_t last_uw, last_uj[SENSOR_MAX_RAILS];
    double energy_uj, sum_uw, sum_squares;
    int readings, intervals;
};

static void add_power(struct meter *meter, double power_uw)
{
    meter->sum_uw += power_uw;
    meter->sum_squares += power_uw * power_uw;
    meter->intervals++;
}

static bool read_power(struct meter *meter)
{
    int64_t power_uw;

    if (!sensor_power_uw(meter->sensor, &power_uw))
        return false;
    int64_t now_ns = clock_raw_ns();
    if (meter->readings == 0)
        meter->began_ns = now_ns;
    else
        meter->energy_uj += ((double)meter->last_uw + (double)power_uw) / 2 *
                            ((double)(now_ns - meter->last_ns) / 1e9);
    add_power(meter, (double)power_uw);
    meter->last_uw = power_uw;
    meter->last_ns = now_ns;
    return true;
}

static bool read_counters(struct meter *meter)
{
    const struct sensor *sensor = meter->sensor;
    int64_t now_ns = clock_raw_ns();
    double added_uj = 0;

    for (int i = 0; i < sensor->rail_count; i++) {
        int64_t value;

        if (!sensor_counter_uj(sensor, i, &value))
            return false;
        if (meter->readings > 0) {
            double step = (double)(value - meter->last_uj[i]);

            if (step < 0 && sensor->rails[i].range_uj <= 0)
                return false; /* it started again, and nobody says where */
            added_uj += step < 0 ? step + (double)sensor->rails[i].range_uj : step;
        }
        meter->last_uj[i] = value;
    }
    if (meter->readings == 0)
        meter->began_ns = now_ns;
    else if (now_ns > meter->last_ns)
        add_power(meter, added_uj / ((double)(now_ns - meter->last_ns) / 1e9));
    meter->energy_uj += added_uj;
    meter->last_ns = now_ns;
    return true;
}

static bool take_reading(struct meter *meter)
{
    if (!(sensor_is_counter(meter->sensor) ? read_counters(meter) : read_power(meter)))
        return false;
    meter->readings++;
    return true;
}

static struct timespec later(int period_ms)
{
    struct timespec when;

    clock_gettime(CLOCK_MONOTONIC, &when);
    when.tv_nsec += (long)period_ms * 1000000;
    when.tv_sec += when.tv_nsec / 1000000000;
    when.tv_nsec %= 1000000000;
    return when;
}

static void *run_meter(void *arg)
{
    struct meter *meter = arg;
    bool is_last = false;

    while (!is_last && !meter->is_broken) {
        struct timespec when = later(sensor_period_ms(meter->sensor));
        int status = 0;

        pthread_mutex_lock(&meter->lock);
        while (!meter->is_stopping && status != ETIMEDOUT)
            status = pthread_cond_timedwait(&meter->wake, &meter->lock, &when);
        is_last = meter->is_stopping;
        pthread_mutex_unlock(&meter->lock);
        meter->is_broken = !take_reading(meter);
    }
    return NULL;
}

struct meter *meter_start(struct arena *arena, const struct sensor *sensor, const char **reason)
{
    struct meter *meter = arena_alloc(arena, sizeof(*meter));
    pthread_condattr_t attributes;

    *reason = "";
    meter->sensor = sensor;
    if (sensor->kind == SENSOR_NONE) {
        *reason = sensor->reason;
        return NULL;
    }
    if (!take_reading(meter)) { /* here and not in the thread: the first is at the start */
        *reason = "permission";
        return NULL;
    }
    pthread_mutex_init(&meter->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&meter->wake, &attributes);
    pthread_condattr_destroy(&attributes);
    if (pthread_create(&meter->thread, NULL, run_meter, meter) != 0) {
        pthread_cond_destroy(&meter->wake);
        pthread_mutex_destroy(&meter->lock);
        *reason = "no_thread";
        return NULL;
    }
    return meter;
}

struct energy_reading meter_stop(struct meter *meter)
{
    struct energy_reading reading = { .reason = "" };

    pthread_mutex_lock(&meter->lock);
    meter->is_stopping = true;
    pthread_cond_signal(&meter->wake);
    pthread_mutex_unlock(&meter->lock);
    pthread_join(meter->thread, NULL);
    pthread_cond_destroy(&meter->wake);
    pthread_mutex_destroy(&meter->lock);
    reading.readings = meter->readings;
    reading.elapsed_s = (double)(meter->last_ns - meter->began_ns) / 1e9;
    if (meter->is_broken) {
        reading.reason = "permission";
        return reading;
    }
    if (meter->readings < MIN_READINGS || reading.elapsed_s <= 0) {
        reading.reason = "too_short";
        return reading;
    }
    reading.energy_uj = meter->energy_uj;
    reading.power_uw = meter->energy_uj / reading.elapsed_s;
    double n = meter->intervals, mean = meter->sum_uw / n;
    double variance = (meter->sum_squares - n * mean * mean) / (n - 1);
    reading.power_sd_uw = variance > 0 ? sqrt(variance) : 0;
    if (sensor_is_counter(meter->sensor) && reading.energy_uj < COUNTER_STEP_UJ)
        reading.reason = "below_resolution";
    return reading;
}

struct energy_reading energy_idle(struct arena *arena, const struct sensor *sensor, int64_t span_ns)
{
    struct energy_reading none = { .reason = "" };
    struct meter *meter = meter_start(arena, sensor, &none.reason);

    if (!meter)
        return none;
    clock_sleep_until_ns(clock_now_ns() + span_ns);
    return meter_stop(meter);
}

static double mean_variance(const struct energy_reading *reading)
{
    return reading->power_sd_uw * reading->power_sd_uw /
           (reading->readings > 0 ? reading->readings : 1);
}

struct energy_per_call energy_measure(struct arena *arena, const struct sensor *sensor,
                                      const struct energy_reading *idle, energy_call_fn *fn,
                                      void *arg, int64_t span_ns)
{
    struct energy_per_call result = { .reason = idle->reason };
    struct meter *meter = result.reason[0] ? NULL : meter_start(arena, sensor, &result.reason);

    if (!meter)
        return result;
    int64_t began_ns = clock_raw_ns();
    do {
        fn(arg);
        result.calls++;
    } while (clock_raw_ns() - began_ns < span_ns);
    double loop_s = (double)(clock_raw_ns() - began_ns) / 1e9;
    struct energy_reading loaded = meter_stop(meter);
    result.reason = loaded.reason;
    if (loaded.reason[0])
        return result;
    /* power times a call's own time: the meter's last reading may come a little later */
    double call_s = loop_s / (double)result.calls;
    double net_uw = loaded.power_uw - idle->power_uw;
    double sd_uw = sqrt(mean_variance(&loaded) + mean_variance(idle));

    result.call_total_uj = loaded.power_uw * call_s;
    result.call_sd_uj = sd_uw * call_s;
    if (net_uw <= 0 || net_uw < 2 * sd_uw)
        result.reason = "below_resolution";
    else
        result.call_uj = net_uw * call_s;
    return result;
}
