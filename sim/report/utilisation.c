/* utilisation.c - intervals spread over windows, in constant time each.
 *
 * An interval adds its parts to the windows where it begins and ends, and counts as one more (or
 * one less) "throughout" from the window after its begin on, until that of its end: so a wait of an
 * hour costs no more than one of a second. The windows are summed up when they are written. */
#include "sim/report/utilisation.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/out.h"
#include "lib/base/units.h"
#include "lib/base/wide.h"
#include "lib/format/cluster.h"
#include "lib/format/trace.h"
#include "sim/serve/serve.h"

#define CHUNK 64 /* windows */
#define PLOT_COLUMNS 50
#define SHADES " .:-=+*#%@"

struct cell { /* a window of a track */
    int64_t busy_ps, gap_ps;
    struct wide waited_ps; /* sum over all that waited */
    int32_t busy_change, gap_change;
    /* KV caches: what the window adds in all, and the most that it ever had added */
    int64_t kv_change_bytes, kv_most_bytes;
    int64_t waiting_change; /* how many more are busy, in a gap, waiting throughout from here on */
};

struct track { /* a device or a link */
    const char *name;
    size_t chunk_count;
    struct cell **chunks;           /* NULL where nothing happened */
    int64_t gap_from_ps, gap_to_ps; /* behind the last span: the run may end before it */
    int64_t kv_bytes;               /* of now */
};

struct utilisation {
    struct arena *arena;
    int64_t window_ps;
    struct track *devices, *links;
    int device_count, link_count;
    size_t cell_count;
    bool is_full; /* too many windows: nothing more is kept */
    int64_t end_ps, window_count;
};

enum measure { BUSY, GAP, WAITING };

struct utilisation *utilisation_begin(struct arena *arena, const struct cluster *cluster,
                                      int64_t window_ps)
{
    struct utilisation *utilisation = arena_alloc(arena, sizeof(*utilisation));

    utilisation->arena = arena;
    utilisation->window_ps = window_ps;
    utilisation->device_count = cluster->device_count;
    utilisation->devices =
        arena_array(arena, (size_t)cluster->device_count, sizeof(*utilisation->devices));
    for (int i = 0; i < cluster->device_count; i++)
        utilisation->devices[i].name = cluster->devices[i].name;
    return utilisation;
}

/* NULL when there are too many. */
static struct cell *cell_of(struct utilisation *utilisation, struct track *track, int64_t window)
{
    size_t chunk = (size_t)(window / CHUNK);

    if (window > UTILISATION_MAX_ROWS ||
        utilisation->cell_count > (size_t)2 * UTILISATION_MAX_ROWS) {
        utilisation->is_full = true;
        return NULL;
    }
    if (chunk >= track->chunk_count) {
        size_t wider = 2 * chunk + 16;

        track->chunks = arena_grow(utilisation->arena, track->chunks, track->chunk_count, wider,
                                   sizeof(*track->chunks));
        track->chunk_count = wider;
    }
    if (!track->chunks[chunk]) {
        track->chunks[chunk] = arena_array(utilisation->arena, CHUNK, sizeof(struct cell));
        utilisation->cell_count += CHUNK;
    }
    return &track->chunks[chunk][window % CHUNK];
}

static void part_add(struct cell *cell, enum measure measure, int64_t time_ps)
{
    switch (measure) {
    case BUSY:
        cell->busy_ps += time_ps;
        break;
    case GAP:
        cell->gap_ps += time_ps;
        break;
    case WAITING:
        cell->waited_ps = wide_add(cell->waited_ps, (struct wide){ 0, (uint64_t)time_ps });
        break;
    }
}

static void change_add(struct cell *cell, enum measure measure, int change)
{
    switch (measure) {
    case BUSY:
        cell->busy_change += change;
        break;
    case GAP:
        cell->gap_change += change;
        break;
    case WAITING:
        cell->waiting_change += change;
        break;
    }
}

static void interval_add(struct utilisation *utilisation, struct track *track, enum measure measure,
                         int64_t from_ps, int64_t to_ps)
{
    int64_t window_ps = utilisation->window_ps;
    int64_t first = from_ps / window_ps, last = to_ps / window_ps;
    struct cell *begin, *end;

    if (from_ps >= to_ps)
        return;
    begin = cell_of(utilisation, track, first);
    if (begin && first == last)
        part_add(begin, measure, to_ps - from_ps);
    if (!begin || first == last)
        return;
    part_add(begin, measure, window_ps - from_ps % window_ps);
    end = cell_of(utilisation, track, last);
    if (!end)
        return;
    part_add(end, measure, to_ps % window_ps);
    if (first + 1 == last)
        return;
    change_add(cell_of(utilisation, track, first + 1), measure, 1);
    change_add(end, measure, -1);
}

