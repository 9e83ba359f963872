/* refused.c - the reasons of refusals and failures, in words and numbers. */
#include "sim/report/refused.h"

#include "lib/base/arena.h"
#include "lib/base/json.h"
#include "lib/base/units.h"
#include <inttypes.h>

static const char *const reasons[SERVE_REFUSAL_COUNT] = {
    [SERVE_REFUSAL_PLACEMENT] = "no replica of the service is there",
    [SERVE_REFUSAL_CONTEXT] = "prompt and output are longer than the model's max_context",
    [SERVE_REFUSAL_MEMORY] = "memory has no room for KV cache and activations",
    [SERVE_REFUSAL_BUDGET] = "a step takes fewer tokens than they have, and cuts no prompt",
};

static const char *const failures[SERVE_FAILURE_COUNT] = {
    [SERVE_FAILURE_LOST] = "a device of their replica went down while they were in flight",
    [SERVE_FAILURE_DOWN] = "no replica had all its devices up when they came",
};

const char *refused_text(struct arena *arena, const struct serve_result *result,
                         enum serve_refusal why)
{
    const struct serve_refused *refused = &result->refused[why];
    const char *tokens = "";

    if (refused->count == 0)
        return NULL;
    if (refused->first_tokens > 0)
        tokens = arena_printf(arena, ", with %" PRId64 " tokens", refused->first_tokens);
    return arena_printf(arena, "%" PRId64 " request%s refused: %s (%srequest %" PRId64 "%s)",
                        refused->count, refused->count > 1 ? "s" : "", reasons[why],
                        refused->count > 1 ? "first " : "", refused->first_id, tokens);
}

const char *failed_text(struct arena *arena, const struct serve_result *result,
                        enum serve_failure why)
{
    const struct serve_failed *failed = &result->failed[why];
    char arrival[UNITS_TEXT_BYTES];

    if (failed->count == 0)
        return NULL;
    return arena_printf(
        arena, "%" PRId64 " request%s failed: %s (first request %" PRId64 ", which came at %s s)",
        failed->count, units_s(failed->count), failures[why], failed->first_id,
        units_format_seconds(failed->first_arrival_ps, arrival));
}

void refused_json(const struct serve_result *result, struct json_writer *json)
{
    json_begin_object(json, "refused_for");
    for (int why = 0; why < SERVE_REFUSAL_COUNT; why++)
        json_put_int(json, serve_refusal_names[why], result->refused[why].count);
    json_end_object(json);
    json_begin_object(json, "failed_for");
    for (int why = 0; why < SERVE_FAILURE_COUNT; why++)
        json_put_int(json, serve_failure_names[why], result->failed[why].count);
    json_end_object(json);
}
