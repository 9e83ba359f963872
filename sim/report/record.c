/* record.c - rows of the traces in the order of their formats, whatever order they happened in. */
#include "sim/report/record.h"

#include "lib/base/arena.h"
#include "lib/base/out.h"
#include "lib/format/cluster.h"
#include "lib/format/workload.h"
#include "lib/policy/plan.h"
#include "sim/network/network.h"
#include "sim/report/chrome.h"
#include "sim/serve/serve.h"
#include <stdlib.h>

#define LINK_LANES 16

struct link_lanes { /* messages may share a link: those of one lane do not overlap */
    int count;
    int tracks[LINK_LANES];
    int64_t ends_ps[LINK_LANES];
};

struct record {
    struct arena *arena;
    const struct serve_input *input;
    bool keeps_spans, keeps_transfers;
    size_t span_count, span_capacity;
    struct serve_span *spans;
    size_t transfer_count, transfer_capacity;
    struct serve_transfer *transfers;
    struct chrome *chrome;
    const char **services; /* of the plan, quoted */
    int next_track;        /* of links, named when first used */
    int link_count;
    struct link_lanes *links; /* by link */
};

struct record *record_create(struct arena *arena, const struct serve_input *input, bool keeps_spans,
                             bool keeps_transfers, struct out *chrome)
{
    struct record *record = arena_alloc(arena, sizeof(*record));
    const struct plan *plan = input->plan;
    const struct cluster *cluster = plan->cluster;

    record->arena = arena;
    record->input = input;
    record->keeps_spans = keeps_spans;
    record->keeps_transfers = keeps_transfers;
    if (!chrome)
        return record;
    record->chrome = chrome_begin(arena, chrome, 0);
    chrome_process(record->chrome, "simulated");
    for (int i = 0; i < cluster->device_count; i++)
        chrome_track(record->chrome, CHROME_FIRST_DEVICE + i, "device",
                     chrome_quote(arena, cluster->devices[i].name));
    record->next_track = CHROME_FIRST_DEVICE + cluster->device_count;
    record->services = arena_array(arena, (size_t)plan->service_count, sizeof(char *));
    for (int i = 0; i < plan->service_count; i++)
        record->services[i] = chrome_quote(arena, plan->services[i].name);
    return record;
}

static struct chrome_slice slice_of(const struct record *record, int32_t service,
                                    int64_t request_id)
{
    struct chrome_slice slice = { .service = record->services[service],
                                  .request_id = request_id,
                                  .stage = -1,
                                  .step = -1,
                                  .phase = OP_ANY };

    return slice;
}

/* Executables have no phases, encoders know prefill alone. */
static enum op_phase phase_of(const struct serve_input *input, const struct serve_span *span)
{
    const struct plan *plan = input->plan;
    int32_t service = plan->replicas[plan->stages[span->stage]->replica].service;

    if (!plan->services[service].model)
        return OP_ANY;
    return span->step == 0 || span->is_chunk ? OP_PREFILL : OP_DECODE;
}

static void span_show(struct record *record, const struct serve_span *span)
{
    const struct plan *plan = record->input->plan;

    if (span->kind == SERVE_SPAN_SWITCH) {
        chrome_switch(record->chrome, CHROME_FIRST_DEVICE + span->device, span->start_ps,
                      span->finish_ps);
    } else if (span->share == 0 && span->kind != SERVE_SPAN_PASS &&
               (span->kind != SERVE_SPAN_LOST || span->finish_ps > span->start_ps)) {
        const struct plan_stage *stage = plan->stages[span->stage];
        struct chrome_slice slice =
            slice_of(record, plan->replicas[stage->replica].service, span->request_id);

        slice.track = CHROME_FIRST_DEVICE + span->device;
        slice.stage = stage->number;
        slice.step = span->step;
        slice.phase = phase_of(record->input, span);
        slice.start_ps = span->start_ps;
        slice.finish_ps = span->finish_ps;
        slice.is_lost = span->kind == SERVE_SPAN_LOST;
        chrome_compute(record->chrome, &slice);
    }
}

