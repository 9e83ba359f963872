/* told.c - what RECORD frames say: times of workers' clocks, steps and messages of exchanges. */
#include "lib/base/clock.h"
#include "lib/base/units.h"
#include "lib/policy/copies.h"
#include "lib/policy/plan.h"
#include "runner/fleet/assign.h"
#include "runner/fleet/fleet.h"
#include "runner/load/internal.h"
#include "runner/load/records.h"
#include "runner/load/table.h"

int64_t serve_stamp_at(const unsigned char *payload)
{
    int64_t stamp_ns = frame_get_int64(payload);

    return stamp_ns >= 0 && stamp_ns <= FRAME_MAX_STAMP_NS ? stamp_ns : 0;
}

int64_t serve_stamp_ps(const struct serve *serve, int64_t stamp_ns, int64_t offset_ns)
{
    int64_t since_ns = stamp_ns - offset_ns - serve->t0_ns;
    const int64_t limit_ns = UNITS_MAX_PS / UNITS_PS_PER_NS / 2; /* the time between any two fits */

    if (since_ns > limit_ns || since_ns < -limit_ns)
        return 0; /* no clock of ours */
    return since_ns * UNITS_PS_PER_NS;
}

int64_t serve_clock_of(const struct serve *serve, int worker)
{
    int64_t at_ns = clock_now_ns() + serve->fleet->workers[worker].offset_ns;

    return at_ns > 0 ? at_ns : 0;
}

/* On the way of the step; NULL: the source. */
static const struct plan_stage *before(const struct serve *serve, const struct plan_stage *stage,
                                       int64_t way)
{
    const struct plan_replica *replica = &serve->input->plan->replicas[stage->replica];

    return stage->number > 0 ? copies_at(replica, way, copies_place(replica, stage) - 1) : NULL;
}

bool serve_find_request(const struct serve *serve, struct frame *frame)
{
    size_t request;

    if (serve->batches || frame->type == FRAME_CREDIT || frame->type == FRAME_MOVED ||
        (frame->type == FRAME_RESULT && frame->entries > 0))
        return true;
    if (!table_find(serve->table, frame->request, &request))
        return false;
    frame->request = (int64_t)request;
    return true;
}

struct serve_record serve_record_of(const struct serve *serve, const struct plan_stage *stage,
                                    int32_t position, const struct channel_message *message)
{
    const struct frame *frame = &message->frame;
    const struct fleet *fleet = serve->fleet;
    int64_t offset_ns =
        fleet->workers[fleet->assignment->worker_of[stage->devices[position]]].offset_ns;
    const struct plan_stage *from = before(serve, stage, frame->way);
    /* the clock of the stage before, or of the stage itself, which the coordinator goes by */
    int64_t sender_ns = fleet->workers[serve_worker_of(serve, from ? from : stage)].offset_ns;

    return (struct serve_record){
        .request = (size_t)frame->request,
        .step = frame->step,
        .batch = SERVE_NO_BATCH,
        .stage = stage->number,
        .stage_id = stage->id,
        .from_id = from ? from->id : -1,
        .position = position,
        .has_computed = frame->start_ns > 0,
        .is_late = (frame_get_int64(message->payload + 16) & 1) != 0,
        .start_ps = serve_stamp_ps(serve, frame->start_ns, offset_ns),
        .finish_ps = serve_stamp_ps(serve, frame->finish_ns, offset_ns),
        .send_ps = serve_stamp_ps(serve, serve_stamp_at(message->payload), sender_ns),
        /* the others get no STEP: they are in it when they begin */
        .receive_ps = serve_stamp_ps(
            serve, position > 0 ? frame->start_ns : serve_stamp_at(message->payload + 8),
            offset_ns),
    };
}

void serve_keep_exchanges(struct serve *serve, const struct plan_stage *stage,
                          const struct serve_record *record, const struct channel_message *message)
{
    const struct fleet *fleet = serve->fleet;
    const int32_t *workers = fleet->assignment->worker_of;
    int32_t position = record->position;
    int64_t offset_ns = fleet->workers[workers[stage->devices[position]]].offset_ns;

    for (int64_t at = FRAME_RECORD_BYTES; at < message->frame.payload_bytes;
         at += FRAME_TOLD_BYTES) {
        const unsigned char *told = message->payload + at;
        int64_t from = frame_get_int64(told), bytes = frame_get_int64(told + 8);

        if (from < 0 || from >= stage->device_count || from == position || bytes < 0 ||
            bytes > FRAME_MAX_PAYLOAD_BYTES)
            continue;
        records_keep_exchange(
            serve->arena, serve->run,
            &(struct serve_exchange){
                .request = record->request,
                .batch = record->batch,
                .step = record->step,
                .stage = stage->number,
                .from = stage->devices[from],
                .to = stage->devices[position],
                .bytes = bytes,
                .send_ps = serve_stamp_ps(serve, serve_stamp_at(told + 16),
                                          fleet->workers[workers[stage->devices[from]]].offset_ns),
                .receive_ps = serve_stamp_ps(serve, serve_stamp_at(told + 24), offset_ns),
            });
    }
}
