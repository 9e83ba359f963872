/* continuous.c - a run of continuous batches: this folder's arrivals, observers and results on one
 * side, sim/llm on the other.
 *
 * Instances know no kappa and no overhead of workers: what they would pass over is refused. */
#include "sim/serve/crew.h"

#include "lib/base/err.h"
#include "lib/format/cluster.h"
#include "lib/format/overhead.h"
#include "lib/format/prefix_blocks.h"
#include "lib/policy/footprint.h"
#include "sim/llm/llm.h"
#include "sim/llm/prefix.h"
#include "sim/network/network.h"

/* ---- requests in ---- */

static struct llm_arrival arrival_of(const struct serve *serve, const struct arrival *arrival)
{
    return (struct llm_arrival){
        .index = arrival->index,
        .request_id = arrivals_id(&serve->arrivals, arrival->index),
        .arrival_ps = arrival->arrival_ps,
        .slo_ps = arrival->request.slo_ps,
        .service = serve->input->service_of[arrival->request.service],
        .prompt_tokens = arrival->request.prompt_tokens,
        .output_tokens = arrival->request.output_tokens,
        .session = arrival->request.session,
        .client = arrival->request.client,
    };
}

static size_t take(void *arg, struct llm_arrival *arrivals, size_t room)
{
    struct serve *serve = arg;
    size_t count = 0;

    while (count < room && serve->arrivals.next_ps != ARRIVALS_NEVER) {
        struct arrival arrival;

        arrivals_take(&serve->arrivals, &arrival);
        arrivals[count++] = arrival_of(serve, &arrival);
        if (serve->arrivals.source)
            break;
    }
    return count;
}

static int64_t peek(void *arg)
{
    const struct serve *serve = arg;

    return serve->arrivals.next_ps;
}

static void ended(void *arg, size_t index, int64_t end_ps)
{
    struct serve *serve = arg;

    arrivals_ended(&serve->arrivals, index, end_ps);
}

/* ---- what happens, out ---- */

static void on_span(void *arg, const struct llm_span *span)
{
    static const enum serve_span_kind kinds[] = {
        [LLM_SPAN_JOB] = SERVE_SPAN_JOB,
        [LLM_SPAN_PASS] = SERVE_SPAN_PASS,
        [LLM_SPAN_PIECE] = SERVE_SPAN_PIECE,
        [LLM_SPAN_LOST] = SERVE_SPAN_LOST,
    };
    const struct serve *serve = arg;

    serve->observer.on_span(serve->observer.arg,
                            &(struct serve_span){ .kind = kinds[span->kind],
                                                  .request = span->index,
                                                  .request_id = span->request_id,
                                                  .batch_id = span->batch_id,
                                                  .stage = span->stage,
                                                  .device = span->device,
                                                  .position = span->position,
                                                  .step = span->step,
                                                  .share = span->share,
                                                  .is_chunk = span->tokens > 1,
                                                  .start_ps = span->start_ps,
                                                  .finish_ps = span->finish_ps,
                                                  .wait_ps = span->wait_ps });
}

/* Over one port: into the receiver's it goes as it leaves the sender's. */
static void tell_in_link(const struct serve *serve, const struct llm_transfer *transfer)
{
    const struct network_sent *sent = transfer->sent;

    if (serve->observer.on_use)
        serve->observer.on_use(
            serve->observer.arg,
            &(struct serve_use){ .request_id = transfer->request_id,
                                 .service = transfer->service,
                                 .step = transfer->step,
                                 .link = sent->in_link,
                                 .link_name = network_link_name(serve->network, sent->in_link),
                                 .bytes = transfer->bytes,
                                 .begin_ps = sent->flow_ps,
                                 .end_ps = sent->end_ps });
    if (serve->observer.on_busy)
        serve->observer.on_busy(serve->observer.arg,
                                &(struct serve_busy){ sent->in_link, sent->flow_ps, sent->end_ps,
                                                      sent->end_ps - sent->flow_ps });
}

