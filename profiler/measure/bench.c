/* bench.c - see bench.h. */
#include "profiler/measure/bench.h"
#include "lib/base/arena.h"
#include "lib/base/clock.h"
#include "lib/base/err.h"
#include "lib/base/stats.h"
#include "lib/format/model.h"
#include "lib/kernels/kernels.h"
#include "profiler/measure/chain.h"
#include "profiler/measure/machine.h"
#include "profiler/measure/rounds.h"
#include <sys/resource.h>
#include <time.h>

#define WARM_UP_CHAINS 2
#define CANARY_WARM_UP_NS 2000000 /* wide registers change the clock for a ms or two */
#define CANARY_REPEATS 20
#define CANARY_READS 3
#define LINE_FLOATS 16
#define EMPTY_INTERVALS 1001

static int64_t cpu_ns(const struct bench *bench)
{
    struct timespec now;

    if (bench->store->variant.threads > 1) /* the other threads' time is not this thread's */
        return 0;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

long bench_switches(const struct bench *bench)
{
    struct rusage usage;

    getrusage(bench->store->variant.threads > 1 ? RUSAGE_SELF : RUSAGE_THREAD, &usage);
    return usage.ru_nivcsw;
}

static void start_interval(struct bench *bench)
{
    bench->start_switches = bench_switches(bench);
    bench->start_cpu_ns = cpu_ns(bench);
    bench->start_ns = clock_raw_ns();
}

static void put_sample(struct bench *bench, enum message_kind kind, int index, enum op op)
{
    int64_t end_ns = clock_raw_ns(), end_cpu_ns = cpu_ns(bench);
    struct message *message = &bench->batch.items[bench->batch.count];

    if (bench->batch.count == MESSAGE_BATCH)
        return;
    bench->batch.count++;
    message->kind = kind;
    message->index = index;
    message->op = (int32_t)op;
    message->round = bench->round;
    message->ns = end_ns - bench->start_ns;
    message->cpu_ns = end_cpu_ns - bench->start_cpu_ns;
    message->is_dirty = bench_switches(bench) != bench->start_switches;
}

/* Of a layer that only warms up nothing counts, of a chunk only what depends on earlier tokens. */
static bool is_wanted(const struct bench *bench, enum op op)
{
    bool is_end = op == OP_EMBED || op >= OP_FNORM;

    if (!is_end && bench->additions < 2 * bench->visit.skip_layers)
        return false;
    return !bench->visit.is_attention_only || op == OP_ATTN;
}

static void on_stamp(void *arg, enum op op)
{
    struct bench *bench = arg;

    if (is_wanted(bench, op))
        put_sample(bench, MESSAGE_SAMPLE, bench->point, op);
    bench->additions += op == OP_ADD; /* two close a layer */
    start_interval(bench);
}

void bench_flush(struct bench *bench)
{
    struct err err = ERR_INIT;

    for (int i = 0; i < bench->batch.count; i++)
        message_apply(bench->store, bench->worker->proc, &bench->batch.items[i], &err);
    if (!message_send(bench->fd, &bench->batch))
        bench->is_parent_gone = true;
    bench->batch.count = 0;
}

void bench_send(struct bench *bench, const struct message *message)
{
    bench->batch.items[0] = *message;
    bench->batch.count = 1;
    bench_flush(bench);
}

int bench_fail(struct bench *bench, const struct err *err)
{
    struct message message = { .kind = MESSAGE_FAILED };

    message_put_text(&message, err->text);
    bench->batch.items[0] = message;
    bench->batch.count = 1;
    message_send(bench->fd, &bench->batch);
    return 1;
}

void bench_visit(struct bench *bench, int point, const struct bench_visit *visit)
{
    bench->point = point;
    bench->visit = *visit;
    bench->additions = 0;
    chain_prepare(bench->chain, &bench->store->points[point], visit->layers, visit->has_lm_head);
    start_interval(bench);
    chain_run(bench->chain, (struct forward_stamp){ on_stamp, bench });
    chain_restore(bench->chain);
    bench_flush(bench);
}

void bench_visit_anchor(struct bench *bench, int anchor)
{
    const struct store_anchor *at = &bench->store->anchors[anchor];

    chain_prepare(bench->chain, &at->point, at->layers, true);
    start_interval(bench);
    chain_run(bench->chain, (struct forward_stamp){ NULL, NULL });
    put_sample(bench, MESSAGE_ANCHOR, anchor, OP_LMHEAD);
    chain_restore(bench->chain);
    bench_flush(bench);
}

static int64_t canary_product_ns(struct bench *bench)
{
    const float *a = bench->canary, *b = a + BENCH_CANARY_CELLS;
    float *c = bench->canary + 2 * BENCH_CANARY_CELLS;
    int64_t start_ns = clock_raw_ns();

    kernel_linear(a, b, NULL, c, BENCH_CANARY_SIZE, BENCH_CANARY_SIZE, BENCH_CANARY_SIZE);
    return clock_raw_ns() - start_ns;
}

/* Whatever ran before has set the clock for its own instructions: first the canary's own. */
static int64_t compute_canary_ns(struct bench *bench)
{
    int64_t end_ns = clock_raw_ns() + CANARY_WARM_UP_NS, best_ns = INT64_MAX;

    while (clock_raw_ns() < end_ns)
        (void)canary_product_ns(bench);
    for (int i = 0; i < CANARY_REPEATS; i++) {
        int64_t taken_ns = canary_product_ns(bench);

        best_ns = taken_ns < best_ns ? taken_ns : best_ns;
    }
    return best_ns;
}

/* The best of a few: one read alone is now and then hit by something that is no neighbour. */
static int64_t memory_canary_ns(struct bench *bench)
{
    int64_t best_ns = INT64_MAX;

    for (int i = 0; i < CANARY_READS; i++) {
        const float *cold = chain_cold(bench->chain, POOL_CANARY_FLOATS);
        int64_t start_ns = clock_raw_ns();
        volatile float sink;
        float sum = 0.0f;

        for (int j = 0; j < POOL_CANARY_FLOATS; j += LINE_FLOATS)
            sum += cold[j];
        sink = sum;
        (void)sink;
        int64_t taken_ns = clock_raw_ns() - start_ns;
        best_ns = taken_ns < best_ns ? taken_ns : best_ns;
    }
    return best_ns;
}

static int64_t process_cpu_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

void bench_begin_round(struct bench *bench)
{
    struct round_readings *readings = &bench->readings;
    struct arena *scratch = arena_create();

    machine_read(&readings->before, scratch, bench->worker->sysroot);
    arena_destroy(scratch);
    readings->own_cpu_ns = process_cpu_ns();
    readings->compute_ns = compute_canary_ns(bench);
    readings->memory_ns = memory_canary_ns(bench);
}

enum round_verdict bench_end_round(struct bench *bench)
{
    struct message message = { .kind = MESSAGE_ROUND };
    struct store_round *round = &message.body.round;
    struct arena *scratch = arena_create();

    *round = (struct store_round){ .proc = bench->worker->proc,
                                   .round = bench->round,
                                   .readings = bench->readings,
                                   .nivcsw = bench_switches(bench) };
    round->readings.own_cpu_ns = process_cpu_ns() - bench->readings.own_cpu_ns;
    machine_read(&round->readings.after, scratch, bench->worker->sysroot);
    bench_send(bench, &message);
    enum round_verdict verdict = rounds_judge_last(scratch, bench->store);
    arena_destroy(scratch);
    return verdict;
}

bool bench_is_canary_good(struct bench *bench)
{
    struct arena *scratch = arena_create();
    bool is_good = rounds_is_canary_good(scratch, bench->store, compute_canary_ns(bench));

    arena_destroy(scratch);
    return is_good;
}

void bench_send_stamp(struct bench *bench)
{
    struct message message = { .kind = MESSAGE_STAMP };
    int64_t *empty_ns = arena_array(bench->arena, EMPTY_INTERVALS, sizeof(*empty_ns));

    for (int i = 0; i < EMPTY_INTERVALS; i++) {
        start_interval(bench);
        put_sample(bench, MESSAGE_SAMPLE, 0, OP_NORM);
        empty_ns[i] = bench->batch.items[0].ns;
        bench->batch.count = 0;
    }
    message.ns = stats_mean(empty_ns, EMPTY_INTERVALS);
    bench_send(bench, &message);
}

static void warm_up(struct bench *bench)
{
    struct store *store = bench->store;

    for (int i = 0; i < WARM_UP_CHAINS; i++)
        for (int p = 0; p < store->point_count; p++) {
            bool is_ends = p == 0 || p == store->point_count - 1;

            /* the kernels of products and of single rows; whole tables would take a round */
            if (!is_ends && store->points[p].phase == store->points[p - 1].phase)
                continue;
            chain_prepare(bench->chain, &store->points[p], 1, i == 0 && is_ends);
            chain_run(bench->chain, (struct forward_stamp){ NULL, NULL });
            chain_restore(bench->chain);
        }
}

bool bench_prepare(struct bench *bench, struct err *err)
{
    const struct worker *worker = bench->worker;
    struct store *store = worker->store;
    struct point most;
    struct pool pool;

    if (!kernel_use_threads(store->variant.threads, err))
        return false;
    bench->order = rng_stream(worker->seed, RNG_PROFILE_ORDER, (uint64_t)worker->proc);
    forward_fill(bench->canary, 3 * BENCH_CANARY_CELLS, 1);
    most = store_largest(store);
    if (!pool_create(bench->arena, &worker->pool, worker->seed, &pool, err))
        return false;
    bench->chain =
        chain_create(bench->arena, store->variant.model, store->variant.dtype, pool,
                     worker->pool.anchor_layers, &most, store->variant.threads, worker->seed, err);
    if (bench->chain)
        warm_up(bench);
    return bench->chain;
}

struct bench *bench_create(const struct worker *worker, int fd)
{
    struct arena *arena = arena_create();
    struct bench *bench = arena_alloc(arena, sizeof(*bench));

    bench->worker = worker;
    bench->arena = arena;
    bench->store = worker->store;
    bench->fd = fd;
    return bench;
}
