/* worker.c - rounds of visits: every unfinished point once, anchors among them, in random order. */
#include "profiler/measure/worker.h"
#include "lib/base/arena.h"
#include "lib/base/clock.h"
#include "lib/base/err.h"
#include "lib/format/model.h"
#include "lib/kernels/kernels.h"
#include "profiler/measure/bench.h"
#include "profiler/measure/chain.h"
#include "profiler/measure/machine.h"
#include "profiler/measure/verdict.h"
#include <time.h>

#define SLOW_VISITS 4 /* of the first round, before its length is guessed */

/* The first layer of several tokens runs up to 7 % slower than the mean of all, the next ones do
 * not: caches and buffers still hold another shape. So it is left out. A single token has no such
 * effect. A chunk is there for its attention. */
static struct bench_visit plan_visit(const struct bench *bench, const struct point *point)
{
    bool is_chunk = point->phase == OP_PREFILL && point->kv > point->m;
    struct bench_visit visit = { .layers = 2, .is_attention_only = is_chunk };
    int most = bench->worker->pool.anchor_layers;

    if (is_chunk)
        visit.layers = 1;
    else if (point->m > 1)
        visit.layers = point->phase == OP_PREFILL ? 3 : 2;
    if (visit.layers > most)
        visit.layers = most;
    visit.skip_layers = point->m > 1 && visit.layers > 1;
    return visit;
}

static void shuffle(struct bench *bench, int *items, int count)
{
    for (int i = count - 1; i > 0; i--) {
        int j = (int)rng_below(&bench->order, (uint64_t)i + 1), kept = items[i];

        items[i] = items[j];
        items[j] = kept;
    }
}

static bool needs_lm_head(const struct bench *bench, struct arena *scratch, int point)
{
    const struct worker *worker = bench->worker;
    int row = bench->store->row_of[point][OP_LMHEAD];

    return row >= 0 &&
           !store_row_finished(bench->store, scratch, row, worker->proc, worker->processes);
}

/* Unfinished points, and the anchors as indices from point_count on. */
static int list_round(struct bench *bench, struct arena *scratch, int *items, bool has_anchors)
{
    struct store *store = bench->store;
    const struct worker *worker = bench->worker;
    int count = 0;

    for (int p = 0; p < store->point_count; p++)
        if (!store_point_finished(store, scratch, p, worker->proc, worker->processes))
            items[count++] = p;
    if (count == 0)
        return 0;
    for (int a = 0; has_anchors && a < store->anchor_count; a++)
        items[count++] = store->point_count + a;
    return count;
}

/* Roughly proportional to the time of a visit: multiplications, and weights read as if they were 8
 * tokens more. */
static double work_of(const struct bench *bench, int item)
{
    const struct store *store = bench->store;
    const struct model *model = store->variant.model;
    bool is_anchor = item >= store->point_count;
    int anchor = item - store->point_count;
    const struct point *point = is_anchor ? &store->anchors[anchor].point : &store->points[item];
    int layers = is_anchor ? store->anchors[anchor].layers : plan_visit(bench, point).layers;
    double weights = (double)model->hidden * (4.0 * model->hidden + 3.0 * model->ffn_hidden);
    double keys = 2.0 * model->heads * model->head_dim * point->kv;

    return layers * (weights * (point->m + 8) + keys * point->m) +
           8.0 * point->batch * model->vocab * model->hidden;
}

/* In the first round, once a few visits or a whole budget tell enough: what all of it will take. */
static bool tell_if_slow(struct bench *bench, const int *items, int count, int done,
                         int64_t taken_ns)
{
    struct message message = { .kind = MESSAGE_SLOW };
    int64_t slow_ns = bench->worker->slow_ns;
    double all = 0.0, part = 0.0;

    if (slow_ns == 0 || bench->round > 0 || (done < SLOW_VISITS && taken_ns < slow_ns))
        return false;
    for (int i = 0; i < count; i++) {
        double work = work_of(bench, items[i]);

        all += work;
        part += i < done ? work : 0.0;
    }
    double expected_ns = (double)taken_ns * all / part;
    if (expected_ns <= (double)slow_ns)
        return false;
    message.ns = expected_ns < 9e18 ? (int64_t)expected_ns : INT64_MAX;
    bench_send(bench, &message);
    return true;
}

struct pace { /* of a process */
    int64_t began_ns, anchors_ns, waited_ns;
    bool is_slow_told;
    struct cooling cooling;
};

static bool is_over(const struct bench *bench, const struct pace *pace)
{
    int most = bench->worker->max_rounds;

    return bench->is_parent_gone || (most > 0 && bench->round >= most) ||
           (bench->round > 0 && clock_now_ns() - pace->waited_ns >= bench->worker->deadline_ns);
}

static void visit_all(struct bench *bench, const int *items, int count, struct pace *pace)
{
    struct store *store = bench->store;
    int64_t began_ns = clock_now_ns();

    for (int i = 0; i < count && !is_over(bench, pace); i++) {
        struct arena *scratch = arena_create();
        int64_t start_ns = clock_now_ns();
        int point = items[i];

        if (point < store->point_count) {
            struct bench_visit visit = plan_visit(bench, &store->points[point]);

            visit.has_lm_head = needs_lm_head(bench, scratch, point);
            bench_visit(bench, point, &visit);
        } else {
            bench_visit_anchor(bench, point - store->point_count);
            pace->anchors_ns += clock_now_ns() - start_ns;
        }
        arena_destroy(scratch);
        if (!pace->is_slow_told)
            pace->is_slow_told =
                tell_if_slow(bench, items, count, i + 1, clock_now_ns() - began_ns);
    }
}

