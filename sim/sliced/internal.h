/* internal.h - the state of sliced stages, shared by the files of this folder alone. */
#ifndef ORRERY_SIM_SLICED_INTERNAL_H
#define ORRERY_SIM_SLICED_INTERNAL_H

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/ring.h"
#include "lib/base/wide.h"
#include "lib/policy/exchange.h"
#include "lib/policy/plan.h"
#include "sim/engine/engine.h"
#include "sim/network/network.h"
#include "sim/sliced/sliced.h"

#define SLICED_NEVER_PS INT64_MIN /* no piece yet */

struct edge {                       /* a message of an operation */
    int32_t from, to;               /* members */
    int32_t slot;                   /* how many messages one after the other lie before it */
    int32_t dep_count;              /* messages that must have arrived before it is sent */
    int32_t first_next, next_count; /* in op.next: those that wait for it */
    int route;
    int64_t per_message_ps; /* 0 of a free route */
    const struct exchange_message *message;
};

struct passed {     /* a message that something waited for */
    int32_t before; /* the one that it had waited for itself; 0 = none */
    int32_t route;  /* < 0: all that an operation waits for, in closed form, see passed_op */
    int64_t per_message_ps, bytes_ps, latency_ps; /* with what it waited for links */
};

struct chain { /* messages of a pass, as they arrive, from number 1 on */
    int32_t count, room;
    struct passed *list;
};

/* What the time since the beginning of a pass went by with, along the chain of what waited for
 * what. */
struct trail {
    int64_t compute_ps;
    int64_t per_message_ps, bytes_ps, latency_ps; /* waiting for a link counts as what the message
                                                   * itself is made of */
    int64_t wait_ps;                              /* for a device that computed something else */
    int32_t passed;                               /* the last message on it; 0 = none */
};

struct crossed { /* what requests waited for messages over a medium */
    int64_t count;
    struct wide per_message_ps, bytes_ps, latency_ps;
};

struct taken { /* what messages took of a link */
    int link;
    int64_t busy_ps, bytes;
};

struct alone {    /* what an operation takes on idle links; see sliced_alone.c */
    int32_t rows; /* 0 = not known yet */
    int link_count;
    int64_t time_ps, messages, bytes, events;
    struct trail trail;
    struct taken *links;
    int32_t passed_count; /* messages one after the other, as many as edges at most */
    struct passed *passed;
};

struct own_network { /* for operations alone: the links of the run, in a time of their own */
    struct network *network;
    struct engine *engine;
    struct taken *links;        /* by link: as of the last operation */
    int32_t *deps_left, *ready; /* scratch, by edge */
    int64_t *sent_ps, *bytes;
    struct trail *trails;
    struct chain chain;
};

struct sliced_op { /* what the devices of a stage send each other in one step of a pass */
    const struct pass_step *step;
    int32_t edge_count, slot_count;
    struct edge *edges;
    int32_t *next;
    int32_t *member_of;            /* by position; -1 = takes no part */
    int32_t *in_count, *out_count; /* messages, by member */
    struct alone alone[2];         /* of one row, of the last other number of them */
};

struct op_run { /* an operation under way */
    int32_t op; /* step */
    int32_t ordinal;
    int32_t next;       /* free list */
    int32_t entered;    /* members that have come to it */
    int32_t inside;     /* members that are not through */
    int32_t left;       /* messages that have not arrived */
    int32_t *deps_left; /* by edge; SENT */
    int32_t *in_left;   /* by member: messages that have not arrived */
    int32_t *out_left;  /* that are not sent */
    bool *has_entered;  /* by member */
};

struct cursor {                /* a device on its way through the pass */
    int32_t ordinal;           /* of the step it is in */
    bool is_waiting;           /* inside an operation */
    bool is_listed;            /* may go on */
    int64_t ready_ps;          /* when its piece came to its queue */
    int64_t first_ps, last_ps; /* of its computes; SLICED_NEVER_PS before */
    int64_t clock_ps, busy_ps; /* in the closed form */
    struct trail trail;
};

