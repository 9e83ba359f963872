/* case_files.h - a random case as the files that the simulator reads.
 *
 * Each table is made as cells first, so that it can be written with its columns, and where their
 * order means nothing its rows, in any order. */
#ifndef ORRERY_TESTS_UNIT_SIM_CASE_FILES_H
#define ORRERY_TESTS_UNIT_SIM_CASE_FILES_H

#include "tests/unit/sim/random_case.h"

enum { CELLS_COLUMNS = 12, CELLS_ROWS = 400 };

struct cells {
    int column_count, row_count;
    const char *names[CELLS_COLUMNS];
    const char *at[CELLS_ROWS][CELLS_COLUMNS];
};

static struct cells cells;

static inline void cells_begin(const char *const *names)
{
    cells.row_count = 0;
    for (cells.column_count = 0; names[cells.column_count]; cells.column_count++)
        cells.names[cells.column_count] = names[cells.column_count];
}

/* A row of texts, as many as there are columns. */
static inline void cells_add(const char *first, ...)
{
    va_list rest;

    assert_true(cells.row_count < CELLS_ROWS);
    va_start(rest, first);
    cells.at[cells.row_count][0] = first;
    for (int i = 1; i < cells.column_count; i++)
        cells.at[cells.row_count][i] = va_arg(rest, const char *);
    va_end(rest);
    cells.row_count++;
}

static inline const char *text_int(const char *before, int64_t value)
{
    return arena_printf(fixture.arena, "%s%lld", before, (long long)value);
}

static inline const char *text_s(int64_t time_ps)
{
    return time_ps < 0
               ? ""
               : arena_printf(fixture.arena, "%lld.%012lld", (long long)(time_ps / UNITS_PS_PER_S),
                              (long long)(time_ps % UNITS_PS_PER_S));
}

static inline const char *text_half(int halves)
{
    return halves == 1 ? "0.5" : halves == 2 ? "1" : "2";
}

static inline void order_draw(int *order, int count, struct rng *rng)
{
    for (int i = 0; i < count; i++)
        order[i] = i;
    for (int i = count - 1; rng && i > 0; i--) {
        int k = (int)rng_below(rng, (uint64_t)i + 1), kept = order[i];

        order[i] = order[k];
        order[k] = kept;
    }
}

/* rng NULL: as they were made. */
static inline void cells_write(const char *name, struct rng *columns, struct rng *rows)
{
    int column_order[CELLS_COLUMNS] = { 0 }, row_order[CELLS_ROWS] = { 0 };
    struct out *out = out_open_memory(fixture.arena);

    order_draw(column_order, cells.column_count, columns);
    order_draw(row_order, cells.row_count, rows);
    for (int r = -1; r < cells.row_count; r++)
        for (int i = 0; i < cells.column_count; i++) {
            int column = column_order[i];

            out_text(out, r < 0 ? cells.names[column] : cells.at[row_order[r]][column]);
            out_text(out, i + 1 < cells.column_count ? "," : "\n");
        }
    fixture_write(name, out_memory(out, NULL));
}

/* ---- the tables ---- */

static inline void cells_placement(void)
{
    static const char *const names[] = { "service",     "replica", "stage",  "device",
                                         "executable",  "epoch",   "from_s", "max_batch",
                                         "queue_depth", NULL };
    const struct random_case *c = &random_case;

    cells_begin(names);
    for (int r = 0; r < c->replica_count; r++) {
        const struct case_replica *replica = &c->replicas[r];

        for (int s = 0; s < c->executables[replica->executable].stage_count; s++)
            for (int i = 0; i < replica->stages[s].device_count; i++)
                cells_add(text_int("s", replica->service), text_int("", replica->number),
                          text_int("", s), text_int("d", replica->stages[s].devices[i]),
                          text_int("x", replica->executable), text_int("", replica->epoch),
                          text_s(c->epoch_ps[replica->epoch]),
                          replica->max_batch > 0 ? text_int("", replica->max_batch) : "",
                          replica->stages[s].queue_depth > 0
                              ? text_int("", replica->stages[s].queue_depth)
                              : "");
    }
}

static inline void cells_workload(void)
{
    static const char *const names[] = { "request_id", "arrival_s", "service", "client",
                                         "session",    "think_s",   "slo_s",   "prompt_tokens",
                                         "batch",      NULL };

    cells_begin(names);
    for (int i = 0; i < random_case.request_count; i++) {
        const struct case_request *request = &random_case.requests[i];

        cells_add(text_int("", i), text_s(request->arrival_ps), text_int("s", request->service),
                  request->client < 0 ? "" : text_int("c", request->client),
                  request->session < 0 ? "" : text_int("t", request->session),
                  text_s(request->think_ps), request->slo_ps > 0 ? text_s(request->slo_ps) : "",
                  request->prompt_tokens > 0 ? text_int("", request->prompt_tokens) : "",
                  text_int("", request->items));
    }
}

static inline void cells_devices(void)
{
    static const char *const names[] = { "device", "type", "node", "speed_ratio", NULL };

    cells_begin(names);
    for (int i = 0; i < random_case.device_count; i++) {
        const struct case_device *device = &random_case.devices[i];

        cells_add(text_int("d", i), text_int("t", device->type), text_int("n", device->node),
                  text_half(device->halves));
    }
}

