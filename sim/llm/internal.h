/* internal.h - the state of one run of instances, shared by this folder alone. */
#ifndef ORRERY_SIM_LLM_INTERNAL_H
#define ORRERY_SIM_LLM_INTERNAL_H

#include "lib/base/ring.h"
#include "lib/policy/plan.h"
#include "lib/policy/step_price.h"
#include "lib/policy/wake.h"
#include "sim/engine/engine.h"
#include "sim/llm/llm.h"

struct flight { /* a request that is in the system */
    size_t index;
    int64_t request_id, arrival_ps, slo_ps;
    int64_t start_ps, first_token_ps;
    int64_t left_ps;  /* end of its last iteration; counts with spans alone */
    int64_t token_ps; /* when it made its last token; counts with on_gap alone */
    int32_t service, prompt_tokens, output_tokens;
    int32_t session, client;
    int32_t step; /* counts with spans alone */
    int32_t next; /* free record */
};

enum instance_state {
    INSTANCE_IDLE,
    INSTANCE_WAITING,  /* for the device, which another instance has */
    INSTANCE_DECIDING, /* at the present instant */
    INSTANCE_STEPPING, /* a planned step is computed */
    INSTANCE_DECODING, /* steady steps are */
};

struct stage { /* of a replica */
    const struct plan_stage *plan;
    struct step_price *price;
    int32_t device;              /* the first */
    const int64_t *blocks_bytes; /* of a KV block, by device of the stage */
    /* of pipelines alone */
    struct sliced *sliced;      /* NULL = on one device */
    struct step_price **pieces; /* of its passes */
    int32_t first_part;         /* those of its devices follow one another */
    int32_t route;              /* into it; -1 = free */
    int32_t room; /* batches that may be on their way to it or wait; INT32_MAX = any number */
    int32_t coming;
    struct ring blocked; /* tasks that are done with the stage before and found no room here */
};

struct hop {  /* a message that meets no other */
    int link; /* -1 = free */
    int route;
    int64_t occupy_ps, latency_ps, bytes;
};

struct instance { /* of a replica; alone its index is its slot in the engine. Hot members first */
    enum instance_state state;
    int32_t ahead;    /* steady steps that follow on this line, each an event: steps one by one */
    int32_t taken;    /* steady steps that are done, of those planned */
    int32_t window;   /* steps under way */
    int64_t begin_ps; /* of what is under way */
    int64_t end_ps;   /* of it */
    int64_t step_ps;  /* what the first step under way takes, messages and all */
    int64_t hops_ps;  /* of which its messages */
    int64_t slope_ps; /* each steady step takes so much more than the one before */
    int32_t limit;    /* steady steps planned */
    int32_t on_line;  /* of those taken, how many were when this line began */
    const struct step_line *line; /* of steady steps */
    int64_t mean_past;            /* mean tokens in the cache before the first steady step */
    int64_t busy_from_ps;         /* begin of the first steady step */
    int64_t first_ps;             /* what that takes */
    int32_t decodes;
    int32_t device;
    bool is_alone; /* on its device */
    struct continuous *batcher;
    struct step_price *price; /* of its only stage */
    const struct model *model;
    int32_t replica, service;
    int32_t partner; /* of prompts alone: the one that decodes behind them, and the other way round;
                      * -1 = it does both */
    bool is_decoding;     /* it is the one that decodes */
    int64_t later_tokens; /* of its requests, what the partner will decode */
    int64_t outstanding;
    int64_t coming_tokens; /* of requests that are held on their way to it */
    int32_t extrapolated;  /* of the planned step */
    const struct continuous_batch *batch;
    int64_t past_tokens; /* in the caches before the first steady step, summed */
    struct continuous_options options;
    int32_t stage_count;
    struct stage *stages;
    int32_t route_back;  /* from the last stage to the source; -1 = free */
    struct hop in, back; /* messages of what is under way, when it is no task */
    int32_t told_blocks; /* of its KV cache, to an observer */
    int32_t down_count;  /* of its stages, how many are on a device that is down */
};

enum task_state {
    TASK_MOVING,  /* on its way to its stage */
    TASK_QUEUED,  /* before its stage */
    TASK_RUNNING, /* in it */
    TASK_BLOCKED, /* done there, and no room before the next one: it keeps its device */
    TASK_RETURNING,
};

