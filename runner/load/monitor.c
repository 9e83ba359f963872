/* monitor.c - samples of a run, and their rates. */
#include "runner/load/monitor.h"

#include "lib/base/arena.h"
#include "lib/base/json.h"
#include "lib/base/out.h"
#include "lib/base/units.h"
#include "runner/fleet/fleet.h"
#include "runner/load/failures.h"
#include "runner/load/internal.h"
#include "runner/load/table.h"

#define SAMPLE_PS UNITS_PS_PER_S
#define CLOCK_ERROR_PS                                                                             \
    UNITS_PS_PER_S     /* a step that ends later than that is no step of this run                  \
                        */
#define WINDOW 10      /* samples */
#define EWMA_RATIO 0.9 /* weight of the new sample, as InfScale has it */

struct device {
    int64_t steps, busy_ps;
};

struct sample { /* all since the start */
    int64_t at_ps;
    size_t arrived, ok_count;
    struct device *devices;
};

struct monitor {
    struct device *devices;
    int64_t *busy_until_ps; /* of each: what has been counted */
    size_t ok_count;
    int64_t latency_ps;                /* sum of those */
    struct sample samples[WINDOW + 1]; /* a ring; the first is that of the start */
    int64_t sample_count;
    size_t ewma_ok_count; /* of ok_count and latency_ps, at the last sample */
    int64_t ewma_latency_ps;
    double in_system, delay_s, input_per_s, output_per_s; /* moving averages */
};

static size_t arrived(const struct serve *serve)
{
    return serve->table->running_count + serve->table->ended_count + failures_held(serve);
}

static void take_sample(struct serve *serve, int64_t now_ps)
{
    struct monitor *monitor = serve->monitor;
    struct sample *sample = &monitor->samples[monitor->sample_count++ % (WINDOW + 1)];

    sample->at_ps = now_ps;
    sample->arrived = arrived(serve);
    sample->ok_count = monitor->ok_count;
    for (int i = 0; i < serve->fleet->count; i++)
        sample->devices[i] = monitor->devices[i];
}

void monitor_add_workers(struct serve *serve, int old_count)
{
    struct monitor *monitor = serve->monitor;
    size_t old = (size_t)old_count, count = (size_t)serve->fleet->count;

    monitor->devices =
        arena_grow(serve->arena, monitor->devices, old, count, sizeof(struct device));
    monitor->busy_until_ps =
        arena_grow(serve->arena, monitor->busy_until_ps, old, count, sizeof(int64_t));
    for (int i = 0; i <= WINDOW; i++)
        monitor->samples[i].devices = arena_grow(serve->arena, monitor->samples[i].devices, old,
                                                 count, sizeof(struct device));
}

void monitor_create(struct serve *serve)
{
    serve->monitor = arena_alloc(serve->arena, sizeof *serve->monitor);
    monitor_add_workers(serve, 0);
    take_sample(serve, 0);
}

static int64_t kept_samples(const struct monitor *monitor)
{
    return monitor->sample_count < WINDOW + 1 ? monitor->sample_count : WINDOW + 1;
}

/* A step is told of when it has ended, and may have begun several samples ago: these have their
 * share of it. Time that two steps have in common (passes of two stages) counts once. */
void monitor_computed(struct serve *serve, int worker, int64_t start_ps, int64_t finish_ps)
{
    struct monitor *monitor = serve->monitor;
    int64_t *until_ps = &monitor->busy_until_ps[worker];
    int64_t from_ps = start_ps > *until_ps ? start_ps : *until_ps;

    monitor->devices[worker].steps++;
    /* a broken worker's times must not overflow anything */
    if (finish_ps <= from_ps || finish_ps > serve_now_ps(serve) + CLOCK_ERROR_PS)
        return;
    *until_ps = finish_ps;
    monitor->devices[worker].busy_ps += finish_ps - from_ps;
    for (int64_t i = 0; i < kept_samples(monitor); i++) {
        struct sample *sample = &monitor->samples[i];
        int64_t end_ps = finish_ps < sample->at_ps ? finish_ps : sample->at_ps;

        if (end_ps > from_ps)
            sample->devices[worker].busy_ps += end_ps - from_ps;
    }
}

void monitor_ended(struct serve *serve, int64_t latency_ps)
{
    serve->monitor->ok_count++;
    serve->monitor->latency_ps += latency_ps;
}

static void average(double *value, double sample, bool is_first)
{
    *value = is_first ? sample : EWMA_RATIO * sample + (1 - EWMA_RATIO) * *value;
}

static void update_averages(struct serve *serve, const struct sample *before, int64_t now_ps)
{
    struct monitor *monitor = serve->monitor;
    bool is_first = monitor->sample_count == 1;
    double span_s = (double)(now_ps - before->at_ps) * 1e-12;
    size_t ended = monitor->ok_count - monitor->ewma_ok_count;

    average(&monitor->in_system, (double)(arrived(serve) - serve->table->ended_count), is_first);
    average(&monitor->input_per_s, (double)(arrived(serve) - before->arrived) / span_s, is_first);
    average(&monitor->output_per_s, (double)(monitor->ok_count - before->ok_count) / span_s,
            is_first);
    if (ended > 0)
        average(&monitor->delay_s,
                1e-12 * (double)(monitor->latency_ps - monitor->ewma_latency_ps) / (double)ended,
                monitor->ewma_ok_count == 0);
    monitor->ewma_ok_count = monitor->ok_count;
    monitor->ewma_latency_ps = monitor->latency_ps;
}

