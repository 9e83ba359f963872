/* bench_ingest.c - how fast a large workload file is read: workload_load against libcsv with strtod
 * and strtoul.
 *
 *     bench_ingest [ROWS [SERVICES [REPEATS]]]     (default 10000000 rows of 4 services, 3 repeats)
 *
 * Writes the file into $TMPDIR (default /tmp), checks that the arrays are the same either way
 * (exits with 1 when they differ), then reads it in turns. Rows (bench.h): `ingest`, ns a row. */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/out.h"
#include "lib/base/rng.h"
#include "lib/base/units.h"
#include "lib/format/workload.h"
#include "tests/bench/bench.h"
#include "tests/bench/child.h"
#include "tests/bench/subject.h"
#include <csv.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_SERVICES = 16, NAME_BYTES = 32, BLOCK_BYTES = 1 << 16 };

static bool write_file(struct arena *arena, const char *path, int64_t rows, uint64_t services,
                       struct err *err)
{
    struct out *out = out_open(arena, path, err);
    struct rng rng = rng_stream(1, RNG_TEST, 0);
    int64_t arrival_ps = 0;

    if (!out)
        return false;
    out_text(out, "# orrery: workload 1\n"
                  "request_id,arrival_s,service,prompt_tokens,output_tokens\n");
    for (int64_t i = 0; i < rows; i++) {
        char arrival[UNITS_TEXT_BYTES];

        arrival_ps += (int64_t)rng_below(&rng, 2000000) * UNITS_PS_PER_NS;
        (void)snprintf(arrival, sizeof arrival, "%lld.%09lld",
                       (long long)(arrival_ps / UNITS_PS_PER_S),
                       (long long)(arrival_ps % UNITS_PS_PER_S / UNITS_PS_PER_NS));
        out_printf(out, "%lld,%s,service-%d,%d,%d\n", (long long)i, arrival,
                   (int)rng_below(&rng, services), 1 + (int)rng_below(&rng, 2048),
                   1 + (int)rng_below(&rng, 512));
    }
    return out_commit(out, err);
}

/* ---- the yardstick ---- */

struct yardstick {
    uint64_t *ids;
    double *arrivals_s;
    int32_t *services;
    uint32_t *prompts, *outputs;
    char names[MAX_SERVICES][NAME_BYTES];
    int name_count;
    size_t count, capacity; /* of rows */
    int field;
    bool is_header;
};

static int32_t number_of(struct yardstick *yardstick, const char *name)
{
    int i = 0;

    while (i < yardstick->name_count && strcmp(yardstick->names[i], name) != 0)
        i++;
    if (i == yardstick->name_count && i < MAX_SERVICES) {
        (void)snprintf(yardstick->names[i], NAME_BYTES, "%s", name);
        yardstick->name_count++;
    }
    return i;
}

static void on_field(void *bytes, size_t length, void *context)
{
    struct yardstick *yardstick = context;
    const char *text = bytes; /* CSV_APPEND_NULL ends it */

    (void)length;
    if (yardstick->is_header || yardstick->count == yardstick->capacity)
        return;
    switch (yardstick->field++) {
    case 0:
        yardstick->ids[yardstick->count] = strtoul(text, NULL, 10);
        break;
    case 1:
        yardstick->arrivals_s[yardstick->count] = strtod(text, NULL);
        break;
    case 2:
        yardstick->services[yardstick->count] = number_of(yardstick, text);
        break;
    case 3:
        yardstick->prompts[yardstick->count] = (uint32_t)strtoul(text, NULL, 10);
        break;
    case 4:
        yardstick->outputs[yardstick->count] = (uint32_t)strtoul(text, NULL, 10);
        break;
    default:
        break;
    }
}

static void on_row(int end, void *context)
{
    struct yardstick *yardstick = context;

    (void)end;
    yardstick->count += yardstick->is_header ? 0 : 1;
    yardstick->is_header = false;
    yardstick->field = 0;
}

/* The number of rows is told, so that no time goes into growing. */
static bool read_yardstick(struct arena *arena, const char *path, size_t rows,
                           struct yardstick *yardstick)
{
    FILE *file = fopen(path, "rb");
    char *block = arena_alloc(arena, BLOCK_BYTES);
    struct csv_parser parser;
    size_t length;
    bool is_ok = csv_init(&parser, CSV_APPEND_NULL) == 0;

    *yardstick = (struct yardstick){ .capacity = rows, .is_header = true };
    yardstick->ids = arena_array(arena, rows, sizeof *yardstick->ids);
    yardstick->arrivals_s = arena_array(arena, rows, sizeof *yardstick->arrivals_s);
    yardstick->services = arena_array(arena, rows, sizeof *yardstick->services);
    yardstick->prompts = arena_array(arena, rows, sizeof *yardstick->prompts);
    yardstick->outputs = arena_array(arena, rows, sizeof *yardstick->outputs);
    if (!file)
        return false;
    while (fgetc(file) != '\n') { /* libcsv knows no comments */
    }
    while (is_ok && (length = fread(block, 1, BLOCK_BYTES, file)) > 0)
        is_ok = csv_parse(&parser, block, length, on_field, on_row, yardstick) == length;
    is_ok = is_ok && csv_fini(&parser, on_field, on_row, yardstick) == 0;
    csv_free(&parser);
    (void)fclose(file);
    return is_ok;
}