/* Heat alone is waited for: a neighbour on a machine without a sensor may never go away. */
static bool is_heat(const struct bench *bench, enum round_verdict verdict)
{
    return verdict == ROUND_THROTTLED ||
           (verdict == ROUND_SLOW && bench->readings.before.temp_mc != MACHINE_UNKNOWN);
}

/* Until the board is as cool as at the start, or will not be. The time is not the round's. */
static void cool_down(struct bench *bench, struct pace *pace)
{
    const struct timespec second = { 1, 0 };
    int64_t began_ns = clock_now_ns();
    struct machine_state state;

    do {
        struct arena *scratch = arena_create();

        nanosleep(&second, NULL);
        machine_read(&state, scratch, bench->worker->sysroot);
        arena_destroy(scratch);
    } while (!bench->is_parent_gone &&
             cooling_wait(&pace->cooling, state.temp_mc, bench_is_canary_good(bench),
                          clock_now_ns()) == COOLING_WAIT);
    pace->waited_ns += clock_now_ns() - began_ns;
}

/* After a round: the board may have to rest, or has shown that it does not get cooler. */
static void follow_heat(struct bench *bench, struct pace *pace, enum round_verdict verdict)
{
    struct message message = { .kind = MESSAGE_SUSTAINED };
    bool was_sustained = pace->cooling.is_sustained;

    if (bench->round == 0)
        cooling_begin(&pace->cooling, bench->readings.before.temp_mc, bench->store->is_sustained);
    if (!is_heat(bench, verdict))
        return;
    if (cooling_round(&pace->cooling, verdict, clock_now_ns()) == COOLING_WAIT)
        cool_down(bench, pace);
    if (pace->cooling.is_sustained && !was_sustained)
        bench_send(bench, &message);
}

static void run_rounds(struct bench *bench)
{
    struct store *store = bench->store;
    int *items = arena_array(bench->arena, (size_t)store->point_count + (size_t)store->anchor_count,
                             sizeof(int));
    struct pace pace = { .began_ns = clock_now_ns() };

    for (bench->round = 0; !is_over(bench, &pace); bench->round++) {
        struct arena *scratch = arena_create();
        bool has_anchors = pace.anchors_ns * 100 <=
                           bench->worker->anchor_percent * (clock_now_ns() - pace.began_ns);
        int count = list_round(bench, scratch, items, has_anchors);

        arena_destroy(scratch);
        if (count == 0)
            break;
        bench_begin_round(bench);
        shuffle(bench, items, count);
        visit_all(bench, items, count, &pace);
        follow_heat(bench, &pace, bench_end_round(bench));
    }
}

/* A board that has computed for minutes is slower than a rested one: sustained costs start here. */
static void preheat(struct bench *bench)
{
    int64_t end_ns = clock_now_ns() + bench->worker->preheat_ns;
    const float *a = bench->canary, *b = a + BENCH_CANARY_CELLS;

    while (clock_now_ns() < end_ns && !bench->is_parent_gone)
        for (int i = 0; i < 1000; i++)
            kernel_linear(a, b, NULL, bench->canary + 2 * BENCH_CANARY_CELLS, BENCH_CANARY_SIZE,
                          BENCH_CANARY_SIZE, BENCH_CANARY_SIZE);
}

int worker_check(const struct worker *worker, int fd)
{
    struct bench *bench = bench_create(worker, fd);
    struct arena *arena = bench->arena;
    struct err err = ERR_INIT;
    bool is_given = kernel_use_threads(worker->store->variant.threads, &err);
    int status = is_given ? 0 : bench_fail(bench, &err);

    chain_destroy(bench->chain); /* its threads work in the arena */
    arena_destroy(arena);
    return status;
}

int worker_time(const struct worker *worker, int fd)
{
    struct bench *bench = bench_create(worker, fd);
    struct arena *arena = bench->arena;
    struct err err = ERR_INIT;
    int status = 0;

    if (bench_prepare(bench, &err)) {
        bench_send_stamp(bench);
        preheat(bench);
        run_rounds(bench);
    } else {
        status = bench_fail(bench, &err);
    }
    chain_destroy(bench->chain); /* its threads work in the arena */
    arena_destroy(arena);
    return status;
}

int worker_scout(const struct worker *worker, int fd)
{
    struct bench *bench = bench_create(worker, fd);
    struct arena *arena = bench->arena;
    struct store *store = bench->store;
    int items[GRID_MAX_POINTS];
    struct err err = ERR_INIT;
    int status = bench_prepare(bench, &err) ? 0 : bench_fail(bench, &err);

    for (bench->round = 0; status == 0 && bench->round < worker->max_rounds; bench->round++) {
        for (int p = 0; p < store->point_count; p++)
            items[p] = p;
        shuffle(bench, items, store->point_count);
        for (int i = 0; i < store->point_count && !bench->is_parent_gone; i++) {
            const struct bench_visit visit = { .layers = 2,
                                               .skip_layers = 1,
                                               .has_lm_head = items[i] == store->point_count - 1 };

            bench_visit(bench, items[i], &visit);
        }
    }
    chain_destroy(bench->chain); /* its threads work in the arena */
    arena_destroy(arena);
    return status;
}
