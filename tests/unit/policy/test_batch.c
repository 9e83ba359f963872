/* test_batch.c - jobs leave in the order in which they came, however the ring has turned. */
#include "lib/policy/batch.h"

#include "lib/base/arena.h"
#include "lib/base/rng.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h> /* after the four headers that it needs */

static int make_arena(void **state)
{
    *state = arena_create();
    return 0;
}

static int end_arena(void **state)
{
    arena_destroy(*state);
    return 0;
}

static void an_empty_queue_gives_minus_1(void **state)
{
    struct batch_queue *queue = batch_queue_create(*state, BATCH_NONE);

    assert_int_equal(batch_peek(queue), -1);
    assert_int_equal(batch_take(queue), -1);
    assert_int_equal(batch_length(queue), 0);
    batch_push(queue, 0);
    assert_int_equal(batch_take(queue), 0);
    assert_int_equal(batch_take(queue), -1);
    assert_string_equal(batch_names[BATCH_NONE], "none");
    assert_string_equal(batch_names[BATCH_FIXED], "fixed");
    assert_string_equal(batch_names[BATCH_CONTINUOUS], "continuous");
}

static void peeking_takes_nothing(void **state)
{
    struct batch_queue *queue = batch_queue_create(*state, BATCH_NONE);

    batch_push(queue, 5);
    batch_push(queue, 3);
    assert_int_equal(batch_peek(queue), 5);
    assert_int_equal(batch_peek(queue), 5);
    assert_int_equal(batch_length(queue), 2);
    assert_int_equal(batch_take(queue), 5);
    assert_int_equal(batch_peek(queue), 3);
}

/* The same operations on a plain array that is shifted by hand. */
struct model {
    int32_t jobs[5000];
    int length;
};

static bool is_multiple(void *arg, int32_t job)
{
    return job % *(const int32_t *)arg == 0;
}

static void model_remove(struct model *model, int32_t of)
{
    int kept = 0;

    for (int i = 0; i < model->length; i++)
        if (model->jobs[i] % of != 0)
            model->jobs[kept++] = model->jobs[i];
    model->length = kept;
}

static void the_order_is_that_of_a_plain_list(void **state)
{
    static const struct model empty;

    for (uint64_t seed = 0; seed < 30; seed++) {
        struct batch_queue *queue = batch_queue_create(*state, BATCH_NONE);
        struct rng rng = rng_stream(seed, RNG_TEST, 0);
        struct model model = empty;

        for (int32_t job = 0; job < 3000; job++) {
            /* long phases of growth and of shrinking, so that the ring wraps and grows */
            if (rng_below(&rng, 10) < (job / 300 % 2 == 0 ? 7U : 3U)) {
                batch_push(queue, job);
                model.jobs[model.length++] = job;
            } else {
                assert_int_equal(batch_take(queue), model.length > 0 ? model.jobs[0] : -1);
                if (model.length > 0)
                    memmove(model.jobs, model.jobs + 1, (size_t)--model.length * sizeof job);
            }
            if (rng_below(&rng, 500) == 0) {
                int32_t of = (int32_t)rng_below(&rng, 5) + 2;

                batch_remove(queue, is_multiple, &of);
                model_remove(&model, of);
            }
            assert_int_equal(batch_length(queue), model.length);
            assert_int_equal(batch_peek(queue), model.length > 0 ? model.jobs[0] : -1);
            for (int position = 0; position < model.length; position += 1 + model.length / 3)
                assert_int_equal(batch_at(queue, position), model.jobs[position]);
        }
    }
}

static void removing_everything_leaves_a_working_queue(void **state)
{
    struct batch_queue *queue = batch_queue_create(*state, BATCH_NONE);
    int32_t one = 1;

    for (int32_t job = 0; job < 100; job++)
        batch_push(queue, job);
    batch_remove(queue, is_multiple, &one);
    assert_int_equal(batch_length(queue), 0);
    batch_remove(queue, is_multiple, &one);
    batch_push(queue, INT32_MAX);
    assert_int_equal(batch_take(queue), INT32_MAX);
}

#define RULE(name) cmocka_unit_test_setup_teardown(name, make_arena, end_arena)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RULE(an_empty_queue_gives_minus_1),
        RULE(peeking_takes_nothing),
        RULE(the_order_is_that_of_a_plain_list),
        RULE(removing_everything_leaves_a_working_queue),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
