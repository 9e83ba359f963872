/* test_continuous_naive.c - lib/policy/continuous against the pseudo-code of its rules, on random
 * instances; and many steps at once against one by one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/base/arena.h"
#include "lib/base/rng.h"
#include "tests/unit/policy/naive_continuous.h"

#define ROUNDS 600
#define REQUESTS 60

/* Names of blocks: a request shares its first `shared` blocks with an earlier one. */
struct names {
    int like[REQUESTS], shared[REQUESTS], block_count[REQUESTS];
};

static int64_t name_of(void *arg, int64_t tag, int32_t block)
{
    const struct names *names = arg;
    int request = (int)tag;

    if (block >= names->block_count[request])
        return -1;
    while (block < names->shared[request])
        request = names->like[request];
    return (int64_t)request * NAIVE_MAX + block;
}

struct world {
    struct continuous_options options;
    struct names names;
    int prompts[REQUESTS], outputs[REQUESTS], at[REQUESTS]; /* step before which it arrives */
};

static int draw(struct rng *rng, int low, int high)
{
    return low + (int)rng_below(rng, (uint64_t)(high - low + 1));
}

static void names_draw(struct rng *rng, struct world *world, int i)
{
    struct names *names = &world->names;
    int total = (world->prompts[i] + world->outputs[i]) / world->options.block_tokens;

    names->like[i] = i > 0 ? draw(rng, 0, i - 1) : 0;
    names->shared[i] = i > 0 && draw(rng, 0, 2) > 0 ? draw(rng, 0, total) : 0;
    if (names->shared[i] > names->block_count[names->like[i]])
        names->shared[i] = names->block_count[names->like[i]];
    names->block_count[i] = draw(rng, 0, 3) > 0 ? total : names->shared[i];
}

static void world_draw(struct rng *rng, struct world *world)
{
    struct continuous_options *options = &world->options;
    int step = 0;

    options->max_seqs = draw(rng, 1, 8);
    options->token_budget = options->max_seqs + draw(rng, 0, 40);
    options->long_prefill_tokens = draw(rng, 0, 3) == 0 ? draw(rng, 1, 12) : 0;
    options->block_tokens = draw(rng, 1, 5);
    options->block_count = draw(rng, 12, 60);
    options->has_chunks = draw(rng, 0, 3) > 0;
    options->omits_decodes = draw(rng, 0, 1) > 0;
    options->key = draw(rng, 0, 2) > 0 ? name_of : NULL;
    options->key_arg = &world->names;
    for (int i = 0; i < REQUESTS; i++) {
        step += draw(rng, 0, 1) * draw(rng, 0, 20);
        world->at[i] = step;
        do {
            world->prompts[i] = draw(rng, 1, 30);
            world->outputs[i] = draw(rng, 1, 40);
        } while (!continuous_fits(options, world->prompts[i], world->outputs[i]));
        names_draw(rng, world, i);
    }
}

static void check_step(const struct continuous_batch *batch, const struct naive *n,
                       bool omits_decodes)
{
    int32_t tokens = 0, chunk_tokens = 0, decodes = 0, listed = 0;
    int64_t chunk_past = 0, decode_past = 0;

    assert_int_equal(batch->count, n->entry_count);
    assert_true(batch->entry_count == batch->count || omits_decodes);
    for (int i = 0; i < batch->count; i++) {
        const struct continuous_entry *entry = &batch->entries[listed];

        if (listed < batch->entry_count && entry->tag == n->entry_request[i]) {
            assert_int_equal(entry->tokens, n->entry_tokens[i]);
            assert_int_equal(entry->past_tokens, n->entry_past[i]);
            listed++;
        } else {
            assert_int_equal(n->entry_tokens[i], 1);
        }
        tokens += n->entry_tokens[i];
        chunk_tokens += n->entry_tokens[i] > 1 ? n->entry_tokens[i] : 0;
        chunk_past += n->entry_tokens[i] > 1 ? n->entry_past[i] : 0;
        decodes += n->entry_tokens[i] == 1;
        decode_past += n->entry_tokens[i] == 1 ? n->entry_past[i] : 0;
    }
    assert_int_equal(listed, batch->entry_count);
    assert_int_equal(batch->tokens, tokens);
    assert_int_equal(batch->chunk_tokens, chunk_tokens);
    assert_int_equal(batch->decodes, decodes);
    assert_int_equal(batch->chunk_past_tokens, chunk_past);
    assert_int_equal(batch->decode_past_tokens, decode_past);
}