struct task {                             /* a batch in a pipeline */
    const struct continuous_batch *batch; /* gone when it is lost */
    enum task_state state;
    bool is_lost;
    bool has_begun;          /* in its stage: begin_ps is known */
    int32_t instance, stage; /* of these */
    int32_t extrapolated;    /* of the stage that it is in */
    int32_t next;            /* free record */
    int64_t batch_id;
    int64_t made_ps;            /* when it left the source */
    int64_t ready_ps, begin_ps; /* in the queue; of its job */
    int64_t request_id;         /* of its first request, which observers are told of */
    int32_t step;
};

/* Numbers from here on are of parts, in place of tasks. */
#define LLM_FIRST_PART (INT32_C(1) << 29)
#define LLM_STRAY (LLM_FIRST_PART - 1) /* a part of a pass that was cut, until its end */

/* Numbers of messages from here on are of pulls: LLM_FIRST_PULL + pull x most_moves + move. */
#define LLM_FIRST_PULL (INT32_C(1) << 29)

struct pull {         /* of the KV cache of a request */
    int32_t flight;   /* -1 = a free record */
    int32_t instance; /* that it goes to */
    int32_t left;     /* messages under way */
    int32_t next;     /* free record */
    bool is_lost;
};

struct part { /* what a device of a sliced stage computes in its pass: a piece at a time */
    int32_t instance, stage, position; /* of these */
    int32_t piece;                     /* that waits or is computed */
    int64_t cost_ps, ready_ps, begin_ps;
};

struct device {         /* one has it at a time */
    int32_t owner;      /* instance that shares it, or task, or part; -1 = nobody */
    int64_t stray_ps;   /* when a stray began */
    int64_t told_bytes; /* KV caches of all its instances, to an observer */
    struct ring waiting;
    /* of pipelines alone */
    int32_t slot;
    double speed_ratio;
    bool is_down;
    int64_t held_ps; /* an epoch takes it for so long behind its job */
};

struct held { /* a request, or a batch, that an overhead holds */
    int64_t time_ps, order;
    int32_t flight, task; /* one of them is -1 */
    int32_t instance;     /* that the request goes to; -1 = it is not dispatched yet */
};

struct choice { /* the instances of a service in one epoch */
    int32_t count;
    int32_t *instances;
};

struct run {
    struct arena *arena;
    const struct llm_input *input;
    const struct llm_options *options;
    const struct plan *plan;
    const struct llm_source *source;
    struct llm_observer observer;
    bool is_heard; /* there is an on_line or on_gap */
    struct llm_result *result;
    struct engine *engine;
    bool is_solo; /* one instance, that takes many steps at once: its next event is no engine's */
    int64_t solo_ps;            /* when; LLM_NEVER = none */
    struct instance *instances; /* by replica, then those that decode for one */
    int32_t instance_count;
    struct device *devices; /* of the cluster */
    struct choice *choices; /* [epoch * services + service] */
    struct dispatch *dispatch;
    struct dispatch_replica *candidates; /* scratch */
    struct flight *flights;
    int32_t flight_count, flight_room, first_free;
    int32_t epoch;
    int64_t next_epoch_ps; /* LLM_NEVER: there is none */
    int32_t *deciding;     /* instances that decide at this instant, in order of coming to it */
    int32_t deciding_count;
    int64_t now_ps;
    int64_t next_batch_id;
    /* pipelines */
    bool is_piped; /* batches are tasks that pass stages and links */
    struct task *tasks;
    int32_t task_room, first_free_task, live_tasks;
    struct ring woken; /* instances that decide at this instant: deciding_count of them */
    struct pull *pulls;
    int32_t pull_room, first_free_pull, live_pulls;
    int32_t most_moves; /* of a replica, 1 at least */
    struct part *parts;
    int32_t part_count;
    const int64_t *next_arrival_ps; /* LLM_NEVER: none is known */
    int32_t *slot_devices;          /* by slot */
    int32_t network_slot, control_slot, delay_slot, sliced_slot;
    struct held *held; /* a heap */
    int32_t held_count, held_room;
    int64_t next_held;
    size_t next_event;
    int32_t switch_epoch;          /* whose devices have been taken */
    int64_t sent_bytes, due_bytes; /* due: of all messages of batches that were planned */
    bool is_watched;               /* somebody is told of spans or transfers */
    int64_t ok_tokens;             /* output of requests that ended ok */
    /* Little's law in exact arithmetic modulo 2^64 */
    int64_t in_system, area_at_ps;
    uint64_t area_ps, sojourn_ps;
};