/* ---- the answer ---- */

/* The sample that is so many before now, or the oldest that is kept. */
static const struct sample *before_now(const struct monitor *monitor, int64_t samples)
{
    int64_t kept = kept_samples(monitor);

    return &monitor->samples[(monitor->sample_count - (samples < kept ? samples : kept)) %
                             (WINDOW + 1)];
}

static void put_rates(const struct serve *serve, struct json_writer *json, const char *key,
                      const struct sample *since)
{
    double span_s = (double)(serve_now_ps(serve) - (since ? since->at_ps : 0)) * 1e-12;

    json_begin_object(json, key);
    json_put_double(json, "span_s", span_s);
    json_put_double(json, "input_per_s",
                    (double)(arrived(serve) - (since ? since->arrived : 0)) / span_s);
    json_put_double(json, "output_per_s",
                    (double)(serve->monitor->ok_count - (since ? since->ok_count : 0)) / span_s);
    json_end_object(json);
}

static void put_device_rates(const struct serve *serve, int worker, struct json_writer *json,
                             const char *key, const struct sample *since)
{
    double span_s = (double)(serve_now_ps(serve) - (since ? since->at_ps : 0)) * 1e-12;
    struct device now = serve->monitor->devices[worker];
    struct device then = since ? since->devices[worker] : (struct device){ 0 };

    json_begin_object(json, key);
    json_put_double(json, "steps_per_s", (double)(now.steps - then.steps) / span_s);
    json_put_double(json, "busy_ratio", 1e-12 * (double)(now.busy_ps - then.busy_ps) / span_s);
    json_end_object(json);
}

static const char *state_of(const struct fleet_worker *worker)
{
    if (worker->is_returning && worker->state != FLEET_DEAD)
        return "coming back";
    return worker->state == FLEET_UP ? "up" : worker->state == FLEET_DEAD ? "down" : "starting";
}

static void put_devices(const struct serve *serve, struct json_writer *json)
{
    const struct monitor *monitor = serve->monitor;

    json_begin_array(json, "devices");
    for (int i = 0; i < serve->fleet->count; i++) {
        const struct fleet_worker *worker = &serve->fleet->workers[i];

        json_begin_object(json, NULL);
        json_put_text(json, "device", worker->device);
        json_put_text(json, "state", state_of(worker));
        json_put_text(json, "trouble", worker->state == FLEET_DEAD ? worker->trouble : NULL);
        json_put_bool(json, "is_computing", worker->state == FLEET_UP && worker->is_busy);
        json_put_int(json, "queued_to_send", (int64_t)serve->queues[i].count);
        json_put_int(json, "steps", monitor->devices[i].steps);
        put_device_rates(serve, i, json, "instant", before_now(monitor, 1));
        put_device_rates(serve, i, json, "window", before_now(monitor, WINDOW));
        put_device_rates(serve, i, json, "global", NULL);
        json_end_object(json);
    }
    json_end_array(json);
}

static struct out *describe(struct serve *serve)
{
    const struct monitor *monitor = serve->monitor;
    struct out *out = out_open_memory(serve->arena);
    struct json_writer *json = json_writer_create(serve->arena, out, true);

    json_begin_object(json, NULL);
    json_put_int(json, "schema", 1);
    json_put_seconds(json, "running_s", serve_now_ps(serve));
    json_begin_object(json, "requests");
    json_put_int(json, "total", (int64_t)serve->table->count);
    json_put_int(json, "arrived", (int64_t)arrived(serve));
    json_put_int(json, "running", (int64_t)serve->table->running_count);
    json_put_int(json, "waiting", (int64_t)failures_held(serve));
    for (int i = 0; i < TRACE_STATUS_COUNT; i++)
        json_put_int(json, trace_status_names[i], (int64_t)serve->table->by_status[i]);
    json_end_object(json);
    put_rates(serve, json, "instant", before_now(monitor, 1));
    put_rates(serve, json, "window", before_now(monitor, WINDOW));
    put_rates(serve, json, "global", NULL);
    json_begin_object(json, "ewma");
    json_put_double(json, "in_system", monitor->in_system);
    json_put_double(json, "delay_s", monitor->delay_s);
    json_put_double(json, "input_per_s", monitor->input_per_s);
    json_put_double(json, "output_per_s", monitor->output_per_s);
    json_end_object(json);
    put_devices(serve, json);
    json_end_object(json);
    return out;
}

void monitor_look(struct serve *serve)
{
    struct monitor *monitor = serve->monitor;
    const struct sample *last = before_now(monitor, 1);
    int64_t now_ps = serve_now_ps(serve);

    if (now_ps - last->at_ps >= SAMPLE_PS) {
        update_averages(serve, last, now_ps);
        take_sample(serve, now_ps);
    }
    if (fleet_is_asked(serve->fleet)) {
        struct out *answer = describe(serve);

        fleet_answer(serve->fleet, out_memory(answer, NULL));
        out_abort(answer);
    }
}
