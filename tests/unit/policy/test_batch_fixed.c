/* test_batch_fixed.c - how a batch of fixed sizes grows, waits and loses its head, case by case and
 * against the rules written out plainly. */
#include "lib/policy/batch.h"

#include "lib/base/err.h"
#include "lib/base/rng.h"
#include "lib/base/units.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h> /* after the four headers that it needs */

#define MS UNITS_PS_PER_MS
#define MOST 64

/* ---- the command line ---- */

static void assert_parsed(const char *text, struct batch_options expected)
{
    struct batch_options options;
    struct err err = ERR_INIT;

    if (!batch_parse(text, &options, &err))
        fail_msg("%s", err.text);
    assert_int_equal(options.kind, expected.kind);
    assert_int_equal(options.max_size, expected.max_size);
    assert_int_equal(options.wait_ps, expected.wait_ps);
    assert_int_equal(options.max_seqs, expected.max_seqs);
    assert_int_equal(options.token_budget, expected.token_budget);
}

static void what_the_command_line_says_is_read(void **state)
{
    (void)state;
    assert_parsed("none", (struct batch_options){ .kind = BATCH_NONE });
    assert_parsed("fixed:8", (struct batch_options){ .kind = BATCH_FIXED, .max_size = 8 });
    assert_parsed("fixed:8:0", (struct batch_options){ .kind = BATCH_FIXED, .max_size = 8 });
    assert_parsed(
        "fixed:16:2.5ms",
        (struct batch_options){ .kind = BATCH_FIXED, .max_size = 16, .wait_ps = 5 * MS / 2 });
    assert_parsed("continuous:64",
                  (struct batch_options){ .kind = BATCH_CONTINUOUS, .max_seqs = 64 });
    assert_parsed(
        "continuous:64:512",
        (struct batch_options){ .kind = BATCH_CONTINUOUS, .max_seqs = 64, .token_budget = 512 });
}

static void what_is_wrong_on_the_command_line_is_explained(void **state)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        { "", "--batch is '': expected none, fixed or continuous" },
        { "fixd:4",
          "--batch is 'fixd:4': expected none, fixed or continuous; did you mean 'fixed'?" },
        { "none:1", "--batch is 'none:1': expected none alone" },
        { "fixed", "--batch is 'fixed': expected fixed:N or fixed:N:WAIT" },
        { "fixed:", "--batch is 'fixed:': expected fixed:N or fixed:N:WAIT" },
        { "fixed:0", "--batch is 'fixed:0': expected fixed:N or fixed:N:WAIT" },
        { "fixed:-4", "--batch is 'fixed:-4': expected fixed:N or fixed:N:WAIT" },
        { "fixed:4.5", "--batch is 'fixed:4.5': expected fixed:N or fixed:N:WAIT" },
        { "fixed:2147483648", "--batch is 'fixed:2147483648': expected fixed:N or fixed:N:WAIT" },
        { "fixed:4:", "--batch is 'fixed:4:': expected fixed:N or fixed:N:WAIT" },
        { "fixed:4:5", "--batch is 'fixed:4:5': expected fixed:N or fixed:N:WAIT" },
        { "fixed:4:-5ms", "--batch is 'fixed:4:-5ms': expected fixed:N or fixed:N:WAIT" },
        { "fixed:4:5ms:6", "--batch is 'fixed:4:5ms:6': expected fixed:N or fixed:N:WAIT" },
        { "continuous", "--batch is 'continuous': expected continuous:MAX_SEQS or" },
        { "continuous:0", "--batch is 'continuous:0': expected continuous:MAX_SEQS or" },
        { "continuous:8:x", "--batch is 'continuous:8:x': expected continuous:MAX_SEQS or" },
        { "continuous:8:512:1", "--batch is 'continuous:8:512:1': expected continuous:MAX_SEQS" },
    };
    char long_text[400] = "fixed:4:";

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct batch_options options;
        struct err err = ERR_INIT;

        assert_false(batch_parse(cases[i].text, &options, &err));
        assert_int_equal(err.kind, ERR_USAGE);
        if (strncmp(err.text, cases[i].message, strlen(cases[i].message)) != 0)
            fail_msg("'%s' does not begin with '%s'", err.text, cases[i].message);
    }
    for (size_t i = strlen(long_text); i < sizeof long_text - 1; i++)
        long_text[i] = '1';
    assert_false(batch_parse(long_text, &(struct batch_options){ 0 }, &(struct err)ERR_INIT));
}

/* ---- a queue in front of a pipeline of two stages ---- */

static const int32_t profiled[] = { 1, 2, 4, 8, 16 };