/* The instance that has the stage. */
static inline int32_t llm_instance_of(const struct run *run, const struct plan_stage *stage)
{
    return stage->phase == PLACEMENT_DECODE ? run->instances[stage->replica].partner
                                            : stage->replica;
}

/* llm_setup.c: instances with their costs and KV caches, or what is wrong with them. */
bool llm_setup(struct run *run, struct err *err);
/* What steps cost the stages of a device, at its speed of now. */
bool llm_price_device(struct run *run, int32_t device, struct err *err);
/* llm_memory.c: how many blocks the KV cache of an instance has. */
bool llm_blocks(struct run *run, const struct instance *instance, int32_t *count, struct err *err);
/* llm_instance.c: an instance in time. */
/* Plans its next step, or several, after all that happens at this instant. */
bool instance_decide(struct run *run, int32_t index, struct err *err);
/* What was under way is done. */
bool instance_done(struct run *run, int32_t index, struct err *err);
/* A request joins its queue. */
void instance_join(struct run *run, int32_t index, int32_t flight);
/* Tokens that it has still to compute, as of now. */
int64_t instance_work_tokens(const struct run *run, const struct instance *instance);
/* Tokens that the request makes; of an encoder its result counts as one. */
static inline int32_t flight_outputs(const struct run *run, const struct flight *flight)
{
    return run->plan->services[flight->service].model->kind == MODEL_DECODER ? flight->output_tokens
                                                                             : 1;
}

/* What the instance has under way ends then. */
static inline void instance_plan(struct run *run, int32_t index, int64_t end_ps)
{
    if (run->is_solo)
        run->solo_ps = end_ps;
    else
        engine_set(run->engine, index, end_ps, ENGINE_COMPLETION);
}

/* The next of steady steps that are taken one by one begins where the one before has ended. False:
 * there is none, or something else is under way. */
static inline bool instance_step_on(struct run *run, int32_t index)
{
    struct instance *instance = &run->instances[index];

    if (instance->ahead == 0)
        return false;
    instance->ahead--;
    instance->taken++;
    instance->step_ps += instance->slope_ps;
    instance->begin_ps = instance->end_ps;
    instance->end_ps = engine_after_ps(instance->end_ps, instance->step_ps);
    engine_set(run->engine, index, instance->end_ps, ENGINE_COMPLETION);
    return true;
}

/* What a job that begins now takes more, since its device has been idle. */
static inline int64_t llm_wake_ps(const struct run *run, int32_t device)
{
    return run->input->wakes ? wake_take_ps(&run->input->wakes[device], run->now_ps,
                                            run->devices[device].speed_ratio)
                             : 0;
}

/* The device was at work until then. */
static inline void llm_worked(const struct run *run, int32_t device, int64_t end_ps)
{
    if (run->input->wakes)
        run->input->wakes[device].awake_ps = end_ps;
}

/* A job of so many requests has been computed for so long. */
static inline void llm_count_compute(struct run *run, int64_t time_ps, int32_t requests)
{
    if (run->input->presences)
        run->result->compute_ps =
            wide_add(run->result->compute_ps, wide_mul((uint64_t)time_ps, (uint64_t)requests));
}

/* llm_gaps.c: what iterations are told of as they are done. One of a batch that left the source
 * then; is_lost: nothing comes of it; */
void gaps_of_batch(struct run *run, const struct instance *instance,
                   const struct continuous_batch *batch, int64_t begin_ps, bool is_lost);
/* the steady steps from on_line on, which all lie on the present line; */
void gaps_of_line(struct run *run, const struct instance *instance);
/* and, when all of them are done, the first of them: who made his last token when. */
void gaps_of_steady(struct run *run, const struct instance *instance);

/* llm_pipeline.c: batches on their way through the stages of their instance. */
/* The next task of the engine, or what the network brings. */
bool pipeline_event(struct run *run, int slot, struct err *err);
void pipeline_join(struct run *run, int32_t index, int32_t flight);
/* It stands before its stage: overheads have passed. */
bool pipeline_reach(struct run *run, int32_t task, struct err *err);
/* All that are woken decide, behind all else of this instant. */
bool pipeline_decide_all(struct run *run, struct err *err);

