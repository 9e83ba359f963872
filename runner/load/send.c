/* send.c - steps of requests, from the coordinator to the first worker of their replica. */
#include "lib/base/arena.h"
#include "lib/base/clock.h"
#include "lib/base/rng.h"
#include "lib/format/model.h"
#include "lib/format/workload.h"
#include "lib/policy/admit.h"
#include "lib/policy/plan.h"
#include "runner/fleet/fleet.h"
#include "runner/load/fixed.h"
#include "runner/load/internal.h"
#include "runner/load/room.h"
#include "runner/load/table.h"

/* To which its next step goes. */
static const struct plan_stage *first_stage(const struct serve *serve, size_t request)
{
    const struct table_request *state = &serve->table->requests[request];
    const struct plan_replica *replica = &serve->input->plan->replicas[state->replica];
    bool is_behind = state->step > 0 && plan_replica_is_split(replica);

    return way_stage(serve, request, is_behind ? replica->stage_count : 0);
}

void serve_enqueue(struct serve *serve, size_t request)
{
    const struct plan_stage *first = first_stage(serve, request);
    struct queue *queue = &serve->queues[serve_worker_of(serve, first)];

    if (queue->count == queue->capacity) {
        size_t capacity = queue->capacity ? 2 * queue->capacity : 64;
        size_t *grown = arena_array(serve->arena, capacity, sizeof *grown);

        for (size_t i = 0; i < queue->count; i++)
            grown[i] = queue->requests[(queue->head + i) % queue->capacity];
        queue->requests = grown;
        queue->capacity = capacity;
        queue->head = 0;
    }
    queue->requests[(queue->head + queue->count++) % queue->capacity] = request;
    table_sent(serve->table, request, first->id);
}

/* Prompts are drawn from a stream of the request's own, so that they do not depend on order. */
void serve_fill_prompt(struct serve *serve, size_t request, int32_t count)
{
    const struct workload_request row = workload_at(serve->input->workload, request);
    const struct model *model = serve_model(serve, request);
    struct rng rng = rng_stream(serve->input->seed, RNG_INPUT_TOKENS, (uint64_t)row.request_id);

    for (int32_t i = 0; i < count; i++)
        serve->tokens[i] = (int32_t)rng_below(&rng, (uint64_t)model->vocab);
}

static enum channel_result send_step(struct serve *serve, struct channel *push, size_t request,
                                     struct err *err)
{
    const struct workload_request row = workload_at(serve->input->workload, request);
    const struct table_request *state = &serve->table->requests[request];
    const struct plan_stage *first = first_stage(serve, request);
    struct frame frame = { .type = FRAME_STEP,
                           .stage = first->id,
                           .request = table_name(serve->table, request),
                           .step = state->step,
                           .way = state->way,
                           .total_tokens = row.prompt_tokens + row.output_tokens };

    admit_step_tokens(row.prompt_tokens, state->step, &frame.new_tokens, &frame.past_tokens);
    if (state->step == 0)
        serve_fill_prompt(serve, request, frame.new_tokens);
    else
        serve->tokens[0] = state->token;
    frame.payload_bytes = 4 * (int64_t)frame.new_tokens;
    frame.finish_ns = serve->table->replicas[state->replica].generation;
    frame.start_ns = serve_clock_of(serve, serve_worker_of(serve, first));
    return channel_send_words(push, NULL, &frame, serve->tokens, err);
}

int32_t serve_most_room(const struct serve *serve, const struct plan_stage *stage)
{
    bool gathers = stage->number == 0 && stage->phase != PLACEMENT_DECODE;
    const struct plan_replica *replica = &serve->input->plan->replicas[stage->replica];
    int64_t most = stage->queue_depth;

    if (gathers)
        most *= batching_fixed_size(serve->input->batch, replica);
    return most < INT32_MAX ? (int32_t)most : INT32_MAX;
}

/* Steps leave in order, but for those whose stage 0 has no room. */
bool serve_flush(struct serve *serve, int worker, struct err *err)
{
    struct queue *queue = &serve->queues[worker];
    bool is_open = true;

    queue->is_blocked = false;
    for (size_t left = queue->count; left > 0; left--) {
        size_t request = queue->requests[queue->head];
        bool is_kept = false;

        if (serve->table->requests[request].state == TABLE_RUNNING) {
            const struct plan_stage *first = first_stage(serve, request);

            is_kept = !is_open || !room_has(serve, first);
            if (!is_kept) {
                switch (send_step(serve, serve->fleet->workers[worker].push, request, err)) {
                case CHANNEL_DONE:
                    fixed_sent(serve, request);
                    room_take(serve, first);
                    break;
                case CHANNEL_GONE:
                    room_take(serve, first);
                    break;
                case CHANNEL_LATER:
                    is_open = false;
                    is_kept = queue->is_blocked = true;
                    break;
                case CHANNEL_BAD:
                    return false;
                }
            }
        }
        queue->head = (queue->head + 1) % queue->capacity;
        if (is_kept)
            queue->requests[(queue->head + queue->count - 1) % queue->capacity] = request;
        else
            queue->count--;
    }
    return true;
}
