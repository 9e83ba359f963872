/* test_import_dlsim_data.c - DLSIM's own layouts, workloads and runs, written as DLSIM would and
 * imported, are the tables that we have of them. */
#include "lib/format/placement.h"
#include "lib/format/trace.h"
#include "sim/import/dlsim.h"
#include "tests/unit/sim/import_run.h"
#include <dirent.h>
#include <unistd.h>

#define REAL "../shared/data/dlsim"
#define MAX_FIELDS 8

static void skip_without_data(void)
{
    if (access(REAL "/parity/index.csv", R_OK) == 0)
        return;
    print_message("skipped: no " REAL " beside this checkout\n");
    skip();
}

/* ---- a table as text: the digits that DLSIM would have written ---- */

struct text_table {
    size_t count;
    const char *(*rows)[MAX_FIELDS];
};

static struct text_table read_text(struct arena *arena, const char *path)
{
    struct text_table table = { 0, arena_array(arena, 20000, sizeof *table.rows) };
    FILE *file = fopen(path, "r");
    char line[1024];

    if (!file)
        fail_msg("%s cannot be read", path);
    while (fgets(line, sizeof line, file)) {
        char *field = arena_strndup(arena, line, strcspn(line, "\r\n"));

        if (field[0] == '#')
            continue;
        for (int i = 0; i < MAX_FIELDS && field; i++) {
            char *comma = strchr(field, ',');

            if (comma)
                *comma++ = '\0';
            table.rows[table.count][i] = field;
            field = comma;
        }
        table.count++;
    }
    (void)fclose(file);
    assert_true(table.count > 1 && table.count < 20000);
    return table;
}

/* ---- placements ---- */

static bool is_same_stage(const struct placement_row *a, const struct placement_row *b)
{
    return strcmp(a->service, b->service) == 0 && a->replica == b->replica && a->stage == b->stage;
}

/* Rows of the placement as DLSIM's JSON; devices "node:device". */
static const char *placement_json(struct arena *arena, const struct placement *placement)
{
    const char *text = "[";

    for (int i = 0; i < placement->count; i++) {
        const struct placement_row *row = &placement->rows[i];
        const struct placement_row *above = i > 0 ? row - 1 : NULL;
        const char *device = strchr(row->device, ':');

        if (above && is_same_stage(above, row)) {
            text = arena_printf(arena, "%s, %s", text, device + 1);
            continue;
        }
        if (row->stage == 0)
            text = arena_printf(arena,
                                "%s%s{\"service_name\": \"%s\", \"model_name\": \"m\", "
                                "\"executable_name\": \"%s\", \"mesh_group\": [",
                                text, above ? "]]}]},\n" : "", row->service, row->executable);
        else
            text = arena_printf(arena, "%s]]}, ", text);
        text = arena_printf(arena, "%s{\"node_ids\": [%.*s], \"devices\": [[%s", text,
                            (int)(device - row->device), row->device, device + 1);
    }
    return arena_printf(arena, "%s]]}]}]", text);
}

static void assert_same_placement(const struct placement *a, const struct placement *b)
{
    assert_int_equal(a->count, b->count);
    for (int i = 0; i < a->count; i++) {
        assert_true(is_same_stage(&a->rows[i], &b->rows[i]));
        assert_string_equal(a->rows[i].device, b->rows[i].device);
        assert_string_equal(a->rows[i].executable, b->rows[i].executable);
    }
}

static void every_real_placement_comes_back(void **state)
{
    struct scratch *scratch = *state;
    struct dirent *entry;
    struct dlsim_settings settings;
    DIR *folder;
    int seen = 0;

    skip_without_data();
    folder = opendir(REAL "/placement");
    assert_non_null(folder);
    while ((entry = readdir(folder)) != NULL) {
        const struct placement *real;

        if (!strstr(entry->d_name, ".csv"))
            continue;
        real = placement_load(scratch->arena,
                              arena_printf(scratch->arena, REAL "/placement/%s", entry->d_name),
                              scratch_err(scratch));
        assert_non_null(real);
        dlsim_defaults(&settings);
        settings.placement = scratch_write(scratch, "p.json", placement_json(scratch->arena, real));
        if (!import_run(scratch, &import_dlsim, NULL, &settings))
            fail_msg("%s: %s", entry->d_name, scratch->err.text);
        assert_same_placement(
            real, placement_load(scratch->arena,
                                 scratch_write(scratch, "p.csv", import_table("placement.csv")),
                                 scratch_err(scratch)));
        seen++;
    }
    (void)closedir(folder);
    assert_int_equal(seen, 14);
}