static void on_transfer(void *arg, const struct llm_transfer *transfer)
{
    const struct serve *serve = arg;
    const struct network_sent *sent = transfer->sent;

    serve->observer.on_transfer(
        serve->observer.arg,
        &(struct serve_transfer){ .request = transfer->index,
                                  .request_id = transfer->request_id,
                                  .service = transfer->service,
                                  .batch_id = transfer->batch_id,
                                  .from = transfer->from,
                                  .to = transfer->to,
                                  .step = transfer->step,
                                  .hop = transfer->hop,
                                  .share = transfer->share,
                                  .is_inside = transfer->is_inside,
                                  .is_late = transfer->is_late,
                                  .link = sent->link,
                                  .link_name = network_link_name(serve->network, sent->link),
                                  .medium = network_link_medium(serve->network, sent->link),
                                  .bytes = transfer->bytes,
                                  .send_ps = transfer->send_ps,
                                  .begin_ps = sent->begin_ps,
                                  .end_ps = sent->end_ps,
                                  .receive_ps = sent->arrival_ps });
    if (transfer->share == 0 && sent->in_link >= 0)
        tell_in_link(serve, transfer);
}

static void on_use(void *arg, const struct llm_use *use)
{
    const struct serve *serve = arg;

    serve->observer.on_use(serve->observer.arg, &(struct serve_use){ .request_id = use->request_id,
                                                                     .service = use->service,
                                                                     .step = use->step,
                                                                     .link = use->link,
                                                                     .link_name = network_link_name(
                                                                         serve->network, use->link),
                                                                     .bytes = use->bytes,
                                                                     .begin_ps = use->begin_ps,
                                                                     .end_ps = use->end_ps });
}

static void on_busy(void *arg, int link, int64_t begin_ps, int64_t end_ps, int64_t busy_ps)
{
    const struct serve *serve = arg;

    serve->observer.on_busy(serve->observer.arg,
                            &(struct serve_busy){ link, begin_ps, end_ps, busy_ps });
}

static void on_cache(void *arg, int32_t device, int64_t now_ps, int64_t kv_bytes)
{
    const struct serve *serve = arg;

    serve->observer.on_cache(serve->observer.arg, device, now_ps, kv_bytes);
}

/* What fits the model's context and is refused all the same finds no replica that could hold it. */
static void refused_note(struct serve *serve, const struct llm_end *end)
{
    const struct plan_service *service = &serve->input->plan->services[end->service];
    bool is_long = !admit_context_ok(service->model, end->prompt_tokens, end->output_tokens);
    const struct plan *plan = serve->input->plan;
    bool is_placed;
    int epoch = 0;

    while (epoch + 1 < plan->epoch_count && plan->epochs[epoch + 1].from_ps <= end->arrival_ps)
        epoch++;
    is_placed = service->epoch_first[epoch] < service->epoch_first[epoch + 1];
    serve_note_refused(serve->result,
                       is_long               ? SERVE_REFUSAL_CONTEXT
                       : !is_placed          ? SERVE_REFUSAL_PLACEMENT
                       : end->is_over_budget ? SERVE_REFUSAL_BUDGET
                                             : SERVE_REFUSAL_MEMORY,
                       end->request_id, (int64_t)end->prompt_tokens + end->output_tokens);
}

static void on_end(void *arg, const struct llm_end *end)
{
    struct serve *serve = arg;
    bool has_response = end->status == TRACE_OK && serve->input->overheads;
    int64_t response_ps = has_response ? delays_response_ps(serve, (uint64_t)end->request_id) : 0;

    if (end->status == TRACE_REFUSED)
        refused_note(serve, end);
    serve->result->late_count += end->end_ps > serve->options->until_ps;
    parts_add_wide(&serve->all_ps, end->end_ps - end->arrival_ps);
    serve_tell_end(
        serve,
        &(struct serve_end){
            .index = end->index,
            .request_id = end->request_id,
            .service = end->service,
            .replica = end->replica,
            .status = end->status,
            .arrival_ps = end->arrival_ps,
            .start_ps = end->start_ps,
            .first_token_ps = end->first_token_ps,
            .finish_ps = end->finish_ps,
            .e2e_ps = has_response ? engine_after_ps(end->finish_ps - end->arrival_ps, response_ps)
                                   : TRACE_NONE,
            .slo_ps = end->slo_ps,
            .prompt_tokens = end->prompt_tokens,
            .output_tokens = end->output_tokens });
}

static void on_gap(void *arg, const struct llm_gap *gap)
{
    const struct serve *serve = arg;

    serve->observer.on_gap(serve->observer.end_arg,
                           &(struct serve_gap){ gap->service, gap->first_ps, gap->slope_ps,
                                                gap->count, gap->times, gap->arrival_ps });
}

#define MOST_AT_ONCE (1 << 20) /* iterations: so that sums of squares fit 64 bits */

static uint64_t size_of(int64_t value)
{
    return value < 0 ? -(uint64_t)value : (uint64_t)value;
}

static struct wide half_of(struct wide value)
{
    return (struct wide){ value.high >> 1, value.low >> 1 | value.high << 63 };
}