static void on_span(void *arg, const struct serve_span *span)
{
    struct record *record = arg;

    if (record->chrome)
        span_show(record, span);
    if (!record->keeps_spans || /* rows are stages that ended */
        (span->kind != SERVE_SPAN_JOB && span->kind != SERVE_SPAN_PASS))
        return;
    if (record->span_count == record->span_capacity) {
        size_t wider = record->span_capacity ? 2 * record->span_capacity : 1024;

        record->spans = arena_grow(record->arena, record->spans, record->span_capacity, wider,
                                   sizeof(*record->spans));
        record->span_capacity = wider;
    }
    record->spans[record->span_count++] = *span;
}

static struct link_lanes *lanes_of(struct record *record, int link)
{
    if (link >= record->link_count) {
        int wider = 2 * link + 8;

        record->links = arena_grow(record->arena, record->links, (size_t)record->link_count,
                                   (size_t)wider, sizeof(*record->links));
        record->link_count = wider;
    }
    return &record->links[link];
}

/* A lane of the link that is free from begin_ps on, of those the one used last; with all lanes
 * taken that which is free first. */
static int lane_take(struct record *record, const struct serve_use *use)
{
    struct link_lanes *lanes = lanes_of(record, use->link);
    int best = -1, first = 0;

    for (int i = 0; i < lanes->count; i++) {
        if (lanes->ends_ps[i] <= use->begin_ps &&
            (best < 0 || lanes->ends_ps[i] > lanes->ends_ps[best]))
            best = i;
        first = lanes->ends_ps[i] < lanes->ends_ps[first] ? i : first;
    }
    if (best < 0 && lanes->count == LINK_LANES)
        best = first;
    if (best < 0) {
        const char *name = chrome_quote(record->arena, use->link_name);

        best = lanes->count++;
        lanes->tracks[best] = record->next_track++;
        chrome_track(record->chrome, lanes->tracks[best], "link",
                     best == 0 ? name : arena_printf(record->arena, "%s (%d)", name, best + 1));
    }
    lanes->ends_ps[best] = use->end_ps;
    return lanes->tracks[best];
}

static void on_use(void *arg, const struct serve_use *use)
{
    struct record *record = arg;
    struct chrome_slice slice = slice_of(record, use->service, use->request_id);

    slice.track = lane_take(record, use);
    slice.step = use->step;
    slice.start_ps = use->begin_ps;
    slice.finish_ps = use->end_ps;
    chrome_message(record->chrome, &slice, use->bytes);
}

static void on_transfer(void *arg, const struct serve_transfer *transfer)
{
    struct record *record = arg;

    if (record->chrome && transfer->share == 0 && !transfer->is_late)
        on_use(record, &(struct serve_use){ .request_id = transfer->request_id,
                                            .service = transfer->service,
                                            .step = transfer->step,
                                            .link = transfer->link,
                                            .link_name = transfer->link_name,
                                            .bytes = transfer->bytes,
                                            .begin_ps = transfer->begin_ps,
                                            .end_ps = transfer->end_ps });
    if (!record->keeps_transfers)
        return;
    if (record->transfer_count == record->transfer_capacity) {
        size_t wider = record->transfer_capacity ? 2 * record->transfer_capacity : 1024;

        record->transfers = arena_grow(record->arena, record->transfers, record->transfer_capacity,
                                       wider, sizeof(*record->transfers));
        record->transfer_capacity = wider;
    }
    record->transfers[record->transfer_count++] = *transfer;
}

static void on_end(void *arg, const struct serve_end *end)
{
    struct record *record = arg;

    chrome_request(record->chrome,
                   &(struct chrome_request){ .service = record->services[end->service],
                                             .status = trace_status_names[end->status],
                                             .request_id = end->request_id,
                                             .arrival_ps = end->arrival_ps,
                                             .first_token_ps = end->first_token_ps,
                                             .finish_ps = end->finish_ps });
}

struct serve_observer record_observer(struct record *record)
{
    bool has_chrome = record->chrome != NULL;

    return (struct serve_observer){
        .arg = record,
        .end_arg = record,
        .on_span = has_chrome || record->keeps_spans ? on_span : NULL,
        .on_transfer = has_chrome || record->keeps_transfers ? on_transfer : NULL,
        .on_use = has_chrome ? on_use : NULL,
        .on_end = has_chrome ? on_end : NULL,
    };
}

void record_finish(struct record *record)
{
    if (record->chrome)
        chrome_end(record->chrome);
}

