/* bench_trace.c - how fast a Chrome trace is written, against a tree of cJSON that is built and
 * then printed.
 *
 *     bench_trace [SPANS [REPEATS]]     (default 800000 spans, 3 repeats)
 *
 * Rows (bench.h): `trace`, ns a byte of the same spans either way, into a file, in turns, of the
 * processor time of a process; `trace memory`, by how much a process that writes 10^7 spans (at
 * most 12.5 times SPANS) outgrows one that writes 10^5. Exits with 1 when the two documents differ.
 */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/out.h"
#include "lib/base/units.h"
#include "sim/report/chrome.h"
#include "tests/bench/bench.h"
#include "tests/bench/child.h"
#include "tests/bench/subject.h"
#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define COMPARED 10000 /* spans of the documents that are compared */
#define STAGES 4
#define DEVICES 200

/* Span i: stages of requests in turn, of lengths that end anywhere between two ticks. */
static struct chrome_slice slice_of(int64_t i)
{
    int64_t start_ps = i * INT64_C(1234567891), length_ps = 5 * UNITS_PS_PER_MS + i * 7919;

    return (struct chrome_slice){ .track = CHROME_FIRST_DEVICE + (int)(i % DEVICES),
                                  .service = "service-a",
                                  .request_id = i / STAGES,
                                  .stage = (int32_t)(i % STAGES),
                                  .step = -1,
                                  .phase = OP_ANY,
                                  .start_ps = start_ps,
                                  .finish_ps = start_ps + length_ps };
}

static void write_spans(struct arena *arena, struct out *out, int64_t spans)
{
    struct chrome *chrome = chrome_begin(arena, out, 0);

    for (int64_t i = 0; i < spans; i++) {
        struct chrome_slice slice = slice_of(i);

        chrome_compute(chrome, &slice);
    }
    chrome_end(chrome);
}

static bool write_file(const char *path, int64_t spans, struct err *err)
{
    struct arena *arena = arena_create();
    struct out *out = out_open(arena, path, err);
    bool is_ok = false;

    if (out) {
        write_spans(arena, out, spans);
        is_ok = out_commit(out, err);
    }
    arena_destroy(arena);
    return is_ok;
}

/* ---- the yardstick ---- */

/* As chrome.c cuts instants: whole ticks of 1/64 us, which a double holds. */
static double tick_us(int64_t time_ps)
{
    return (double)(time_ps / (UNITS_PS_PER_US / 64)) / 64;
}

static bool add_span(cJSON *events, int64_t i)
{
    const struct chrome_slice slice = slice_of(i);
    double start_us = tick_us(slice.start_ps);
    cJSON *event = cJSON_CreateObject(), *args;
    char name[64];

    if (!event || !cJSON_AddItemToArray(events, event))
        return false;
    (void)snprintf(name, sizeof name, "r%lld s%d", (long long)slice.request_id, (int)slice.stage);
    (void)cJSON_AddStringToObject(event, "ph", "X");
    (void)cJSON_AddNumberToObject(event, "pid", 0);
    (void)cJSON_AddNumberToObject(event, "tid", slice.track);
    (void)cJSON_AddStringToObject(event, "cat", "compute");
    (void)cJSON_AddNumberToObject(event, "ts", start_us);
    (void)cJSON_AddNumberToObject(event, "dur", tick_us(slice.finish_ps) - start_us);
    (void)cJSON_AddStringToObject(event, "name", name);
    args = cJSON_AddObjectToObject(event, "args");
    return args && cJSON_AddNumberToObject(args, "request", (double)slice.request_id) &&
           cJSON_AddStringToObject(args, "service", slice.service) &&
           cJSON_AddNumberToObject(args, "stage", slice.stage);
}

static cJSON *tree_of(int64_t spans)
{
    cJSON *root = cJSON_CreateObject(), *events, *other;
    bool is_ok = root && cJSON_AddStringToObject(root, "displayTimeUnit", "ms");

    events = is_ok ? cJSON_AddArrayToObject(root, "traceEvents") : NULL;
    is_ok = events != NULL;
    for (int64_t i = 0; is_ok && i < spans; i++)
        is_ok = add_span(events, i);
    other = is_ok ? cJSON_AddObjectToObject(root, "otherData") : NULL;
    if (other && cJSON_AddNumberToObject(other, "requests_left_out", 0))
        return root;
    cJSON_Delete(root);
    return NULL;
}

