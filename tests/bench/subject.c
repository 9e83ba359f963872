/* subject.c - writes the files of a pipeline, runs it, and compares runs. */
#include "tests/bench/subject.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/hash.h"
#include "lib/base/out.h"
#include "lib/base/rng.h"
#include "lib/base/units.h"
#include "lib/format/cluster.h"
#include "lib/policy/plan.h"
#include "sim/engine/engine.h"
#include "sim/generate/stream.h"
#include "tests/bench/bench.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- the folder ---- */

static const char *const files[] = { "placement.csv", "cluster/devices.csv", "cluster/links.csv",
                                     "cluster",       "costs/x/stages.csv",  "costs/x",
                                     "costs" };

const char *subject_folder(struct arena *arena, struct err *err)
{
    const char *base = getenv("TMPDIR");
    char *folder = arena_printf(arena, "%s/orrery-bench-XXXXXX", base ? base : "/tmp");

    if (mkdtemp(folder))
        return folder;
    err_errno(err, folder);
    return NULL;
}

void subject_remove(struct arena *arena, const char *folder)
{
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        (void)remove(arena_printf(arena, "%s/%s", folder, files[i]));
    (void)rmdir(folder);
}

/* Stage `stage` of service `service`: 5 to 15 ms. */
static int64_t latency_us(const struct subject_shape *shape, int service, int stage)
{
    struct rng rng =
        rng_stream(1, RNG_TEST, (uint64_t)service * (uint64_t)shape->stages + (uint64_t)stage);

    return 5000 + (int64_t)rng_below(&rng, 10001);
}

static int device_of(const struct subject_shape *shape, int service, int stage)
{
    return (service * shape->stages + stage) % shape->devices;
}

static void put_placement(struct out *out, const struct subject_shape *shape)
{
    out_text(out, "# orrery: placement 1\nservice,replica,stage,device,executable,layers\n");
    for (int m = 0; m < shape->services; m++)
        for (int s = 0; s < shape->stages; s++)
            out_printf(out, "s%d,0,%d,d%d,x%d,%d\n", m, s, device_of(shape, m, s), m, s);
}

/* A message of 12500 bytes takes its port for 0.1 ms. */
static void put_costs(struct out *out, const struct subject_shape *shape)
{
    out_text(out, "# orrery: stage-costs 1\nexecutable,stage,latency_s,output_bytes\n");
    for (int m = 0; m < shape->services; m++)
        for (int s = 0; s < shape->stages; s++)
            out_printf(out, "x%d,%d,0.%06d,12500\n", m, s, (int)latency_us(shape, m, s));
}

static void put_devices(struct out *out, const struct subject_shape *shape)
{
    out_text(out, "# orrery: devices 1\ndevice,type\n");
    for (int d = 0; d < shape->devices; d++)
        out_printf(out, "d%d,x\n", d);
}

/* Nothing attaches the source: requests are at stage 0 when they arrive. */
static void put_links(struct out *out, const struct subject_shape *shape)
{
    out_text(out, "# orrery: links 1\nmedium,kind,node,bits_per_s,latency_s\n");
    for (int d = 0; d < shape->devices; d++)
        out_printf(out, "lan,switch,d%d,1e9,0.0009\n", d);
}

static bool put_file(struct arena *arena, const char *folder, const char *name,
                     void (*put)(struct out *out, const struct subject_shape *shape),
                     const struct subject_shape *shape, struct err *err)
{
    struct out *out = out_open(arena, arena_printf(arena, "%s/%s", folder, name), err);

    if (!out)
        return false;
    put(out, shape);
    return out_commit(out, err);
}

bool subject_write(struct arena *arena, const char *folder, const struct subject_shape *shape,
                   struct err *err)
{
    return out_make_folder(arena_printf(arena, "%s/cluster", folder), err) &&
           out_make_folder(arena_printf(arena, "%s/costs/x", folder), err) &&
           put_file(arena, folder, "placement.csv", put_placement, shape, err) &&
           put_file(arena, folder, "cluster/devices.csv", put_devices, shape, err) &&
           put_file(arena, folder, "cluster/links.csv", put_links, shape, err) &&
           put_file(arena, folder, "costs/x/stages.csv", put_costs, shape, err);
}