void record_write_requests(const struct serve_input *input, const struct serve_result *result,
                           struct out *out, const char *const *meta)
{
    const struct workload *workload = input->workload;

    trace_requests_begin(out, meta);
    for (size_t i = 0; i < workload->count; i++) {
        const struct workload_request request = workload_at(workload, i);
        const struct serve_request *record = &result->requests[i];
        struct trace_request row;

        if (!record->is_taken)
            continue;
        row = (struct trace_request){
            .request_id = request.request_id,
            .service = workload->services[request.service],
            .replica = record->replica < 0 ? -1 : input->plan->replicas[record->replica].number,
            .arrival_ps = record->arrival_ps,
            .start_ps = record->start_ps,
            .first_token_ps = record->first_token_ps,
            .finish_ps = record->finish_ps,
            .prompt_tokens = request.prompt_tokens,
            .output_tokens = request.output_tokens,
            .client = request.client < 0 ? "" : workload->clients[request.client],
            .status = record->status,
            .e2e_ps = record->e2e_ps,
        };
        trace_request_put(out, &row);
    }
}

static int compare_spans(const void *left, const void *right)
{
    const struct serve_span *a = left, *b = right;

    if (a->request != b->request)
        return a->request < b->request ? -1 : 1;
    if (a->step != b->step)
        return a->step < b->step ? -1 : 1;
    if (a->stage != b->stage) /* of one replica: ids rise with the numbers */
        return a->stage < b->stage ? -1 : 1;
    return (a->position > b->position) - (a->position < b->position);
}

void record_write_stages(struct record *record, struct out *out, const char *const *meta)
{
    const struct serve_input *input = record->input;
    const struct workload *workload = input->workload;

    if (record->span_count > 0)
        qsort(record->spans, record->span_count, sizeof(*record->spans), compare_spans);
    trace_stages_begin(out, meta);
    for (size_t i = 0; i < record->span_count; i++) {
        const struct serve_span *span = &record->spans[i];
        const struct plan_stage *stage = input->plan->stages[span->stage];
        const struct workload_request request = workload_at(workload, span->request);
        struct trace_stage row = {
            .request_id = request.request_id,
            .service = workload->services[request.service],
            .device = input->plan->cluster->devices[stage->devices[span->position]].name,
            .replica = input->plan->replicas[stage->replica].number,
            .stage = stage->number,
            .start_ps = span->start_ps,
            .finish_ps = span->finish_ps,
            .step = span->step,
            .batch_id = span->batch_id,
            .phase = phase_of(input, span),
        };

        trace_stage_put(out, &row);
    }
}

static int compare_transfers(const void *left, const void *right)
{
    const struct serve_transfer *a = left, *b = right;

    if (a->request != b->request)
        return a->request < b->request ? -1 : 1;
    if (a->step != b->step)
        return a->step < b->step ? -1 : 1;
    if (a->hop != b->hop)
        return a->hop < b->hop ? -1 : 1;
    if (a->is_inside != b->is_inside)
        return a->is_inside ? 1 : -1;
    if (a->send_ps != b->send_ps)
        return a->send_ps < b->send_ps ? -1 : 1;
    if (a->from != b->from)
        return a->from < b->from ? -1 : 1;
    return (a->to > b->to) - (a->to < b->to);
}

static const char *end_name(const struct serve_input *input, int32_t end)
{
    return end == NETWORK_SOURCE ? CLUSTER_SOURCE : input->plan->cluster->devices[end].name;
}

void record_write_transfers(struct record *record, struct out *out, const char *const *meta)
{
    const struct serve_input *input = record->input;

    if (record->transfer_count > 0)
        qsort(record->transfers, record->transfer_count, sizeof(*record->transfers),
              compare_transfers);
    trace_transfers_begin(out, meta);
    for (size_t i = 0; i < record->transfer_count; i++) {
        const struct serve_transfer *transfer = &record->transfers[i];
        struct trace_transfer row = {
            .request_id = workload_at(input->workload, transfer->request).request_id,
            .step = transfer->step,
            .batch_id = transfer->batch_id,
            .from_device = end_name(input, transfer->from),
            .to_device = end_name(input, transfer->to),
            .medium = transfer->medium,
            .bytes = transfer->bytes,
            .send_ps = transfer->send_ps,
            .receive_ps = transfer->receive_ps,
        };

        trace_transfer_put(out, &row);
    }
}
