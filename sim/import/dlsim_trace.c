/* dlsim_trace.c - DLSIM's traces of the real system: a JSON object, a key a model.
 *
 * {model: {rq_id[], e2e_latency[], arrive[], stage_exec_info[stage][request] = [start, end,
 * node_ids, devices]}}. The clock is shifted so that request 0 starts at 0: a start may lie before
 * the arrival and below 0, and a stage may begin a little before the one above has ended. Neither
 * is touched. */
#include "sim/import/dlsim.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/json.h"
#include "lib/base/out.h"
#include "lib/base/units.h"
#include "lib/format/names.h"
#include "lib/format/trace.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define RECORD_FIELDS 4

struct reader {
    struct arena *arena;
    const char *path;
    struct dlsim_meshes *meshes;
    const char *key; /* of the model that is read */
    const struct json *lists[3];
    const struct json *stages;
};
enum list { RQ_ID, E2E_LATENCY, ARRIVE };
static const char *const list_names[] = { "rq_id", "e2e_latency", "arrive" };

bool dlsim_seconds(const struct json *json, int64_t *time_ps)
{
    char text[UNITS_TEXT_BYTES];
    double seconds;

    return json_double(json, &seconds) &&
           units_parse_seconds(units_format_double(seconds, text), time_ps);
}

/* The digits after the last "_", or all of them, as a number; -1 when there are none. */
static int64_t trailing_number(const char *text)
{
    const char *at = strrchr(text, '_');
    int64_t number;

    at = at ? at + 1 : text;
    if (*at < '0' || *at > '9' || !units_parse_int(at, &number))
        return -1;
    return number;
}

const char *dlsim_service(const struct names *services, int64_t model)
{
    const char *const *list = names_list(services);
    const char *found = NULL;

    for (int i = 0; i < names_count(services); i++) {
        if (!strchr(list[i], '_') || trailing_number(list[i]) != model)
            continue;
        if (found)
            return NULL;
        found = list[i];
    }
    return found;
}

static bool read_key(struct reader *reader, const struct names *services, struct dlsim_model *model,
                     struct err *err)
{
    int64_t number = trailing_number(model->key);

    model->service = model->key;
    if (!dlsim_is_name(model->key))
        return err_at(err, reader->path, 0, 0, "key '%.100s': expected the name of a service",
                      model->key);
    if (!services || names_find(services, model->key) >= 0)
        return true;
    if (number >= 0)
        model->service = dlsim_service(services, number);
    if (number >= 0 && model->service)
        return true;
    return err_at(err, reader->path, 0, 0,
                  "key '%.100s' is no service of the placement or the options, and does not end in "
                  "the number of one",
                  model->key);
}

static bool bad_item(const struct reader *reader, enum list list, int position,
                     const char *expected, struct err *err)
{
    return dlsim_bad(
        reader->path,
        arena_printf(reader->arena, "%.100s.%s[%d]", reader->key, list_names[list], position),
        json_at(reader->lists[list], position), expected, err);
}

static bool read_record(struct reader *reader, int stage, int position, struct dlsim_record *record,
                        struct err *err)
{
    const struct json *json = json_at(json_at(reader->stages, stage), position);
    const char *where = NULL, *expected = "expected seconds";
    const struct json *bad = NULL;
    int field = -1;

    if (json_count(json) != RECORD_FIELDS) {
        bad = json;
        expected = "expected [start, end, node_ids, devices]";
    } else if (!dlsim_seconds(json_at(json, 0), &record->start_ps)) {
        field = 0;
    } else if (!dlsim_seconds(json_at(json, 1), &record->finish_ps)) {
        field = 1;
    } else if (record->finish_ps < record->start_ps) {
        field = 1;
        expected = "expected an end that is not before the start";
    } else {
        where = arena_printf(reader->arena, "%.100s.stage_exec_info[%d][%d]", reader->key, stage,
                             position);
        record->mesh = dlsim_mesh(reader->arena, reader->meshes, json_at(json, 2), json_at(json, 3),
                                  reader->path, where, err);
        return record->mesh != NULL;
    }
    where =
        arena_printf(reader->arena, "%.100s.stage_exec_info[%d][%d]", reader->key, stage, position);
    if (field >= 0) {
        bad = json_at(json, field);
        where = arena_printf(reader->arena, "%s[%d]", where, field);
    }
    return dlsim_bad(reader->path, where, bad, expected, err);
}

