/* energy_pass.c - the metering process: each product and attention again and again, as the sensors
 * average over tens of ms and a forward has no single operator that lasts as long. */
#include "lib/base/arena.h"
#include "lib/base/dmath.h"
#include "lib/base/err.h"
#include "profiler/device/command.h"
#include "profiler/device/energy.h"
#include "profiler/device/sensors.h"
#include "profiler/measure/bench.h"
#include "profiler/measure/chain.h"
#include "profiler/measure/worker.h"

#define SPAN_NS INT64_C(1000000000)

struct metered { /* one operator of one point, over and over on cold memory */
    struct bench *bench;
    int point;
    enum op op;
};

static void call_once(void *arg)
{
    struct metered *metered = arg;

    chain_run_op(metered->bench->chain, &metered->bench->store->points[metered->point],
                 metered->op);
}

static void send_energy(struct bench *bench, int point, enum op op,
                        const struct energy_per_call *energy)
{
    struct message message = { .kind = MESSAGE_ENERGY, .index = point, .op = (int32_t)op };

    message.ns = energy->reason[0] ? -1 : dmath_round(energy->call_uj);
    message_put_text(&message, energy->reason);
    bench_send(bench, &message);
}

/* Rows are shared by points: each is metered once. */
static bool is_first_of_row(const struct store *store, int point, enum op op)
{
    int row = store->row_of[point][op];

    for (int p = 0; p < point; p++)
        if (store->row_of[p][op] == row)
            return false;
    return row >= 0;
}

static void meter_points(struct bench *bench, const struct sensor *sensor,
                         const struct energy_reading *idle)
{
    static const enum op ops[] = { OP_QKV, OP_ATTN, OP_OPROJ, OP_FFN_UP, OP_FFN_DOWN, OP_LMHEAD };
    const struct store *store = bench->store;

    for (int p = 0; p < store->point_count; p++)
        for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]) && !bench->is_parent_gone; i++) {
            struct metered metered = { bench, p, ops[i] };
            struct energy_per_call energy;

            if (!is_first_of_row(store, p, ops[i]) || store->is_held_out[p])
                continue;
            energy = energy_measure(bench->arena, sensor, idle, call_once, &metered, SPAN_NS);
            send_energy(bench, p, ops[i], &energy);
        }
}

int worker_energy(const struct worker *worker, int fd)
{
    struct bench *bench = bench_create(worker, fd);
    struct arena *arena = bench->arena;
    struct err err = ERR_INIT;
    int status = bench_prepare(bench, &err) ? 0 : bench_fail(bench, &err);

    if (status == 0) {
        const char *vcgencmd = worker->sysroot[0] ? NULL : COMMAND_VCGENCMD;
        const struct sensor *sensor = sensor_find(arena, worker->sysroot, vcgencmd);
        struct energy_reading idle = energy_idle(arena, sensor, SPAN_NS);

        meter_points(bench, sensor, &idle);
    }
    chain_destroy(bench->chain); /* its threads work in the arena */
    arena_destroy(arena);
    return status;
}