struct scene {
    struct batch_options options;
    struct batch_ask ask;
    int32_t items[MOST];
    int64_t free_ps[2];
    int64_t fixed_ps, item_ps; /* a stage takes fixed_ps + size x item_ps */
    int item_calls, finish_calls;
};

static int32_t items_at(void *arg, int64_t position)
{
    struct scene *scene = arg;

    assert_true(position >= 0 && position < scene->ask.count);
    scene->item_calls++;
    return scene->items[position];
}

static int64_t finish_at(const struct scene *scene, int32_t size)
{
    int64_t time_ps = scene->ask.now_ps;

    for (int i = 0; i < 2; i++)
        time_ps = (scene->free_ps[i] > time_ps ? scene->free_ps[i] : time_ps) + scene->fixed_ps +
                  size * scene->item_ps;
    return time_ps;
}

static int64_t finish_ps(void *arg, int32_t size)
{
    struct scene *scene = arg;

    scene->finish_calls++;
    return finish_at(scene, size);
}

/* count requests of one item that came at 0, at the instant now_ps. A batch of b takes 2 x (10 +
 * b). */
static struct scene scene_of(int64_t count, int64_t now_ps)
{
    return (struct scene){
        .options = { .kind = BATCH_FIXED, .max_size = 16 },
        .ask = { .now_ps = now_ps,
                 .count = count,
                 .items = count,
                 .deadline_ps = BATCH_NEVER,
                 .sizes = profiled,
                 .size_count = 5,
                 .finish_ps = finish_ps },
        .fixed_ps = 10,
        .item_ps = 1,
    };
}

static void use_items(struct scene *scene, int count, const int32_t *items)
{
    scene->ask.count = count;
    scene->ask.items = 0;
    scene->ask.items_at = items_at;
    for (int i = 0; i < count; i++) {
        scene->items[i] = items[i];
        scene->ask.items += items[i];
    }
}

static struct batch_decision decide(struct scene *scene)
{
    scene->ask.arg = scene;
    return batch_decide(&scene->options, &scene->ask);
}

static void assert_taken(struct scene scene, int64_t count, int32_t size)
{
    struct batch_decision decision = decide(&scene);

    assert_int_equal(decision.action, BATCH_TAKE);
    assert_int_equal(decision.count, count);
    assert_int_equal(decision.size, size);
}

static void assert_waits(struct scene scene, int64_t until_ps)
{
    struct batch_decision decision = decide(&scene);

    assert_int_equal(decision.action, BATCH_WAIT);
    assert_int_equal(decision.until_ps, until_ps);
}

static void a_batch_grows_to_the_largest_size_that_is_filled(void **state)
{
    static const int32_t sizes[] = { 1, 1, 2, 2, 4, 4, 4, 4, 8, 8, 8, 8, 8, 8, 8, 8, 16, 16 };

    (void)state;
    for (int64_t count = 1; count < 18; count++)
        assert_taken(scene_of(count, 100), sizes[count], sizes[count]);
}

static void a_batch_stays_within_max_size(void **state)
{
    struct scene scene = scene_of(30, 100);

    (void)state;
    assert_int_equal(batch_size_count(16, profiled, 5), 5);
    assert_int_equal(batch_size_count(15, profiled, 5), 4);
    assert_int_equal(batch_size_count(1, profiled, 5), 1);
    assert_int_equal(batch_size_count(3, profiled + 2, 3), 0);
    scene.ask.size_count = batch_size_count(7, profiled, 5);
    assert_taken(scene, 4, 4);
}

static void a_batch_stops_where_the_deadline_of_its_head_fails(void **state)
{
    struct scene scene = scene_of(30, 100);

    (void)state;
    scene.ask.deadline_ps = 136; /* 100 + 2 x (10 + 8) */
    assert_taken(scene, 8, 8);
    scene.ask.deadline_ps = 135;
    assert_taken(scene, 4, 4);
    scene.ask.deadline_ps = 122;
    assert_taken(scene, 1, 1);
    scene.ask.deadline_ps = 128;
    scene.free_ps[1] = 115; /* the second stage is busy: 115 + 12 for two, 115 + 14 for four */
    assert_taken(scene, 2, 2);
}

static void a_head_that_is_late_alone_is_dropped_or_holds_nobody_up(void **state)
{
    struct scene scene = scene_of(30, 100);
    struct batch_decision decision;

    (void)state;
    scene.ask.deadline_ps = 121;
    scene.ask.does_drop = true;
    decision = decide(&scene);
    assert_int_equal(decision.action, BATCH_DROP);
    assert_int_equal(decision.count, 1);
    scene.ask.does_drop = false;
    assert_taken(scene, 16, 16);
}