static void on_span(void *arg, const struct serve_span *span)
{
    struct utilisation *utilisation = arg;
    struct track *track = &utilisation->devices[span->device];

    if (span->kind == SERVE_SPAN_SWITCH) { /* it may follow on a gap that is still to come */
        if (span->start_ps != track->gap_to_ps) {
            interval_add(utilisation, track, GAP, track->gap_from_ps, track->gap_to_ps);
            track->gap_from_ps = span->start_ps;
        }
        track->gap_to_ps = span->finish_ps;
        return;
    }
    if (span->wait_ps > 0) /* each request of a batch has waited on its own */
        interval_add(utilisation, track, WAITING, span->start_ps - span->wait_ps, span->start_ps);
    if (span->share > 0 || span->kind == SERVE_SPAN_PASS ||
        (span->kind == SERVE_SPAN_LOST && span->start_ps == span->finish_ps))
        return;
    interval_add(utilisation, track, BUSY, span->start_ps, span->finish_ps);
    interval_add(utilisation, track, GAP, track->gap_from_ps, track->gap_to_ps);
    track->gap_from_ps = span->finish_ps;
    track->gap_to_ps = span->finish_ps + span->gap_ps;
}

static void links_widen(struct utilisation *utilisation, int count)
{
    if (count <= utilisation->link_count)
        return;
    utilisation->links =
        arena_grow(utilisation->arena, utilisation->links, (size_t)utilisation->link_count,
                   (size_t)count, sizeof(*utilisation->links));
    utilisation->link_count = count;
}

/* The busy share of an interval, spread evenly: parts are told apart by where they end, so that
 * their sum is all of it. */
static void share_add(struct utilisation *utilisation, struct track *track,
                      const struct serve_busy *busy)
{
    int64_t window_ps = utilisation->window_ps, at_ps = busy->begin_ps, told_ps = 0;

    while (at_ps < busy->end_ps) {
        int64_t window = at_ps / window_ps, end_ps = busy->end_ps, upto_ps;
        struct cell *cell = cell_of(utilisation, track, window);

        if (!cell)
            return;
        if (window_ps - at_ps % window_ps < end_ps - at_ps)
            end_ps = at_ps + (window_ps - at_ps % window_ps);
        upto_ps =
            units_mul_div(busy->busy_ps, end_ps - busy->begin_ps, busy->end_ps - busy->begin_ps);
        part_add(cell, BUSY, upto_ps - told_ps);
        told_ps = upto_ps;
        at_ps = end_ps;
    }
}

static void on_busy(void *arg, const struct serve_busy *busy)
{
    struct utilisation *utilisation = arg;
    struct track *track;

    links_widen(utilisation, busy->link + 1);
    track = &utilisation->links[busy->link];
    if (busy->busy_ps == busy->end_ps - busy->begin_ps)
        interval_add(utilisation, track, BUSY, busy->begin_ps, busy->end_ps);
    else
        share_add(utilisation, track, busy);
}

static void on_transfer(void *arg, const struct serve_transfer *transfer)
{
    struct utilisation *utilisation = arg;
    struct track *track;

    links_widen(utilisation, transfer->link + 1);
    track = &utilisation->links[transfer->link];
    if (transfer->share > 0)
        return;
    interval_add(utilisation, track, WAITING, transfer->send_ps, transfer->begin_ps);
    if (!transfer->is_late)
        interval_add(utilisation, track, BUSY, transfer->begin_ps, transfer->end_ps);
}

static void on_cache(void *arg, int32_t device, int64_t now_ps, int64_t kv_bytes)
{
    struct utilisation *utilisation = arg;
    struct track *track = &utilisation->devices[device];
    struct cell *cell = cell_of(utilisation, track, now_ps / utilisation->window_ps);

    if (!cell)
        return;
    cell->kv_change_bytes += kv_bytes - track->kv_bytes;
    if (cell->kv_change_bytes > cell->kv_most_bytes)
        cell->kv_most_bytes = cell->kv_change_bytes;
    track->kv_bytes = kv_bytes;
}

struct serve_observer utilisation_observer(struct utilisation *utilisation)
{
    return (struct serve_observer){
        .arg = utilisation,
        .on_span = on_span,
        .on_transfer = on_transfer,
        .on_busy = on_busy,
        .on_cache = on_cache,
    };
}

bool utilisation_end(struct utilisation *utilisation, const struct serve_result *result,
                     struct err *err)
{
    int64_t window_ps = utilisation->window_ps, tracks;

    links_widen(utilisation, result->link_count);
    for (int i = 0; i < result->link_count; i++)
        utilisation->links[i].name = result->links[i].name;
    tracks = utilisation->device_count + utilisation->link_count;
    utilisation->end_ps = result->end_ps;
    utilisation->window_count = result->end_ps / window_ps + (result->end_ps % window_ps > 0);
    if (utilisation->is_full || utilisation->window_count > UTILISATION_MAX_ROWS / tracks) {
        char window[UNITS_TEXT_BYTES], end[UNITS_TEXT_BYTES];

        return err_set(err, ERR_USAGE,
                       "--window is '%s': %d devices and %d links over %s s would be more than "
                       "%d rows: choose a longer one",
                       units_format_human(window_ps, window), utilisation->device_count,
                       utilisation->link_count, units_format_seconds(result->end_ps, end),
                       UTILISATION_MAX_ROWS);
    }
    for (int i = 0; i < utilisation->device_count; i++) {
        struct track *track = &utilisation->devices[i];
        int64_t to_ps = track->gap_to_ps < result->end_ps ? track->gap_to_ps : result->end_ps;

        interval_add(utilisation, track, GAP, track->gap_from_ps, to_ps);
    }
    return true;
}