static bool read_request(struct reader *reader, int stage_count, struct dlsim_request *request,
                         struct err *err)
{
    struct dlsim_record *stages = arena_array(reader->arena, (size_t)stage_count, sizeof *stages);
    int i = request->position;

    if (!json_int(json_at(reader->lists[RQ_ID], i), &request->rq_id) || request->rq_id < 0)
        return bad_item(reader, RQ_ID, i, "expected a whole number of at least 0", err);
    if (!dlsim_seconds(json_at(reader->lists[ARRIVE], i), &request->arrival_ps) ||
        request->arrival_ps < 0)
        return bad_item(reader, ARRIVE, i, "expected seconds of at least 0", err);
    if (!dlsim_seconds(json_at(reader->lists[E2E_LATENCY], i), &request->e2e_ps) ||
        request->e2e_ps < 0)
        return bad_item(reader, E2E_LATENCY, i, "expected seconds of at least 0", err);
    for (int k = 0; k < stage_count; k++)
        if (!read_record(reader, k, i, &stages[k], err))
            return false;
    request->stages = stages;
    return true;
}

static int compare_rq_ids(const void *left, const void *right)
{
    const struct dlsim_request *const *a = left, *const *b = right;

    if ((*a)->rq_id != (*b)->rq_id)
        return (*a)->rq_id < (*b)->rq_id ? -1 : 1;
    return ((*a)->position > (*b)->position) - ((*a)->position < (*b)->position);
}

static bool check_rq_ids(const struct reader *reader, const struct dlsim_request *requests,
                         size_t count, struct err *err)
{
    const struct dlsim_request **sorted = arena_array(reader->arena, count, sizeof *sorted);

    for (size_t i = 0; i < count; i++)
        sorted[i] = &requests[i];
    if (count > 0)
        qsort(sorted, count, sizeof *sorted, compare_rq_ids);
    for (size_t i = 1; i < count; i++)
        if (sorted[i]->rq_id == sorted[i - 1]->rq_id)
            return bad_item(
                reader, RQ_ID, sorted[i]->position,
                arena_printf(reader->arena, "item %d has it already", sorted[i - 1]->position),
                err);
    return true;
}

/* All lists of a model there and of one length. */
static bool check_lengths(struct reader *reader, const struct json *model, int *count,
                          struct err *err)
{
    reader->stages = json_get(model, "stage_exec_info");
    for (int l = RQ_ID; l <= ARRIVE; l++) {
        reader->lists[l] = json_get(model, list_names[l]);
        if (!json_is_array(reader->lists[l]))
            return dlsim_bad(reader->path,
                             arena_printf(reader->arena, "%.100s.%s", reader->key, list_names[l]),
                             reader->lists[l], "expected a list, an item a request", err);
        if (json_count(reader->lists[l]) != json_count(reader->lists[RQ_ID]))
            return err_at(err, reader->path, 0, 0, "%.100s.%s has %d items, but rq_id has %d",
                          reader->key, list_names[l], json_count(reader->lists[l]),
                          json_count(reader->lists[RQ_ID]));
    }
    *count = json_count(reader->lists[RQ_ID]);
    if (json_count(reader->stages) == 0)
        return dlsim_bad(reader->path,
                         arena_printf(reader->arena, "%.100s.stage_exec_info", reader->key),
                         reader->stages, "expected a list, an item a stage", err);
    for (int k = 0; k < json_count(reader->stages); k++) {
        const struct json *stage = json_at(reader->stages, k);

        if (!json_is_array(stage) || json_count(stage) != *count)
            return err_at(err, reader->path, 0, 0,
                          "%.100s.stage_exec_info[%d] has %d items, but rq_id has %d", reader->key,
                          k, json_count(stage), *count);
    }
    return true;
}

static bool read_model(struct reader *reader, const struct json *json, int32_t index,
                       struct dlsim_trace *trace, struct err *err)
{
    struct dlsim_model *model = &trace->models[index];
    struct dlsim_request *added;
    int count = 0;