/* ---- workloads ---- */

enum { ROW_ID, ROW_ARRIVAL, ROW_SERVICE, ROW_SLO };

static const char *workload_text(struct arena *arena, const struct text_table *rows)
{
    struct out *out = out_open_memory(arena);

    out_text(out, "4,12,\"[0.25, 0.25, 0.25, 0.25]\",60,\"[200, 200, 200, 200]\",real\r\n");
    for (size_t i = 1; i < rows->count; i++)
        out_printf(out, "%s,%s\r\n", strrchr(rows->rows[i][ROW_SERVICE], '_') + 1,
                   rows->rows[i][ROW_ARRIVAL]);
    return scratch_text(out);
}

static void every_real_workload_comes_back(void **state)
{
    static const char *const names[] = { "workload_2x12hz", "workload_4u16hz", "workload_4x22hz" };
    struct scratch *scratch = *state;
    struct dlsim_settings settings;

    skip_without_data();
    for (size_t n = 0; n < sizeof names / sizeof names[0]; n++) {
        const char *path = arena_printf(scratch->arena, REAL "/workload/%s.csv", names[n]);
        const struct text_table rows = read_text(scratch->arena, path);
        const struct workload *real = workload_load(scratch->arena, path, scratch_err(scratch));
        const struct workload *imported;

        assert_non_null(real);
        dlsim_defaults(&settings);
        settings.model = "Bert_2.6B";
        settings.workload = scratch_write(scratch, "w", workload_text(scratch->arena, &rows));
        if (!import_run(scratch, &import_dlsim, NULL, &settings))
            fail_msg("%s: %s", names[n], scratch->err.text);
        imported = import_workload(scratch, "workload.csv");
        assert_int_equal(imported->count, real->count);
        for (size_t i = 0; i < real->count; i++) {
            struct workload_request a = workload_at(real, i), b = workload_at(imported, i);

            assert_true(a.request_id == b.request_id && a.arrival_ps == b.arrival_ps &&
                        a.slo_ps == b.slo_ps);
            assert_string_equal(real->services[a.service], imported->services[b.service]);
        }
    }
}

/* ---- traces: DLSIM's own runs in the layout of the real ones ---- */

enum { RUN_ID, RUN_SERVICE, RUN_REPLICA, RUN_STAGE, RUN_DEVICE, RUN_START, RUN_FINISH };

/* "start, end, [node], [[device, ...]]" of the rows of one stage from *at on. */
static const char *record_json(struct arena *arena, const struct text_table *run_rows, size_t *at)
{
    const char *const *first = run_rows->rows[*at];
    const char *text = arena_printf(arena, "[%s, %s, [0], [[%s", first[RUN_START],
                                    first[RUN_FINISH], strchr(first[RUN_DEVICE], ':') + 1);

    for ((*at)++; *at < run_rows->count; (*at)++) {
        const char *const *row = run_rows->rows[*at];

        if (strcmp(row[RUN_ID], first[RUN_ID]) != 0 ||
            strcmp(row[RUN_STAGE], first[RUN_STAGE]) != 0)
            break;
        text = arena_printf(arena, "%s, %s", text, strchr(row[RUN_DEVICE], ':') + 1);
    }
    return arena_printf(arena, "%s]]]", text);
}

