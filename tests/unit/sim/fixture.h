/* fixture.h - a folder of input files written by a test, and a run of the simulator on them.
 *
 * Files have fixed names: p.csv, w.csv, models.csv, costs/<type>/..., cluster/... */
#ifndef ORRERY_TESTS_UNIT_SIM_FIXTURE_H
#define ORRERY_TESTS_UNIT_SIM_FIXTURE_H

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/out.h"
#include "lib/base/units.h"
#include "lib/format/workload.h"
#include "lib/policy/plan.h"
#include "sim/cmd/scenario.h"
#include "sim/engine/engine.h"
#include "sim/report/metrics.h"
#include "sim/report/record.h"
#include "sim/report/watch.h"
#include "sim/serve/serve.h"
#include "tests/unit/scratch.h"
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define MS UNITS_PS_PER_MS

struct fixture {
    struct arena *arena;
    char folder[256];
    struct scenario_files files;
    struct scenario scenario;
    struct serve_options options;
    struct serve_result result;
    struct record *record;
    struct metrics_options metrics;
    struct meter *meter;
    struct err err;
};

static struct fixture fixture;

static inline const char *fixture_path(const char *name)
{
    return arena_printf(fixture.arena, "%s/%s", fixture.folder, name);
}

static inline int fixture_set_up(void **state)
{
    (void)state;
    memset(&fixture, 0, sizeof(fixture));
    fixture.arena = arena_create();
    (void)snprintf(fixture.folder, sizeof(fixture.folder), "%s/orrery-sim-test-XXXXXX",
                   scratch_base());
    assert_non_null(mkdtemp(fixture.folder));
    fixture.options.seed = 1;
    fixture.options.until_ps = ENGINE_NEVER;
    fixture.options.max_requests = SIZE_MAX;
    fixture.options.keeps_requests = true;
    fixture.files.placement = fixture_path("p.csv");
    fixture.files.workload = fixture_path("w.csv");
    fixture.files.costs[0] = fixture_path("costs");
    fixture.files.cost_count = 1;
    return 0;
}

static inline int fixture_remove(const char *path, const struct stat *status, int kind,
                                 struct FTW *walk)
{
    (void)status;
    (void)kind;
    (void)walk;
    return remove(path);
}

static inline int fixture_tear_down(void **state)
{
    (void)state;
    nftw(fixture.folder, fixture_remove, 8, FTW_DEPTH | FTW_PHYS);
    arena_destroy(fixture.arena);
    return 0;
}

/* Writes a file, making its folders. */
static inline void fixture_write(const char *name, const char *text)
{
    const char *path = fixture_path(name);
    char *folder = arena_strdup(fixture.arena, path);
    FILE *file;

    *strrchr(folder, '/') = '\0';
    assert_true(out_make_folder(folder, &fixture.err));
    file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    assert_int_equal(fclose(file), 0);
}

static inline const char *fixture_read(const char *name)
{
    FILE *file = fopen(fixture_path(name), "r");
    size_t capacity = 1 << 20, used;
    char *text = arena_alloc(fixture.arena, capacity);

    assert_non_null(file);
    used = fread(text, 1, capacity - 1, file);
    assert_true(used < capacity - 1);
    fclose(file);
    return text;
}

static inline void fixture_cluster(const char *devices, const char *links)
{
    fixture_write("cluster/devices.csv", devices);
    if (links)
        fixture_write("cluster/links.csv", links);
    fixture.files.cluster = fixture_path("cluster");
}

/* Black boxes of the one device type t. */
static inline void fixture_stages(const char *rows)
{
    fixture_write("costs/t/stages.csv", rows);
}

static inline bool fixture_load(void)
{
    fixture.err = (struct err)ERR_INIT;
    fixture.files.has_bounded_queues = fixture.options.rules == SERVE_DEFAULT;
    return scenario_load(fixture.arena, &fixture.files, &fixture.scenario, &fixture.err);
}

/* Loads and runs; a failure is left in fixture.err. */
static inline bool fixture_run(void)
{
    struct serve_observer observer, observers[2];

    if (!fixture_load())
        return false;
    fixture.record = record_create(fixture.arena, &fixture.scenario.input, true, true, NULL);
    fixture.meter = metrics_begin(fixture.arena, fixture.scenario.input.plan, &fixture.metrics);
    observers[0] = record_observer(fixture.record);
    observers[1] = metrics_observer(fixture.meter);
    observers[1].on_block = NULL;
    observer = watch_join(fixture.arena, observers, 2);
    return serve_run(fixture.arena, &fixture.scenario.input, &fixture.options, &observer,
                     &fixture.result, &fixture.err);
}

static inline void fixture_must_run(void)
{
    if (!fixture_run())
        fail_msg("%s", fixture.err.text);
}

static inline const char *fixture_requests(void)
{
    struct out *out = out_open_memory(fixture.arena);

    record_write_requests(&fixture.scenario.input, &fixture.result, out, NULL);
    return out_memory(out, NULL);
}

static inline const char *fixture_stages_text(void)
{
    struct out *out = out_open_memory(fixture.arena);

    record_write_stages(fixture.record, out, NULL);
    return out_memory(out, NULL);
}

static inline const char *fixture_transfers(void)
{
    struct out *out = out_open_memory(fixture.arena);

    record_write_transfers(fixture.record, out, NULL);
    return out_memory(out, NULL);
}

static inline void assert_request_ms(size_t index, int64_t arrival, int64_t start, int64_t finish)
{
    const struct serve_request *request = &fixture.result.requests[index];

    assert_int_equal(request->status, TRACE_OK);
    assert_int_equal(request->arrival_ps, arrival * MS);
    assert_int_equal(request->start_ps, start * MS);
    assert_int_equal(request->finish_ps, finish * MS);
}

#endif
