/* bench.h - the inside of a measuring process: visits of points, stamps, messages to the parent.
 *
 * Between two operators only clocks are read; samples are sent after the visit. */
#ifndef ORRERY_PROFILER_BENCH_H
#define ORRERY_PROFILER_BENCH_H

#include "lib/base/rng.h"
#include "profiler/measure/message.h"
#include "profiler/measure/worker.h"
#include <stdbool.h>
#include <stdint.h>

struct arena;
struct chain;
struct err;

#define BENCH_CANARY_SIZE 96
#define BENCH_CANARY_CELLS ((int64_t)BENCH_CANARY_SIZE * BENCH_CANARY_SIZE)

struct bench_visit {
    int layers, skip_layers; /* the first ones are run, not recorded */
    bool has_lm_head;
    bool is_attention_only; /* the rest is recorded at another point */
};

struct bench {
    const struct worker *worker;
    struct arena *arena;
    struct store *store;
    struct chain *chain;
    struct rng order;
    struct message_batch batch;
    int fd;
    int round;
    struct round_readings readings;
    bool is_parent_gone;
    float canary[3 * BENCH_CANARY_CELLS];
    /* of the visit */
    struct bench_visit visit;
    int point, additions;
    int64_t start_ns, start_cpu_ns;
    long start_switches;
};

/* The process's state; its arena is the caller's to destroy. */
struct bench *bench_create(const struct worker *worker, int fd);
/* Threads, pool and chain; warm-up. */
bool bench_prepare(struct bench *bench, struct err *err);
/* Tells the parent why the process ends; returns its exit status. */
int bench_fail(struct bench *bench, const struct err *err);
/* Keeps the messages of the batch and sends them. */
void bench_flush(struct bench *bench);
void bench_send(struct bench *bench, const struct message *message);

/* One visit of a point, every operator stamped; of an anchor, none. */
void bench_visit(struct bench *bench, int point, const struct bench_visit *visit);
void bench_visit_anchor(struct bench *bench, int anchor);
/* The same small product and the same cold read before every round, and the state of the machine
 * around it: when these move, the machine did. The verdict is by what this process knows. */
void bench_begin_round(struct bench *bench);
enum round_verdict bench_end_round(struct bench *bench);
/* The small product again: as fast as in the good rounds? */
bool bench_is_canary_good(struct bench *bench);
/* What an interval holds besides the operator: median of many empty ones. */
void bench_send_stamp(struct bench *bench);

long bench_switches(const struct bench *bench);

#endif