static inline void cells_links(void)
{
    static const char *const names[] = {
        "medium",        "kind",         "node",  "bits_per_s", "latency_s",
        "per_message_s", "mesh_columns", "ports", "setup_s",    NULL
    };
    static const char *const kinds[] = { "switch", "wifi", "bus", "ring", "mesh", "optical" };

    cells_begin(names);
    for (int i = 0; i < random_case.link_count; i++) {
        const struct case_link *link = &random_case.links[i];

        cells_add(text_int("m", link->medium), kinds[link->kind],
                  link->node == CASE_EVERY    ? "*"
                  : link->node == CASE_SOURCE ? "source"
                                              : text_int("n", link->node),
                  text_int("", 8 * link->bytes_per_s), text_s(link->latency_ps),
                  text_s(link->per_message_ps), link->kind == CASE_MESH ? "2" : "",
                  link->kind == CASE_OPTICAL ? "1" : "", link->kind == CASE_OPTICAL ? "0.002" : "");
    }
}

static inline void cells_stages(int type)
{
    static const char *const names[] = { "executable", "stage",        "batch", "latency_s",
                                         "gap_s",      "output_bytes", NULL };

    cells_begin(names);
    for (int e = 0; e < random_case.executable_count; e++) {
        const struct case_executable *executable = &random_case.executables[e];

        for (int b = 0; b < executable->size_count; b++)
            for (int s = 0; s < executable->stage_count; s++) {
                const struct case_cost *cost = &executable->costs[type][b][s];

                cells_add(text_int("x", e), text_int("", s), text_int("", executable->sizes[b]),
                          text_s(cost->latency_ps), text_s(cost->gap_ps),
                          text_int("", cost->output_bytes));
            }
    }
}

static inline void cells_events(void)
{
    static const char *const names[] = { "time_s", "target", "event", "value", NULL };

    cells_begin(names);
    for (int i = 0; i < random_case.event_count; i++) {
        const struct case_event *event = &random_case.events[i];

        cells_add(text_s(event->time_ps), text_int("d", event->device),
                  event->kind == EVENT_DOWN ? "down"
                  : event->kind == EVENT_UP ? "up"
                                            : "speed_ratio",
                  event->kind == EVENT_SPEED_RATIO ? text_half(event->halves) : "");
    }
}

static inline void cells_overheads(void)
{
    static const char *const names[] = { "where", "dist", "mean_s", NULL };
    static const char *const places[] = { "submit", "dispatch", "worker", "response" };

    cells_begin(names);
    for (int i = 0; i < CASE_OVERHEADS; i++)
        if (random_case.overhead_ps[i] >= 0)
            cells_add(places[i], random_case.is_drawn[i] ? "exp" : "constant",
                      text_s(random_case.overhead_ps[i]));
}

/* ---- the files ---- */

/* An arena of its own for each case: thousands of them fit into little memory. */
static inline void case_begin(void)
{
    arena_destroy(fixture.arena);
    fixture.arena = arena_create();
    memset(&fixture.files, 0, sizeof(fixture.files));
    fixture.files.placement = fixture_path("p.csv");
    fixture.files.workload = fixture_path("w.csv");
    fixture.files.costs[0] = fixture_path("costs");
    fixture.files.cost_count = 1;
    fixture.files.load.arena = fixture.arena;
}

/* A device that nothing is placed on, in the middle of the others. */
static bool case_has_spare_device;

/* Other columns and rows say the same: rng NULL for those of the case. */
static inline void case_write(struct rng *rng)
{
    const struct random_case *c = &random_case;
    bool has_overheads = false;

    cells_placement();
    cells_write("p.csv", rng, NULL);
    cells_workload();
    cells_write("w.csv", rng, NULL);
    for (int t = 0; t < CASE_TYPES; t++) {
        cells_stages(t);
        if (t < c->type_count)
            cells_write(t == 0 ? "costs/t0/stages.csv" : "costs/t1/stages.csv", rng, rng);
        else
            (void)unlink(fixture_path("costs/t1/stages.csv"));
    }
    if (c->type_count == 1)
        (void)rmdir(fixture_path("costs/t1"));
    if (c->has_cluster) {
        fixture.files.cluster = fixture_path("cluster");
        cells_devices();
        if (case_has_spare_device)
            cells_add("d2a", "t0", "spare", "4");
        cells_write("cluster/devices.csv", rng, rng);
        (void)unlink(fixture_path("cluster/links.csv"));
    }
    if (c->has_cluster && c->link_count > 0) {
        cells_links();
        cells_write("cluster/links.csv", rng, NULL);
    }
    if (c->event_count > 0) {
        fixture.files.events = fixture_path("e.csv");
        cells_events();
        cells_write("e.csv", rng, NULL);
    }
    for (int i = 0; i < CASE_OVERHEADS; i++)
        has_overheads = has_overheads || c->overhead_ps[i] >= 0;
    if (has_overheads) {
        fixture.files.overhead = fixture_path("o.csv");
        cells_overheads();
        cells_write("o.csv", rng, rng);
    }
    fixture.options = c->options;
}

/* For whoever looks into a case: its files. */
static inline void case_show(void)
{
    static const char *const names[] = { "p.csv",
                                         "w.csv",
                                         "costs/t0/stages.csv",
                                         "costs/t1/stages.csv",
                                         "cluster/devices.csv",
                                         "cluster/links.csv",
                                         "e.csv",
                                         "o.csv" };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (access(fixture_path(names[i]), R_OK) == 0)
            fprintf(stderr, "%s\n%s", names[i], fixture_read(names[i]));
    fprintf(stderr,
            "rules %s, dispatch %s, admission %s, slo %lld, batch %d wait %lld, switch %lld\n",
            serve_rules_names[fixture.options.rules], dispatch_names[fixture.options.dispatch],
            admit_names[fixture.options.admission], (long long)fixture.options.slo_ps,
            (int)fixture.options.batch.max_size, (long long)fixture.options.batch.wait_ps,
            (long long)fixture.options.switch_cost_ps);
}

#endif