/* A double holds the seconds of both: ps up to 2^53 are exact, and the division rounds once. */
static bool is_same(const struct workload *workload, const struct yardstick *yardstick)
{
    if (workload->count != yardstick->count || workload->service_count != yardstick->name_count)
        return false;
    for (int i = 0; i < yardstick->name_count; i++)
        if (strcmp(workload->services[i], yardstick->names[i]) != 0)
            return false;
    for (size_t i = 0; i < workload->count; i++) {
        const struct workload_request request = workload_at(workload, i);

        if ((uint64_t)request.request_id != yardstick->ids[i] ||
            (double)request.arrival_ps / (double)UNITS_PS_PER_S != yardstick->arrivals_s[i] ||
            request.service != yardstick->services[i] ||
            (uint32_t)request.prompt_tokens != yardstick->prompts[i] ||
            (uint32_t)request.output_tokens != yardstick->outputs[i])
            return false;
    }
    return true;
}

/* ---- measuring ---- */

/* A process that reads the file and does nothing else. */
static bool load_alone(void *arg)
{
    struct err err = ERR_INIT;

    return workload_load(arena_create(), arg, &err) != NULL;
}

/* Both ways in one memory, which is not timed: the arrays are to be the same. */
static bool compare(const char *path, size_t rows, struct err *err)
{
    struct arena *arena = arena_create();
    struct yardstick yardstick;
    const struct workload *workload = workload_load(arena, path, err);
    bool is_ok = workload != NULL;

    if (is_ok && !read_yardstick(arena, path, rows, &yardstick))
        is_ok = err_set(err, ERR_SYSTEM, "libcsv did not read the file");
    if (is_ok && !is_same(workload, &yardstick))
        is_ok = err_set(err, ERR_SYSTEM, "the arrays differ");
    arena_destroy(arena);
    return is_ok;
}

/* A fresh memory each: what comes second would get pages that nobody has used yet, which on some
 * machines cost several times as much. Hence the turns as well. */
static bool measure(const char *path, size_t rows, int repeat, struct err *err)
{
    double took_ns[2] = { 0, 0 };
    bool is_ok = true;

    for (int turn = 0; turn < 2 && is_ok; turn++) {
        bool is_ours = (turn + repeat) % 2 == 0;
        struct arena *arena = arena_create();
        struct yardstick yardstick;
        double began_ns = bench_thread_ns();

        is_ok = is_ours ? workload_load(arena, path, err) != NULL
                        : read_yardstick(arena, path, rows, &yardstick);
        took_ns[is_ours] = bench_thread_ns() - began_ns;
        arena_destroy(arena);
    }
    if (is_ok)
        bench_row("ingest", repeat, took_ns[1] / (double)rows, took_ns[0] / (double)rows, "ns");
    return is_ok;
}

static bool run(struct arena *arena, char *path, int64_t rows, uint64_t services, int repeats,
                struct err *err)
{
    struct child child;
    struct stat status;

    if (!write_file(arena, path, rows, services, err))
        return false;
    if (stat(path, &status) != 0 || !child_call(load_alone, path, &child))
        return err_set(err, ERR_SYSTEM, "%s was not read", path);
    if (!compare(path, (size_t)rows, err))
        return false;
    bench_head();
    for (int repeat = 1; repeat <= repeats; repeat++)
        if (!measure(path, (size_t)rows, repeat, err))
            return false;
    printf("# ingest: %lld rows, %.0f MB; the process takes %.1f bytes a row\n", (long long)rows,
           (double)status.st_size / 1e6, child.peak_bytes / (double)rows);
    return true;
}

int main(int argc, char **argv)
{
    struct arena *arena = arena_create();
    struct err err = ERR_INIT;
    int64_t rows = 10000000, services = 4, repeats = 3;
    const char *folder = NULL;
    char *path;
    bool is_ok = false;

    if (argc > 4 || (argc > 1 && !units_parse_int(argv[1], &rows)) || rows < 1 ||
        (argc > 2 && !units_parse_int(argv[2], &services)) || services < 1 ||
        services > MAX_SERVICES || (argc > 3 && !units_parse_int(argv[3], &repeats)) ||
        repeats < 1 || repeats > 99) {
        fprintf(stderr, "usage: bench_ingest [ROWS [SERVICES, at most %d [REPEATS]]]\n",
                MAX_SERVICES);
        return 2;
    }
    folder = subject_folder(arena, &err);
    if (folder) {
        path = arena_printf(arena, "%s/workload.csv", folder);
        is_ok = run(arena, path, rows, (uint64_t)services, (int)repeats, &err);
        (void)unlink(path);
        (void)rmdir(folder);
    }
    if (!is_ok)
        fprintf(stderr, "bench_ingest: %s\n", err.text);
    arena_destroy(arena);
    return is_ok ? 0 : 1;
}
