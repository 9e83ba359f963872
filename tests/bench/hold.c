/* hold.c - the winner tree and two plain heaps, each in a loop of its own that the compiler may
 * inline into. */
#include "tests/bench/hold.h"

#include "lib/base/arena.h"
#include "lib/base/rng.h"
#include "lib/base/units.h"
#include "sim/engine/engine.h"
#include "tests/bench/bench.h"
#include <stdlib.h>

const char *const hold_increments_names[HOLD_INCREMENTS_COUNT] = {
    [HOLD_EXPONENTIAL] = "exponential",
    [HOLD_BIMODAL] = "bimodal",
    [HOLD_TIES] = "4 values",
    [HOLD_EQUAL] = "all equal",
};

#define MEAN_PS (10 * UNITS_PS_PER_MS)

int64_t *hold_draw(enum hold_increments increments)
{
    struct rng rng = rng_stream(1, RNG_TEST, (uint64_t)increments);
    int64_t *draws_ps = malloc(HOLD_DRAWS * sizeof *draws_ps);

    for (size_t i = 0; draws_ps && i < HOLD_DRAWS; i++)
        switch (increments) {
        case HOLD_EXPONENTIAL:
            draws_ps[i] = (int64_t)rng_exponential(&rng, (double)MEAN_PS);
            break;
        case HOLD_BIMODAL:
            draws_ps[i] = (int64_t)rng_exponential(&rng, (double)MEAN_PS *
                                                             (rng_below(&rng, 10) > 0 ? 1e-5 : 1));
            break;
        case HOLD_TIES:
            draws_ps[i] = (int64_t)(1 + rng_below(&rng, 4)) * MEAN_PS;
            break;
        case HOLD_EQUAL:
        case HOLD_INCREMENTS_COUNT:
            draws_ps[i] = MEAN_PS;
            break;
        }
    return draws_ps;
}

/* ---- the heaps of a textbook ---- */

/* The number of children is to be a constant: a division by it would tell against the heaps. */
#define INLINE static inline __attribute__((always_inline))

struct entry {
    int64_t time_ps;
    uint64_t payload;
};

struct heap {
    struct entry *entries; /* the children of i are from ways * i + 1 on */
    size_t count;
};

INLINE void push(struct heap *heap, size_t ways, struct entry entry)
{
    size_t at = heap->count++;

    while (at > 0) {
        size_t parent = (at - 1) / ways;

        if (heap->entries[parent].time_ps <= entry.time_ps)
            break;
        heap->entries[at] = heap->entries[parent];
        at = parent;
    }
    heap->entries[at] = entry;
}

INLINE struct entry pop(struct heap *heap, size_t ways)
{
    struct entry first = heap->entries[0], last = heap->entries[--heap->count];
    size_t at = 0;

    for (;;) {
        size_t child = ways * at + 1, end = child + ways, least = child;

        if (child >= heap->count)
            break;
        if (end > heap->count)
            end = heap->count;
        while (++child < end)
            if (heap->entries[child].time_ps < heap->entries[least].time_ps)
                least = child;
        if (heap->entries[least].time_ps >= last.time_ps)
            break;
        heap->entries[at] = heap->entries[least];
        at = least;
    }
    heap->entries[at] = last;
    return first;
}

/* The first children, entry 1 on, begin a cache line. */
static void *heap_memory(int pending)
{
    size_t bytes = ((size_t)pending + 4) * sizeof(struct entry);

    return aligned_alloc(64, (bytes + 127) / 64 * 64);
}

INLINE double hold_heap(size_t ways, int pending, const int64_t *increments_ps, int64_t steps,
                        uint64_t *sum)
{
    char *memory = heap_memory(pending);
    struct heap heap = { .count = 0 };
    uint64_t total = 0;
    double began_ns;

    if (!memory)
        return -1;
    heap.entries = (struct entry *)(void *)(memory + 64 - sizeof(struct entry));
    for (int i = 0; i < pending; i++)
        push(&heap, ways,
             (struct entry){ increments_ps[(size_t)i & (HOLD_DRAWS - 1)], (uint64_t)i });
    began_ns = bench_thread_ns();
    for (int64_t i = 0; i < steps; i++) {
        struct entry entry = pop(&heap, ways);

        total += (uint64_t)entry.time_ps;
        entry.time_ps += increments_ps[(size_t)i & (HOLD_DRAWS - 1)];
        push(&heap, ways, entry);
    }
    began_ns = bench_thread_ns() - began_ns;
    free(memory);
    *sum = total;
    return began_ns / (double)steps;
}

static __attribute__((noinline)) double hold_binary(int pending, const int64_t *increments_ps,
                                                    int64_t steps, uint64_t *sum)
{
    return hold_heap(2, pending, increments_ps, steps, sum);
}

static __attribute__((noinline)) double hold_quad(int pending, const int64_t *increments_ps,
                                                  int64_t steps, uint64_t *sum)
{
    return hold_heap(4, pending, increments_ps, steps, sum);
}

/* ---- ours ---- */

static __attribute__((noinline, flatten)) double
hold_tree(int pending, const int64_t *increments_ps, int64_t steps, uint64_t *sum)
{
    struct arena *arena = arena_create();
    struct engine *engine = engine_create(arena, pending);
    uint64_t total = 0;
    double began_ns;

    for (int i = 0; i < pending; i++)
        engine_set(engine, i, increments_ps[(size_t)i & (HOLD_DRAWS - 1)], ENGINE_COMPLETION);
    began_ns = bench_thread_ns();
    for (int64_t i = 0; i < steps; i++) {
        int slot = engine_next(engine);
        int64_t time_ps = engine_now_ps(engine);

        total += (uint64_t)time_ps;
        engine_set(engine, slot, time_ps + increments_ps[(size_t)i & (HOLD_DRAWS - 1)],
                   ENGINE_COMPLETION);
    }
    began_ns = bench_thread_ns() - began_ns;
    arena_destroy(arena);
    *sum = total;
    return began_ns / (double)steps;
}

double hold_ns(enum hold_queue queue, int pending, const int64_t *increments_ps, int64_t steps,
               uint64_t *sum)
{
    switch (queue) {
    case HOLD_TREE:
        return hold_tree(pending, increments_ps, steps, sum);
    case HOLD_BINARY:
        return hold_binary(pending, increments_ps, steps, sum);
    case HOLD_QUAD:
        return hold_quad(pending, increments_ps, steps, sum);
    case HOLD_QUEUE_COUNT:
        break;
    }
    return -1;
}
