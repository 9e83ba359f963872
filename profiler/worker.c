/* worker.c - rounds of visits, each operator stamped, preempted samples marked; counter passes.
 *
 * Between two operators only clocks are read; samples are sent after the visit. */
#include "profiler/worker.h"
#include "lib/base/arena.h"
#include "lib/base/clock.h"
#include "lib/base/err.h"
#include "lib/base/rng.h"
#include "lib/format/model.h"
#include "lib/kernels/kernels.h"
#include "profiler/chain.h"
#include "profiler/counters.h"
#include "profiler/facts_cpu.h"
#include "profiler/message.h"
#include <sys/resource.h>
#include <time.h>

#define WARM_UP_CHAINS 2
#define CANARY_SIZE 96
#define CANARY_CELLS ((int64_t)CANARY_SIZE * CANARY_SIZE)
#define CANARY_REPEATS 5
#define LINE_FLOATS 16
#define ANCHOR_TIME_PERCENT 25
#define ANCHOR_VISITS 2 /* a round: an anchor gives one sample a visit, a point several */
#define COUNT_VISITS 2
#define SLOW_VISITS 4 /* of the first round, before its length is guessed */

struct bench { /* the state of a measuring process */
    const struct worker *worker;
    struct arena *arena;
    struct store *store;
    struct chain *chain;
    struct rng order;
    struct message_batch batch;
    int fd;
    int round;
    bool is_parent_gone, is_slow_told;
    float canary[3 * CANARY_CELLS];
    /* of the visit */
    int point;
    int64_t start_ns, start_cpu_ns;
    long start_switches;
    /* counting */
    struct counters *counters;
    struct counters_pass pass;
    struct counters_read read;
    const char *reasons[COST_COUNTER_COUNT];
};