struct generate_options subject_requests(struct arena *arena, const struct subject_shape *shape,
                                         int64_t requests)
{
    struct generate_options options = { .is_merged = true,
                                        .process = GENERATE_POISSON,
                                        .service_count = shape->services,
                                        .max_requests = requests,
                                        .seed = 1 };
    int64_t *device_us = arena_array(arena, (size_t)shape->devices, sizeof *device_us);

    options.services = arena_array(arena, (size_t)shape->services, sizeof *options.services);
    for (int m = 0; m < shape->services; m++)
        for (int s = 0; s < shape->stages; s++)
            device_us[device_of(shape, m, s)] += latency_us(shape, m, s);
    for (int m = 0; m < shape->services; m++) {
        int64_t most_us = 0;

        for (int s = 0; s < shape->stages; s++)
            if (device_us[device_of(shape, m, s)] > most_us)
                most_us = device_us[device_of(shape, m, s)];
        options.services[m].name = arena_printf(arena, "s%d", m);
        options.services[m].share = shape->load * 1e6 / (double)most_us;
        options.rate_per_s += options.services[m].share;
    }
    return options;
}

bool subject_open(struct arena *arena, const char *folder, const struct subject_shape *shape,
                  int64_t requests, bool is_stored, struct subject *subject, struct err *err)
{
    *subject = (struct subject){ .folder = folder, .shape = *shape };
    subject->files.placement = arena_printf(arena, "%s/placement.csv", folder);
    subject->files.cluster = arena_printf(arena, "%s/cluster", folder);
    subject->files.costs[0] = arena_printf(arena, "%s/costs", folder);
    subject->files.cost_count = 1;
    subject->files.needs_rows = is_stored;
    subject->files.load.options = subject_requests(arena, shape, requests);
    subject->options.seed = 1;
    subject->options.fast_path = SERVE_FAST_EVENTS;
    subject->options.until_ps = ENGINE_NEVER;
    subject->options.max_requests = SIZE_MAX;
    return subject_write(arena, folder, shape, err) &&
           scenario_load(arena, &subject->files, &subject->scenario, err);
}

/* ---- a run ---- */

struct listener {
    struct meter *meter;
    uint64_t ends;
};

static void on_end(void *arg, const struct serve_end *end)
{
    struct listener *listener = arg;
    const int64_t fields[] = {
        (int64_t)end->index,  end->request_id, end->service,  end->replica,
        (int64_t)end->status, end->arrival_ps, end->start_ps, end->first_token_ps,
        end->finish_ps,       end->e2e_ps,     end->slo_ps,   end->prompt_tokens,
        end->output_tokens,
    };

    listener->ends += hash_bytes(HASH_START, fields, sizeof fields);
    metrics_add(listener->meter, end);
}

/* A stream tells its requests once: every run opens one of its own. */
static bool input_open(struct arena *arena, const struct subject *subject,
                       struct serve_input *input, struct err *err)
{
    *input = subject->scenario.input;
    if (!input->workload)
        input->stream = stream_open(arena, &subject->files.load.options, err);
    return input->workload || input->stream;
}

bool subject_run(struct arena *arena, const struct subject *subject, bool has_ends,
                 struct subject_run *run, struct err *err)
{
    const struct metrics_options options = { .samples = SAMPLES_EXACT };
    struct listener listener = { NULL, 0 };
    struct serve_observer observer = { .end_arg = &listener, .on_end = on_end };
    struct serve_input input;
    double began_ns = bench_thread_ns();

    *run = (struct subject_run){ .service_count = subject->scenario.input.plan->service_count };
    if (!input_open(arena, subject, &input, err))
        return false;
    listener.meter = metrics_begin(arena, input.plan, &options);
    if (!has_ends)
        observer = (struct serve_observer){ .end_arg = listener.meter,
                                            .on_end = metrics_add,
                                            .on_block = metrics_add_block };
    if (!serve_run(arena, &input, &subject->options, &observer, &run->result, err))
        return false;
    run->all = metrics_end(listener.meter, run->result.end_ps, &run->services);
    run->thread_ns = bench_thread_ns() - began_ns;
    run->ends = listener.ends;
    return true;
}

/* ---- comparing ---- */

