/* report.c - writes a finished run: the tables here, the summary in summary.c. */
#include "runner/report/report.h"

#include "lib/base/out.h"
#include "lib/base/units.h"
#include "lib/format/cluster.h"
#include "lib/format/trace.h"
#include "lib/format/workload.h"
#include "lib/policy/admit.h"
#include "lib/policy/plan.h"
#include "runner/load/serve.h"
#include "runner/load/table.h"
#include <string.h>

void report_request(const struct report_input *input, size_t index, bool has_epoch, struct out *out)
{
    const struct workload *workload = input->workload;
    const struct workload_request row = workload_at(workload, index);
    const struct table_request *state = &input->run->table->requests[index];
    struct trace_request request = {
        .request_id = row.request_id,
        .service = workload->services[row.service],
        .replica = state->replica < 0 ? -1 : input->plan->replicas[state->replica].number,
        .arrival_ps = state->arrival_ps,
        .start_ps = state->start_ps,
        .first_token_ps = state->first_token_ps,
        .finish_ps = state->finish_ps,
        .prompt_tokens = row.prompt_tokens,
        .output_tokens = row.output_tokens,
        .client = row.client < 0 ? "" : workload->clients[row.client],
        .status = state->status,
        .e2e_ps = TRACE_NONE,
    };
    int32_t epoch = state->replica < 0
                        ? -1
                        : input->plan->epochs[input->plan->replicas[state->replica].epoch].number;

    if (has_epoch)
        trace_request_put_epoch(out, &request, epoch);
    else
        trace_request_put(out, &request);
}

void report_requests(const struct report_input *input, struct out *out)
{
    bool has_epoch = input->plan->epoch_count > 1;

    if (has_epoch)
        trace_requests_begin_epochs(out, input->meta);
    else
        trace_requests_begin(out, input->meta);
    for (size_t i = 0; i < input->workload->count; i++)
        report_request(input, i, has_epoch, out);
}

/* By which its steps come and go. */
static const char *device_of(const struct report_input *input, const struct plan_stage *stage)
{
    return input->plan->cluster->devices[stage->devices[0]].name;
}

static const char *device_at(const struct report_input *input, const struct plan_stage *stage,
                             int32_t position)
{
    return input->plan->cluster->devices[stage->devices[position]].name;
}

static enum op_phase phase_of(const struct serve_record *record)
{
    return record->step == 0 || record->is_chunk ? OP_PREFILL : OP_DECODE;
}

void report_stage(const struct report_input *input, const struct serve_record *record,
                  struct out *out)
{
    const struct plan_stage *stage = input->plan->stages[record->stage_id];
    const struct workload_request row = workload_at(input->workload, record->request);
    struct trace_stage line = {
        .request_id = row.request_id,
        .service = input->workload->services[row.service],
        .device = device_at(input, stage, record->position),
        .replica = input->plan->replicas[stage->replica].number,
        .stage = record->stage,
        .start_ps = record->start_ps,
        .finish_ps = record->finish_ps,
        .step = record->step,
        .batch_id = record->batch,
        .phase = phase_of(record),
    };

    if (record->has_computed)
        trace_stage_put(out, &line);
}

void report_stages(const struct report_input *input, struct out *out)
{
    trace_stages_begin(out, input->meta);
    for (size_t i = 0; i < input->run->record_count; i++)
        report_stage(input, &input->run->records[i], out);
}

static const char *node_of(const struct report_input *input, const char *device)
{
    int index = cluster_find_device(input->plan->cluster, device);

    return index < 0 ? device : input->plan->cluster->devices[index].node;
}

struct way { /* of a message */
    size_t request;
    int32_t step;
    int64_t batch;
    int64_t bytes, send_ps, receive_ps;
};

