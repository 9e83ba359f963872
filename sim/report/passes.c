/* passes.c - where the time of a step of a sliced stage goes: means over all steps of a phase. */
#include "sim/report/passes.h"

#include "lib/base/arena.h"
#include "lib/base/json.h"
#include "lib/base/out.h"
#include "lib/base/units.h"
#include "lib/format/cluster.h"
#include "lib/format/placement.h"
#include "lib/policy/plan.h"
#include "sim/serve/serve.h"
#include <inttypes.h>

enum part { PART_COMPUTE, PART_PER_MESSAGE, PART_BYTES, PART_LATENCY, PART_WAIT, PART_COUNT };

static const char *part_name(enum part part)
{
    switch (part) {
    case PART_COMPUTE:
        return "computing";
    case PART_PER_MESSAGE:
        return "the cost of each message (per_message_s)";
    case PART_BYTES:
        return "the bytes of messages";
    case PART_LATENCY:
        return "the latency of links";
    case PART_WAIT:
        return "waiting for devices that others use";
    case PART_COUNT:
        break;
    }
    return "";
}

static int64_t part_ps(const struct sliced_sums *pass, enum part part)
{
    switch (part) {
    case PART_COMPUTE:
        return pass->compute_ps;
    case PART_PER_MESSAGE:
        return pass->per_message_ps;
    case PART_BYTES:
        return pass->bytes_ps;
    case PART_LATENCY:
        return pass->latency_ps;
    case PART_WAIT:
        return pass->wait_ps;
    case PART_COUNT:
        break;
    }
    return 0;
}

static int64_t mean(int64_t sum, int64_t count)
{
    return count > 0 ? (sum + count / 2) / count : 0;
}

static double percent(int64_t part, int64_t whole)
{
    return whole > 0 ? 100.0 * (double)part / (double)whole : 0;
}

/* ---- words ---- */

#define OF_MESSAGES (1u << PART_PER_MESSAGE | 1u << PART_BYTES | 1u << PART_LATENCY)
#define ALL_PARTS ((1u << PART_COUNT) - 1)

static int64_t messages_ps(const struct sliced_sums *pass)
{
    return pass->per_message_ps + pass->bytes_ps + pass->latency_ps;
}

static enum part largest(const struct sliced_sums *pass, unsigned among)
{
    enum part best = PART_COUNT;

    for (int part = 0; part < PART_COUNT; part++)
        if ((among & 1u << part) &&
            (best == PART_COUNT || part_ps(pass, (enum part)part) > part_ps(pass, best)))
            best = (enum part)part;
    return best;
}

static const char *share_text(struct arena *arena, const struct sliced_sums *pass, enum part part)
{
    char time[UNITS_TEXT_BYTES];

    return arena_printf(arena, "%s (%.0f %%)",
                        units_format_human(mean(part_ps(pass, part), pass->count), time),
                        percent(part_ps(pass, part), pass->time_ps));
}

/* Where devices talk for longer than they compute, each part of that may be shorter. */
static const char *talk_sentence(struct arena *arena, const struct sliced_sums *pass)
{
    enum part first = largest(pass, OF_MESSAGES);
    enum part rest = largest(pass, ALL_PARTS & ~OF_MESSAGES);
    char time[UNITS_TEXT_BYTES], talk[UNITS_TEXT_BYTES];
    const char *more = "";

    if (part_ps(pass, rest) > 0)
        more = arena_printf(arena, "; %s takes %s", part_name(rest), share_text(arena, pass, rest));
    return arena_printf(arena,
                        "a step takes %s: its devices talk for longer than they compute (%s, in "
                        "%" PRId64 " messages), and more devices would talk more: %s of that go "
                        "into %s%s.",
                        units_format_human(mean(pass->time_ps, pass->count), time),
                        units_format_human(mean(messages_ps(pass), pass->count), talk),
                        mean(pass->messages, pass->count), share_text(arena, pass, first),
                        part_name(first), more);
}

const char *passes_sentence(struct arena *arena, const struct sliced_sums *pass)
{
    enum part first = largest(pass, ALL_PARTS), next = largest(pass, ALL_PARTS & ~(1u << first));
    char time[UNITS_TEXT_BYTES];
    const char *more = "";

    if (messages_ps(pass) > pass->compute_ps && messages_ps(pass) > pass->wait_ps)
        return talk_sentence(arena, pass);
    if (part_ps(pass, next) > 0)
        more = arena_printf(arena, "; next, %s into %s", share_text(arena, pass, next),
                            part_name(next));
    return arena_printf(arena, "a step takes %s: %s go into %s%s.",
                        units_format_human(mean(pass->time_ps, pass->count), time),
                        share_text(arena, pass, first), part_name(first), more);
}

/* ---- of a whole stage ---- */

static struct sliced_sums both(const struct sliced_stage *stage)
{
    const struct sliced_sums *a = &stage->prefill, *b = &stage->decode;

    return (struct sliced_sums){ .count = a->count + b->count,
                                 .time_ps = a->time_ps + b->time_ps,
                                 .compute_ps = a->compute_ps + b->compute_ps,
                                 .per_message_ps = a->per_message_ps + b->per_message_ps,
                                 .bytes_ps = a->bytes_ps + b->bytes_ps,
                                 .latency_ps = a->latency_ps + b->latency_ps,
                                 .wait_ps = a->wait_ps + b->wait_ps,
                                 .messages = a->messages + b->messages };
}