static bool is_same_summary(const struct stats_summary *a, const struct stats_summary *b)
{
    return a->count == b->count && a->mean == b->mean && a->min == b->min && a->p50 == b->p50 &&
           a->p90 == b->p90 && a->p95 == b->p95 && a->p99 == b->p99 && a->p999 == b->p999 &&
           a->max == b->max;
}

static bool is_same_metrics(const struct metrics *a, const struct metrics *b)
{
    return a->total == b->total && memcmp(a->status, b->status, sizeof a->status) == 0 &&
           a->good == b->good && a->trimmed == b->trimmed && a->output_tokens == b->output_tokens &&
           a->window_ps == b->window_ps && is_same_summary(&a->latency, &b->latency) &&
           is_same_summary(&a->ttft, &b->ttft) && is_same_summary(&a->tpot, &b->tpot);
}

static bool is_same_device(const struct serve_device *a, const struct serve_device *b)
{
    return a->busy_ps == b->busy_ps && a->gap_ps == b->gap_ps && a->offered_ps == b->offered_ps &&
           a->peak_bytes == b->peak_bytes && a->wait_peak_ps == b->wait_peak_ps;
}

static bool is_same_result(const struct serve_result *a, const struct serve_result *b)
{
    return a->taken_count == b->taken_count && a->end_ps == b->end_ps &&
           a->arrival_span_ps == b->arrival_span_ps && a->event_count == b->event_count &&
           a->moved_bytes == b->moved_bytes && a->extrapolated_costs == b->extrapolated_costs &&
           a->migrations == b->migrations && a->lacks_kappa == b->lacks_kappa &&
           a->link_count == b->link_count;
}

bool subject_is_same(const struct subject *subject, const struct subject_run *a,
                     const struct subject_run *b)
{
    bool is_same = a->ends == b->ends && is_same_result(&a->result, &b->result) &&
                   is_same_metrics(&a->all, &b->all);

    for (int i = 0; is_same && i < subject->scenario.input.plan->cluster->device_count; i++)
        is_same = is_same_device(&a->result.devices[i], &b->result.devices[i]);
    for (int i = 0; is_same && i < a->result.link_count; i++)
        is_same = strcmp(a->result.links[i].name, b->result.links[i].name) == 0 &&
                  a->result.links[i].busy_ps == b->result.links[i].busy_ps &&
                  a->result.links[i].bytes == b->result.links[i].bytes;
    for (int i = 0; is_same && i < a->service_count; i++)
        is_same = is_same_metrics(&a->services[i], &b->services[i]);
    return is_same;
}

/* ---- how many events are pending ---- */

/* A device has one event while a job runs, a route one while any message is under way: messages of
 * a route arrive in the order of sending, and the queue holds the first alone. */
struct pending {
    int device_count;
    double total_ps;       /* time that events stood in the queue */
    int64_t *route_end_ps; /* by (from, to) */
};

static void on_span(void *arg, const struct serve_span *span)
{
    struct pending *pending = arg;

    if (span->position == 0 && span->share == 0)
        pending->total_ps += (double)(span->finish_ps - span->start_ps);
}

static void on_transfer(void *arg, const struct serve_transfer *transfer)
{
    struct pending *pending = arg;
    int64_t *end_ps =
        &pending
             ->route_end_ps[(transfer->from + 1) * (pending->device_count + 1) + transfer->to + 1];
    int64_t from_ps = *end_ps > transfer->send_ps ? *end_ps : transfer->send_ps;

    if (transfer->receive_ps > from_ps)
        pending->total_ps += (double)(transfer->receive_ps - from_ps);
    *end_ps = transfer->receive_ps;
}

bool subject_pending(struct arena *arena, const struct subject *subject, double *pending,
                     struct err *err)
{
    struct pending sum = { .device_count = subject->shape.devices };
    struct serve_observer observer = { .arg = &sum,
                                       .on_span = on_span,
                                       .on_transfer = on_transfer };
    size_t ends = (size_t)sum.device_count + 1;
    struct serve_result result;
    struct serve_input input;

    sum.route_end_ps = arena_array(arena, ends * ends, sizeof *sum.route_end_ps);
    if (!input_open(arena, subject, &input, err) ||
        !serve_run(arena, &input, &subject->options, &observer, &result, err))
        return false;
    *pending = sum.total_ps / (double)result.end_ps;
    return true;
}
