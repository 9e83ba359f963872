/* placement.h - what runs where: reader and writer of placement tables (placements/), as rows.
 *
 * Format: placements/README.md. This file checks each row alone; lib/policy/plan.h puts rows
 * together (stages, tiling, devices, models). */
#ifndef ORRERY_FORMAT_PLACEMENT_H
#define ORRERY_FORMAT_PLACEMENT_H

#include "lib/format/model.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena;
struct err;
struct out;

enum placement_phase { PLACEMENT_BOTH, PLACEMENT_PREFILL, PLACEMENT_DECODE, PLACEMENT_PHASE_COUNT };
extern const char *const placement_phase_names[PLACEMENT_PHASE_COUNT];

enum placement_column { /* fields that later checks may have to name */
                        PLACEMENT_SERVICE,
                        PLACEMENT_REPLICA,
                        PLACEMENT_STAGE,
                        PLACEMENT_DEVICE,
                        PLACEMENT_MODEL,
                        PLACEMENT_EXECUTABLE,
                        PLACEMENT_LAYERS,
                        PLACEMENT_BLOCK,
                        PLACEMENT_PARTS,
                        PLACEMENT_PHASE,
                        PLACEMENT_EPOCH,
                        PLACEMENT_FROM_S,
                        PLACEMENT_COPY,
                        PLACEMENT_MAX_BATCH,
                        PLACEMENT_QUEUE_DEPTH,
                        PLACEMENT_WIRE_BITS,
                        PLACEMENT_COLUMN_COUNT
};

struct placement_row {
    long line;
    const char *service, *device;
    const char *model, *executable; /* exactly one is not "" */
    int32_t replica, stage;
    int32_t layer_first, layer_last;        /* -1, -1 when layers is empty */
    unsigned blocks;                        /* set of 1u << enum model_block; 0 for executables */
    bool is_all;                            /* block `all` */
    int32_t part_first, part_last, part_of; /* 0, 0, 1 = whole */
    enum placement_phase phase;
    int32_t epoch, copy;
    int64_t from_ps;
    int32_t max_batch, queue_depth, wire_bits; /* 0 = not given */
};

struct placement {
    const char *path;
    int count;
    struct placement_row *rows;
    int64_t switch_cost_ps; /* `# switch_cost_s:`: what its migrations take; 0 = not stated */
    int column[PLACEMENT_COLUMN_COUNT]; /* 1-based position in the file, 0 = absent */
};

/* "-" reads stdin. An empty table is an error. */
struct placement *placement_load(struct arena *arena, const char *path, struct err *err);
/* The same of text in memory, which path names in errors. */
struct placement *placement_load_text(struct arena *arena, const char *text, size_t length_bytes,
                                      const char *path, struct err *err);
void placement_write(struct out *out, const struct placement_row *rows, int count);
/* With the metadata line switch_cost_s when it is above 0. */
void placement_write_epochs(struct out *out, const struct placement_row *rows, int count,
                            int64_t switch_cost_ps);
/* "path:line:column: field is 'x': text" about a row that was loaded before. Returns false. */
bool placement_bad(const struct placement *placement, const struct placement_row *row,
                   enum placement_column column, struct err *err, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

#endif
