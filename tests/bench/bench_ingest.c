/* bench_ingest.c - how fast a large workload file is read: workload_load against libcsv with strtod
 * and strtoul.
 *
 *     bench_ingest [ROWS [SERVICES]]     (default 10000000 rows of 4 services)
 *
 * Writes the file into $TMPDIR (default /tmp), reads it three times either way, in turns, and
 * checks that the arrays are the same. Times are of the thread's processor. Prints one line
 * rows,file_bytes,libcsv_s,load_s,ratio,rows_per_s,peak_bytes_per_row of the bests, and exits with
 * 1 when the arrays differ. */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/out.h"
#include "lib/base/rng.h"
#include "lib/base/units.h"
#include "lib/format/workload.h"
#include <csv.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { REPEATS = 3, FIELDS = 5, MAX_SERVICES = 16, NAME_BYTES = 32, BLOCK_BYTES = 1 << 16 };

static double thread_s(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

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

/* The largest memory of a process that reads the file and does nothing else. */
static long peak_bytes(const char *path)
{
    struct rusage usage;
    pid_t child = fork();
    int status = 1;

    if (child == 0) {
        struct err err = ERR_INIT;

        _exit(workload_load(arena_create(), path, &err) ? 0 : 1);
    }
    if (child < 0 || waitpid(child, &status, 0) < 0 || status != 0 ||
        getrusage(RUSAGE_CHILDREN, &usage) != 0)
        return -1;
    return usage.ru_maxrss * 1024;
}

static bool measure(const char *path, size_t rows, double best_s[2], struct err *err)
{
    for (int repeat = 0; repeat < REPEATS; repeat++) {
        struct arena *arena = arena_create();
        struct yardstick yardstick;
        const struct workload *workload;
        double start_s = thread_s(), took_s;
        bool is_ok = read_yardstick(arena, path, rows, &yardstick);

        took_s = thread_s() - start_s;
        best_s[0] = repeat == 0 || took_s < best_s[0] ? took_s : best_s[0];
        start_s = thread_s();
        workload = workload_load(arena, path, err);
        took_s = thread_s() - start_s;
        best_s[1] = repeat == 0 || took_s < best_s[1] ? took_s : best_s[1];
        if (is_ok && workload && !is_same(workload, &yardstick))
            is_ok = err_set(err, ERR_SYSTEM, "the arrays differ");
        else if (!is_ok)
            err_set(err, ERR_SYSTEM, "libcsv did not read the file");
        arena_destroy(arena);
        if (!is_ok || !workload)
            return false;
    }
    return true;
}

static bool run(struct arena *arena, const char *path, int64_t rows, uint64_t services,
                struct err *err)
{
    double best_s[2];
    struct stat status;
    long bytes;

    if (!write_file(arena, path, rows, services, err))
        return false;
    bytes = peak_bytes(path);
    if (stat(path, &status) != 0 || !measure(path, (size_t)rows, best_s, err))
        return false;
    printf("rows,file_bytes,libcsv_s,load_s,ratio,rows_per_s,peak_bytes_per_row\n"
           "%lld,%lld,%.3f,%.3f,%.2f,%.0f,%.1f\n",
           (long long)rows, (long long)status.st_size, best_s[0], best_s[1], best_s[0] / best_s[1],
           (double)rows / best_s[1], (double)bytes / (double)rows);
    return true;
}

int main(int argc, char **argv)
{
    struct arena *arena = arena_create();
    const char *base = getenv("TMPDIR");
    char *folder = arena_printf(arena, "%s/orrery-bench-XXXXXX", base ? base : "/tmp");
    struct err err = ERR_INIT;
    int64_t rows = 10000000, services = 4;
    const char *path;
    bool is_ok;

    if (argc > 3 || (argc > 1 && !units_parse_int(argv[1], &rows)) || rows < 1 ||
        (argc > 2 && !units_parse_int(argv[2], &services)) || services < 1 ||
        services > MAX_SERVICES) {
        fprintf(stderr, "usage: bench_ingest [ROWS [SERVICES, at most %d]]\n", MAX_SERVICES);
        return 2;
    }
    if (!mkdtemp(folder)) {
        perror(folder);
        return 2;
    }
    path = arena_printf(arena, "%s/workload.csv", folder);
    is_ok = run(arena, path, rows, (uint64_t)services, &err);
    if (!is_ok)
        fprintf(stderr, "bench_ingest: %s\n", err.text);
    (void)unlink(path);
    (void)rmdir(folder);
    arena_destroy(arena);
    return is_ok ? 0 : 1;
}
