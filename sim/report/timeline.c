/* timeline.c - rows of trace files to Chrome trace events. */
#include "sim/report/timeline.h"

#include "lib/base/arena.h"
#include "lib/format/trace.h"
#include "sim/report/chrome.h"
#include <stdlib.h>
#include <string.h>

struct tracks { /* devices in order of first appearance */
    int count, capacity;
    const char **devices;
};

static int track_of(struct arena *arena, struct tracks *tracks, const char *device)
{
    for (int i = 0; i < tracks->count; i++)
        if (strcmp(tracks->devices[i], device) == 0)
            return CHROME_FIRST_DEVICE + i;
    if (tracks->count == tracks->capacity) {
        int wider = tracks->capacity ? 2 * tracks->capacity : 16;

        tracks->devices = arena_grow(arena, tracks->devices, (size_t)tracks->capacity,
                                     (size_t)wider, sizeof(char *));
        tracks->capacity = wider;
    }
    tracks->devices[tracks->count++] = device;
    return CHROME_FIRST_DEVICE + tracks->count - 1;
}

/* Timestamps in a Chrome trace are not negative, those of a real trace may be. */
static int64_t origin_of(const struct timeline *timelines, int count)
{
    int64_t origin_ps = 0;

    for (int t = 0; t < count; t++) {
        const struct trace_requests *requests = timelines[t].requests;

        for (size_t i = 0; i < timelines[t].stages->count; i++)
            if (timelines[t].stages->stages[i].start_ps < origin_ps)
                origin_ps = timelines[t].stages->stages[i].start_ps;
        for (size_t i = 0; requests && i < requests->count; i++)
            if (requests->requests[i].arrival_ps < origin_ps)
                origin_ps = requests->requests[i].arrival_ps;
    }
    return origin_ps;
}

static void write_stages(struct arena *arena, struct chrome *chrome,
                         const struct trace_stages *stages)
{
    struct tracks tracks = { 0 };

    for (size_t i = 0; i < stages->count; i++) {
        const struct trace_stage *row = &stages->stages[i];
        int known = tracks.count;
        struct chrome_slice slice = {
            .track = track_of(arena, &tracks, row->device),
            .service = chrome_quote(arena, row->service),
            .request_id = row->request_id,
            .stage = row->stage,
            .step = row->step,
            .phase = row->phase,
            .start_ps = row->start_ps,
            .finish_ps = row->finish_ps,
        };

        if (tracks.count > known)
            chrome_track(chrome, slice.track, "device", chrome_quote(arena, row->device));
        chrome_compute(chrome, &slice);
    }
}

static int compare_ends(const void *left, const void *right)
{
    const struct chrome_request *a = left, *b = right;
    int64_t a_ps = chrome_request_end_ps(a), b_ps = chrome_request_end_ps(b);

    if (a_ps != b_ps)
        return a_ps < b_ps ? -1 : 1;
    return (a->request_id > b->request_id) - (a->request_id < b->request_id);
}

static void write_requests(struct arena *arena, struct chrome *chrome,
                           const struct trace_requests *requests)
{
    struct chrome_request *sorted = arena_array(arena, requests->count, sizeof(*sorted));

    for (size_t i = 0; i < requests->count; i++) {
        const struct trace_request *row = &requests->requests[i];

        sorted[i] = (struct chrome_request){
            .service = chrome_quote(arena, row->service),
            .status = trace_status_names[row->status],
            .request_id = row->request_id,
            .arrival_ps = row->arrival_ps,
            .first_token_ps = row->first_token_ps,
            .finish_ps = row->finish_ps,
        };
    }
    if (requests->count > 0)
        qsort(sorted, requests->count, sizeof(*sorted), compare_ends);
    for (size_t i = 0; i < requests->count; i++)
        chrome_request(chrome, &sorted[i]);
}

void timeline_write(struct arena *arena, const struct timeline *timelines, int count,
                    struct out *out)
{
    struct chrome *chrome = chrome_begin(arena, out, origin_of(timelines, count));

    for (int t = 0; t < count; t++) {
        chrome_process(chrome, chrome_quote(arena, timelines[t].name));
        if (timelines[t].requests)
            write_requests(arena, chrome, timelines[t].requests);
        write_stages(arena, chrome, timelines[t].stages);
    }
    chrome_end(chrome);
}
