/* triosim_profile.c - the Chrome trace of PyTorch's profiler (Kineto): operators of the CPU that no
 * other encloses on its thread, and the kernels that they launch.
 *
 * An event is {ph: "X", cat, name, pid, tid, ts, dur, args}, in microseconds. A launch
 * (cuda_runtime) lies within its operator on the same thread and has the correlation of its
 * kernels. */
#include "lib/base/arena.h"
#include "lib/base/dmath.h"
#include "lib/base/err.h"
#include "lib/base/json.h"
#include "lib/base/units.h"
#include "lib/format/names.h"
#include "lib/format/ops.h"
#include "sim/import/triosim.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum category { CATEGORY_OP, CATEGORY_LAUNCH, CATEGORY_KERNEL, CATEGORY_ANNOTATION, CATEGORY_NONE };

/* The names that PyTorch has had for them, from 1.8 on. */
static const struct {
    const char *name;
    enum category category;
} categories[] = {
    { "cpu_op", CATEGORY_OP },           { "Operator", CATEGORY_OP },
    { "cuda_runtime", CATEGORY_LAUNCH }, { "cuda_driver", CATEGORY_LAUNCH },
    { "Runtime", CATEGORY_LAUNCH },      { "kernel", CATEGORY_KERNEL },
    { "Kernel", CATEGORY_KERNEL },       { "gpu_memcpy", CATEGORY_KERNEL },
    { "gpu_memset", CATEGORY_KERNEL },   { "Memcpy", CATEGORY_KERNEL },
    { "Memset", CATEGORY_KERNEL },       { "user_annotation", CATEGORY_ANNOTATION },
};

#define STEP_PREFIX "ProfilerStep#"
#define OPTIMIZER_PREFIX "Optimizer."

struct event {
    enum category category;
    const char *name;
    int64_t thread;
    double start_us, end_us;
    int64_t external_id, function_id, correlation; /* 0 = none */
    int64_t dur_ps; /* exact, unlike the difference of two large numbers */
};

struct reader {
    struct arena *arena;
    const char *path;
    struct names *threads;
    int32_t count, capacity;
    struct event *events;
};

static enum category category_of(const struct json *event)
{
    const char *type = json_text(json_get(event, "ph")), *name = json_text(json_get(event, "cat"));
    const char *own = json_text(json_get(event, "name"));

    if (!type || strcmp(type, "X") != 0 || !name || !own)
        return CATEGORY_NONE;
    for (size_t i = 0; i < sizeof categories / sizeof categories[0]; i++)
        if (strcmp(categories[i].name, name) == 0) {
            bool is_mark = strncmp(own, STEP_PREFIX, strlen(STEP_PREFIX)) == 0 ||
                           strncmp(own, OPTIMIZER_PREFIX, strlen(OPTIMIZER_PREFIX)) == 0;

            return categories[i].category == CATEGORY_OP && is_mark ? CATEGORY_ANNOTATION
                                                                    : categories[i].category;
        }
    return CATEGORY_NONE;
}

/* pid and tid are numbers or texts. */
static const char *part_of_thread(struct arena *arena, const struct json *json)
{
    int64_t number;

    if (json_int(json, &number))
        return arena_printf(arena, "%" PRId64, number);
    return json_is_text(json) ? json_text(json) : "";
}

static int64_t id_of(const struct json *args, const char *key, const char *other)
{
    int64_t id = 0;

    if (!json_int(json_get(args, key), &id) && other)
        (void)json_int(json_get(args, other), &id);
    return id > 0 ? id : 0;
}

