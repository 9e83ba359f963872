/* handovers.c - asks for KV caches to be sent, and keeps what is told of them. */
#include "runner/load/handovers.h"

#include "lib/base/arena.h"
#include "lib/policy/copies.h"
#include "lib/policy/plan.h"
#include "runner/fleet/assign.h"
#include "runner/fleet/fleet.h"
#include "runner/load/batches.h"
#include "runner/load/fixed.h"
#include "runner/load/internal.h"
#include "runner/load/records.h"
#include "runner/load/table.h"

bool handovers_follow(const struct serve *serve, const struct plan_stage *last)
{
    return plan_replica_is_split(&serve->input->plan->replicas[last->replica]) &&
           last->phase == PLACEMENT_PREFILL;
}

static bool has_caches(const struct plan_stage *stage, int32_t device)
{
    for (int i = 0; i < stage->slice_count; i++)
        if (stage->slices[i].device == device && (stage->slices[i].blocks & 1u << BLOCK_ATTN))
            return true;
    return false;
}

static bool is_receiver(const struct plan_replica *replica, const struct plan_stage *to,
                        int32_t device)
{
    for (int m = 0; m < replica->move_count; m++)
        if (replica->moves[m].to_stage == to->id && replica->moves[m].to == device)
            return true;
    return false;
}

/* That read caches, wherever they come from. */
static int32_t readers(const struct plan_replica *replica, int64_t way)
{
    int32_t count = 0;

    for (int s = 0; s < replica->decode_count; s++) {
        const struct plan_stage *stage = copies_at(replica, way, replica->stage_count + s);

        for (int k = 0; k < stage->device_count; k++)
            count += has_caches(stage, stage->devices[k]);
    }
    return count;
}

int32_t handovers_receivers(const struct plan_replica *replica)
{
    int32_t count = 0;

    for (int s = 0; s < replica->decode_count; s++)
        for (int k = 0; k < replica->decode_stages[s].device_count; k++)
            count += is_receiver(replica, &replica->decode_stages[s],
                                 replica->decode_stages[s].devices[k]);
    return count;
}

static int32_t generation_of(const struct serve *serve, const struct plan_replica *replica)
{
    return serve->table->replicas[replica - serve->input->plan->replicas].generation;
}

/* Of a batch whoever reads the caches tells of all at once. */
static void expect(struct serve *serve, const struct handovers_of *of, int64_t name)
{
    int32_t count = readers(of->replica, of->way);
    size_t request;

    serve->expected_count += (size_t)count;
    if (of->batch == SERVE_NO_BATCH && table_find(serve->table, name, &request))
        serve->table->requests[request].readers = count;
}

void handovers_begin(struct serve *serve, const struct handovers_of *of,
                     const struct frame_entry *entries, int32_t count)
{
    const struct plan_replica *replica = of->replica;
    struct arena *arena = arena_create();
    int32_t *words = arena_array(
        arena, (size_t)FRAME_ENTRY_WORDS * (size_t)count + (size_t)replica->decode_count,
        sizeof *words);
    unsigned char *payload;
    struct frame frame = { .type = FRAME_MOVE,
                           .request = entries[0].request,
                           .step = of->step,
                           .way = of->way,
                           .total_tokens = entries[0].total_tokens,
                           .finish_ns = generation_of(serve, replica) };
    size_t used = 0;

    for (int32_t i = 0; i < count; i++)
        frame.new_tokens += entries[i].tokens;
    if (of->batch != SERVE_NO_BATCH) {
        frame.request = of->batch;
        frame.entries = count;
        for (int32_t i = 0; i < count; i++, used += FRAME_ENTRY_WORDS)
            frame_put_entry(words + used, &entries[i]);
    }
    for (int s = 0; s < replica->decode_count; s++)
        words[used++] = copies_at(replica, of->way, replica->stage_count + s)->id;
    payload = arena_alloc(arena, 4 * used);
    frame_put_words(payload, words, used);
    frame.payload_bytes = 4 * (int64_t)used;
    for (int s = 0; s < replica->stage_count; s++) {
        const struct plan_stage *from = copies_at(replica, of->way, s);

        frame.stage = from->id;
        for (int k = 0; k < from->device_count; k++) {
            int32_t device = from->devices[k];

            if (has_caches(from, device))
                fleet_move(serve->fleet, serve->fleet->assignment->worker_of[device], &frame,
                           payload);
        }
    }
    expect(serve, of, entries[0].request);
    arena_destroy(arena);
}

