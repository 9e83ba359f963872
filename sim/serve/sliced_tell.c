/* sliced_tell.c - what observers are told of passes: messages, pieces, and each device's share. */
#include "sim/serve/sliced.h"

#include "sim/network/network.h"

void sliced_tell_message(const struct serve *serve, const struct sliced *sliced,
                         const struct sliced_op *op, const struct sliced_edge *edge, int64_t bytes,
                         int64_t send_ps, bool is_late, const struct network_sent *sent)
{
    const struct pass_member *members = &sliced->pass->members[op->step->first];
    struct serve_transfer transfer =
        flight_transfer(serve, sliced->running, bytes, send_ps, is_late, sent);

    transfer.from = sliced->site->devices[members[edge->from].position];
    transfer.to = sliced->site->devices[members[edge->to].position];
    transfer.is_inside = true;
    serve->observer.on_transfer(serve->observer.arg, &transfer);
}

void sliced_tell_received(const struct serve *serve, const struct sliced *sliced,
                          const struct sliced_op *op, const struct sliced_edge *edge)
{
    struct network_received received = network_received(serve->network);
    struct network_sent sent = { .link = received.link,
                                 .begin_ps = received.begin_ps,
                                 .end_ps = received.arrival_ps,
                                 .arrival_ps = received.arrival_ps };

    sliced_tell_message(serve, sliced, op, edge, received.bytes, received.send_ps, true, &sent);
}

/* A row for each device: from the begin of its first piece to the end of its last. */
void sliced_tell_pass(const struct serve *serve, const struct sliced *sliced)
{
    const struct flight *flight = &serve->flights[sliced->running];
    struct serve_span span = { .kind = SERVE_SPAN_PASS,
                               .request = flight->request,
                               .request_id = arrivals_id(&serve->arrivals, flight->request),
                               .batch_id = -1,
                               .stage = sliced->site->stage->id,
                               .step = serve->decodes[sliced->running].step };

    for (int32_t i = 0; i < sliced->count; i++) {
        const struct sliced_cursor *cursor = &sliced->cursors[i];
        bool computes = cursor->first_ps != TRACE_NONE;

        span.position = i;
        span.device = sliced->site->devices[i];
        span.start_ps = computes ? cursor->first_ps : sliced->begin_ps;
        span.finish_ps = computes ? cursor->last_ps : sliced->begin_ps;
        span.wait_ps = span.start_ps - serve->readies_ps[sliced->running];
        serve->observer.on_span(serve->observer.arg, &span);
    }
}

void sliced_tell_piece(const struct serve *serve, const struct sliced *sliced, int32_t position,
                       int64_t start_ps)
{
    const struct flight *flight = &serve->flights[sliced->running];

    serve->observer.on_span(
        serve->observer.arg,
        &(struct serve_span){ .kind = SERVE_SPAN_PIECE,
                              .request = flight->request,
                              .request_id = arrivals_id(&serve->arrivals, flight->request),
                              .batch_id = -1,
                              .stage = sliced->site->stage->id,
                              .device = sliced->site->devices[position],
                              .position = position,
                              .step = serve->decodes[sliced->running].step,
                              .start_ps = start_ps,
                              .finish_ps = engine_now_ps(serve->engine) });
}

const char *sliced_waits_for(const struct serve *serve, int32_t index)
{
    const struct sliced *sliced = serve->flights[index].site->sliced;
    int64_t running;

    if (sliced->running == NO_FLIGHT || sliced->running == index) {
        for (int32_t i = 0; i < serve->message_count; i++) {
            int link = serve->messages[i].sliced == sliced->number
                           ? network_where(serve->network, SLICED_FIRST_MESSAGE + i)
                           : -1;

            if (link >= 0)
                return arena_printf(serve->arena, "its devices talk over link %.64s",
                                    network_link_name(serve->network, link));
        }
        return "its devices wait for one another";
    }
    running = arrivals_id(&serve->arrivals, serve->flights[sliced->running].request);
    return arena_printf(serve->arena, "behind request %lld", (long long)running);
}