static bool read_event(struct reader *reader, const struct json *json, int index, struct err *err)
{
    struct event event = { .category = category_of(json) };
    const struct json *args = json_get(json, "args");
    double dur_us;

    if (event.category == CATEGORY_NONE)
        return true;
    if (!json_double(json_get(json, "ts"), &event.start_us))
        return triosim_bad(reader->arena, reader->path,
                           arena_printf(reader->arena, "traceEvents[%d].ts", index),
                           json_get(json, "ts"), "expected microseconds", err);
    if (!json_double(json_get(json, "dur"), &dur_us) || dur_us < 0 || dur_us > 9e12)
        return triosim_bad(reader->arena, reader->path,
                           arena_printf(reader->arena, "traceEvents[%d].dur", index),
                           json_get(json, "dur"), "expected microseconds from 0 to 9e12", err);
    event.name = json_text(json_get(json, "name"));
    event.end_us = event.start_us + dur_us;
    event.thread = names_put(reader->threads,
                             arena_printf(reader->arena, "%s/%s",
                                          part_of_thread(reader->arena, json_get(json, "pid")),
                                          part_of_thread(reader->arena, json_get(json, "tid"))));
    event.external_id = id_of(args, "External id", "external id");
    event.function_id = id_of(args, "Record function id", NULL);
    event.correlation = id_of(args, "correlation", NULL);
    event.dur_ps = dmath_round(dur_us * 1e6);
    reader->events[reader->count++] = event;
    return true;
}

static bool read_events(struct reader *reader, const struct json *json, struct err *err)
{
    const struct json *list = json_is_array(json) ? json : json_get(json, "traceEvents");

    if (!json_is_array(list))
        return err_at(err, reader->path, 0, 0,
                      "no array traceEvents: expected the Chrome trace of PyTorch's profiler");
    reader->events = arena_array(reader->arena, (size_t)json_count(list), sizeof *reader->events);
    for (int i = 0; i < json_count(list); i++)
        if (!read_event(reader, json_at(list, i), i, err))
            return false;
    return true;
}

/* ---- the iteration ---- */

/* The interval of the step asked for, or of the last; all time when nothing is annotated. */
static bool find_step(const struct reader *reader, int64_t step, double *from_us, double *to_us,
                      struct err *err)
{
    int64_t best = -1;

    *from_us = -1e300;
    *to_us = 1e300;
    for (int32_t i = 0; i < reader->count; i++) {
        const struct event *event = &reader->events[i];
        int64_t number;

        if (event->category != CATEGORY_ANNOTATION ||
            strncmp(event->name, STEP_PREFIX, strlen(STEP_PREFIX)) != 0 ||
            !units_parse_int(event->name + strlen(STEP_PREFIX), &number) || number < 0)
            continue;
        if (number <= best || (step >= 0 && number != step))
            continue;
        best = number;
        *from_us = event->start_us;
        *to_us = event->end_us;
    }
    return step < 0 || best == step ||
           err_at(err, reader->path, 0, 0, "no annotation " STEP_PREFIX "%" PRId64, step);
}

static int compare_ops(const void *a, const void *b)
{
    const struct triosim_op *left = a, *right = b;

    if (left->thread != right->thread)
        return left->thread < right->thread ? -1 : 1;
    if (left->start_us != right->start_us)
        return left->start_us < right->start_us ? -1 : 1;
    if (left->end_us != right->end_us)
        return left->end_us > right->end_us ? -1 : 1;
    return left->external_id < right->external_id ? -1 : left->external_id > right->external_id;
}

static int compare_starts(const void *a, const void *b)
{
    const struct triosim_op *left = a, *right = b;

    if (left->start_us != right->start_us)
        return left->start_us < right->start_us ? -1 : 1;
    return compare_ops(a, b);
}

/* By thread and start, those within others left out. */
static void list_ops(const struct reader *reader, double from_us, double to_us,
                     struct triosim_profile *profile)
{
    int32_t all = 0;

    profile->ops = arena_array(reader->arena, (size_t)reader->count, sizeof *profile->ops);
    for (int32_t i = 0; i < reader->count; i++) {
        const struct event *event = &reader->events[i];

        if (event->category == CATEGORY_OP)
            profile->ops[all++] = (struct triosim_op){ .name = event->name,
                                                       .external_id = event->external_id,
                                                       .function_id = event->function_id,
                                                       .thread = event->thread,
                                                       .start_us = event->start_us,
                                                       .end_us = event->end_us };
    }
    qsort(profile->ops, (size_t)all, sizeof *profile->ops, compare_ops);
    for (int32_t i = 0; i < all; i++) {
        struct triosim_op op = profile->ops[i];
        const struct triosim_op *last =
            profile->count > 0 ? &profile->ops[profile->count - 1] : NULL;

        if (op.start_us < from_us || op.start_us >= to_us)
            continue;
        if (!last || last->thread != op.thread || op.start_us >= last->end_us)
            profile->ops[profile->count++] = op;
    }
}