/* Sum over k < n of (first + slope k) x (tokens + requests k), in ps x tokens:
 * n first tokens + (first requests + slope tokens) n (n - 1) / 2 + slope requests (n - 1) n (2n -
 * 1) / 6.
 */
static struct wide area_of(const struct llm_line *line, int64_t n)
{
    uint64_t time_ps = (uint64_t)(n * line->first_ps), slope_ps = size_of(line->slope_ps);
    uint64_t tokens = (uint64_t)line->tokens, requests = (uint64_t)line->requests;
    uint64_t pairs = (uint64_t)(n * (n - 1) / 2), squares = pairs * (uint64_t)(2 * n - 1) / 3;
    struct wide sum = wide_add(wide_mul(time_ps, tokens),
                               half_of(wide_mul(time_ps, requests * (uint64_t)(n - 1))));
    struct wide sloped =
        wide_add(wide_mul(slope_ps * tokens, pairs), wide_mul(slope_ps * requests, squares));

    return wide_add(sum, line->slope_ps < 0 ? wide_negate(sloped) : sloped);
}

/* Tokens in the caches while they were computed on. */
static void on_line(void *arg, const struct llm_line *told)
{
    struct serve *serve = arg;
    struct llm_line line = *told;
    struct wide *area_ps = memory_token_area(serve, told->replica, told->is_decoding);

    while (line.count > 0) {
        int32_t n = line.count < MOST_AT_ONCE ? line.count : MOST_AT_ONCE;

        *area_ps = wide_add(*area_ps, area_of(&line, n));
        line.count -= n;
        line.first_ps += n * line.slope_ps;
        line.tokens += (int64_t)n * line.requests;
    }
}

/* ---- begin and end ---- */

static bool check(const struct serve *serve, struct err *err)
{
    const struct serve_options *options = serve->options;

    if (options->rules != SERVE_DEFAULT)
        return err_set(err, ERR_USAGE, "--batch continuous: not with --rules %s",
                       serve_rules_names[options->rules]);
    return true;
}

static int32_t longest_tokens(const struct workload *workload)
{
    int64_t most = 0;

    for (size_t i = 0; workload && i < workload->count; i++) {
        int64_t tokens = (workload->prompt_tokens ? workload->prompt_tokens[i] : 0) +
                         (int64_t)(workload->output_tokens ? workload->output_tokens[i] : 0);

        most = tokens > most ? tokens : most;
    }
    return most < INT32_MAX ? (int32_t)most : INT32_MAX;
}

static void stations_fill(struct serve *serve, const struct llm_result *done)
{
    serve->result->taken_count = (size_t)done->taken_count;
    serve->engine->now_ps = done->end_ps;
    serve->engine->event_count = done->event_count;
    serve->result->extrapolated_costs = done->extrapolated_costs;
    serve->everyone.active_ps = done->active_ps;
    serve->extra_ps = done->compute_ps;
    for (int i = 0; i < serve->input->plan->cluster->device_count; i++) {
        struct station *station = &serve->stations[i];

        station->busy_ps = done->busy_ps[i];
        /* compute_ps has the compute of requests, and parts.c adds that of devices */
        serve->extra_ps =
            wide_add(serve->extra_ps, wide_negate((struct wide){ 0, (uint64_t)done->busy_ps[i] }));
        station->offered_ps = (uint64_t)done->busy_ps[i];
        station->gap_ps = done->gap_ps[i];
        station->switched_ps = (uint64_t)done->gap_ps[i];
        station->free_ps = done->free_ps[i];
        station->wait_peak_ps = done->wait_peak_ps[i];
        serve->memories[i].peak_bytes = serve->memories[i].base_bytes + done->kv_bytes[i];
        serve->memories[i].kv_peak_bytes = done->kv_bytes[i];
    }
}

/* Activations of the largest step of each replica that is there: they leave less for its cache. */
static void activations_expect(struct serve *serve, const struct llm_options *own)
{
    const struct plan *plan = serve->input->plan;

    for (int r = 0; r < plan->replica_count; r++) {
        const struct lane *lane = &serve->lanes[r];
        const struct model *model = lane->sites[0].model;
        int32_t max_seqs = plan_replica_batch(&plan->replicas[r], own->max_seqs);
        int32_t budget = own->token_budget, longest = own->longest_tokens;
        struct model_step step;

        if (!model || lane->is_left_out)
            continue;
        if (budget == 0)
            budget = continuous_default_budget(max_seqs, own->has_chunks, model->max_context);
        if (longest == 0 || (model->max_context > 0 && longest > model->max_context))
            longest = model->max_context > 0 ? model->max_context : budget;
        step = footprint_step(
            model, &(struct footprint_load){ longest, max_seqs, budget, own->block_tokens });
        memory_expect(serve, lane, &step);
    }
}