    if (!json_is_object(json))
        return dlsim_bad(reader->path, arena_printf(reader->arena, "%.100s", reader->key), json,
                         "expected an object with rq_id, e2e_latency, arrive and stage_exec_info",
                         err);
    if (!check_lengths(reader, json, &count, err))
        return false;
    model->stage_count = json_count(reader->stages);
    trace->requests = arena_grow(reader->arena, trace->requests, trace->count,
                                 trace->count + (size_t)count, sizeof *trace->requests);
    added = trace->requests + trace->count;
    for (int i = 0; i < count; i++) {
        added[i].model = index;
        added[i].position = i;
        if (!read_request(reader, model->stage_count, &added[i], err))
            return false;
    }
    trace->count += (size_t)count;
    return check_rq_ids(reader, added, (size_t)count, err);
}

bool dlsim_trace_load(struct arena *arena, const char *path, struct dlsim_meshes *meshes,
                      const struct names *services, struct dlsim_trace *trace, struct err *err)
{
    const struct json *json = json_load(arena, path, err), *member;
    struct reader reader = { .arena = arena, .path = path, .meshes = meshes };

    *trace = (struct dlsim_trace){ .path = path };
    if (!json)
        return false;
    while (json_member(json, trace->model_count, &reader.key))
        trace->model_count++;
    if (trace->model_count == 0)
        return err_at(err, path, 0, 0,
                      "not a trace of DLSIM: expected an object {model: {rq_id, e2e_latency, "
                      "arrive, stage_exec_info}}");
    trace->models = arena_array(arena, (size_t)trace->model_count, sizeof *trace->models);
    for (int32_t m = 0; m < trace->model_count; m++) {
        member = json_member(json, m, &reader.key);
        trace->models[m].key = reader.key;
        if (!read_key(&reader, services, &trace->models[m], err) ||
            !read_model(&reader, member, m, trace, err))
            return false;
        for (int32_t other = 0; other < m; other++)
            if (strcmp(trace->models[other].service, trace->models[m].service) == 0)
                return err_at(err, path, 0, 0, "keys '%.100s' and '%.100s' are one service, %.100s",
                              trace->models[other].key, reader.key, trace->models[m].service);
    }
    if (trace->count == 0)
        return err_at(err, path, 0, 0, "no requests: expected at least one");
    return true;
}

/* ---- as our tables ---- */

void dlsim_requests_put(const struct dlsim_trace *trace, const char *const *meta, struct out *out)
{
    trace_requests_begin(out, meta);
    for (size_t i = 0; i < trace->count; i++) {
        const struct dlsim_request *request = &trace->requests[i];
        const struct dlsim_model *model = &trace->models[request->model];
        struct trace_request row = {
            .request_id = request->id,
            .service = model->service,
            .replica = request->replica,
            .arrival_ps = request->arrival_ps,
            .start_ps = request->stages[0].start_ps,
            .first_token_ps = TRACE_NONE,
            .finish_ps = request->stages[model->stage_count - 1].finish_ps,
            .client = "",
            .status = TRACE_OK,
            .e2e_ps = request->e2e_ps,
        };

        trace_request_put(out, &row);
    }
}

void dlsim_stages_put(const struct dlsim_trace *trace, const char *const *meta, struct out *out)
{
    trace_stages_begin(out, meta);
    for (size_t i = 0; i < trace->count; i++) {
        const struct dlsim_request *request = &trace->requests[i];
        const struct dlsim_model *model = &trace->models[request->model];

        for (int k = 0; k < model->stage_count; k++) {
            const struct dlsim_record *record = &request->stages[k];
            struct trace_stage row = {
                .request_id = request->id,
                .service = model->service,
                .replica = request->replica,
                .stage = k,
                .start_ps = record->start_ps,
                .finish_ps = record->finish_ps,
                .step = 0,
                .batch_id = -1,
                .phase = OP_ANY,
            };

            for (int d = 0; d < record->mesh->count; d++) {
                row.device = record->mesh->devices[d];
                trace_stage_put(out, &row);
            }
        }
    }
}