/* The operator of the thread that is running then; -1 = none. */
static int32_t find_op(const struct triosim_profile *profile, int64_t thread, double at_us)
{
    int32_t low = 0, high = profile->count;

    while (low < high) {
        int32_t middle = low + (high - low) / 2;
        const struct triosim_op *op = &profile->ops[middle];

        if (op->thread < thread || (op->thread == thread && op->start_us <= at_us))
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0 || profile->ops[low - 1].thread != thread || profile->ops[low - 1].end_us < at_us)
        return -1;
    return low - 1;
}

/* ---- kernels ---- */

struct launch {
    int64_t correlation;
    int32_t op;
};

static int compare_launches(const void *a, const void *b)
{
    const struct launch *left = a, *right = b;

    if (left->correlation != right->correlation)
        return left->correlation < right->correlation ? -1 : 1;
    return left->op < right->op ? -1 : left->op > right->op;
}

static void add_kernel(struct triosim_op *op, const struct event *kernel)
{
    if (!op->has_kernels || kernel->start_us < op->first_us)
        op->first_us = kernel->start_us;
    if (!op->has_kernels || kernel->end_us > op->last_us)
        op->last_us = kernel->end_us;
    op->has_kernels = true;
    op->busy_ps =
        op->busy_ps > UNITS_MAX_PS - kernel->dur_ps ? UNITS_MAX_PS : op->busy_ps + kernel->dur_ps;
}

static void add_kernels(const struct reader *reader, struct triosim_profile *profile)
{
    struct launch *launches = arena_array(reader->arena, (size_t)reader->count, sizeof *launches);
    int32_t count = 0;

    for (int32_t i = 0; i < reader->count; i++) {
        const struct event *event = &reader->events[i];
        int32_t op = -1;

        if (event->category == CATEGORY_LAUNCH && event->correlation > 0)
            op = find_op(profile, event->thread, event->start_us);
        if (op >= 0)
            launches[count++] = (struct launch){ event->correlation, op };
    }
    qsort(launches, (size_t)count, sizeof *launches, compare_launches);
    for (int32_t i = 0; i < reader->count; i++) {
        const struct event *event = &reader->events[i];
        const struct launch key = { event->correlation, 0 };
        const struct launch *found = NULL;

        if (event->category != CATEGORY_KERNEL)
            continue;
        for (int32_t low = 0, high = count; low < high;) {
            int32_t middle = low + (high - low) / 2;

            if (launches[middle].correlation == key.correlation)
                found = &launches[middle];
            if (launches[middle].correlation < key.correlation)
                low = middle + 1;
            else
                high = middle;
        }
        if (found)
            add_kernel(&profile->ops[found->op], event);
    }
}

static void mark_optimizer(const struct reader *reader, struct triosim_profile *profile)
{
    for (int32_t i = 0; i < reader->count; i++) {
        const struct event *event = &reader->events[i];

        if (event->category != CATEGORY_ANNOTATION ||
            strncmp(event->name, OPTIMIZER_PREFIX, strlen(OPTIMIZER_PREFIX)) != 0)
            continue;
        for (int32_t k = 0; k < profile->count; k++)
            if (profile->ops[k].thread == event->thread &&
                profile->ops[k].start_us >= event->start_us &&
                profile->ops[k].end_us <= event->end_us)
                profile->ops[k].is_optimizer = true;
    }
}

bool triosim_load_profile(struct arena *arena, const char *path, const struct json *json,
                          int64_t step, struct triosim_profile *profile, struct err *err)
{
    struct reader reader = { .arena = arena, .path = path };
    double from_us, to_us;

    *profile = (struct triosim_profile){ .path = path };
    reader.threads = names_create(arena);
    if (!read_events(&reader, json, err) || !find_step(&reader, step, &from_us, &to_us, err))
        return false;
    list_ops(&reader, from_us, to_us, profile);
    add_kernels(&reader, profile);
    mark_optimizer(&reader, profile);
    qsort(profile->ops, (size_t)profile->count, sizeof *profile->ops, compare_starts);
    return true;
}
