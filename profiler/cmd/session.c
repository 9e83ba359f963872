/* session.c - see session.h. */
#include "profiler/cmd/session.h"
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include "lib/format/model.h"
#include "profiler/counters/counters.h"
#include "profiler/device/command.h"
#include "profiler/device/facts.h"
#include "profiler/device/preflight.h"
#include "profiler/device/roofline.h"
#include "profiler/device/sensors.h"
#include "profiler/device/sysfile.h"
#include "profiler/journal/journal.h"
#include "profiler/measure/chain.h"
#include "profiler/measure/message.h"
#include "profiler/measure/scout.h"
#include "profiler/measure/store.h"
#include <string.h>

#define PROCESSES 5
#define PROCESSES_QUICK 3
#define MAX_ANCHOR_LAYERS_QUICK 4
#define ANCHOR_PERCENT 25
#define ANCHOR_PERCENT_MANY 50 /* more were asked for: they are what the run is for */
#define PREHEAT_S 300

/* Time is in forwards, because a board may be 50 times slower than another. */
struct allowance {
    int forwards;
    int64_t min_s, max_s;
};
static const struct allowance full_allowance = { 125, 15, 120 };
static const struct allowance quick_allowance = { 21, 6, 25 };

void session_warn(struct session *session, const char *text)
{
    if (session->warning_count < SESSION_MAX_WARNINGS)
        session->warnings[session->warning_count++] = text;
}

/* The cost table holds the costs of cold memory; what stays in the cache is faster. */
static void warn_of_cache(struct session *session)
{
    const struct model *model = session->model;
    int64_t step_bytes = model_block_weight_bytes(model, BLOCK_LM_HEAD);
    char weights[UNITS_TEXT_BYTES], cache[UNITS_TEXT_BYTES];

    for (int block = BLOCK_ATTN; block <= BLOCK_CONN; block++)
        step_bytes += model->layers * model_block_weight_bytes(model, (enum model_block)block);
    if (session->llc_bytes > 0 && cost_is_cached(step_bytes, session->llc_bytes))
        session_warn(session,
                     arena_printf(session->arena,
                                  "the weights of %s (%s) are less than twice the last-level cache "
                                  "(%s): costs are those of cold memory, a real run keeps them "
                                  "warm in part and is faster",
                                  model->name, units_format_bytes(step_bytes, weights),
                                  units_format_bytes(session->llc_bytes, cache)));
}

static void warn_of_threads(struct session *session)
{
    int64_t cores;

    if (!units_parse_int(facts_get(session->facts, "cores_online"), &cores))
        return;
    for (int t = 0; t < session->lists.thread_count; t++)
        if (session->lists.threads[t] > cores)
            session_warn(session,
                         arena_printf(session->arena, "%d threads share %d core%s",
                                      session->lists.threads[t], (int)cores, cores > 1 ? "s" : ""));
}

static bool make_variant(struct session *session, int threads, int slices, enum kernel_dtype dtype,
                         struct err *err)
{
    struct store_variant variant = { .index = session->store_count,
                                     .threads = threads,
                                     .slices = slices,
                                     .dtype = dtype,
                                     .regime = session->options->regime };

    if (session->store_count == MEASURE_MAX_STORES)
        return err_set(err, ERR_USAGE,
                       "threads x slices x dtypes are more than %d kinds of measurement: split "
                       "them into several runs and merge the tables",
                       MEASURE_MAX_STORES);
    variant.model =
        slices == 1 ? session->model : model_slice(session->arena, session->model, slices, err);
    if (!variant.model)
        return false;
    session->stores[session->store_count++] = store_create(session->arena, &variant);
    return true;
}

static bool make_variants(struct session *session, struct err *err)
{
    const struct run_lists *lists = &session->lists;

    for (int d = 0; d < lists->dtype_count; d++)
        for (int s = 0; s < lists->slice_count; s++)
            for (int t = 0; t < lists->thread_count; t++)
                if (!make_variant(session, lists->threads[t], lists->slices[s], lists->dtypes[d],
                                  err))
                    return false;
    return true;
}

/* What any step of the run may need: the ends of the ranges and all shapes asked for by name. */
static struct point largest_shape(const struct session *session)
{
    const struct run_lists *lists = &session->lists;
    const struct grid *grid = &lists->grid;
    struct point most = { OP_ANY, grid->tokens.last, grid->tokens.last, 1 };