static void a_batch_waits_until_it_is_full_or_its_oldest_has_waited(void **state)
{
    struct scene scene = scene_of(15, 30);

    (void)state;
    scene.options.wait_ps = 50;
    scene.ask.arrival_ps = 10;
    assert_waits(scene, 60);
    scene.ask.now_ps = 59;
    assert_waits(scene, 60);
    scene.ask.now_ps = 60;
    assert_taken(scene, 8, 8);
    scene.ask.now_ps = 30;
    scene.ask.count = scene.ask.items = 16;
    assert_taken(scene, 16, 16);
    scene.ask.count = scene.ask.items = 15;
    scene.ask.size_count = 4; /* up to 8 */
    assert_taken(scene, 8, 8);
}

static void a_batch_does_not_wait_where_that_costs_its_head_the_deadline(void **state)
{
    struct scene scene = scene_of(3, 30);

    (void)state;
    scene.options.wait_ps = 50;
    scene.ask.arrival_ps = 10; /* may wait until 60, and then alone takes 22 */
    scene.ask.deadline_ps = 82;
    assert_waits(scene, 60);
    scene.ask.deadline_ps = 81;
    assert_taken(scene, 2, 2);
    scene.ask.deadline_ps = 51; /* lost already: nothing to save */
    assert_waits(scene, 60);
    scene.options.wait_ps = INT64_MAX;
    scene.ask.deadline_ps = BATCH_NEVER;
    assert_waits(scene, INT64_MAX);
}

static void items_count_towards_the_size(void **state)
{
    struct scene scene = scene_of(1, 0);

    (void)state;
    use_items(&scene, 4, (int32_t[]){ 2, 1, 1, 3 }); /* 2, 4; then 8 is not filled */
    assert_taken(scene, 3, 4);
    use_items(&scene, 2, (int32_t[]){ 3, 1 }); /* a head of 3 takes 4, where another one fits */
    assert_taken(scene, 2, 4);
    use_items(&scene, 1, (int32_t[]){ 3 });
    assert_taken(scene, 1, 4);
    use_items(&scene, 3, (int32_t[]){ 3, 3, 2 }); /* 3 + 3 + 2 fill 8 */
    assert_taken(scene, 3, 8);
    use_items(&scene, 3, (int32_t[]){ 3, 3, 3 }); /* no sum is 8: nothing is padded but the head */
    assert_taken(scene, 1, 4);
    use_items(&scene, 3, (int32_t[]){ 1, 3, 12 }); /* 1; no 2; 4; no 8; 16 */
    assert_taken(scene, 3, 16);
    use_items(&scene, 2, (int32_t[]){ 16, 1 });
    assert_taken(scene, 1, 16);
}

static void the_oldest_head_is_the_first_of_the_oldest(void **state)
{
    const int64_t heads_ps[4] = { BATCH_NEVER, 7, 5, 5 };

    (void)state;
    assert_int_equal(batch_oldest(heads_ps, 4), 2);
    assert_int_equal(batch_oldest(heads_ps, 2), 1);
    assert_int_equal(batch_oldest(heads_ps, 1), -1);
    assert_int_equal(batch_oldest(heads_ps, 0), -1);
}

/* ---- the rules written out plainly ---- */

/* Requests whose items add up to exactly sum, from the head on; 0 = there is no such number. */
static int64_t requests_of(const struct scene *scene, int64_t sum)
{
    for (int64_t k = 1; k <= scene->ask.count; k++) {
        for (int64_t i = 0; i < k; i++)
            sum -= scene->items[i];
        if (sum == 0)
            return k;
        for (int64_t i = 0; i < k; i++)
            sum += scene->items[i];
    }
    return 0;
}

static int64_t requests_within(const struct scene *scene, int64_t room)
{
    int64_t k = 0;

    while (k < scene->ask.count && scene->items[k] <= room)
        room -= scene->items[k++];
    return k;
}

static struct batch_decision plain_decide(const struct scene *scene)
{
    const struct batch_ask *ask = &scene->ask;
    int64_t until_ps = ask->arrival_ps + scene->options.wait_ps;
    struct batch_decision decision = { .action = BATCH_TAKE };
    int alone = 0;
    bool holds, is_full = ask->items >= ask->sizes[ask->size_count - 1];

