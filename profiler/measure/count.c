/* count.c - the counting process: every point in as many passes as the hardware's counters need. */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "profiler/counters/counters.h"
#include "profiler/measure/bench.h"
#include "profiler/measure/chain.h"
#include "profiler/measure/worker.h"

#define COUNT_VISITS 2

struct count {
    struct bench *bench;
    struct counters *counters;
    struct counters_pass pass;
    struct counters_read read;
    const char *reasons[COST_COUNTER_COUNT];
};

static void on_count(void *arg, enum op op)
{
    struct count *count = arg;
    struct bench *bench = count->bench;

    counters_end(count->counters, &count->pass, &count->read, count->reasons, bench->arena);
    for (int c = 0; c < COST_COUNTER_COUNT; c++) {
        struct message *message = &bench->batch.items[bench->batch.count];

        if (count->read.values[c] == COST_UNKNOWN || bench->batch.count == MESSAGE_BATCH)
            continue;
        bench->batch.count++;
        *message = (struct message){ .kind = MESSAGE_COUNT,
                                     .index = bench->point,
                                     .op = (int32_t)op,
                                     .counter = c,
                                     .ns = count->read.values[c] };
    }
    counters_begin(count->counters, &count->read);
}

static void count_point(struct count *count, int index)
{
    struct bench *bench = count->bench;

    /* one layer: its operators times the counters fit a batch */
    chain_prepare(bench->chain, &bench->store->points[index], 1, true);
    bench->point = index;
    counters_begin(count->counters, &count->read);
    chain_run(bench->chain, (struct forward_stamp){ on_count, count });
    if (count->read.started >= 0) /* begun after the last operator, for nothing */
        count->counters->stop(count->counters, count->read.values);
    chain_restore(bench->chain);
    bench_flush(bench);
}

static void send_text(struct bench *bench, enum message_kind kind, int index, const char *text)
{
    struct message message = { .kind = kind, .index = index };

    message_put_text(&message, text);
    bench_send(bench, &message);
}

static void count_passes(struct count *count, unsigned *counted)
{
    const struct bench *bench = count->bench;

    for (; count->pass.bits != 0; counters_next_pass(count->counters, &count->pass)) {
        *counted |= count->pass.bits;
        for (int v = 0; v < COUNT_VISITS; v++)
            for (int p = 0; p < bench->store->point_count && !bench->is_parent_gone; p++)
                count_point(count, p);
    }
}

int worker_count(const struct worker *worker, struct counters *counters, int fd)
{
    struct bench *bench = bench_create(worker, fd);
    struct arena *arena = bench->arena;
    struct count count = { .bench = bench, .counters = counters };
    struct err err = ERR_INIT;
    unsigned counted = 0;

    count.pass = counters_first_pass(counters);
    send_text(bench, MESSAGE_STATE, 0, counters->describe(counters));
    bool is_ready = count.pass.bits == 0 || bench_prepare(bench, &err);
    int status = is_ready ? 0 : bench_fail(bench, &err);
    if (is_ready)
        count_passes(&count, &counted);
    for (int c = 0; c < COST_COUNTER_COUNT && is_ready; c++) {
        const char *reason = count.reasons[c];

        if (!reason && !(counted >> c & 1u))
            reason = counters_reason(counters, (enum cost_counter)c);
        if (reason)
            send_text(bench, MESSAGE_REASON, c, reason);
    }
    chain_destroy(bench->chain); /* its threads work in the arena */
    arena_destroy(arena);
    return status;
}
