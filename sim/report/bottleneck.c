/* bottleneck.c - see bottleneck.h. */
#include "sim/report/bottleneck.h"

#include "lib/base/arena.h"
#include "lib/base/dmath.h"
#include "lib/base/json.h"
#include "lib/base/out.h"
#include "lib/base/units.h"
#include "lib/format/cluster.h"
#include "lib/policy/plan.h"
#include "sim/report/passes.h"
#include "sim/report/wrap.h"
#include "sim/serve/serve.h"
#include <stdio.h>
#include <string.h>

struct finder {
    struct arena *arena;
    const struct cluster *cluster;
    const struct plan *plan;
    const struct serve_result *result;
    int64_t per_count; /* of what "a token" or "a request" is said of */
    const char *per;
    struct bottleneck found;
};

#define NUMBER_BYTES 32

/* Whole percents, but for one decimal below 10 and where all but a little would look like all. */
static const char *percent(double ratio, char text[NUMBER_BYTES])
{
    bool is_whole = (ratio >= 0.0995 && ratio < 0.995) || ratio >= 0.9995;

    (void)snprintf(text, NUMBER_BYTES, is_whole ? "%.0f %%" : "%.1f %%", 100 * ratio);
    return text;
}

static const char *number(double value, char text[NUMBER_BYTES])
{
    (void)snprintf(text, NUMBER_BYTES, value >= 999.5 ? "%.0f" : "%.3g", value);
    return text;
}

/* ---- names ---- */

const char *bottleneck_link_name(struct arena *arena, const struct cluster *cluster,
                                 const struct serve_link *link)
{
    const struct cluster_medium *medium = &cluster->media[link->medium];
    const char *kind = cluster_kind_name(medium->kind), *end = link->name + strlen(medium->name);
    size_t length;

    if (*end == '\0') /* one link for all */
        return arena_printf(arena, "%s %s", kind, medium->name);
    end++;
    length = strlen(end);
    switch (medium->kind) {
    case CLUSTER_RING:
    case CLUSTER_MESH:
    case CLUSTER_OPTICAL:
        return arena_printf(arena, "%s %s (%s)", kind, medium->name, end);
    case CLUSTER_SWITCH:
    case CLUSTER_WIFI:
    case CLUSTER_HUB:
    case CLUSTER_BUS:
    case CLUSTER_KIND_COUNT:
        break;
    }
    if (length > 3 && strcmp(end + length - 3, "/in") == 0)
        return arena_printf(arena, "%s %s (port into %.*s)", kind, medium->name, (int)length - 3,
                            end);
    return arena_printf(arena, "%s %s (%s's port)", kind, medium->name, end);
}

/* ---- who is taken longest ---- */

struct taken { /* a device, behind them a link, behind those a stage on several devices */
    int index;
    int64_t time_ps;
};

static int64_t taken_ps(const struct finder *finder, int index)
{
    const struct serve_result *result = finder->result;
    int device_count = finder->cluster->device_count;

    if (index < device_count)
        return result->devices[index].busy_ps + result->devices[index].gap_ps;
    if (index < device_count + result->link_count)
        return result->links[index - device_count].busy_ps;
    return passes_time_ps(&result->passes[index - device_count - result->link_count]);
}

/* NULL: it is none. */
static const struct sliced_stage *sliced_of(const struct finder *finder, int index)
{
    int first = finder->cluster->device_count + finder->result->link_count;

    return index < first ? NULL : &finder->result->passes[index - first];
}

/* A device is a part of the stage: who limits both is the same. */
static bool is_part_of(const struct finder *finder, int device, int stage)
{
    const struct sliced_stage *sliced = stage < 0 ? NULL : sliced_of(finder, stage);

    return sliced && device < finder->cluster->device_count &&
           plan_stage_has(finder->plan->stages[sliced->stage], device);
}

static struct taken longest(const struct finder *finder, int but)
{
    int count =
        finder->cluster->device_count + finder->result->link_count + finder->result->passes_count;
    struct taken most = { -1, 0 };

    for (int i = 0; i < count; i++)
        if (i != but && !is_part_of(finder, i, but) && !(but >= 0 && is_part_of(finder, but, i)) &&
            taken_ps(finder, i) > most.time_ps)
            most = (struct taken){ i, taken_ps(finder, i) };
    return most;
}

static const char *name_of(const struct finder *finder, int index)
{
    const struct cluster *cluster = finder->cluster;

    if (index < 0)
        return NULL;
    if (index < cluster->device_count)
        return arena_printf(finder->arena, "device %s", cluster->devices[index].name);
    if (sliced_of(finder, index)) {
        int32_t id = sliced_of(finder, index)->stage;

        return arena_printf(finder->arena, "stage %s on %d devices",
                            passes_stage_name(finder->arena, finder->plan, id),
                            (int)finder->plan->stages[id]->device_count);
    }
    return bottleneck_link_name(finder->arena, cluster,
                                &finder->result->links[index - cluster->device_count]);
}

