/* bench_queue.c - the simulator's event queue against plain heaps, under the hold model.
 *
 *     bench_queue [STEPS [REPEATS]]     (default 4000000 steps, 3 repeats)
 *
 * Rows (bench.h): `queue INCREMENTS N`, ns a step of the winner tree and of a plain binary heap
 * with N events pending; notes tell of a plain 4-ary heap as well. Exits with 1 when two queues
 * take different times. */
#include "lib/base/units.h"
#include "tests/bench/bench.h"
#include "tests/bench/hold.h"
#include <stdlib.h>

static bool measure(enum hold_increments increments, int pending, int64_t steps, int repeats)
{
    int64_t *draws_ps = hold_draw(increments);
    double quad_ns = 1e300;
    char figure[64];
    bool is_same = draws_ps != NULL;

    (void)snprintf(figure, sizeof figure, "queue %s %d", hold_increments_names[increments],
                   pending);
    for (int repeat = 1; is_same && repeat <= repeats; repeat++) {
        double ns[HOLD_QUEUE_COUNT];
        uint64_t sum[HOLD_QUEUE_COUNT];

        for (int queue = 0; queue < HOLD_QUEUE_COUNT; queue++)
            ns[queue] = hold_ns((enum hold_queue)queue, pending, draws_ps, steps, &sum[queue]);
        is_same = sum[HOLD_TREE] == sum[HOLD_BINARY] && sum[HOLD_TREE] == sum[HOLD_QUAD];
        quad_ns = ns[HOLD_QUAD] < quad_ns ? ns[HOLD_QUAD] : quad_ns;
        bench_row(figure, repeat, ns[HOLD_TREE], ns[HOLD_BINARY], "ns");
    }
    printf("# %s: a plain 4-ary heap takes %.1f ns\n", figure, quad_ns);
    free(draws_ps);
    return is_same;
}

int main(int argc, char **argv)
{
    static const int pending[] = { 10, 100, 1000 };
    int64_t steps = 4000000, repeats = 3;

    if (argc > 3 || (argc > 1 && !units_parse_int(argv[1], &steps)) || steps < 1 ||
        (argc > 2 && !units_parse_int(argv[2], &repeats)) || repeats < 1 || repeats > 99) {
        fprintf(stderr, "usage: bench_queue [STEPS [REPEATS]]\n");
        return 2;
    }
    bench_head();
    for (int kind = 0; kind < HOLD_INCREMENTS_COUNT; kind++)
        for (size_t i = 0; i < sizeof pending / sizeof pending[0]; i++)
            if (!measure((enum hold_increments)kind, pending[i], steps, (int)repeats)) {
                fprintf(stderr, "bench_queue: the queues took different times\n");
                return 1;
            }
    return 0;
}
