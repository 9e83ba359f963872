/* triosim_play.h - how TrioSim plays a list of operators on one device, and fetches their inputs.
 *
 * Found from its runs (single devices at 1, 10, 100 and 696 GB/s to the host, pipelines of up to
 * 16): operators run in order. Their inputs are fetched ahead, one operator's at a time: as soon as
 * no fetch is under way, the next operator of the list with inputs that are not there has them
 * fetched at once; they, and all that this operator will make, count as there from that moment on.
 * So an operator waits for the fetch of the one before it, and what an operator further ahead reads
 * is fetched though it is about to be computed. All else is there when the operator that makes it
 * is done. Nothing is ever dropped. */
#ifndef ORRERY_SIM_OPS_TRIOSIM_PLAY_H
#define ORRERY_SIM_OPS_TRIOSIM_PLAY_H

#include <stdbool.h>
#include <stdint.h>

struct arena;
struct ops;
struct ops_row;

struct triosim_scale {
    int64_t batch, traced_batch; /* times and bytes are multiplied by batch / traced_batch */
    int64_t parts;               /* and divided by the number of micro-batches */
    int64_t remote_bytes_per_s;
};
int64_t triosim_bytes(const struct triosim_scale *scale, int64_t bytes);
/* Divided among `devices`. */
int64_t triosim_row_ps(const struct triosim_scale *scale, const struct ops_row *row,
                       int64_t devices);

/* What is there on one device: nothing at first. */
struct triosim_memory;
struct triosim_memory *triosim_memory(struct arena *arena, const struct ops *ops);
/* What the row makes has arrived from another device. */
void triosim_receive(struct triosim_memory *memory, const struct ops_row *row);
void triosim_forget(struct triosim_memory *memory);

struct triosim_played {
    int64_t compute_end_ps; /* the last operator is done, counted from the start */
    int64_t fetch_end_ps;   /* the last fetch is done; 0 = none */
    int64_t compute_ps, fetch_ps;
};
/* starts_ps[row] gets the start of each row. Times saturate. */
struct triosim_played triosim_play(struct triosim_memory *memory, const struct triosim_scale *scale,
                                   const int32_t *rows, int32_t count, int64_t *starts_ps);

#endif