/* A gap may outlast the last request. */
static double ratio(double part, double whole)
{
    return whole <= 0 ? 0 : part >= whole ? 1 : part / whole;
}

/* ---- what latency is made of ---- */

static struct share all_media(const struct finder *finder)
{
    struct share sum = { 0 };

    for (int i = 0; i < finder->cluster->medium_count; i++) {
        const struct share *one = &finder->result->parts.media[i];

        sum.per_message_ps += one->per_message_ps;
        sum.latency_ps += one->latency_ps;
        sum.bytes_ps += one->bytes_ps;
    }
    return sum;
}

/* What is known is never more than all, but for what a message is rounded by. */
static void parts_find(struct finder *finder)
{
    const struct serve_parts *parts = &finder->result->parts;
    struct share sent;
    double known_ps, all_ps;

    if (!parts->is_known || parts->all_ps <= 0)
        return;
    sent = all_media(finder);
    known_ps =
        parts->compute_ps + parts->delay_ps + sent.per_message_ps + sent.latency_ps + sent.bytes_ps;
    all_ps = known_ps > parts->all_ps ? known_ps : parts->all_ps;
    finder->found.has_parts = true;
    finder->found.parts = (struct bottleneck_parts){
        .compute = parts->compute_ps / all_ps,
        .per_message = sent.per_message_ps / all_ps,
        .latency = sent.latency_ps / all_ps,
        .bytes = sent.bytes_ps / all_ps,
        .overhead = parts->delay_ps / all_ps,
        .waiting = (all_ps - known_ps) / all_ps,
    };
}

static double transfers(const struct bottleneck_parts *parts)
{
    return parts->per_message + parts->latency + parts->bytes;
}

/* ---- the sentence ---- */

/* "7 messages of 1.2 ms a token"; of that length in the mean. */
static const char *messages(const struct finder *finder, const struct share *share, double time_ps)
{
    char each[UNITS_TEXT_BYTES], count[NUMBER_BYTES];
    double messages = (double)share->message_count, per = messages / (double)finder->per_count;

    (void)number(per, count);
    return arena_printf(finder->arena, "%s message%s of %s a %s", count,
                        strcmp(count, "1") == 0 ? "" : "s",
                        units_format_human(dmath_round(time_ps / messages), each), finder->per);
}

/* Of a link that limits: what its messages are made of. */
static const char *link_detail(const struct finder *finder, const struct share *share)
{
    double time_ps = share->per_message_ps + share->bytes_ps;
    char cost[NUMBER_BYTES], bytes[NUMBER_BYTES];

    if (time_ps <= 0 || finder->per_count <= 0)
        return "";
    if (share->per_message_ps >= share->bytes_ps)
        return arena_printf(finder->arena, ", %s of it the per-message cost (%s) and %s bytes",
                            percent(share->per_message_ps / time_ps, cost),
                            messages(finder, share, share->per_message_ps),
                            percent(share->bytes_ps / time_ps, bytes));
    return arena_printf(finder->arena, ", %s of it bytes (%s) and %s the per-message cost",
                        percent(share->bytes_ps / time_ps, bytes),
                        messages(finder, share, share->bytes_ps),
                        percent(share->per_message_ps / time_ps, cost));
}

static const char *gap_detail(const struct finder *finder, const struct serve_device *device)
{
    char gap[NUMBER_BYTES];

    if (device->gap_ps <= 0)
        return "";
    return arena_printf(
        finder->arena, ", %s of it gaps",
        percent((double)device->gap_ps / (double)(device->busy_ps + device->gap_ps), gap));
}

static const char *stage_limit_text(const struct finder *finder, const struct sliced_stage *stage)
{
    const struct bottleneck *found = &finder->found;
    char busy[NUMBER_BYTES], next[NUMBER_BYTES];
    const char *second = "; nothing else is busy", *rise = "";

    if (found->next)
        second = arena_printf(finder->arena, "; next is %s, busy %s", found->next,
                              percent(found->next_busy_ratio, next));
    if (found->rise_ratio >= 1.05)
        rise =
            arena_printf(finder->arena, "; if these messages were free the rate could rise %.1fx",
                         found->rise_ratio);
    return arena_printf(finder->arena, "%s limits: a step runs %s of the time, %s%s%s", found->name,
                        percent(found->busy_ratio, busy), passes_made_of(finder->arena, stage),
                        second, rise);
}

