/* bench_files.c - the files of a pipeline (subject.h), for runs of orrery-sim itself.
 *
 *     bench_files FOLDER STAGES SERVICES DEVICES LOAD
 *
 * Writes placement.csv, cluster/ and costs/ into the folder, and prints the options of its
 * requests, one word a line: those of `orrery-sim generate`, and of `run` without --workload.
 * Without arguments, prints what it was compiled by and with. */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include "tests/bench/subject.h"
#include <stdio.h>

static void put_options(struct arena *arena, const struct subject_shape *shape)
{
    const struct generate_options options = subject_requests(arena, shape, 1);

    printf("--process\npoisson\n--merged\n--rate\n%.17g\n", options.rate_per_s);
    for (int i = 0; i < options.service_count; i++)
        printf("--service\n%s:%.17g\n", options.services[i].name, options.services[i].share);
}

int main(int argc, char **argv)
{
    struct arena *arena = arena_create();
    struct subject_shape shape = { 0 };
    int64_t numbers[3] = { 0 };
    struct err err = ERR_INIT;
    bool is_ok = argc == 6;

    if (argc == 1) {
        printf("%s %s, %s\n",
#if defined(__clang__)
               "clang",
#else
               "gcc",
#endif
               __VERSION__, BUILD_FLAGS);
        arena_destroy(arena);
        return 0;
    }
    for (int i = 0; is_ok && i < 3; i++)
        is_ok = units_parse_int(argv[2 + i], &numbers[i]) && numbers[i] >= 1 && numbers[i] <= 1000;
    shape.stages = (int)numbers[0];
    shape.services = (int)numbers[1];
    shape.devices = (int)numbers[2];
    if (!is_ok || !units_parse_double(argv[5], &shape.load) || !(shape.load > 0) ||
        shape.devices % shape.stages != 0) {
        fprintf(stderr, "usage: bench_files FOLDER STAGES SERVICES DEVICES LOAD\n"
                        "(1 to 1000 each; DEVICES a multiple of STAGES)\n");
        arena_destroy(arena);
        return 2;
    }
    is_ok = subject_write(arena, argv[1], &shape, &err);
    if (is_ok)
        put_options(arena, &shape);
    else
        fprintf(stderr, "bench_files: %s\n", err.text);
    arena_destroy(arena);
    return is_ok ? 0 : 2;
}
