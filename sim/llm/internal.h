/* internal.h - the state of one run of instances, shared by this folder alone. */
#ifndef ORRERY_SIM_LLM_INTERNAL_H
#define ORRERY_SIM_LLM_INTERNAL_H

#include "lib/base/ring.h"
#include "lib/policy/plan.h"
#include "lib/policy/step_price.h"
#include "sim/engine/engine.h"
#include "sim/llm/llm.h"

struct flight { /* a request that is in the system */
    size_t index;
    int64_t request_id, arrival_ps, slo_ps;
    int64_t start_ps, first_token_ps;
    int64_t left_ps; /* end of its last iteration; counts with spans alone */
    int32_t service, prompt_tokens, output_tokens;
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

struct instance { /* of a replica; its index is its slot in the engine. Hot members first */
    enum instance_state state;
    int32_t ahead;    /* steady steps that follow on this line, each an event: steps one by one */
    int32_t taken;    /* steady steps that are done, of those planned */
    int32_t window;   /* steps under way */
    int64_t begin_ps; /* of what is under way */
    int64_t end_ps;   /* of it */
    int64_t step_ps;  /* what the first step under way takes */
    int64_t slope_ps; /* each steady step takes so much more than the one before */
    int32_t limit;    /* steady steps planned */
    int32_t on_line;  /* of those taken, how many were when this line began */
    const struct step_line *line; /* of steady steps */
    int64_t mean_past;            /* mean tokens in the cache before the first steady step */
    int64_t busy_from_ps;         /* begin of the first steady step */
    int32_t decodes;
    int32_t device;
    bool is_alone; /* on its device */
    struct continuous *batcher;
    struct step_price *price;
    const struct model *model;
    int32_t replica, service;
    int64_t outstanding;
    int32_t extrapolated; /* of the planned step */
    struct continuous_options options;
    int64_t block_bytes;
    int64_t told_bytes; /* of its KV cache, to an observer */
};

struct device {         /* when several instances share it: one has it at a time */
    int32_t owner;      /* -1 = nobody */
    int64_t told_bytes; /* KV caches of all its instances, to an observer */
    struct ring waiting;
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
    struct llm_result *result;
    struct engine *engine;
    struct instance *instances; /* by replica */
    struct device *devices;     /* of the cluster */
    struct choice *choices;     /* [epoch * services + service] */
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
    /* Little's law in exact arithmetic modulo 2^64 */
    int64_t in_system, area_at_ps;
    uint64_t area_ps, sojourn_ps;
};

/* llm_setup.c: instances with their costs and KV caches, or what is wrong with them. */
bool llm_setup(struct run *run, struct err *err);
/* llm_instance.c: an instance in time. */
/* Plans its next step, or several, after all that happens at this instant. */
bool instance_decide(struct run *run, int32_t index, struct err *err);
/* What was under way is done. */
bool instance_done(struct run *run, int32_t index, struct err *err);
/* A request joins its queue. */
void instance_join(struct run *run, int32_t index, int32_t flight);
/* Tokens that it has still to compute, as of now. */
int64_t instance_work_tokens(const struct run *run, const struct instance *instance);
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

/* llm.c */
void llm_end(struct run *run, int32_t flight, int32_t replica, enum trace_status status,
             int64_t end_ps);

#endif
