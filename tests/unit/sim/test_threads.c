/* test_threads.c - simulations at once in one process: each is its own, and gives what it gives
 * alone.
 */
#include "tests/unit/sim/case_files.h"

#include <pthread.h>

enum { CASES = 6, ROUNDS = 5 };

struct task { /* what a thread needs of a case, and what it makes */
    struct scenario_files files;
    struct serve_options options;
    struct arena *arena;
    const char *requests;
    struct err err;
};

/* Reads the files and runs, in an arena of its own. */
static void *task_run(void *arg)
{
    struct task *task = arg;
    struct scenario scenario;
    struct serve_result result;
    struct out *out;

    task->err = (struct err)ERR_INIT;
    task->requests = NULL;
    task->files.load.arena = task->arena;
    if (!scenario_load(task->arena, &task->files, &scenario, &task->err) ||
        !serve_run(task->arena, &scenario.input, &task->options, NULL, &result, &task->err))
        return NULL;
    out = out_open_memory(task->arena);
    record_write_requests(&scenario.input, &result, out, NULL);
    task->requests = out_memory(out, NULL);
    return NULL;
}

static const char *copy_path(struct arena *arena, const char *folder, const char *path)
{
    return path ? arena_printf(arena, "%s/%s", folder, strrchr(path, '/') + 1) : NULL;
}

/* The files of a case in a folder of their own, which outlives the arena of the fixture. */
static void task_write(struct task *task, struct arena *arena, int number)
{
    static const struct case_may may = { .links = true,
                                         .wide = true,
                                         .batches = true,
                                         .events = true,
                                         .epochs = true,
                                         .objectives = true,
                                         .overheads = true,
                                         .any_rules = true };
    char own[sizeof(fixture.folder)];
    const char *folder = arena_printf(arena, "%s/%d", fixture.folder, number);

    memcpy(own, fixture.folder, sizeof(own));
    case_draw(700 + (uint64_t)number, &may);
    case_begin();
    assert_true((size_t)snprintf(fixture.folder, sizeof(fixture.folder), "%s", folder) <
                sizeof(fixture.folder));
    case_write(NULL);
    memset(task, 0, sizeof(*task));
    task->options = fixture.options;
    task->files.placement = copy_path(arena, folder, fixture.files.placement);
    task->files.workload = copy_path(arena, folder, fixture.files.workload);
    task->files.cluster = copy_path(arena, folder, fixture.files.cluster);
    task->files.events = copy_path(arena, folder, fixture.files.events);
    task->files.overhead = copy_path(arena, folder, fixture.files.overhead);
    task->files.costs[0] = copy_path(arena, folder, fixture.files.costs[0]);
    task->files.cost_count = 1;
    memcpy(fixture.folder, own, sizeof(own));
}

static void simulations_at_once_give_what_they_give_alone(void **state)
{
    struct arena *arena = arena_create();
    struct task tasks[CASES];
    const char *alone[CASES];

    (void)state;
    for (int i = 0; i < CASES; i++) {
        task_write(&tasks[i], arena, i);
        tasks[i].arena = arena_create();
        task_run(&tasks[i]);
        if (!tasks[i].requests)
            fail_msg("case %d: %s", i, tasks[i].err.text);
        alone[i] = arena_strdup(arena, tasks[i].requests);
        arena_destroy(tasks[i].arena);
    }
    for (int round = 0; round < ROUNDS; round++) {
        pthread_t threads[CASES];

        for (int i = 0; i < CASES; i++) {
            tasks[i].arena = arena_create();
            assert_int_equal(pthread_create(&threads[i], NULL, task_run, &tasks[i]), 0);
        }
        for (int i = 0; i < CASES; i++) {
            assert_int_equal(pthread_join(threads[i], NULL), 0);
            assert_non_null(tasks[i].requests);
            assert_string_equal(tasks[i].requests, alone[i]);
            arena_destroy(tasks[i].arena);
        }
    }
    arena_destroy(arena);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(simulations_at_once_give_what_they_give_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