    while (ask->sizes[alone] < scene->items[0])
        alone++;
    holds = finish_at(scene, ask->sizes[alone]) <= ask->deadline_ps;
    if (!holds && ask->does_drop)
        return (struct batch_decision){ .action = BATCH_DROP, .count = 1 };
    if (ask->now_ps < until_ps && !is_full) {
        int64_t later_ps = finish_at(scene, ask->sizes[alone]) + until_ps - ask->now_ps;

        if (!holds || ask->deadline_ps == BATCH_NEVER || later_ps <= ask->deadline_ps)
            return (struct batch_decision){ .action = BATCH_WAIT, .until_ps = until_ps };
    }
    decision.size = ask->sizes[alone];
    decision.count = requests_within(scene, decision.size);
    for (int i = alone + 1; i < ask->size_count; i++) {
        int64_t count = requests_of(scene, ask->sizes[i]);

        if (ask->items < ask->sizes[i])
            break;
        if (count == 0)
            continue;
        if (holds && finish_at(scene, ask->sizes[i]) > ask->deadline_ps)
            break;
        decision.size = ask->sizes[i];
        decision.count = count;
    }
    return decision;
}

static struct scene random_scene(struct rng *rng, int32_t *sizes)
{
    int64_t now_ps = 40 + (int64_t)rng_below(rng, 40);
    struct scene scene =
        scene_of(1 + (int64_t)rng_below(rng, rng_below(rng, 2) == 1 ? 40 : 5), now_ps);
    bool has_items = rng_below(rng, 2) == 1;
    int32_t size = 0, largest;

    scene.ask.sizes = sizes;
    scene.ask.size_count = 1 + (int)rng_below(rng, 5);
    for (int i = 0; i < scene.ask.size_count; i++)
        sizes[i] = size += 1 + (int32_t)rng_below(rng, 4);
    largest = size;
    scene.ask.items = 0;
    for (int64_t i = 0; i < scene.ask.count; i++) {
        scene.items[i] = has_items ? 1 + (int32_t)rng_below(rng, (uint64_t)largest) : 1;
        scene.ask.items += scene.items[i];
    }
    scene.ask.items_at = has_items ? items_at : NULL;
    scene.ask.arrival_ps = (int64_t)rng_below(rng, (uint64_t)now_ps + 1);
    if (rng_below(rng, 3) > 0)
        scene.ask.deadline_ps = scene.ask.arrival_ps + (int64_t)rng_below(rng, 120);
    scene.ask.does_drop = rng_below(rng, 2) == 1;
    scene.options.wait_ps = rng_below(rng, 2) == 1 ? (int64_t)rng_below(rng, 60) : 0;
    scene.fixed_ps = (int64_t)rng_below(rng, 12);
    scene.item_ps = (int64_t)rng_below(rng, 4);
    scene.free_ps[0] = (int64_t)rng_below(rng, (uint64_t)now_ps + 1);
    scene.free_ps[1] = (int64_t)rng_below(rng, 120);
    return scene;
}

static void decisions_are_those_of_the_plain_rules(void **state)
{
    struct rng rng = rng_stream(1, RNG_TEST, 0);
    int seen[3] = { 0 }, grown = 0;

    (void)state;
    for (int i = 0; i < 200000; i++) {
        int32_t sizes[5] = { 0 };
        struct scene scene = random_scene(&rng, sizes);
        struct batch_decision expected = plain_decide(&scene), decision = decide(&scene);

        assert_int_equal(decision.action, expected.action);
        seen[decision.action]++;
        if (decision.action == BATCH_WAIT)
            assert_int_equal(decision.until_ps, expected.until_ps);
        if (decision.action != BATCH_WAIT)
            assert_int_equal(decision.count, expected.count);
        if (decision.action == BATCH_TAKE) {
            assert_int_equal(decision.size, expected.size);
            grown += decision.size > sizes[0];
        }
        /* It looks at no more requests than the largest size holds, and one that does not fit for
         * each size. */
        assert_true(scene.item_calls <= sizes[scene.ask.size_count - 1] + scene.ask.size_count + 1);
        assert_true(scene.finish_calls <= scene.ask.size_count);
    }
    assert_true(seen[BATCH_TAKE] > 20000 && seen[BATCH_DROP] > 20000 && seen[BATCH_WAIT] > 10000);
    assert_true(grown > 20000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_command_line_says_is_read),
        cmocka_unit_test(what_is_wrong_on_the_command_line_is_explained),
        cmocka_unit_test(a_batch_grows_to_the_largest_size_that_is_filled),
        cmocka_unit_test(a_batch_stays_within_max_size),
        cmocka_unit_test(a_batch_stops_where_the_deadline_of_its_head_fails),
        cmocka_unit_test(a_head_that_is_late_alone_is_dropped_or_holds_nobody_up),
        cmocka_unit_test(a_batch_waits_until_it_is_full_or_its_oldest_has_waited),
        cmocka_unit_test(a_batch_does_not_wait_where_that_costs_its_head_the_deadline),
        cmocka_unit_test(items_count_towards_the_size),
        cmocka_unit_test(the_oldest_head_is_the_first_of_the_oldest),
        cmocka_unit_test(decisions_are_those_of_the_plain_rules),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