int64_t passes_time_ps(const struct sliced_stage *stage)
{
    return both(stage).time_ps;
}

int64_t passes_silent_ps(const struct sliced_stage *stage)
{
    struct sliced_sums sums = both(stage);

    return sums.time_ps - messages_ps(&sums);
}

const char *passes_made_of(struct arena *arena, const struct sliced_stage *stage)
{
    struct sliced_sums sums = both(stage);
    enum part most = largest(&sums, OF_MESSAGES);
    const char *sent = "", *wait = "";

    if (messages_ps(&sums) > 0)
        sent = arena_printf(
            arena,
            " and %.0f %% messages between its devices (%" PRId64 " a step), above all %s, %.0f %%",
            percent(messages_ps(&sums), sums.time_ps), mean(sums.messages, sums.count),
            part_name(most), percent(part_ps(&sums, most), sums.time_ps));
    if (sums.wait_ps > 0)
        wait = arena_printf(arena, ", %.0f %% %s", percent(sums.wait_ps, sums.time_ps),
                            part_name(PART_WAIT));
    return arena_printf(arena, "%.0f %% of it %s%s%s", percent(sums.compute_ps, sums.time_ps),
                        part_name(PART_COMPUTE), sent, wait);
}

/* ---- figures ---- */

static const char *plain_name(struct arena *arena, const struct plan *plan, int32_t id)
{
    const struct plan_stage *stage = plan->stages[id];
    const struct plan_replica *replica = &plan->replicas[stage->replica];

    return arena_printf(arena, "%s/%d/%d", plan->services[replica->service].name,
                        (int)replica->number, (int)stage->number);
}

const char *passes_stage_name(struct arena *arena, const struct plan *plan, int32_t id)
{
    enum placement_phase phase = plan->stages[id]->phase;

    if (phase == PLACEMENT_BOTH)
        return plain_name(arena, plan, id);
    return arena_printf(arena, "%s of %s", plain_name(arena, plan, id),
                        placement_phase_names[phase]);
}

static void put_line(struct arena *arena, const char *name, const char *phase,
                     const struct sliced_sums *pass, struct out *out)
{
    out_column(out, arena_printf(arena, "%s %s", name, phase), 24);
    out_printf(out, "%8" PRId64, pass->count);
    for (int part = 0; part < PART_WAIT; part++) {
        char time[UNITS_TEXT_BYTES];

        out_printf(out, "%12s",
                   units_format_human(mean(part_ps(pass, (enum part)part), pass->count), time));
    }
    out_char(out, '\n');
}

void passes_text(struct arena *arena, const struct serve_input *input,
                 const struct serve_result *result, struct out *out)
{
    if (result->passes_count == 0)
        return;
    out_printf(out, "\n%-24s%8s%12s%12s%12s%12s\n", "stage on several devices", "steps", "compute",
               "per message", "bytes", "latency");
    for (int i = 0; i < result->passes_count; i++) {
        const struct sliced_stage *passes = &result->passes[i];
        const char *name = plain_name(arena, input->plan, passes->stage);

        if (passes->prefill.count > 0)
            put_line(arena, name, "prefill", &passes->prefill, out);
        if (passes->decode.count > 0)
            put_line(arena, name, "decode", &passes->decode, out);
    }
}

static void put_pass(struct arena *arena, struct json_writer *json, const char *phase,
                     const struct sliced_sums *pass)
{
    static const char *const keys[PART_COUNT] = { "compute_s", "per_message_s", "bytes_s",
                                                  "latency_s", "wait_s" };

    json_begin_object(json, NULL);
    json_put_text(json, "phase", phase);
    json_put_int(json, "steps", pass->count);
    json_put_seconds(json, "step_s", mean(pass->time_ps, pass->count));
    for (int part = 0; part < PART_COUNT; part++)
        json_put_seconds(json, keys[part], mean(part_ps(pass, (enum part)part), pass->count));
    json_put_int(json, "messages", pass->messages);
    json_put_int(json, "bytes", pass->bytes);
    json_put_text(json, "bottleneck", passes_sentence(arena, pass));
    json_end_object(json);
}

void passes_json(struct arena *arena, const struct serve_input *input,
                 const struct serve_result *result, struct json_writer *json)
{
    if (result->passes_count == 0)
        return;
    json_begin_array(json, "sliced_stages");
    for (int i = 0; i < result->passes_count; i++) {
        const struct sliced_stage *passes = &result->passes[i];
        const struct plan_stage *stage = input->plan->stages[passes->stage];
        const struct plan_replica *replica = &input->plan->replicas[stage->replica];

        json_begin_object(json, NULL);
        json_put_text(json, "service", input->plan->services[replica->service].name);
        json_put_int(json, "replica", replica->number);
        json_put_int(json, "stage", stage->number);
        json_begin_array(json, "devices");
        for (int k = 0; k < stage->device_count; k++)
            json_put_text(json, NULL, input->plan->cluster->devices[stage->devices[k]].name);
        json_end_array(json);
        json_begin_array(json, "steps");
        if (passes->prefill.count > 0)
            put_pass(arena, json, "prefill", &passes->prefill);
        if (passes->decode.count > 0)
            put_pass(arena, json, "decode", &passes->decode);
        json_end_array(json);
        json_end_object(json);
    }
    json_end_array(json);
}