    if (grid->kv.last > most.kv)
        most.kv = grid->kv.last;
    if (grid->kv.last > 0 && grid->batch.last > most.batch)
        most.batch = grid->batch.last;
    for (int i = 0; i < lists->anchors.count + lists->holdouts.count; i++) {
        const struct point *point = i < lists->anchors.count
                                        ? &lists->anchors.items[i]
                                        : &lists->holdouts.items[i - lists->anchors.count];

        most.m = point->m > most.m ? point->m : most.m;
        most.kv = point->kv > most.kv ? point->kv : most.kv;
        most.batch = point->batch > most.batch ? point->batch : most.batch;
    }
    most.m = most.batch > most.m ? most.batch : most.m;
    return most;
}

static bool plan_memory(struct session *session, struct err *err)
{
    struct point most = largest_shape(session);

    for (int s = 0; s < session->store_count; s++) {
        const struct store_variant *variant = &session->stores[s]->variant;
        struct forward_shape shape = chain_shape(variant->model, variant->dtype);
        int layers = session->model->layers;

        if (session->options->is_quick && layers > MAX_ANCHOR_LAYERS_QUICK)
            layers = MAX_ANCHOR_LAYERS_QUICK;
        if (!pool_plan(&shape, layers, &most, session->llc_bytes, session->available_bytes,
                       &session->pools[s], err))
            return false;
    }
    return true;
}

static void find_sensor(struct session *session)
{
    const struct run_options *options = session->options;
    const char *vcgencmd = options->sysroot[0] ? NULL : COMMAND_VCGENCMD;
    const struct sensor *sensor = sensor_find(session->arena, options->sysroot, vcgencmd);
    bool is_wanted = strcmp(options->energy, "auto") == 0;

    session->measure.has_energy = is_wanted && sensor->kind != SENSOR_NONE;
    session->measure.energy_reason = is_wanted ? sensor->reason : "off";
}

/* Warnings alone; what belongs to the device is in `facts`. */
static void take_preflight(struct session *session)
{
    struct preflight_item items[PREFLIGHT_MAX];
    int count = preflight_warnings(items, preflight_check(session->facts, items));

    for (int i = 0; i < count; i++)
        session_warn(session, items[i].text);
    session->unfit_count = count;
}

bool session_plan(struct session *session, struct err *err)
{
    const struct run_options *options = session->options;
    struct arena *arena = session->arena;
    struct model_catalogue *catalogue = model_catalogue_load(arena, options->models, err);

    session->model = catalogue ? model_find(catalogue, options->model, err) : NULL;
    if (!session->model || !run_options_lists(arena, options, session->model, &session->lists, err))
        return false;
    session->facts = facts_collect(arena, options->sysroot);
    if (strcmp(options->energy, "auto") == 0)
        facts_collect_energy(session->facts);
    take_preflight(session);
    warn_of_threads(session);
    session->llc_bytes =
        options->llc_bytes > 0 ? options->llc_bytes : sysfile_llc_bytes(arena, options->sysroot);
    sysfile_field_kb(arena, options->sysroot, "/proc/meminfo", "MemAvailable",
                     &session->available_bytes);
    if (!make_variants(session, err) || !plan_memory(session, err))
        return false;
    find_sensor(session);
    session->measure.counters = counters_create(arena, options->counters, options->sysroot, err);
    return session->measure.counters;
}

/* ---- looking at the device ---- */

/* 0: its own default; of a budget that was asked for at most a tenth. */
static int64_t roof_budget_ns(const struct run_options *options)
{
    int64_t tenth_ns = options->budget_ps / UNITS_PS_PER_NS / 10;
    int64_t usual_ns = options->is_quick ? 400000000 : 1200000000;

    return options->budget_ps > 0 && tenth_ns < usual_ns ? tenth_ns + 1 : 0;
}

/* Peak, bandwidth and the cache as it is seen from here: what "cold" takes, and what roof_frac
 * refers to. */
static bool look_at_roofs(struct session *session, struct err *err)
{
    const struct run_options *options = session->options;
    struct roofline_plan plan = { .threads = session->lists.threads,
                                  .thread_count = session->lists.thread_count,
                                  .is_quick = options->is_quick,
                                  .budget_ns = roof_budget_ns(options),
                                  .llc_bytes = session->llc_bytes,
                                  .available_bytes = session->available_bytes,
                                  .interrupt = &session->interrupt };

    if (!roofline_measure(session->arena, &plan, &session->roofline, &session->roofline_count, err))
        return false;
    if (options->llc_bytes == 0) {
        int64_t seen = roofline_llc(session->llc_bytes, session->roofline, session->roofline_count);

        session->knee_bytes = seen != session->llc_bytes ? seen : 0;
        session->llc_bytes = seen;
    }
    return plan_memory(session, err);
}