static bool write_tree(const char *path, int64_t spans)
{
    cJSON *root = tree_of(spans);
    char *text = root ? cJSON_PrintUnformatted(root) : NULL;
    FILE *file = text ? fopen(path, "wb") : NULL;
    bool is_ok = file && fputs(text, file) >= 0;

    is_ok = file && fclose(file) == 0 && is_ok;
    cJSON_free(text);
    cJSON_Delete(root);
    return is_ok;
}

/* Both say the same, read as JSON. */
static bool is_same(int64_t spans)
{
    struct arena *arena = arena_create();
    struct out *out = out_open_memory(arena);
    cJSON *tree = tree_of(spans), *ours;
    bool is_equal;

    write_spans(arena, out, spans);
    ours = cJSON_Parse(out_memory(out, NULL));
    is_equal = ours && tree && cJSON_Compare(ours, tree, true);
    cJSON_Delete(ours);
    cJSON_Delete(tree);
    out_abort(out);
    arena_destroy(arena);
    return is_equal;
}

/* ---- measuring ---- */

/* Each way in a process of its own: neither inherits what the other has left in the allocator. */
struct job {
    const char *path;
    int64_t spans;
};

static bool work_ours(void *arg)
{
    const struct job *job = arg;
    struct err err = ERR_INIT;

    return write_file(job->path, job->spans, &err);
}

static bool work_tree(void *arg)
{
    const struct job *job = arg;

    return write_tree(job->path, job->spans);
}

static bool memory(int64_t spans, struct err *err)
{
    struct job few = { "/dev/null", spans < 100000 ? spans : 100000 };
    struct job many = { "/dev/null", spans < 800000 ? spans * 25 / 2 : 10000000 };
    struct child child[2];

    if (!child_call(work_ours, &few, &child[0]) || !child_call(work_ours, &many, &child[1]))
        return err_set(err, ERR_SYSTEM, "a process that writes a trace failed");
    bench_row("trace memory", 1, child[1].peak_bytes - child[0].peak_bytes, 0, "bytes");
    printf("# trace memory: %lld spans %.2f MB, %lld spans %.2f MB\n", (long long)few.spans,
           child[0].peak_bytes / 1e6, (long long)many.spans, child[1].peak_bytes / 1e6);
    return true;
}

static double ns_per_byte(const struct job *job, const struct child *child)
{
    struct stat status;

    return stat(job->path, &status) == 0 ? child->cpu_s * 1e9 / (double)status.st_size : 0;
}

static bool speed(struct job *job, int repeats, struct err *err)
{
    double best_ns[2] = { 1e300, 1e300 };

    for (int repeat = 1; repeat <= repeats; repeat++) {
        double ns[2];

        for (int i = 0; i < 2; i++) {
            struct child child;

            if (!child_call(i == 0 ? work_tree : work_ours, job, &child))
                return err_set(err, ERR_SYSTEM, "%s was not written", job->path);
            ns[i] = ns_per_byte(job, &child);
            best_ns[i] = ns[i] < best_ns[i] ? ns[i] : best_ns[i];
            (void)unlink(job->path);
        }
        bench_row("trace", repeat, ns[1], ns[0], "ns");
    }
    printf("# trace: %.0f MB/s against %.0f\n", 1e3 / best_ns[1], 1e3 / best_ns[0]);
    return true;
}

static bool bench(struct arena *arena, int64_t spans, int repeats, struct err *err)
{
    struct job job = { NULL, spans };
    const char *folder = subject_folder(arena, err);
    bool is_ok;

    if (!folder)
        return false;
    job.path = arena_printf(arena, "%s/trace.json", folder);
    bench_head();
    is_ok = memory(spans, err) && speed(&job, repeats, err);
    (void)unlink(job.path);
    (void)rmdir(folder);
    return is_ok;
}

int main(int argc, char **argv)
{
    struct arena *arena = arena_create();
    struct err err = ERR_INIT;
    int64_t spans = 800000, repeats = 3;
    bool is_ok;

    if (argc > 3 || (argc > 1 && !units_parse_int(argv[1], &spans)) || spans < 1 ||
        (argc > 2 && !units_parse_int(argv[2], &repeats)) || repeats < 1 || repeats > 99) {
        fprintf(stderr, "usage: bench_trace [SPANS [REPEATS]]\n");
        return 2;
    }
    is_ok = bench(arena, spans, (int)repeats, &err);
    if (is_ok && !is_same(COMPARED))
        is_ok = err_set(&err, ERR_SYSTEM, "the documents differ");
    if (!is_ok)
        fprintf(stderr, "bench_trace: %s\n", err.text);
    arena_destroy(arena);
    return is_ok ? 0 : 1;
}
