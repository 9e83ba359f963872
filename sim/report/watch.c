/* watch.c - passes on what an observer is told. */
#include "sim/report/watch.h"

#include "lib/base/arena.h"
#include "sim/serve/serve.h"
#include <string.h>

struct watch {
    int count;
    struct serve_observer *observers;
};

static void on_span(void *arg, const struct serve_span *span)
{
    const struct watch *watch = arg;

    for (int i = 0; i < watch->count; i++)
        if (watch->observers[i].on_span)
            watch->observers[i].on_span(watch->observers[i].arg, span);
}

static void on_transfer(void *arg, const struct serve_transfer *transfer)
{
    const struct watch *watch = arg;

    for (int i = 0; i < watch->count; i++)
        if (watch->observers[i].on_transfer)
            watch->observers[i].on_transfer(watch->observers[i].arg, transfer);
}

static void on_use(void *arg, const struct serve_use *use)
{
    const struct watch *watch = arg;

    for (int i = 0; i < watch->count; i++)
        if (watch->observers[i].on_use)
            watch->observers[i].on_use(watch->observers[i].arg, use);
}

static void on_busy(void *arg, const struct serve_busy *busy)
{
    const struct watch *watch = arg;

    for (int i = 0; i < watch->count; i++)
        if (watch->observers[i].on_busy)
            watch->observers[i].on_busy(watch->observers[i].arg, busy);
}

static void on_cache(void *arg, int32_t device, int64_t now_ps, int64_t kv_bytes)
{
    const struct watch *watch = arg;

    for (int i = 0; i < watch->count; i++)
        if (watch->observers[i].on_cache)
            watch->observers[i].on_cache(watch->observers[i].arg, device, now_ps, kv_bytes);
}

static bool has_parts(const struct serve_observer *one)
{
    return one->on_span || one->on_transfer || one->on_use || one->on_busy || one->on_cache;
}

static void on_end(void *arg, const struct serve_end *end)
{
    const struct watch *watch = arg;

    for (int i = 0; i < watch->count; i++)
        if (watch->observers[i].on_end)
            watch->observers[i].on_end(watch->observers[i].end_arg, end);
}

static void on_gap(void *arg, const struct serve_gap *gap)
{
    const struct watch *watch = arg;

    for (int i = 0; i < watch->count; i++)
        if (watch->observers[i].on_gap)
            watch->observers[i].on_gap(watch->observers[i].end_arg, gap);
}

struct serve_observer watch_join(struct arena *arena, const struct serve_observer *observers,
                                 int count)
{
    struct watch *watch = arena_alloc(arena, sizeof(*watch));
    struct serve_observer joined = { .arg = watch, .end_arg = watch };
    int parts = 0, ends = 0;

    watch->count = count;
    watch->observers = arena_array(arena, (size_t)count, sizeof(*watch->observers));
    for (int i = 0; i < count; i++) {
        const struct serve_observer *one = &observers[i];

        watch->observers[i] = *one;
        parts += has_parts(one);
        ends += one->on_end || one->on_gap;
        joined.on_span = one->on_span ? on_span : joined.on_span;
        joined.on_transfer = one->on_transfer ? on_transfer : joined.on_transfer;
        joined.on_use = one->on_use ? on_use : joined.on_use;
        joined.on_busy = one->on_busy ? on_busy : joined.on_busy;
        joined.on_cache = one->on_cache ? on_cache : joined.on_cache;
        joined.on_end = one->on_end ? on_end : joined.on_end;
        joined.on_gap = one->on_gap ? on_gap : joined.on_gap;
        joined.wants_arrivals = joined.wants_arrivals || one->wants_arrivals;
    }
    for (int i = 0; i < count; i++) {
        const struct serve_observer *one = &observers[i];

        if (parts == 1 && has_parts(one)) {
            joined.arg = one->arg;
            joined.on_span = one->on_span;
            joined.on_transfer = one->on_transfer;
            joined.on_use = one->on_use;
            joined.on_busy = one->on_busy;
            joined.on_cache = one->on_cache;
        }
        if (ends == 1 && (one->on_end || one->on_gap)) {
            joined.end_arg = one->end_arg;
            joined.on_end = one->on_end;
            joined.on_block = one->on_block;
            joined.wants_starts = one->wants_starts;
            joined.on_gap = one->on_gap;
        }
    }
    return joined;
}