static int64_t cpu_ns(const struct bench *bench)
{
    struct timespec now;

    if (bench->store->threads > 1) /* the other threads' time is not this thread's */
        return 0;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static long switches(const struct bench *bench)
{
    struct rusage usage;

    getrusage(bench->store->threads > 1 ? RUSAGE_SELF : RUSAGE_THREAD, &usage);
    return usage.ru_nivcsw;
}

static void start_interval(struct bench *bench)
{
    bench->start_switches = switches(bench);
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
    message->is_dirty = switches(bench) != bench->start_switches;
}

static void on_stamp(void *arg, enum op op)
{
    struct bench *bench = arg;

    put_sample(bench, MESSAGE_SAMPLE, bench->point, op);
    start_interval(bench);
}

static void flush(struct bench *bench)
{
    const char *unused = NULL;
    struct err err = ERR_INIT;

    for (int i = 0; i < bench->batch.count; i++)
        message_apply(bench->store, bench->worker->proc, &bench->batch.items[i], &unused, &err);
    if (!message_send(bench->fd, &bench->batch))
        bench->is_parent_gone = true;
    bench->batch.count = 0;
}

static int fail(struct bench *bench, const struct err *err)
{
    bench->batch.count = 1;
    bench->batch.items[0].kind = MESSAGE_FAILED;
    message_put_text(&bench->batch.items[0], err->text);
    message_send(bench->fd, &bench->batch);
    return 1;
}

/* More layers where a layer is short: the samples of a visit cost one lm_head and one shuffle. */
static int visit_layers(const struct bench *bench, const struct point *point)
{
    int layers = point->m <= 16 ? 4 : point->m <= 64 ? 2 : 1;

    return layers < bench->worker->pool.anchor_layers ? layers : bench->worker->pool.anchor_layers;
}

static void visit(struct bench *bench, int index, bool has_lm_head)
{
    const struct point *point = &bench->store->points[index];

    bench->point = index;
    chain_prepare(bench->chain, point, visit_layers(bench, point), has_lm_head);
    start_interval(bench);
    chain_run(bench->chain, (struct forward_stamp){ on_stamp, bench });
    chain_restore(bench->chain);
    flush(bench);
}

static void visit_anchor(struct bench *bench, int index)
{
    const struct store_anchor *anchor = &bench->store->anchors[index];

    chain_prepare(bench->chain, &bench->store->points[anchor->point], anchor->layers, true);
    start_interval(bench);
    chain_run(bench->chain, (struct forward_stamp){ NULL, NULL });
    put_sample(bench, MESSAGE_ANCHOR, index, OP_LMHEAD);
    chain_restore(bench->chain);
    flush(bench);
}

/* The same small product and the same cold read in every round: when these move, the machine did.
 */
static void send_round(struct bench *bench)
{
    struct message *message = &bench->batch.items[0];
    struct store_round *round = &message->body.round;
    struct arena *scratch = arena_create();
    const char *root = bench->worker->sysroot;
    float *a = bench->canary, *b = a + CANARY_CELLS, *c = b + CANARY_CELLS;
    const float *cold = chain_cold(bench->chain, POOL_CANARY_FLOATS);
    volatile float sink;
    float sum = 0.0f;

    *round = (struct store_round){ .proc = bench->worker->proc, .round = bench->round };
    for (int i = 0; i < CANARY_REPEATS; i++) {
        int64_t start = clock_raw_ns();

        kernel_linear(a, b, NULL, c, CANARY_SIZE, CANARY_SIZE, CANARY_SIZE);
        int64_t taken = clock_raw_ns() - start;
        if (i == 0 || taken < round->canary_c_ns)
            round->canary_c_ns = taken;
    }
    round->t_ns = clock_raw_ns();
    for (int i = 0; i < POOL_CANARY_FLOATS; i += LINE_FLOATS)
        sum += cold[i];
    sink = sum;
    (void)sink;
    round->canary_m_ns = clock_raw_ns() - round->t_ns;
    round->freq_khz = facts_freq_khz(scratch, root);
    round->temp_mc = facts_temp_mc(scratch, root);
    round->throttle_bits = facts_throttle_bits(scratch, root);
    round->psi_us = facts_pressure_us(scratch, root);
    round->nivcsw = switches(bench);
    arena_destroy(scratch);
    message->kind = MESSAGE_ROUND;
    bench->batch.count = 1;
    flush(bench);
}

static void shuffle(struct bench *bench, int *items, int count)
{
    for (int i = count - 1; i > 0; i--) {
        int j = (int)rng_below(&bench->order, (uint64_t)i + 1), kept = items[i];

        items[i] = items[j];
        items[j] = kept;
    }
}

/* Unfinished points, and the anchors as indices from point_count on. */
static int list_round(struct bench *bench, struct arena *scratch, int *items, bool has_anchors,
                      bool *needs_lm_head)
{
    struct store *store = bench->store;
    const struct worker *worker = bench->worker;
    int lm_head = store->row_of[0][OP_LMHEAD], count = 0;

    *needs_lm_head = lm_head >= 0 &&
                     !store_row_finished(store, scratch, lm_head, worker->proc, worker->processes);
    for (int p = 0; p < store->point_count; p++)
        if (!store_point_finished(store, scratch, p, worker->proc, worker->processes))
            items[count++] = p;
    if (count == 0)
        return 0;
    for (int i = 0; has_anchors && i < ANCHOR_VISITS * store->anchor_count; i++)
        items[count++] = store->point_count + i % store->anchor_count;
    return count;
}

/* Roughly proportional to the time of a visit: multiplications, and weights read as if they were 8
 * tokens more. */
static double work_of(const struct bench *bench, int item)
{
    const struct store *store = bench->store;
    const struct model *model = store->model;
    bool is_anchor = item >= store->point_count;
    int anchor = item - store->point_count;
    const struct point *point = &store->points[is_anchor ? store->anchors[anchor].point : item];
    int layers = is_anchor ? store->anchors[anchor].layers : visit_layers(bench, point);
    double weights = (double)model->hidden * (4.0 * model->hidden + 3.0 * model->ffn_hidden);
    double keys = 2.0 * model->heads * model->head_dim * point->kv;

    return layers * (weights * (point->m + 8) + keys * point->m) +
           8.0 * model->vocab * model->hidden;
}

/* In the first round, once a few visits or a whole budget tell enough: what all of it will take. */
static void tell_if_slow(struct bench *bench, const int *items, int count, int done,
                         int64_t taken_ns)
{
    int64_t slow_ns = bench->worker->slow_ns;
    double all = 0.0, part = 0.0;

    if (slow_ns == 0 || bench->is_slow_told || bench->round > 0 ||
        (done < SLOW_VISITS && taken_ns < slow_ns))
        return;
    for (int i = 0; i < count; i++) {
        double work = work_of(bench, items[i]);

        all += work;
        part += i < done ? work : 0.0;
    }
    double expected_ns = (double)taken_ns * all / part;
    if (expected_ns <= (double)slow_ns)
        return;
    bench->is_slow_told = true;
    bench->batch.items[0].kind = MESSAGE_SLOW;
    bench->batch.items[0].ns = expected_ns < 9e18 ? (int64_t)expected_ns : INT64_MAX;
    bench->batch.count = 1;
    flush(bench);
}

static bool is_over(const struct bench *bench)
{
    return bench->is_parent_gone ||
           (bench->round > 0 && clock_now_ns() >= bench->worker->deadline_ns);
}

static void run_rounds(struct bench *bench)
{
    struct store *store = bench->store;
    int most = store->point_count + ANCHOR_VISITS * store->anchor_count;
    int *items = arena_array(bench->arena, (size_t)most, sizeof(int));
    int64_t began = clock_now_ns(), anchors_ns = 0;

    for (bench->round = 0; !is_over(bench); bench->round++) {
        struct arena *scratch = arena_create();
        bool has_anchors = anchors_ns * 100 <= ANCHOR_TIME_PERCENT * (clock_now_ns() - began);
        bool needs_lm_head;
        int count = list_round(bench, scratch, items, has_anchors, &needs_lm_head);

        arena_destroy(scratch);
        if (count == 0)
            break;
        send_round(bench);
        shuffle(bench, items, count);
        int64_t round_began = clock_now_ns();
        for (int i = 0; i < count && !is_over(bench); i++) {
            int64_t start = clock_now_ns();

            if (items[i] < store->point_count) {
                visit(bench, items[i], needs_lm_head);
            } else {
                visit_anchor(bench, items[i] - store->point_count);
                anchors_ns += clock_now_ns() - start;
            }
            tell_if_slow(bench, items, count, i + 1, clock_now_ns() - round_began);
        }
    }
}

static void warm_up(struct bench *bench)
{
    struct store *store = bench->store;

    for (int i = 0; i < WARM_UP_CHAINS; i++)
        for (int a = 0; a < store->anchor_count; a++) {
            chain_prepare(bench->chain, &store->points[store->anchors[a].point], 1, true);
            chain_run(bench->chain, (struct forward_stamp){ NULL, NULL });
            chain_restore(bench->chain);
        }
}

static bool set_threads(int threads, struct err *err)
{
    kernel_set_threads(threads);
    int given = kernel_blas_threads();

    if (given == threads || (given == 0 && threads == 1))
        return true;
    if (given == 0)
        return err_set(err, ERR_USAGE,
                       "--threads asks for %d: this BLAS does not say how many it works with, so "
                       "only 1 can be measured",
                       threads);
    return err_set(err, ERR_USAGE, "--threads asks for %d: this BLAS works with %d", threads,
                   given);
}

static bool prepare(struct bench *bench, struct err *err)
{
    const struct worker *worker = bench->worker;
    struct store *store = worker->store;
    struct pool pool;
    int max_m = 1, max_kv = 1;

    for (int p = 0; p < store->point_count; p++) {
        max_m = store->points[p].m > max_m ? store->points[p].m : max_m;
        max_kv = store->points[p].kv > max_kv ? store->points[p].kv : max_kv;
    }
    if (!set_threads(store->threads, err))
        return false;
    bench->order = rng_stream(worker->seed, RNG_PROFILE_ORDER, (uint64_t)worker->proc);
    forward_fill(bench->canary, 3 * CANARY_CELLS, 1);
    if (!pool_create(bench->arena, &worker->pool, worker->seed, &pool, err))
        return false;
    bench->chain = chain_create(bench->arena, store->model, pool, worker->pool.anchor_layers, max_m,
                                max_kv, worker->seed, err);
    return bench->chain;
}

static struct bench *create(const struct worker *worker, int fd)
{
    struct arena *arena = arena_create();
    struct bench *bench = arena_alloc(arena, sizeof(*bench));

    bench->worker = worker;
    bench->arena = arena;
    bench->store = worker->store;
    bench->fd = fd;
    return bench;
}

int worker_check(const struct worker *worker, int fd)
{
    struct bench *bench = create(worker, fd);
    struct arena *arena = bench->arena;
    struct err err = ERR_INIT;
    int status = set_threads(worker->store->threads, &err) ? 0 : fail(bench, &err);

    arena_destroy(arena);
    return status;
}

int worker_time(const struct worker *worker, int fd)
{
    struct bench *bench = create(worker, fd);
    struct arena *arena = bench->arena;
    struct err err = ERR_INIT;
    int status = 0;

    if (prepare(bench, &err)) {
        warm_up(bench);
        run_rounds(bench);
    } else {
        status = fail(bench, &err);
    }
    arena_destroy(arena);
    return status;
}

/* ---- counters ---- */

static void on_count(void *arg, enum op op)
{
    struct bench *bench = arg;

    counters_end(bench->counters, &bench->pass, &bench->read, bench->reasons, bench->arena);
    for (int c = 0; c < COST_COUNTER_COUNT; c++) {
        struct message *message = &bench->batch.items[bench->batch.count];

        if (bench->read.values[c] == COST_UNKNOWN || bench->batch.count == MESSAGE_BATCH)
            continue;
        bench->batch.count++;
        message->kind = MESSAGE_COUNT;
        message->index = bench->point;
        message->op = (int32_t)op;
        message->counter = c;
        message->ns = bench->read.values[c];
    }
    counters_begin(bench->counters, &bench->read);
}

static void count_point(struct bench *bench, int index)
{
    /* one layer: its operators times six counters fit a batch */
    chain_prepare(bench->chain, &bench->store->points[index], 1, true);
    bench->point = index;
    counters_begin(bench->counters, &bench->read);
    chain_run(bench->chain, (struct forward_stamp){ on_count, bench });
    if (bench->read.started >= 0) /* begun after the last operator, for nothing */
        bench->counters->stop(bench->counters, bench->read.values);
    chain_restore(bench->chain);
    flush(bench);
}

static void send_text(struct bench *bench, enum message_kind kind, int index, const char *text)
{
    bench->batch.items[0].kind = kind;
    bench->batch.items[0].index = index;
    message_put_text(&bench->batch.items[0], text);
    bench->batch.count = 1;
    flush(bench);
}

static void count_passes(struct bench *bench, unsigned *counted)
{
    for (; bench->pass.bits != 0; counters_next_pass(bench->counters, &bench->pass)) {
        *counted |= bench->pass.bits;
        for (int v = 0; v < COUNT_VISITS; v++)
            for (int p = 0; p < bench->store->point_count && !bench->is_parent_gone; p++)
                count_point(bench, p);
    }
}

int worker_count(const struct worker *worker, struct counters *counters, int fd)
{
    struct bench *bench = create(worker, fd);
    struct arena *arena = bench->arena;
    struct err err = ERR_INIT;
    unsigned counted = 0;

    bench->counters = counters;
    bench->pass = counters_first_pass(counters);
    send_text(bench, MESSAGE_STATE, 0, counters->describe(counters));
    bool is_ready = bench->pass.bits == 0 || prepare(bench, &err);
    int status = is_ready ? 0 : fail(bench, &err);
    if (is_ready)
        count_passes(bench, &counted);
    for (int c = 0; c < COST_COUNTER_COUNT && is_ready; c++) {
        const char *reason = bench->reasons[c];

        if (!reason && !(counted >> c & 1u))
            reason = counters_reason(counters, (enum cost_counter)c);
        if (reason)
            send_text(bench, MESSAGE_REASON, c, reason);
    }
    arena_destroy(arena);
    return status;
}