/* llm_sliced.c: stages on several devices. Before and after slots are shared out. */
void llm_sliced_fill(struct run *run, int32_t instance, struct stage *stage);
void llm_sliced_begin(struct run *run);
/* A part that has waited for its device begins, or ends. */
void llm_part_begin(struct run *run, int32_t part);
bool llm_part_done(struct run *run, int32_t device, struct err *err);
/* A part that waits for a device, whose speed has changed. */
bool llm_part_reprice(struct run *run, int32_t part, struct err *err);
/* A message of a pass; NULL: of one that was cut. */
const struct task *llm_sliced_task(const struct run *run, int32_t message);
/* All passes of the stage are lost; what its devices have begun goes on, but on one that is down.
 */
void llm_sliced_cut(struct run *run, struct stage *stage);
/* A stray has ended, or is cut off. */
void llm_stray_end(struct run *run, int32_t device);

/* It decides behind all else of this instant. */
void pipeline_wake(struct run *run, int32_t index);
/* llm_pull.c: KV caches between instances. */
/* The instance has blocks for it. */
void pull_begin(struct run *run, int32_t instance, int32_t flight);
/* A part of one has come; is_told: network_received says how. */
void pull_arrive(struct run *run, int32_t message, bool is_told);
/* Whose message it is; -1 = nobody's any more. */
int32_t pull_flight(const struct run *run, int32_t message);
/* What is on its way to the instance is of nobody. */
void pulls_lose(struct run *run, int32_t instance);
/* llm_failures.c. Its device is gone, or has come back. */
bool pipeline_device_down(struct run *run, int32_t device, struct err *err);
bool pipeline_device_up(struct run *run, int32_t device, struct err *err);
/* For the two files that follow. A task's stage; its end in that stage; the end of the task. */
struct stage *pipeline_stage(const struct run *run, const struct task *task);
bool pipeline_leave(struct run *run, int32_t index, struct err *err);
void pipeline_task_free(struct run *run, int32_t index);
/* One fewer is before the stage. */
bool pipeline_give_room(struct run *run, int32_t number, int32_t stage, struct err *err);
/* What waits for the device and may begin does. */
bool pipeline_device_start(struct run *run, int32_t device, struct err *err);
void pipeline_tell_spans(struct run *run, const struct task *task, bool is_lost);
/* For network_watch. */
void pipeline_on_use(void *arg, int link, int32_t message, int64_t bytes, int64_t begin_ps,
                     int64_t end_ps);
void pipeline_on_busy(void *arg, int link, int64_t begin_ps, int64_t end_ps, int64_t busy_ps);
/* Who waits for what, for an error; NULL when nobody does. */
const char *pipeline_blocked(const struct run *run);
/* llm_events.c: devices that fail, come back or change their speed. */
bool llm_events_change_devices(const struct run *run);
void llm_events_plan(struct run *run);
bool llm_events_next(struct run *run, struct err *err);
/* The device has done its job: an epoch may take it now. */
void llm_events_settle(struct run *run, int32_t device);

/* llm_delays.c: overheads. */
/* False when nothing holds the request, before dispatch (instance -1) or behind. */
bool delays_hold_request(struct run *run, int32_t flight, int32_t instance);
/* The same for a batch that stands before its stage. */
bool delays_hold_task(struct run *run, int32_t task);
bool delays_release(struct run *run, struct err *err);

/* What first steps of a batch, which begins at that instant, say of their requests. */
void llm_note_starts(struct run *run, int32_t device, const struct continuous_batch *batch,
                     int64_t start_ps);
/* How much of its KV cache is in use. */
void llm_tell_cache(struct run *run, int32_t instance);
/* First tokens and ends, now, of an instance; who has only his first goes to its partner. */
void llm_tell_ends(struct run *run, int32_t instance, const struct continuous_ends *ends);

/* llm.c */
void llm_dispatch(struct run *run, int32_t flight);
/* It has come to the instance that it was dispatched to. */
void llm_arrive(struct run *run, int32_t flight, int32_t instance);
void llm_end(struct run *run, int32_t flight, int32_t replica, enum trace_status status,
             int64_t end_ps);

#endif