static void check_ends(const struct continuous_ends *ends, const struct naive *n)
{
    assert_int_equal(ends->first_count, n->first_count);
    for (int i = 0; i < ends->first_count; i++)
        assert_int_equal(ends->firsts[i], n->firsts[i]);
    assert_int_equal(ends->finished_count, n->finished_count);
    for (int i = 0; i < ends->finished_count; i++)
        assert_int_equal(ends->finished[i], n->finished[i]);
}

static int64_t work_of(const struct naive *n)
{
    int64_t work = 0;

    for (int i = 0; i < n->running_count + n->waiting_count; i++) {
        int index = i < n->running_count ? n->running[i] : n->waiting[i - n->running_count];
        const struct naive_request *q = &n->requests[index];

        work += q->prompt + q->output - 1 - q->computed;
    }
    return work;
}

static void check_state(const struct continuous *c, const struct naive *n)
{
    assert_int_equal(continuous_running(c), n->running_count);
    assert_int_equal(continuous_waiting(c), n->waiting_count);
    assert_int_equal(continuous_used_blocks(c), n->options.block_count - n->free_count);
    assert_int_equal(continuous_work_tokens(c), work_of(n));
    assert_int_equal(continuous_counts(c)->preemptions, n->preemptions);
    assert_int_equal(continuous_counts(c)->recomputed_tokens, n->recomputed);
    assert_int_equal(continuous_counts(c)->hit_tokens, n->hit_tokens);
}

/* Both at once, the naive one step by step; the other one many at once when it may. */
static int64_t run_world(struct arena *arena, const struct world *world, struct naive *n,
                         bool is_fast)
{
    struct continuous *c = continuous_create(arena, &world->options);
    int64_t fast_steps = 0;
    int next = 0, step = 0;

    naive_create(n, &world->options);
    for (; next < REQUESTS || !continuous_is_idle(c); step++) {
        struct continuous_steady steady = { 0 };

        for (; next < REQUESTS && world->at[next] <= step; next++) {
            continuous_arrive(c, world->prompts[next], world->outputs[next], next);
            naive_arrive(n, world->prompts[next], world->outputs[next]);
        }
        if (is_fast)
            steady = continuous_steady(c);
        if (steady.steps > 0 && next < REQUESTS && continuous_is_open(c) &&
            world->at[next] - step < steady.steps)
            steady.steps = world->at[next] - step;
        for (int s = 0; s < steady.steps; s++) {
            int64_t past = 0;

            for (; s > 0 && next < REQUESTS && world->at[next] <= step + s; next++) {
                continuous_arrive(c, world->prompts[next], world->outputs[next], next);
                naive_arrive(n, world->prompts[next], world->outputs[next]);
            }
            naive_schedule(n);
            assert_int_equal(n->entry_count, steady.decodes);
            for (int i = 0; i < n->entry_count; i++) {
                assert_int_equal(n->entry_tokens[i], 1);
                past += n->entry_past[i];
            }
            assert_int_equal(past, steady.past_tokens + (int64_t)s * steady.decodes);
            naive_step_done(n);
            assert_int_equal(n->first_count, 0);
            if (s + 1 < steady.steps)
                assert_int_equal(n->finished_count, 0);
        }
        if (steady.steps > 0) {
            check_ends(continuous_advance(c, steady.steps), n);
            step += steady.steps - 1;
            fast_steps += steady.steps;
        } else {
            naive_schedule(n);
            check_step(continuous_schedule(c), n, world->options.omits_decodes);
            naive_step_done(n);
            check_ends(continuous_step_done(c), n);
        }
        check_state(c, n);
    }
    assert_int_equal(continuous_used_blocks(c), 0);
    assert_int_equal(continuous_counts(c)->admissions,
                     REQUESTS + continuous_counts(c)->preemptions);
    return fast_steps;
}

static void every_step_is_that_of_the_pseudo_code(void **state)
{
    struct rng rng = rng_stream(5, RNG_TEST, 0);
    int64_t preemptions = 0, hits = 0;

    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        struct arena *arena = arena_create();
        struct world *world = arena_alloc(arena, sizeof *world);
        struct naive *n = arena_alloc(arena, sizeof *n);

        world_draw(&rng, world);
        (void)run_world(arena, world, n, false);
        preemptions += n->preemptions;
        hits += n->hit_tokens;
        arena_destroy(arena);
    }
    assert_in_range(preemptions, 100 * ROUNDS / 100, INT32_MAX); /* they do occur */
    assert_in_range(hits, 100 * ROUNDS / 100, INT32_MAX);
}