struct sliced {
    struct sliced_set *set;
    const struct plan_stage *stage;
    int32_t number; /* of set->stages */
    const struct pass *pass;
    int32_t count;         /* devices */
    struct sliced_op *ops; /* by step; of computes empty */
    int32_t *piece_of;     /* by step and position; -1 = none */
    int32_t ordinal_count;
    int32_t *steps; /* of the pass, by ordinal: segments written out */
    struct op_run *runs;
    int32_t run_count, first_free_run, most_edges;
    int32_t *run_of; /* by ordinal; -1 = not under way */
    /* of the pass that runs */
    int32_t running; /* whose */
    struct sliced_load load;
    int32_t through; /* devices */
    int64_t begin_ps;
    int64_t message_count, message_bytes;
    struct trail last; /* of the device that came through last */
    struct chain chain;
    struct cursor *cursors;
    int64_t *piece_ps; /* by piece: in the closed form, and what the pass adds to the run's sums */
    int *piece_extrapolated;
    int64_t alone_events, alone_extrapolated;
    int32_t *list, list_count; /* devices that may go on */
    bool is_working; /* its devices are going on: whoever comes waits for the end of that */
    bool is_held;
    struct ring waiting;
    struct sliced_stage *sums;
};

struct message {               /* under way */
    int32_t next;              /* free list */
    int32_t sliced, run, edge; /* sliced -1: free, or of a pass that was cut */
    int64_t send_ps, bytes;
    struct trail trail;
};

struct sliced_set {
    struct arena *arena;
    struct sliced_host host;
    struct engine *engine;
    struct network *network;
    const int32_t *device_slots;
    enum collective_algorithm collective;
    bool has_overlap;
    struct pass_options pass;
    struct sliced **stages;
    struct sliced_stage *sums; /* by stage, once attached */
    int32_t count, room;
    int first_slot;
    struct message *messages;
    int32_t message_count, first_free_message, stray_count;
    struct own_network *own; /* NULL: no closed form */
    struct taken *taken;     /* by link: what the closed form did */
    struct crossed *crossed; /* by medium of the cluster */
    int64_t extrapolated_costs, closed_count, alone_events, alone_bytes;
};

static inline int32_t sliced_device(const struct sliced *sliced, int32_t position)
{
    return sliced->stage->devices[position];
}

/* What the piece that the device comes to takes longer. */
static inline int64_t sliced_lead_ps(const struct sliced *sliced, int32_t position)
{
    const struct sliced_host *host = &sliced->set->host;

    if (sliced->cursors[position].first_ps != SLICED_NEVER_PS)
        return 0;
    return host->lead_ps(host->arg, sliced, position, sliced->load.sequences);
}

/* What a message that took so long adds to the time since the pass began. */
void sliced_trail_extend(const struct sliced_set *set, struct chain *chain, struct trail *trail,
                         const struct edge *edge, int64_t bytes, int64_t took_ps);
/* One more behind `before`; its number. */
int32_t chain_add(struct arena *arena, struct chain *chain, struct passed passed);
/* Messages that the pass which ends waited for: each of its requests did. */
void chain_cross(struct sliced *sliced);
static inline int32_t passed_op(int32_t step)
{
    return -1 - step; /* its own inverse */
}
/* Bytes of a message in such a pass. */
int64_t sliced_edge_bytes(const struct sliced *sliced, const struct sliced_op *op,
                          const struct edge *edge, const struct sliced_load *load);
/* Rows that the operation moves. */
static inline int32_t op_rows(const struct sliced_op *op, const struct sliced_load *load)
{
    return op->step->is_last_row ? load->sequences : load->tokens;
}

/* sliced_alone.c. True: the pass that begins now will end by sliced_event. False: it is for the
 * events. */
bool alone_begin(struct sliced *sliced);
/* It ends: its devices and links have done their part. */
void alone_end(struct sliced *sliced);
/* What an operation of the pass that runs takes alone. */
const struct alone *alone_of(const struct sliced *sliced, struct sliced_op *op);

#endif