static void routes_fill(struct serve *serve, struct llm_input *input)
{
    const struct plan *plan = serve->input->plan;
    int32_t *in = arena_array(serve->arena, (size_t)plan->stage_count, sizeof *in);
    int32_t *back = arena_array(serve->arena, (size_t)plan->replica_count, sizeof *back);
    int32_t *decoded = arena_array(serve->arena, (size_t)plan->replica_count, sizeof *decoded);
    const int **moves = arena_array(serve->arena, (size_t)plan->replica_count, sizeof *moves);
    int32_t *slots = arena_array(serve->arena, (size_t)plan->cluster->device_count, sizeof *slots);

    for (int i = 0; i < plan->stage_count; i++)
        in[i] = serve->sites[i].route_in;
    for (int r = 0; r < plan->replica_count; r++) {
        const struct lane *lane = &serve->lanes[r];

        back[r] = lane->sites[lane->stage_count - 1].route_back;
        decoded[r] = lane->decode_sites[lane->decode_count - 1].route_back;
        moves[r] = lane->move_routes;
    }
    for (int i = 0; i < plan->cluster->device_count; i++)
        slots[i] = serve->stations[i].slot;
    input->network = serve->network;
    input->routes_in = in;
    input->routes_back = back;
    input->routes_decoded = decoded;
    input->move_routes = moves;
    input->slots = slots;
    input->events = serve->input->events;
    if (serve->crew_count > 0) {
        struct sliced **stages =
            arena_array(serve->arena, (size_t)plan->stage_count, sizeof(struct sliced *));

        for (int i = 0; i < serve->crew_count; i++)
            stages[serve->crews[i]->site->stage->id] = serve->crews[i]->sliced;
        input->sliced = serve->sliced;
        input->sliced_stages = stages;
    }
}

/* Batches draw by their own number: they are no request's. */
static int64_t delay_ps(void *arg, enum llm_delay where, size_t index, int32_t stage,
                        int32_t requests)
{
    static const enum overhead_where places[] = { [LLM_DELAY_SUBMIT] = OVERHEAD_SUBMIT,
                                                  [LLM_DELAY_DISPATCH] = OVERHEAD_DISPATCH,
                                                  [LLM_DELAY_WORKER] = OVERHEAD_WORKER };
    struct serve *serve = arg;
    uint64_t who = where == LLM_DELAY_WORKER ? (uint64_t)index
                                             : (uint64_t)arrivals_id(&serve->arrivals, index);
    int64_t drawn_ps = overhead_draw(&serve->input->overheads->at[places[where]],
                                     serve->options->seed, places[where], who, (uint64_t)stage);

    serve->delay_ps += (double)drawn_ps * requests;
    return drawn_ps;
}

static void on_switch(void *arg, int32_t device, int64_t from_ps, int64_t to_ps)
{
    station_tell_switch(arg, device, from_ps, to_ps);
}

/* By epoch and device: what each epoch brings new slices to. */
static bool *switches(const struct serve *serve)
{
    const struct plan *plan = serve->input->plan;
    size_t count = (size_t)plan->cluster->device_count;
    bool *is_switched =
        arena_array(serve->arena, (size_t)plan->epoch_count * count, sizeof(*is_switched));

    for (int32_t e = 1; e < plan->epoch_count; e++)
        control_switched(serve, e, &is_switched[(size_t)e * count]);
    return is_switched;
}

/* Of epochs that have begun before the run was over. */
static int64_t migrations(const struct serve *serve, const bool *is_switched, int64_t end_ps)
{
    const struct plan *plan = serve->input->plan;
    size_t count = (size_t)plan->cluster->device_count;
    int64_t sum = 0;

    for (int32_t e = 1; e < plan->epoch_count; e++)
        for (size_t i = 0; i < count && plan->epochs[e].from_ps < end_ps; i++)
            sum += is_switched[(size_t)e * count + i];
    return sum;
}