static const char *limit_text(const struct finder *finder, int index)
{
    const struct bottleneck *found = &finder->found;
    int device_count = finder->cluster->device_count;
    bool is_device = index < device_count;
    char busy[NUMBER_BYTES], next[NUMBER_BYTES], rise[NUMBER_BYTES];
    const char *detail, *what;

    if (sliced_of(finder, index))
        return stage_limit_text(finder, sliced_of(finder, index));
    detail = is_device ? gap_detail(finder, &finder->result->devices[index])
                       : link_detail(finder, &finder->result->links[index - device_count].share);
    (void)percent(found->busy_ratio, busy);
    if (!found->next)
        return arena_printf(finder->arena, "%s limits: busy %s of the time%s; nothing else is busy",
                            found->name, busy, detail);
    (void)percent(found->next_busy_ratio, next);
    (void)snprintf(rise, sizeof rise, found->rise_ratio >= 99.5 ? "%.0f" : "%.1f",
                   found->rise_ratio);
    what = is_device
               ? arena_printf(finder->arena, "%s's work", finder->cluster->devices[index].name)
               : "its messages";
    if (strcmp(rise, "1.0") == 0)
        return arena_printf(finder->arena,
                            "%s limits: busy %s of the time%s; next is %s, busy %s: without %s "
                            "the rate could hardly rise",
                            found->name, busy, detail, found->next, next, what);
    return arena_printf(finder->arena,
                        "%s limits: busy %s of the time%s; next is %s, busy %s; without %s the "
                        "rate could rise %sx",
                        found->name, busy, detail, found->next, next, what, rise);
}

/* The largest of compute, transfers, queueing and overheads, and the largest within it. */
static const char *compute_detail(const struct finder *finder)
{
    const struct cluster *cluster = finder->cluster;
    double all_ps = 0;
    int most = 0;
    char part[NUMBER_BYTES];

    for (int i = 0; i < cluster->device_count; i++) {
        all_ps += (double)finder->result->devices[i].busy_ps;
        if (finder->result->devices[i].busy_ps > finder->result->devices[most].busy_ps)
            most = i;
    }
    if (all_ps < finder->result->parts.compute_ps) /* a job of several requests counts for each */
        all_ps = finder->result->parts.compute_ps;
    if (cluster->device_count < 2)
        return "compute";
    return arena_printf(
        finder->arena, "compute, on device %s above all (%s of all compute)",
        cluster->devices[most].name,
        percent(ratio((double)finder->result->devices[most].busy_ps, all_ps), part));
}

/* Of all media: the one whose cost of messages, latency or bytes took most. */
static const char *transfer_detail(const struct finder *finder)
{
    const struct cluster *cluster = finder->cluster;
    const struct share *media = finder->result->parts.media;
    double most_ps = 0;
    int most = 0, which = 0;
    static const char *const names[] = { "the per-message cost of", "the latency of",
                                         "the bytes over" };
    char part[NUMBER_BYTES];

    for (int i = 0; i < cluster->medium_count; i++) {
        const double times_ps[] = { media[i].per_message_ps, media[i].latency_ps,
                                    media[i].bytes_ps };

        for (int k = 0; k < 3; k++)
            if (times_ps[k] > most_ps) {
                most_ps = times_ps[k];
                most = i;
                which = k;
            }
    }
    if (finder->per_count <= 0 || most_ps <= 0)
        return "transfers";
    return arena_printf(finder->arena, "%s %s %s, %s (%s)", names[which],
                        cluster_kind_name(cluster->media[most].kind), cluster->media[most].name,
                        percent(most_ps / finder->result->parts.all_ps, part),
                        messages(finder, &media[most], most_ps));
}

static const char *made_of(const struct finder *finder)
{
    const struct bottleneck_parts *parts = &finder->found.parts;
    char compute[NUMBER_BYTES], sent[NUMBER_BYTES], waiting[NUMBER_BYTES], overhead[NUMBER_BYTES];
    const char *more = "", *largest;

    if (!finder->found.has_parts)
        return "";
    if (parts->overhead > 0)
        more = arena_printf(finder->arena, ", %s overheads", percent(parts->overhead, overhead));
    if (parts->compute >= transfers(parts) && parts->compute >= parts->waiting &&
        parts->compute >= parts->overhead)
        largest = compute_detail(finder);
    else if (transfers(parts) >= parts->waiting && transfers(parts) >= parts->overhead)
        largest = transfer_detail(finder);
    else
        largest = parts->waiting >= parts->overhead ? "queueing" : "overheads of software";
    return arena_printf(
        finder->arena,
        "; latency is %s compute, %s transfers, %s queueing%s; the largest part is %s",
        percent(parts->compute, compute), percent(transfers(parts), sent),
        percent(parts->waiting, waiting), more, largest);
}