/* The requests of one service; request id = row of the workload. */
static void model_json(struct arena *arena, const struct text_table *run_rows,
                       const struct text_table *workload, const char *service, struct out *out)
{
    enum { MAX_STAGES = 4 };
    struct out *ids = out_open_memory(arena), *arrive = out_open_memory(arena);
    struct out *e2e = out_open_memory(arena), *stages[MAX_STAGES];
    int count = 0, stage_count = 0;

    for (int k = 0; k < MAX_STAGES; k++)
        stages[k] = out_open_memory(arena);
    for (size_t at = 1; at < run_rows->count;) {
        const char *const *row = run_rows->rows[at];
        int stage = row[RUN_STAGE][0] - '0';
        int64_t id;

        assert_true(units_parse_int(row[RUN_ID], &id) && stage < MAX_STAGES);
        if (strcmp(row[RUN_SERVICE], service) != 0) {
            at++;
            continue;
        }
        if (stage == 0) {
            out_printf(ids, "%s%d", count ? ", " : "", count);
            out_printf(e2e, "%s0.5", count ? ", " : "");
            out_printf(arrive, "%s%s", count ? ", " : "", workload->rows[id + 1][ROW_ARRIVAL]);
            count++;
        }
        stage_count = stage >= stage_count ? stage + 1 : stage_count;
        out_printf(stages[stage], "%s%s", count > 1 ? ", " : "", record_json(arena, run_rows, &at));
    }
    out_printf(out, "\"%s\": {\"rq_id\": [%s], \"e2e_latency\": [%s], \"arrive\": [%s], ", service,
               scratch_text(ids), scratch_text(e2e), scratch_text(arrive));
    for (int k = 0; k < stage_count; k++)
        out_printf(out, "%s[%s]", k ? ", " : "\"stage_exec_info\": [", scratch_text(stages[k]));
    out_text(out, "]}");
}

static void assert_same_stages(struct scratch *scratch, const char *path)
{
    struct trace_stages real, imported;

    assert_true(trace_stages_load(scratch->arena, path, &real, scratch_err(scratch)));
    assert_true(trace_stages_load(scratch->arena,
                                  scratch_write(scratch, "s.csv", import_table("stages.csv")),
                                  &imported, scratch_err(scratch)));
    assert_int_equal(real.count, imported.count);
    for (size_t i = 0; i < real.count; i++) {
        const struct trace_stage *a = &real.stages[i], *b = &imported.stages[i];

        assert_true(a->request_id == b->request_id && a->replica == b->replica &&
                    a->stage == b->stage && a->start_ps == b->start_ps &&
                    a->finish_ps == b->finish_ps);
        assert_string_equal(a->service, b->service);
        assert_string_equal(a->device, b->device);
    }
}

static void every_run_of_dlsim_comes_back_as_a_trace(void **state)
{
    struct scratch *scratch = *state;
    struct text_table index;

    skip_without_data();
    index = read_text(scratch->arena, REAL "/parity/index.csv");
    assert_int_equal(index.count, 16);
    for (size_t r = 1; r < index.count; r++) {
        const char *path = arena_printf(scratch->arena, REAL "/parity/%s.csv", index.rows[r][0]);
        const struct text_table run_rows = read_text(scratch->arena, path);
        const struct text_table rows =
            read_text(scratch->arena, arena_printf(scratch->arena, REAL "/%s", index.rows[r][1]));
        const struct placement *placement = placement_load(
            scratch->arena, arena_printf(scratch->arena, REAL "/%s", index.rows[r][2]),
            scratch_err(scratch));
        struct out *json = out_open_memory(scratch->arena);
        struct dlsim_settings settings;

        assert_non_null(placement);
        for (int m = 0; m < 4; m++) {
            const char *service = arena_printf(scratch->arena, "Bert_2.6B_%d", m);
            bool is_placed = false;

            for (int i = 0; i < placement->count; i++)
                is_placed = is_placed || strcmp(placement->rows[i].service, service) == 0;
            if (!is_placed)
                continue;
            out_text(json, m > 0 ? ",\n" : "{");
            model_json(scratch->arena, &run_rows, &rows, service, json);
        }
        out_text(json, "}");
        dlsim_defaults(&settings);
        settings.model = "Bert_2.6B";
        settings.placement =
            scratch_write(scratch, "p.json", placement_json(scratch->arena, placement));
        settings.workload = scratch_write(scratch, "w", workload_text(scratch->arena, &rows));
        settings.trace = scratch_write(scratch, "t.json", scratch_text(json));
        if (!import_run(scratch, &import_dlsim, NULL, &settings))
            fail_msg("%s: %s", path, scratch->err.text);
        assert_same_stages(scratch, path);
        assert_null(strstr(run.report.notes, "not in the trace"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(every_real_placement_comes_back),
        scratch_test(every_real_workload_comes_back),
        scratch_test(every_run_of_dlsim_comes_back_as_a_trace),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
