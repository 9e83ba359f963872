/* bench_place_search.c - the planner `orrery` against all others of the table, on the random
 * clusters of tests/scene.h.
 *
 *     bench_place_search [SCENES [SEED [SIMULATIONS [WITHOUT...]]]]     (default 200 4711 400)
 *
 * WITHOUT: planners that are not asked.
 *
 * Prints a row of goodput for each scene, model and planner (0: nothing that it found runs), then
 * notes: for each planner the geometric mean of what orrery's goodput is of its own, over scenes in
 * which any planner found something; a planner that serves no request in time counts as if it had
 * served half a one. Fails when orrery is worse than another anywhere. */
#include "lib/base/arena.h"
#include "tests/bench/bench.h"
#include "tests/scene.h"
#include <math.h>
#include <stdbool.h>

#define MOST_PLANNERS 64

struct score {
    double log_sum;   /* of orrery's goodput over its own */
    int worst_scene;  /* where orrery is worse; -1 = nowhere */
    int count, zeros; /* scenes; in which it serves nobody in time */
};

struct tally {
    struct score of[MOST_PLANNERS];
    double best_log_sum, bound_log_sum; /* against the best of the others, and the bound */
    int bound_count, count, worse;
    double seconds;
};

static char **without; /* names of the command line */
static int without_count;

static double goodput(const struct judge_verdict *verdict, bool is_floored)
{
    double good = (double)verdict->good_count;

    if (!verdict->is_feasible || verdict->window_ps <= 0)
        return 0;
    return 1e12 * (is_floored && good < 0.5 ? 0.5 : good) / (double)verdict->window_ps;
}

static bool is_own(int algorithm)
{
    return place_algorithms[algorithm].plan == place_orrery;
}

static bool can_plan(int algorithm, const struct scene *scene)
{
    for (int i = 0; i < without_count; i++)
        if (strcmp(without[i], place_algorithms[algorithm].name) == 0)
            return false;
    return !place_algorithms[algorithm].needs_model || scene->model;
}

static struct judge_verdict judge_answer(const struct scene *scene,
                                         const struct place_answer *answer)
{
    struct judge_verdict none = { .is_feasible = false };
    struct placement_row *rows;
    int count;

    if (!answer->is_feasible)
        return none;
    rows = place_rows(scene->arena, &scene->ask, answer, &count);
    return judge_rows(scene->judge, rows, count);
}

static void score_scene(struct tally *tally, int number, int model, const struct scene *scene,
                        const struct judge_verdict *verdicts, int64_t bound_ps)
{
    const struct judge_verdict *own = verdicts;
    double best = 0, ours;

    for (int a = 1; a < place_algorithm_count; a++)
        if (is_own(a))
            own = &verdicts[a];
    ours = goodput(own, true);
    if (!own->is_feasible) {
        printf("%d,%s,none,0,%d\n", number, scene_models[model], scene->cluster.device_count);
        return;
    }
    for (int a = 0; a < place_algorithm_count; a++) {
        double floor = 1e12 * 0.5 / (double)own->window_ps, other = goodput(&verdicts[a], true);
        struct score *score = &tally->of[a];

        printf("%d,%s,%s,%.6g,%d\n", number, scene_models[model], place_algorithms[a].name,
               goodput(&verdicts[a], false), scene->cluster.device_count);
        if (!can_plan(a, scene))
            continue;
        score->count++;
        score->zeros += !verdicts[a].is_feasible || verdicts[a].good_count == 0;
        other = other > 0 ? other : floor;
        score->log_sum += log(ours / other);
        if (&verdicts[a] != own && verdicts[a].is_feasible &&
            judge_compare(own, &verdicts[a]) > 0) {
            tally->worse++;
            score->worst_scene = number;
        }
        best = best > 0 ? best : floor;
        if (&verdicts[a] != own && other > best)
            best = other;
    }
    tally->count++;
    tally->best_log_sum += log(ours / best);
    if (bound_ps > 0) {
        tally->bound_count++;
        tally->bound_log_sum += log(1e12 / (double)bound_ps / ours);
    }
    (void)fflush(stdout);
}

static bool run_scene(struct tally *tally, uint64_t seed, int number, int model,
                      int64_t simulations)
{
    struct arena *arena = arena_create();
    size_t count = (size_t)place_algorithm_count;
    struct judge_verdict *verdicts = arena_array(arena, count, sizeof *verdicts);
    struct place_answer *answers = arena_array(arena, count, sizeof *answers), own;
    struct err err = ERR_INIT;
    double began_s;
    struct scene scene;

    if (!scene_draw(arena, seed, number, model, 2, SCENE_MOST_BOARDS, &scene, &err)) {
        fprintf(stderr, "bench_place_search: %s\n", err.text);
        arena_destroy(arena);
        return false;
    }
    for (int a = 0; a < place_algorithm_count; a++) {
        answers[a] = (struct place_answer){ .is_feasible = false, .why = "" };
        if (!is_own(a) && can_plan(a, &scene))
            answers[a] = place_algorithms[a].plan(arena, &scene.ask);
        verdicts[a] = judge_answer(&scene, &answers[a]);
    }
    scene.ask.simulations = simulations;
    scene.ask.answers = answers;
    began_s = bench_thread_ns() / 1e9;
    own = place_orrery(arena, &scene.ask);
    tally->seconds += bench_thread_ns() / 1e9 - began_s;
    for (int a = 0; a < place_algorithm_count; a++)
        if (is_own(a))
            verdicts[a] = judge_answer(&scene, &own);
    score_scene(tally, number, model, &scene, verdicts, own.bound_ps);
    arena_destroy(arena);
    return true;
}

static void summarize(const struct tally *tally)
{
    printf("# scenes with a placement: %d; orrery worse than another: %d; %.2f s a search\n",
           tally->count, tally->worse, tally->seconds / (tally->count > 0 ? tally->count : 1));
    for (int a = 0; a < place_algorithm_count; a++)
        if (tally->of[a].count > 0)
            printf("# orrery / %s: %.3f (nobody in time: %d of %d)\n", place_algorithms[a].name,
                   exp(tally->of[a].log_sum / tally->of[a].count), tally->of[a].zeros,
                   tally->of[a].count);
    printf("# orrery / best of all others in each scene: %.3f\n",
           exp(tally->best_log_sum / tally->count));
    if (tally->bound_count > 0)
        printf("# proven bound / orrery: %.3f\n", exp(tally->bound_log_sum / tally->bound_count));
}

int main(int argc, char **argv)
{
    long scenes = argc > 1 ? strtol(argv[1], NULL, 10) : 200;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 4711;
    long simulations = argc > 3 ? strtol(argv[3], NULL, 10) : 400;
    struct tally tally = { .count = 0 };

    if (scenes < 1 || simulations < 1) {
        fprintf(stderr, "usage: bench_place_search [SCENES [SEED [SIMULATIONS [WITHOUT...]]]]\n");
        return 2;
    }
    without = argc > 4 ? &argv[4] : NULL;
    without_count = argc > 4 ? argc - 4 : 0;
    printf("scene,model,planner,goodput_per_s,boards\n");
    for (int number = 0; number < (int)scenes; number++)
        for (int model = 0; model < SCENE_MODELS; model++)
            if (!run_scene(&tally, seed, number, model, simulations))
                return 2;
    summarize(&tally);
    return tally.worse > 0 ? 1 : 0;
}