static void *input_fill(struct serve *serve, struct llm_input *input)
{
    const struct plan *plan = serve->input->plan;
    const struct serve_kv *kv = &serve->options->kv;
    bool *is_left_out = arena_array(serve->arena, (size_t)plan->replica_count, sizeof(bool));
    int64_t *base_bytes =
        arena_array(serve->arena, (size_t)plan->cluster->device_count, sizeof(int64_t));
    struct prefix *prefix = kv->has_prefix_cache
                                ? prefix_create(serve->arena, serve->input->workload,
                                                serve->input->prefix_blocks, kv->block_tokens)
                                : NULL;
    struct presence **presences =
        arena_array(serve->arena, (size_t)plan->replica_count, sizeof *presences);

    for (int r = 0; r < plan->replica_count; r++) {
        is_left_out[r] = serve->lanes[r].is_left_out;
        presences[r] = serve->lanes[r].presence;
    }
    for (int i = 0; i < plan->cluster->device_count; i++)
        base_bytes[i] = serve->memories[i].base_bytes;
    *input = (struct llm_input){ .plan = plan,
                                 .costs = serve->input->costs,
                                 .is_left_out = is_left_out,
                                 .presences = serve->options->has_parts ? presences : NULL,
                                 .base_bytes = base_bytes,
                                 .key = prefix ? prefix_key : NULL,
                                 .key_arg = prefix,
                                 .overheads = serve->input->overheads,
                                 .wakes = serve->wakes,
                                 .is_stopped = serve->input->is_stopped,
                                 .is_stopped_arg = serve->input->is_stopped_arg };
    routes_fill(serve, input);
    if (serve->delays) {
        input->delay_ps = delay_ps;
        input->delay_arg = serve;
    }
    return prefix;
}

/* Told of what the run's observer asks for. */
static void observer_fill(struct serve *serve, struct llm_observer *observer)
{
    *observer = (struct llm_observer){ .arg = serve, .end_arg = serve, .on_end = on_end };
    if (serve->observer.on_span) {
        observer->on_span = on_span;
        observer->on_switch = on_switch;
    }
    if (serve->observer.on_transfer)
        observer->on_transfer = on_transfer;
    if (serve->observer.on_use)
        observer->on_use = on_use;
    if (serve->observer.on_busy)
        observer->on_busy = on_busy;
    if (serve->observer.on_cache)
        observer->on_cache = on_cache;
    if (serve->observer.on_gap)
        observer->on_gap = on_gap;
    observer->wants_arrivals = serve->observer.wants_arrivals;
    if (serve->options->has_parts) {
        serve->token_areas_ps =
            arena_array(serve->arena, 2 * (size_t)serve->input->plan->replica_count,
                        sizeof *serve->token_areas_ps);
        observer->on_line = on_line;
    }
}

bool continuous_run(struct serve *serve, struct err *err)
{
    const struct serve_options *options = serve->options;
    const struct serve_kv *kv = &options->kv;
    struct llm_result *done = arena_alloc(serve->arena, sizeof *done);
    struct llm_source source = { .arg = serve, .take = take };
    struct llm_options own = { .max_seqs = options->batch.max_seqs,
                               .token_budget = options->batch.token_budget,
                               .block_tokens = kv->block_tokens,
                               .block_count = kv->block_count,
                               .max_in_flight = kv->max_in_flight,
                               .has_chunks = kv->has_chunks,
                               .has_prefix_cache = kv->has_prefix_cache,
                               .is_stepped = options->fast_path != SERVE_FAST_ON,
                               .has_kappa = options->has_kappa,
                               .dispatch = options->dispatch,
                               .seed = options->seed,
                               .longest_tokens = longest_tokens(serve->input->workload) };
    struct llm_observer observer;
    struct llm_input input;
    bool *is_switched;

    if (!check(serve, err) || (serve->input->prefix_blocks &&
                               !prefix_blocks_fit(serve->input->prefix_blocks,
                                                  serve->input->workload, kv->block_tokens, err)))
        return false;
    activations_expect(serve, &own);
    serve->result->lacks_prefixes = !input_fill(serve, &input) && kv->must_share;
    if (serve->arrivals.source) {
        source.peek_ps = peek;
        source.ended = ended;
    }
    is_switched = switches(serve);
    if (options->switch_cost_ps > 0 && serve->input->plan->epoch_count > 1) {
        input.is_switched = is_switched;
        input.switch_cost_ps = options->switch_cost_ps;
    }
    observer_fill(serve, &observer);
    if (!llm_run(serve->arena, &input, &own, &source, &observer, done, err))
        return false;
    serve->result->continuous = done;
    serve->result->migrations = migrations(serve, is_switched, done->end_ps);
    serve->result->kv_moves =
        (struct serve_kv_moves){ done->pull_requests, done->pull_messages, done->pull_bytes };
    stations_fill(serve, done);
    return true;
}