static const char *free_text(const struct finder *finder, double whole_ratio, double next_ratio)
{
    const struct bottleneck *found = &finder->found;
    char busy[NUMBER_BYTES], next[NUMBER_BYTES];
    const char *second = "";

    if (!found->name)
        return "nothing limits: no device or link had anything to do";
    if (found->next)
        second =
            arena_printf(finder->arena, ", next %s, %s", found->next, percent(next_ratio, next));
    return arena_printf(finder->arena, "nothing limits: %s is busy %s of the time%s%s", found->name,
                        percent(whole_ratio, busy), second, made_of(finder));
}

/* 0: not known. */
static double rise_of(const struct finder *finder, struct taken first, struct taken next)
{
    const struct sliced_stage *stage = first.index < 0 ? NULL : sliced_of(finder, first.index);

    if (stage) {
        int64_t silent_ps = passes_silent_ps(stage);

        return silent_ps > 0 ? (double)first.time_ps / (double)silent_ps : 0;
    }
    return next.time_ps > 0 ? (double)first.time_ps / (double)next.time_ps : 0;
}

struct bottleneck bottleneck_find(struct arena *arena, const struct plan *plan,
                                  const struct cluster *cluster, const struct serve_result *result,
                                  int64_t requests, int64_t tokens)
{
    struct finder finder = { .arena = arena,
                             .plan = plan,
                             .cluster = cluster,
                             .result = result,
                             .per_count = tokens > 0 ? tokens : requests,
                             .per = tokens > 0 ? "token" : "request" };
    struct bottleneck *found = &finder.found;
    double end_ps = (double)result->end_ps;
    double window_ps = result->parts.is_known ? (double)result->parts.active_ps : end_ps;
    struct taken first = longest(&finder, -1), next = longest(&finder, first.index);

    parts_find(&finder);
    found->name = name_of(&finder, first.index);
    found->next = name_of(&finder, next.index);
    found->busy_ratio = ratio((double)first.time_ps, window_ps);
    found->next_busy_ratio = ratio((double)next.time_ps, window_ps);
    found->rise_ratio = rise_of(&finder, first, next);
    found->is_limit = found->busy_ratio >= BOTTLENECK_BUSY &&
                      (ratio((double)first.time_ps, end_ps) >= BOTTLENECK_BUSY ||
                       found->parts.waiting >= BOTTLENECK_WAITING);
    found->text = found->is_limit ? limit_text(&finder, first.index)
                                  : free_text(&finder, ratio((double)first.time_ps, end_ps),
                                              ratio((double)next.time_ps, end_ps));
    return *found;
}

/* ---- output ---- */

void bottleneck_write_text(const struct bottleneck *bottleneck, struct out *out)
{
    out_char(out, '\n');
    wrap_text(out, "bottleneck ", bottleneck->text);
}

static void write_parts(const struct bottleneck *bottleneck, const struct serve_result *result,
                        struct json_writer *json)
{
    const struct bottleneck_parts *parts = &bottleneck->parts;

    if (!bottleneck->has_parts) {
        json_put_null(json, "time_in_system");
        return;
    }
    json_begin_object(json, "time_in_system");
    json_put_seconds(json, "active_s", result->parts.active_ps);
    json_put_double(json, "compute_ratio", parts->compute);
    json_put_double(json, "transfer_ratio", transfers(parts));
    json_put_double(json, "per_message_ratio", parts->per_message);
    json_put_double(json, "latency_ratio", parts->latency);
    json_put_double(json, "bytes_ratio", parts->bytes);
    json_put_double(json, "queueing_ratio", parts->waiting);
    json_put_double(json, "overhead_ratio", parts->overhead);
    json_end_object(json);
}

void bottleneck_write_json(const struct bottleneck *bottleneck, const struct serve_result *result,
                           struct json_writer *json)
{
    json_put_text(json, "bottleneck", bottleneck->text);
    json_begin_object(json, "limit");
    json_put_text(json, "name", bottleneck->is_limit ? bottleneck->name : NULL);
    json_put_text(json, "busiest", bottleneck->name);
    json_put_double(json, "busy_ratio", bottleneck->busy_ratio);
    json_put_text(json, "next", bottleneck->next);
    json_put_double(json, "next_busy_ratio", bottleneck->next_busy_ratio);
    if (bottleneck->rise_ratio > 0)
        json_put_double(json, "rise_ratio", bottleneck->rise_ratio);
    else
        json_put_null(json, "rise_ratio");
    json_end_object(json);
    write_parts(bottleneck, result, json);
}