/* ---- windows, one after the other ---- */

struct level { /* of a track: how many are busy, in a gap, waiting throughout a window */
    int64_t busy, gap, waiting;
    int64_t kv_bytes; /* when the window begins */
};

struct sums { /* of one window */
    int64_t busy_ps, gap_ps;
    int64_t queue_millionths; /* mean number of those that waited */
    int64_t kv_peak_bytes;
};

static int64_t length_ps(const struct utilisation *utilisation, int64_t window)
{
    int64_t left_ps = utilisation->end_ps - window * utilisation->window_ps;

    return left_ps < utilisation->window_ps ? left_ps : utilisation->window_ps;
}

/* Windows must be asked for in order, with the same level from the first on. */
static struct sums window_sums(const struct utilisation *utilisation, const struct track *track,
                               struct level *level, int64_t window)
{
    const struct cell *chunk = NULL, *cell;
    int64_t length = length_ps(utilisation, window);
    uint64_t rest = 0, mean = 0;
    struct sums sums = { .kv_peak_bytes = level->kv_bytes };

    if ((size_t)(window / CHUNK) < track->chunk_count)
        chunk = track->chunks[window / CHUNK];
    cell = chunk ? &chunk[window % CHUNK] : NULL;
    if (cell) {
        level->busy += cell->busy_change;
        level->gap += cell->gap_change;
        level->waiting += cell->waiting_change;
        mean = wide_div(cell->waited_ps, (uint64_t)length, &rest);
        sums.kv_peak_bytes += cell->kv_most_bytes;
        level->kv_bytes += cell->kv_change_bytes;
    }
    sums.busy_ps = level->busy * length + (cell ? cell->busy_ps : 0);
    sums.gap_ps = level->gap * length + (cell ? cell->gap_ps : 0);
    sums.queue_millionths =
        (level->waiting + (int64_t)mean) * 1000000 + units_mul_div((int64_t)rest, 1000000, length);
    return sums;
}

void utilisation_write(const struct utilisation *utilisation, struct out *out,
                       const char *const *meta)
{
    int count = utilisation->device_count + utilisation->link_count;
    struct level *levels = arena_array(utilisation->arena, (size_t)count, sizeof(*levels));

    trace_utilisation_begin(out, meta);
    for (int64_t w = 0; w < utilisation->window_count; w++)
        for (int i = 0; i < count; i++) {
            bool is_link = i >= utilisation->device_count;
            const struct track *track = is_link ? &utilisation->links[i - utilisation->device_count]
                                                : &utilisation->devices[i];
            struct sums sums = window_sums(utilisation, track, &levels[i], w);
            int64_t start_ps = w * utilisation->window_ps;
            struct trace_utilisation row = {
                .start_ps = start_ps,
                .end_ps = start_ps + length_ps(utilisation, w),
                .kind = is_link ? "link" : "device",
                .target = track->name,
                .busy_ps = sums.busy_ps,
                .gap_ps = is_link ? TRACE_NONE : sums.gap_ps,
                .queue_millionths = sums.queue_millionths,
                .kv_peak_bytes = is_link ? TRACE_NONE : sums.kv_peak_bytes,
            };

            trace_utilisation_put(out, &row);
        }
}

/* ---- on a terminal ---- */

static void plot(const struct utilisation *utilisation, const struct track *track, int columns,
                 struct out *out)
{
    struct level level = { 0, 0, 0, 0 };
    int64_t window = 0;

    out_column(out, track->name, 24);
    out_char(out, '|');
    for (int c = 1; c <= columns; c++) {
        int64_t taken_ps = 0, whole_ps = 0, shade;

        for (; window < utilisation->window_count * c / columns; window++) {
            struct sums sums = window_sums(utilisation, track, &level, window);

            taken_ps += sums.busy_ps + sums.gap_ps;
            whole_ps += length_ps(utilisation, window);
        }
        shade = units_mul_div(taken_ps, (int64_t)sizeof(SHADES) - 2, whole_ps);
        out_char(out, taken_ps > 0 && shade == 0 ? SHADES[1] : SHADES[shade]);
    }
    out_text(out, "|\n");
}

void utilisation_text(const struct utilisation *utilisation, struct out *out)
{
    int columns =
        utilisation->window_count < PLOT_COLUMNS ? (int)utilisation->window_count : PLOT_COLUMNS;
    char end[UNITS_TEXT_BYTES];

    if (columns == 0)
        return;
    out_printf(out, "\nshare of time taken, 0 to %s, from idle to 100 %%: '%s'\n",
               units_format_human(utilisation->end_ps, end), SHADES);
    for (int i = 0; i < utilisation->device_count; i++)
        plot(utilisation, &utilisation->devices[i], columns, out);
    for (int i = 0; i < utilisation->link_count; i++)
        plot(utilisation, &utilisation->links[i], columns, out);
}