static void put_transfer(const struct report_input *input, const struct way *way, const char *from,
                         const char *to, struct out *out)
{
    const struct cluster_attachment *near, *far;
    const struct cluster_medium *medium = cluster_common_medium(
        input->plan->cluster, node_of(input, from), node_of(input, to), &near, &far);
    struct trace_transfer line = {
        .request_id = workload_at(input->workload, way->request).request_id,
        .step = way->step,
        .batch_id = way->batch,
        .from_device = from,
        .to_device = to,
        .medium = medium ? medium->name : "",
        .bytes = way->bytes,
        .send_ps = way->send_ps,
        .receive_ps = way->receive_ps,
    };

    if (strcmp(from, to) != 0) /* what a device sends itself is no transfer, as in the simulator */
        trace_transfer_put(out, &line);
}

void report_input_transfer(const struct report_input *input, const struct serve_record *record,
                           struct out *out)
{
    const struct plan_stage *stage = input->plan->stages[record->stage_id];
    const char *from = record->from_id < 0 ? CLUSTER_SOURCE
                                           : device_of(input, input->plan->stages[record->from_id]);
    int32_t new_tokens, past_tokens;

    admit_step_tokens(workload_at(input->workload, record->request).prompt_tokens, record->step,
                      &new_tokens, &past_tokens);
    if (record->batch != SERVE_NO_BATCH && !record->came_alone)
        new_tokens = record->batch_tokens;
    put_transfer(input,
                 &(struct way){ record->request, record->step,
                                record->came_alone ? SERVE_NO_BATCH : record->batch,
                                plan_input_bytes(input->plan, stage, new_tokens), record->send_ps,
                                record->receive_ps },
                 from, device_of(input, stage), out);
}

void report_exchange_transfer(const struct report_input *input,
                              const struct serve_exchange *exchange, struct out *out)
{
    const struct cluster_device *devices = input->plan->cluster->devices;

    put_transfer(input,
                 &(struct way){ exchange->request, exchange->step, exchange->batch, exchange->bytes,
                                exchange->send_ps, exchange->receive_ps },
                 devices[exchange->from].name, devices[exchange->to].name, out);
}

/* What the devices of a stage have sent each other, behind what led into it. */
static void put_exchanges(const struct report_input *input, const struct serve_record *record,
                          size_t *at, struct out *out)
{
    for (; *at < input->run->exchange_count; ++*at) {
        const struct serve_exchange *exchange = &input->run->exchanges[*at];

        if (exchange->request != record->request || exchange->step != record->step ||
            exchange->stage != record->stage)
            break;
        report_exchange_transfer(input, exchange, out);
    }
}

/* A token, of a batch one for each request. */
static int64_t result_bytes(const struct report_input *input, const struct serve_record *result,
                            const struct plan_stage *stage)
{
    int64_t bytes = plan_result_bytes(input->plan, &input->plan->replicas[stage->replica]);

    return result->batch != SERVE_NO_BATCH ? bytes * result->batch_count : bytes;
}

void report_result_transfer(const struct report_input *input, const struct serve_record *result,
                            struct out *out)
{
    const struct plan_stage *stage = input->plan->stages[result->stage_id];

    put_transfer(input,
                 &(struct way){ result->request, result->step, result->batch,
                                result_bytes(input, result, stage), result->send_ps,
                                result->receive_ps },
                 device_of(input, stage), CLUSTER_SOURCE, out);
}

/* Records and results are sorted alike; a result comes behind the stages of its step. */
void report_transfers(const struct report_input *input, struct out *out)
{
    const struct serve_run *run = input->run;
    size_t at = 0, exchanged = 0;

    trace_transfers_begin(out, input->meta);
    for (size_t i = 0; i <= run->record_count; i++) {
        const struct serve_record *record = i < run->record_count ? &run->records[i] : NULL;

        for (; at < run->result_count; at++) {
            const struct serve_record *result = &run->results[at];

            if (record && (record->request < result->request ||
                           (record->request == result->request && record->step <= result->step)))
                break;
            report_result_transfer(input, result, out);
        }
        if (record && record->position == 0)
            report_input_transfer(input, record, out);
        if (record)
            put_exchanges(input, record, &exchanged, out);
    }
}