static void many_steps_at_once_are_those_one_by_one(void **state)
{
    struct rng rng = rng_stream(5, RNG_TEST, 0);
    int64_t fast_steps = 0, preemptions = 0;

    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        struct arena *arena = arena_create();
        struct world *world = arena_alloc(arena, sizeof *world);
        struct naive *n = arena_alloc(arena, sizeof *n);

        world_draw(&rng, world);
        fast_steps += run_world(arena, world, n, true);
        preemptions += n->preemptions;
        arena_destroy(arena);
    }
    assert_in_range(fast_steps, 100 * ROUNDS, INT32_MAX);
    assert_in_range(preemptions, ROUNDS, INT32_MAX);
}

/* Up to four steps under way at once, which end in order; half of the rounds lose all requests
 * somewhere on the way. */
static void run_in_flight(struct rng *rng, struct arena *arena, const struct world *world,
                          struct naive *n, int64_t *together)
{
    struct continuous *c = continuous_create(arena, &world->options);
    struct naive_step *steps = arena_array(arena, 4, sizeof *steps);
    int next = 0, first = 0, count = 0, most = world->options.max_in_flight;
    int lose_at = draw(rng, 0, 1) > 0 ? draw(rng, 0, 60) : -1;

    naive_create(n, &world->options);
    for (int tick = 0; next < REQUESTS || !continuous_is_idle(c); tick++) {
        for (; next < REQUESTS && world->at[next] <= tick; next++) {
            continuous_arrive(c, world->prompts[next], world->outputs[next], next);
            naive_arrive(n, world->prompts[next], world->outputs[next]);
        }
        if (tick == lose_at) {
            int64_t tag;

            for (int i = 0; continuous_lose(c, &tag); i++)
                assert_int_equal(tag, i < n->running_count ? n->running[i]
                                                           : n->waiting[i - n->running_count]);
            while (n->running_count > 0) /* the last releases first: as nothing is shared */
                naive_release(n, &n->requests[n->running[--n->running_count]]);
            n->waiting_count = count = 0;
            assert_int_equal(continuous_work_tokens(c), 0);
            assert_int_equal(continuous_used_blocks(c), 0);
            if (world->options.key) /* what is known of prefixes depends on the order of release */
                return;
            continue;
        }
        if (count < most && (count == 0 || draw(rng, 0, 1) > 0)) {
            const struct continuous_batch *batch = continuous_schedule(c);

            naive_schedule(n);
            check_step(batch, n, false);
            if (batch->count > 0)
                naive_put_aside(n, &steps[(first + count++) % 4]);
        } else {
            naive_take_back(n, &steps[first]);
            naive_step_done(n);
            check_ends(continuous_step_done(c), n);
            first = (first + 1) % 4;
            count--;
        }
        assert_int_equal(continuous_in_flight(c), count);
        *together += count > 1;
        check_state(c, n);
    }
    assert_int_equal(continuous_used_blocks(c), 0);
}

static void steps_that_are_under_way_at_once_share_nobody(void **state)
{
    struct rng rng = rng_stream(6, RNG_TEST, 0);
    int64_t preemptions = 0, together = 0;

    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        struct arena *arena = arena_create();
        struct world *world = arena_alloc(arena, sizeof *world);
        struct naive *n = arena_alloc(arena, sizeof *n);

        world_draw(&rng, world);
        world->options.max_in_flight = draw(&rng, 1, 4);
        world->options.omits_decodes = false;
        run_in_flight(&rng, arena, world, n, &together);
        preemptions += n->preemptions;
        arena_destroy(arena);
    }
    assert_in_range(preemptions, ROUNDS / 10, INT32_MAX);
    assert_in_range(together, 10 * ROUNDS, INT32_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_step_is_that_of_the_pseudo_code),
        cmocka_unit_test(many_steps_at_once_are_those_one_by_one),
        cmocka_unit_test(steps_that_are_under_way_at_once_share_nobody),
    };

    return cmocka_run_group_tests_name("continuous_naive", tests, NULL, NULL);
}