/* Where one device has no memory for them, others may have said that theirs are there. */
void handovers_forget(struct serve *serve, size_t request)
{
    struct table_request *state = &serve->table->requests[request];

    serve->expected_count -= (size_t)state->readers;
    state->readers = 0;
}

/* ---- what has come ---- */

/* The stage that they come from; NULL: there is none such. */
static const struct plan_stage *sender(const struct serve *serve, const struct plan_stage *to,
                                       const struct channel_message *message)
{
    const struct plan *plan = serve->input->plan;
    int64_t stage = frame_get_int64(message->payload);
    int64_t worker = frame_get_int64(message->payload + 8);

    if (stage < 0 || stage >= plan->stage_count || worker < 0 || worker >= serve->fleet->count ||
        plan->stages[stage]->replica != to->replica ||
        plan->stages[stage]->phase != PLACEMENT_PREFILL ||
        serve_position_of(serve, plan->stages[stage], (int)worker) < 0)
        return NULL;
    return plan->stages[stage];
}

static void keep(struct serve *serve, const struct plan_stage *to, int worker, size_t request,
                 const struct channel_message *message)
{
    const struct fleet *fleet = serve->fleet;
    int from = (int)frame_get_int64(message->payload + 8);
    int64_t bytes = frame_get_int64(message->payload + 16), batch = SERVE_NO_BATCH;

    if (!serve->input->keep_transfers || bytes < 0 || bytes > FRAME_MAX_STAMP_NS)
        return;
    if (message->frame.entries > 0)
        batch = fixed_batch_id(serve, to, &message->frame);
    records_keep_exchange(
        serve->arena, serve->run,
        &(struct serve_exchange){
            .request = request,
            .batch = batch,
            .step = message->frame.step,
            .stage = to->number,
            .from = fleet->assignment->devices[from],
            .to = fleet->assignment->devices[worker],
            .bytes = bytes,
            .send_ps = serve_stamp_ps(serve, serve_stamp_at(message->payload + 24),
                                      fleet->workers[from].offset_ns),
            .receive_ps = serve_stamp_ps(serve, serve_stamp_at(message->payload + 32),
                                         fleet->workers[worker].offset_ns),
        });
}

/* A device has all of its own. */
static bool is_expected(struct serve *serve, const struct frame *frame)
{
    size_t request;

    return frame->entries > 0 || (table_find(serve->table, frame->request, &request) &&
                                  serve->table->requests[request].readers > 0 &&
                                  serve->table->requests[request].readers-- > 0);
}

void handovers_told(struct serve *serve, int worker, const struct channel_message *message)
{
    const struct plan *plan = serve->input->plan;
    const struct frame *frame = &message->frame;
    int64_t entry_bytes = INT64_C(4) * FRAME_ENTRY_WORDS;
    const struct plan_stage *to;
    size_t request;
    bool is_all;

    if (frame->stage >= plan->stage_count ||
        frame->payload_bytes != FRAME_MOVED_BYTES + entry_bytes * frame->entries)
        return;
    to = plan->stages[frame->stage];
    if (to->phase != PLACEMENT_DECODE || serve_position_of(serve, to, worker) < 0 ||
        !sender(serve, to, message) ||
        frame_generation(frame) != serve->table->replicas[to->replica].generation)
        return;
    is_all = frame_get_int64(message->payload + 40) != 0;
    serve->told_count += is_all && is_expected(serve, frame);
    if (frame->entries == 0 && table_find(serve->table, frame->request, &request)) {
        keep(serve, to, worker, request, message);
        if (serve->batches && is_all &&
            is_receiver(&plan->replicas[to->replica], to,
                        serve->fleet->assignment->devices[worker]))
            batches_moved(serve->batches, request);
    }
    for (int32_t i = 0; i < frame->entries; i++) {
        int32_t words[FRAME_ENTRY_WORDS];
        struct frame_entry entry;

        frame_get_words(words, message->payload + FRAME_MOVED_BYTES + entry_bytes * i,
                        FRAME_ENTRY_WORDS);
        frame_get_entry(words, &entry);
        if (table_find(serve->table, entry.request, &request))
            keep(serve, to, worker, request, message);
    }
}