static void add_points(struct session *session, int index)
{
    const struct run_lists *lists = &session->lists;
    struct store *store = session->stores[index];
    int layers = session->pools[index].anchor_layers;
    struct grid_points points;
    struct point anchor;

    store->period = session->periods[index];
    grid_build(store->variant.model, &lists->grid, session->periods[index], &points);
    for (int p = 0; p < points.count; p++)
        store_add_point(store, &points.items[p], false);
    for (int p = 0; p < lists->holdouts.count; p++)
        store_add_point(store, &lists->holdouts.items[p], true);
    if (store->variant.slices > 1) /* a slice is no whole forward */
        return;
    for (enum op_phase phase = OP_PREFILL; phase <= OP_DECODE; phase++)
        if (grid_anchor(&lists->grid, phase, &anchor))
            store_add_anchor(store, &anchor, layers);
    for (int a = 0; a < lists->anchors.count; a++)
        store_add_anchor(store, &lists->anchors.items[a], layers);
}

static void take_scouted(void *arg, int variant, int32_t period, int64_t forward_ns)
{
    struct session *session = arg;

    if (session->periods[variant] > 0)
        return;
    session->periods[variant] = period;
    session->forward_ns[variant] = forward_ns;
    add_points(session, variant);
}

/* The variants of one thread count and type have the same tiles: the first speaks for all. */
static bool scout_one(struct session *session, int index, struct scouted *scouted, struct err *err)
{
    const struct store_variant *variant = &session->stores[index]->variant;

    for (int s = 0; s < index; s++) {
        const struct store_variant *other = &session->stores[s]->variant;

        if (other->threads != variant->threads || other->dtype != variant->dtype)
            continue;
        scouted->period = session->periods[s];
        scouted->forward_ns = session->forward_ns[s] * other->slices / variant->slices;
        return true;
    }
    return scout_run(session->arena, &session->measure, variant, session->lists.grid.tokens.last,
                     session->available_bytes, scouted, err);
}

static bool scout_all(struct session *session, struct err *err)
{
    struct journal *journal = session->measure.journal;

    for (int s = 0; s < session->store_count; s++) {
        struct message message = { .kind = MESSAGE_SCOUT };
        struct scouted scouted;

        if (session->periods[s] > 0) /* of the run that this one goes on with */
            continue;
        if (!scout_one(session, s, &scouted, err))
            return false;
        message.round = scouted.period;
        message.ns = scouted.forward_ns;
        if (journal && !journal_put(journal, s, 0, &message, err))
            return false;
        take_scouted(session, s, scouted.period, scouted.forward_ns);
    }
    return true;
}

static int64_t allowed_ns(const struct session *session)
{
    const struct allowance *allowance =
        session->options->is_quick ? &quick_allowance : &full_allowance;
    int64_t sum_ns = 0;

    if (session->options->budget_ps > 0)
        return session->options->budget_ps / UNITS_PS_PER_NS;
    for (int s = 0; s < session->store_count; s++) {
        int64_t ns = session->forward_ns[s] * allowance->forwards;
        int64_t min_ns = allowance->min_s * 1000000000, max_ns = allowance->max_s * 1000000000;

        sum_ns += ns < min_ns ? min_ns : ns > max_ns ? max_ns : ns;
    }
    return sum_ns;
}

int session_processes(const struct run_options *options)
{
    if (options->processes > 0)
        return options->processes;
    return options->is_quick ? PROCESSES_QUICK : PROCESSES;
}

void session_prepare(struct session *session)
{
    const struct run_options *options = session->options;
    struct measure *measure = &session->measure;

    measure->stores = session->stores;
    measure->store_count = session->store_count;
    measure->pools = session->pools;
    measure->processes = session_processes(options);
    measure->anchor_percent =
        session->lists.anchors.count > 0 ? ANCHOR_PERCENT_MANY : ANCHOR_PERCENT;
    measure->max_sizes = options->is_quick ? 0 : GRID_MAX_SIZES;
    if (strcmp(options->regime, "sustained") == 0)
        measure->preheat_ns = options->preheat_ps > 0 ? options->preheat_ps / UNITS_PS_PER_NS
                                                      : PREHEAT_S * INT64_C(1000000000);
    measure->seed = options->seed;
    measure->sysroot = options->sysroot;
    measure->counter_state = "";
    measure->interrupt = &session->interrupt;
    measure->on_scout = take_scouted;
    measure->arg = session;
}

bool session_scout(struct session *session, struct err *err)
{
    if (!look_at_roofs(session, err))
        return false;
    warn_of_cache(session);
    if (!scout_all(session, err))
        return false;
    session->measure.budget_ns = allowed_ns(session);
    return true;
}
