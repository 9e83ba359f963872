/* bench_place_judge.c - how long a search takes for each placement that it simulates.
 *
 *     bench_place_judge [SIMULATIONS [REPEATS]]     (default 10000 3)
 *
 * The planner `orrery` on clusters of 16 boards of tests/scene.h (seed 1) and tinyllama-1.1b of 22
 * layers, 200 requests each: seconds of 10000 placements, on one processor. `place search`: boards
 * on a switch (scene 2), where steps pass most pipelines in closed form. `place search events`:
 * boards that share one Wi-Fi medium (scene 1), where each message is an event. What the other
 * planners take to answer, which it begins with, is not counted. Fails when repeats answer
 * differently, or nothing is found.
 */
#include "lib/base/arena.h"
#include "lib/base/hash.h"
#include "lib/format/placement.h"
#include "tests/bench/bench.h"
#include "tests/scene.h"

#define BOARDS 16
#define TINYLLAMA 1

static const struct {
    const char *figure;
    int scene;
    enum cluster_kind kind; /* of the medium that the figure is about */
} searches[] = { { "place search", 2, CLUSTER_SWITCH },
                 { "place search events", 1, CLUSTER_WIFI } };

static uint64_t hash_rows(const struct placement_row *rows, int count)
{
    uint64_t hash = HASH_START;

    for (int i = 0; i < count; i++) {
        const int32_t of[] = { rows[i].replica,    rows[i].stage,      rows[i].layer_first,
                               rows[i].layer_last, rows[i].part_first, rows[i].part_of };

        hash = hash_bytes(hash, of, sizeof of);
        hash = hash_bytes(hash, rows[i].device, strlen(rows[i].device));
    }
    return hash;
}

/* Planners that simulate themselves are left out: they take seconds here, and are no part of it. */
static bool is_cheap(const struct place_algorithm *algorithm)
{
    return !algorithm->needs_workload && algorithm->plan != place_orrery;
}

/* Seconds of one search; the hash of what it answered. */
static bool search(int number, long simulations, double *took_s, uint64_t *hash)
{
    struct arena *arena = arena_create();
    struct err err = ERR_INIT;
    struct place_answer *answers, answer;
    struct placement_row *rows;
    struct scene scene;
    double began_ns;
    int count;
    bool is_found;

    if (!scene_draw(arena, 1, searches[number].scene, TINYLLAMA, BOARDS, BOARDS, &scene, &err) ||
        (scene.cluster.media[0].kind != searches[number].kind &&
         !err_set(&err, ERR_INPUT, "%s: the scene has another medium", searches[number].figure))) {
        fprintf(stderr, "bench_place_judge: %s\n", err.text);
        arena_destroy(arena);
        return false;
    }
    answers = arena_array(arena, (size_t)place_algorithm_count, sizeof *answers);
    for (int a = 0; a < place_algorithm_count; a++)
        answers[a] = is_cheap(&place_algorithms[a])
                         ? place_algorithms[a].plan(arena, &scene.ask)
                         : (struct place_answer){ .is_feasible = false, .why = "" };
    scene.ask.answers = answers;
    scene.ask.simulations = simulations;
    began_ns = bench_thread_ns();
    answer = place_orrery(arena, &scene.ask);
    *took_s = (bench_thread_ns() - began_ns) / 1e9;
    is_found = answer.is_feasible;
    if (is_found) {
        rows = place_rows(arena, &scene.ask, &answer, &count);
        *hash = hash_rows(rows, count);
        for (int i = 0; i < answer.line_count; i++)
            printf("# %s: %s\n", searches[number].figure, answer.lines[i]);
    }
    arena_destroy(arena);
    return is_found;
}

/* Whether all repeats of a search answer the same. */
static bool repeat_search(int number, long simulations, int repeats)
{
    uint64_t first = 0, hash = 0;

    for (int repeat = 1; repeat <= repeats; repeat++) {
        double took_s;

        if (!search(number, simulations, &took_s, &hash) || (repeat > 1 && hash != first))
            return false;
        first = hash;
        bench_row(searches[number].figure, repeat, took_s * 10000 / (double)simulations, 0, "s");
    }
    return true;
}

int main(int argc, char **argv)
{
    long simulations = argc > 1 ? strtol(argv[1], NULL, 10) : 10000;
    int repeats = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 3;
    bool is_same = true;

    if (simulations < 1 || repeats < 1 || argc > 3) {
        fprintf(stderr, "usage: bench_place_judge [SIMULATIONS [REPEATS]]\n");
        return 2;
    }
    bench_head();
    for (size_t i = 0; i < sizeof searches / sizeof searches[0]; i++)
        is_same = repeat_search((int)i, simulations, repeats) && is_same;
    if (!is_same)
        fprintf(stderr, "bench_place_judge: repeats differ, or nothing was found\n");
    return is_same ? 0 : 1;
}
