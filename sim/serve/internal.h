/* internal.h - the state of one simulation, shared by the files of this folder alone. */
#ifndef ORRERY_SIM_SERVE_INTERNAL_H
#define ORRERY_SIM_SERVE_INTERNAL_H

#include "lib/base/err.h"
#include "lib/base/ring.h"
#include "lib/base/wide.h"
#include "lib/policy/plan.h"
#include "sim/engine/engine.h"
#include "sim/engine/presence.h"
#include "sim/serve/arrivals.h"
#include "sim/serve/serve.h"

struct batcher;
struct copies;
struct cost_table;
struct crew;
struct delays;
struct network;
struct network_sent;
struct price;
struct sliced_set;
struct tandem;
struct wake;

struct job { /* what a device is taken for */
    int64_t cost_ps, gap_ps;
};

/* A stage of the plan, with what its steps cost and where they go. What every job reads stands in
 * the first 64 bytes. */
struct site {
    struct job job;    /* executables: of the smallest batch size; = jobs[0] */
    struct job *jobs;  /* executables: by number of the batch size */
    int64_t queued_ps; /* --rules dlsim: added when the devices have work already */
    int32_t device;    /* the first: it sends and receives */
    int32_t slot;      /* of the first device: that of the job's events */
    int32_t device_count;
    int32_t route_in;   /* from the stage before, or from the source; -1 = free */
    int32_t route_back; /* of the last stage: to the source; -1 = free */
    int32_t replica, service;
    bool is_last;
    bool is_model;
    bool is_plain; /* jobs of one request of an executable on one device, in closed form */
    bool is_sized; /* its jobs may be of several batch sizes */
    /* from here on: read once a message, or only for what is not plain */
    const int32_t *devices;
    struct batcher *batcher; /* of a stage 0 that takes several requests at once; else NULL */
    const struct plan_stage *stage;
    const struct model *model;      /* NULL: executable */
    const struct cost_table *table; /* slices: of the stage's device */
    struct job *raw_jobs;           /* jobs by (device, size) before any speed ratio */
    int64_t *output_bytes;          /* executables: to the next stage, by size */
    int64_t kv_bytes_per_token;
    int64_t *left_bytes_per_token; /* of prompts alone, by device: of it, what goes to others */
    int threads;
    int64_t weight_bytes, activation_bytes; /* executables, on each of its devices */
    /* slices: the longest prompt and request so far, whose activations are known */
    int32_t longest_prompt_tokens;
    int64_t longest_tokens;
    struct crew *crew; /* a model's on several devices, and what each of those computes */
    int32_t position;  /* of the latter: of the device in the stage */
    /* way.c: the site of copy 0, and its alternatives, where it has any */
    struct site *base, **copies;
    int copy_count;
    int *routes_in;      /* by alternative of the stage before, where that has any */
    int32_t down_count;  /* of its devices, how many are down */
    int64_t outstanding; /* requests whose way it is on, where there are alternatives */
    /* room.c: places of its queue, 0 = unbounded; taken by what is on its way or waits */
    int64_t room, coming;
    struct ring askers; /* flights that found no room, in order */
    bool is_noted;      /* the first of them may have room now */
};

struct lane {           /* a replica as requests see it */
    struct site *sites; /* site_count of them; a step passes the first stage_count */
    int32_t stage_count;
    int32_t decode_count;      /* a decode step passes */
    struct site *decode_sites; /* these, which may be the same */
    int32_t site_count;
    bool has_ways;    /* some of its stages have alternatives */
    int *move_routes; /* of what goes between them, by move of the replica; -1 = free */
    int32_t service;
    int32_t down_count; /* of its devices, how many are down */
    bool is_left_out;   /* does not fit into memory: takes no requests */
    int32_t number;     /* in the placement */
    struct lane *same; /* the first epoch's replica of that service and number: it counts for all */
    struct presence *presence; /* of it and all that share devices with it; NULL: nobody asks */
    int64_t outstanding;
    /* executables: batch sizes that all its stages are profiled for, ascending, up to what batches
     * and requests of this run ask for */
    int size_count;
    const int32_t *sizes;
    int32_t max_batch; /* requests' items computed at once; 1 = no batching */
};

#define NO_FLIGHT (-1)

/* A request that is in the system; at any time in one step of one stage: queued, running, delayed
 * or on a link. 64 bytes, since an overloaded run has millions. */
struct flight {
    uint64_t request;
    int64_t arrival_ps;
    int64_t start_ps; /* of its first job; TRACE_NONE before */
    int64_t job_ps;   /* queued: start by the closed form, or instant of queueing; running: start */
    int64_t slo_ps;   /* its own, 0 = none */
    struct site *site;     /* NULL: this record is free */
    int32_t mate;          /* next request of the same batch; of a free record: next free one */
    int32_t items;         /* of this request */
    int32_t prompt_tokens; /* 0 when not given */
    int16_t size;          /* number of the batch size that its job is computed at */
    bool is_back;          /* on the way from its last stage to the source */
    bool was_late;         /* --rules dlsim: its devices had work when it was queued */
};

enum cache_place { CACHE_AT_PREFILL, CACHE_MOVES, CACHE_AT_DECODE };
#define NO_HANDOFF (-1)

struct decode { /* what a flight of a model needs beside it */
    int32_t step, step_count;
    int32_t handoff;        /* while its cache moves; of all in a batch */
    enum cache_place cache; /* where stages of prompts are apart */
    int32_t new_tokens, past_tokens;
    int32_t output_tokens;
    int64_t cost_ps; /* of the job that is queued or running */
    int64_t first_token_ps;
    int64_t token_ps; /* when it made its last token; with on_gap alone */
};

/* A device as a server. What every job writes stands in the first 64 bytes. */
struct station {
    struct ring queue; /* flights; a job of several devices waits in the queue of each */
    int32_t running;   /* flight, NO_FLIGHT = none */
    bool is_down;
    bool is_kept;      /* room.c: what runs is done, and has no room to go on */
    int64_t free_ps;   /* earliest next start: end of the last job + gap */
    int64_t booked_ps; /* when all that is queued will be done, gaps included */
    int64_t busy_ps;
    uint64_t offered_ps; /* costs and gaps of all jobs that were queued, modulo 2^64 */
    int64_t gap_ps;
    int64_t wait_peak_ps;        /* longest that a job was ready and waited here */
    int64_t end_ps, next_gap_ps; /* of the job that is running; in queue form alone */
    uint64_t coming_ps;          /* work on its way, see coming.c: coming_carry x 2^64 more */
    uint64_t coming_carry;
    int64_t promised_ps;   /* ledger.c: as booked_ps, with what is on its way here */
    int64_t cleared_ps;    /* last time that something which waited here was lost */
    int64_t held_ps;       /* an epoch came meanwhile: taken that much longer behind it */
    int64_t kept_ps;       /* is_kept: booked_ps is as of then */
    uint64_t switched_ps;  /* by epochs, in all: gap_ps has it, offered_ps has not */
    uint64_t lost_ps;      /* of offered_ps: never done, since the job was lost */
    uint64_t missed_ps;    /* queue form: not in offered_ps, since it was lost while it waited */
    int32_t slot;          /* in the engine */
    int32_t last_slot;     /* closed form: slot of the last job's events */
    int32_t batcher_count; /* of stages 0 that batch here */
    struct batcher **batchers;
};

struct memory {               /* of a device */
    int64_t base_bytes;       /* weights, largest activation so far, reserved */
    int64_t activation_bytes; /* of it */
    int64_t kv_bytes, peak_bytes, kv_peak_bytes;
    int64_t changed_ps;  /* the last time that kv_bytes changed */
    struct wide area_ps; /* under kv_bytes, until then: bytes x ps */
};

struct serve {
    struct arena *arena;
    const struct serve_input *input;
    const struct serve_options *options;
    struct serve_observer observer;
    struct serve_result *result;
    struct engine *engine;
    struct network *network;
    struct arrivals arrivals;
    struct dispatch *dispatch;
    struct price *price;
    struct tandem *tandem;     /* NULL: every job and message is an event */
    struct delays *delays;     /* NULL: no overhead delays anything */
    struct site *sites;        /* by stage id; those of a replica stand together */
    struct lane *lanes;        /* by replica of the plan */
    struct station *stations;  /* by device of the cluster */
    int32_t *slot_devices;     /* by slot */
    struct sliced_set *sliced; /* stages of models on several devices, */
    struct crew **crews;       /* crew_count of them, as this folder knows them */
    int32_t crew_count, stray_count;
    struct wake *wakes; /* by device; NULL: no device costs anything to wake */
    struct memory *memories;
    bool has_ways; /* some stages have alternatives */
    int32_t way_places;
    int16_t *ways;                       /* beside flights, way_places each: which they pass */
    struct copies *copies;               /* what chooses them */
    struct handoffs *handoffs;           /* NULL: all stages compute prompts and what is decoded */
    struct dispatch_replica *candidates; /* scratch, as many as a service has replicas */
    bool *scratch_switched;              /* by device */
    struct site **device_sites; /* those of device d: device_first[d] up to device_first[d + 1] */
    const size_t *device_first; /* NULL without epochs and events */
    struct flight *flights;
    struct decode *decodes; /* beside flights; NULL when only executables are placed */
    int64_t *batch_ids;     /* beside flights; NULL without batching */
    int64_t *readies_ps;    /* beside flights: when they came to their stage; NULL if nobody asks */
    int64_t *comings_ps;    /* beside flights: what coming_ps has of them; NULL: nobody asks */
    uint8_t *promises;      /* beside flights: enum ledger_promise; NULL without a ledger */
    uint64_t *asks;         /* beside flights: order of asking for room; NULL without has_rooms */
    bool has_models, has_batchers, has_comings, has_ledger, has_rooms;
    int32_t most_items; /* of one request of the workload */
    int32_t flight_count, first_free;
    int32_t epoch;
    bool has_queue_form; /* queued jobs are looked at anew when a device is free: no closed form */
    bool has_late_drop;
    int network_slot, control_slot, delay_slot, batcher_slot, sliced_slot; /* first slots of each */
    size_t next_event;                                                     /* of input.events */
    double *speeds;                                                        /* by device, of now */
    int64_t next_batch_id;
    struct ring noted; /* ids of stages that may have room now for who waits for it */
    struct ring ended; /* ids of stages 0 of which a batch has ended at this instant */
    uint64_t next_ask;
    bool has_failed; /* a batch has no price: the loop ends with */
    struct err failure;
    int64_t in_system;
    int64_t late_starts; /* jobs that did not start when they had to: must be 0 */
    int64_t told_count;  /* requests whose end was told: in the end all that were taken, once */
    int64_t retold_count;
    /* Little's law in exact arithmetic modulo 2^64: area under the number in the system, and sum of
     * the times spent in it, all_ps. */
    uint64_t area_ps;
    bool is_looped; /* by events: there is an area */
    int64_t area_at_ps;
    struct presence everyone; /* requests in the system; its count is not kept */
    struct wide all_ps;       /* of requests that have ended */
    struct wide extra_ps;     /* compute of requests beyond that of devices, two's complement */
    double delay_ps;
    struct wide
        *token_areas_ps; /* continuous batches: by replica, tokens x ps; NULL: nobody asks */
};

/* setup.c: sites, routes, memory; everything that can be wrong before time starts. */
bool setup_build(struct serve *serve, struct err *err);
/* costs.c: what the rows of the cost tables say of one replica. */
bool costs_fill(struct serve *serve, struct lane *lane, struct err *err);
/* Jobs of a site at the speeds of now. */
void costs_scale(const struct serve *serve, const struct lane *lane, struct site *site);
/* Largest request of the workload, in items. */
int32_t costs_most_items(const struct serve_input *input);
/* memory.c: which replicas fit where, and the KV caches of a run. */
bool memory_check(struct serve *serve, struct err *err);
void memory_keep(struct serve *serve, int32_t index, int sign);
/* Of continuous batches, tokens x ps in the caches of a replica; where prompts are apart of those
 * of its stages for prompts, or for decode steps. */
struct wide *memory_token_area(const struct serve *serve, int32_t replica, bool is_decoding);
/* So many bytes of KV cache more on the device. */
void memory_shift(struct serve *serve, int32_t device, int64_t by_bytes);
/* Mean of the KV cache over the run, once it has ended. */
double memory_kv_mean_bytes(const struct serve *serve, int32_t device);
/* Whether all devices of the lane have room for the request's cache and activations, beside what
 * they hold now; else err says where not, and what would help. */
bool memory_has_room(const struct serve *serve, const struct lane *lane, int32_t index,
                     struct err *err);
/* Activations of steps of so many rows at once may come to any device of the replica. */
void memory_expect(struct serve *serve, const struct lane *lane, const struct model_step *step);
/* Ends a flight that no replica has taken, and counts why. */
void memory_refuse(struct serve *serve, int32_t index, enum serve_refusal why);

/* flight.c: the pool of flights, and their way from hop to hop. */
int32_t flight_create(struct serve *serve, const struct arrival *arrival, struct site *site);
/* A record of nobody, that stays out of the pool. */
int32_t flight_reserve(struct serve *serve);
/* Such a record into the pool. */
void flight_drop(struct serve *serve, int32_t index);
/* Sends it over the hop into its stage 0, as soon as there is room. */
bool flight_launch(struct serve *serve, int32_t index, struct err *err);
/* The same at once. */
bool flight_go(struct serve *serve, int32_t index, struct err *err);
/* It stands before its stage: into the queue. */
bool flight_enter(struct serve *serve, int32_t index, struct err *err);
/* Its stage is done: on to the next one, or to the source. */
bool flight_leave(struct serve *serve, int32_t index, struct err *err);
/* parts.c: so much of requests was computed, or of devices that nobody waited for: -1. */
void parts_add(struct serve *serve, int64_t time_ps, int64_t times);
struct padded { /* what is computed of a batch of a model, each as the longest of them */
    int32_t count, new_tokens, past_tokens;
};
struct padded flight_padded(const struct serve *serve, int32_t index);
/* The source holds the result of the flight's step: it sends the next one at once. */
bool flight_return(struct serve *serve, int32_t index, struct err *err);
/* It has reached the end of its hop. */
bool flight_arrive(struct serve *serve, int32_t index, struct err *err);
/* Tells observers of the message that network_received tells of; before flight_arrive. */
void flight_tell_received(const struct serve *serve, int32_t index);
/* A message over one port goes into the receiver's as it leaves the sender's: tells of the former.
 */
void flight_tell_in_link(struct serve *serve, int32_t message, int64_t bytes,
                         const struct network_sent *sent);
/* Observers are told of links from now on. */
void flight_watch(struct serve *serve);
/* What is told of a message that carries it from stage to stage: both ends are the source's. */
struct serve_transfer flight_transfer(const struct serve *serve, int32_t index, int64_t bytes,
                                      int64_t send_ps, bool is_late,
                                      const struct network_sent *sent);
/* Ends it and all its batch, before the last stage. */
void flight_lose(struct serve *serve, int32_t index, enum trace_status status);
/* Ends a flight that no replica has taken yet. */
void flight_turn_away(struct serve *serve, int32_t index, enum trace_status status);

/* way.c: alternatives of stages. All but the first, way_at and way_backlog_ps for runs that
 * has_ways alone. */
struct dispatch_request;
bool way_begin(struct serve *serve, struct err *err); /* sets has_ways */
/* Of a stage, named by its copy 0, the one that the request passes. */
struct site *way_at(const struct serve *serve, int32_t index, struct site *base);
bool way_has(const struct serve *serve, int32_t index, const struct site *site);
/* Or it may come to pass it: until its batch is made up that might go any way behind stage 0. */
bool way_may_have(const struct serve *serve, int32_t index, const struct site *site);
/* Of an alternative, its place among them. */
int way_number(const struct site *site);
/* Whether that move of the replica is between stages on its way. */
bool way_moves(const struct serve *serve, int32_t index, int32_t m);
bool way_may_move(const struct serve *serve, int32_t index, int32_t m);
/* Into its stage, from where it comes. */
int way_route_in(const struct serve *serve, int32_t index);
/* The least of what is booked on the alternatives. */
int64_t way_backlog_ps(const struct serve *serve, const struct site *base);
/* It has been dispatched to its lane. */
void way_choose(struct serve *serve, int32_t index, const struct dispatch_request *who);
/* It goes the way of another. */
void way_join(struct serve *serve, int32_t index, int32_t other);
/* It has ended. */
void way_leave(struct serve *serve, int32_t index);
/* A device of the lane is down, or up again. */
void way_count_down(struct lane *lane);

/* station.c: the queue and the computing of jobs. */
void station_push_plain(struct serve *serve, int32_t index); /* of a plain site */
/* The job, whose cost is known, into the queues of its devices. */
void station_queue(struct serve *serve, int32_t index);
bool station_push(struct serve *serve, int32_t index, struct err *err);
/* Starts what may start on a device that is not running. */
void station_start(struct serve *serve, int32_t device);
/* The device's event: a job's end, or a moment to look at its queue again. */
bool station_event(struct serve *serve, int32_t device, struct err *err);
int64_t station_backlog_ps(const struct serve *serve, const struct site *site);
/* For queue_form.c. The job, which is in no queue any more, runs on all its devices. */
void station_begin(struct serve *serve, int32_t index, int64_t start_ps);
/* From when on all devices of the site are free, not before now: TRACE_NONE while one runs or is
 * down. */
int64_t station_free_ps(const struct serve *serve, const struct site *site);
/* --rules dlsim: a job that had to wait starts later than its devices are free. */
int64_t station_late_ps(const struct serve *serve, int32_t index, int64_t start_ps);
/* Takes the job, which heads them, out of its devices' queues. */
void station_unqueue(struct serve *serve, int32_t index);
/* Tells observers of a job that ended or was lost, or of what an epoch takes. Only where there is
 * an on_span. */
void station_tell(const struct serve *serve, enum serve_span_kind kind, int32_t index,
                  int64_t start_ps, int64_t end_ps, int64_t gap_ps);
void station_tell_switch(const struct serve *serve, int32_t device, int64_t from_ps, int64_t to_ps);
/* Looks up what the step of a model costs now; a batch is padded to its longest request. */
bool station_price(struct serve *serve, int32_t index, struct err *err);

/* queue_form.c: queues that are looked at when their device is free. */
void queue_form_start(struct serve *serve, int32_t device);
bool queue_form_is_down(const struct serve *serve, const struct site *site);
/* Whether the job starts when the rule says. */
bool queue_form_is_on_time(const struct serve *serve, int32_t index, int64_t start_ps);
/* What waited in front on the site's devices is gone: those that are idle, but for one, look at
 * their queues anew, at this instant. */
void queue_form_wake(struct serve *serve, const struct site *site, int32_t device);
/* Takes a running job off all its devices, as far as it had come; or one that waits. What becomes
 * of its requests is the caller's. */
void queue_form_cancel(struct serve *serve, int32_t index);
void queue_form_forget(struct serve *serve, int32_t index);
/* A request that waits in no queue any more, as a job of that length, is lost. */
void queue_form_lose(struct serve *serve, int32_t index, struct job job, enum trace_status status);
/* The device is gone: what runs or waits on it has failed. */
void queue_form_fail(struct serve *serve, int32_t device);
/* Its speed has changed: what waits there costs something else. */
bool queue_form_reprice(struct serve *serve, int32_t device, struct err *err);
/* When all that is queued there will be done, from what it costs now. */
void queue_form_rebook(struct serve *serve, int32_t device);

/* room.c: bounded queues. All but the first for runs that has_rooms alone. */
void room_begin(struct serve *serve); /* sets has_rooms */
/* False: the queue of the site has no room; the flight moves as soon as it has. */
bool room_take(struct serve *serve, int32_t index, struct site *site);
/* The flight has left the queue of its stage: it starts, or is lost. */
void room_give(struct serve *serve, int32_t index);
/* Whether the flight, whose job is done, keeps its devices since there is no room behind them. */
bool room_keeps(struct serve *serve, int32_t index);
/* It is lost there: its devices are free. */
void room_lose(struct serve *serve, int32_t index);
/* What is booked on a device that is kept begins later and later: booked_ps as of now. */
void room_shift(const struct serve *serve, int32_t device);
/* Behind all else of an instant, while there are sites in `noted`: who asked first among those that
 * have room moves. */
bool room_move_one(struct serve *serve, struct err *err);
bool room_is_kept_by(const struct serve *serve, int32_t index);
/* In words, for errors; NULL: it waits for no room. */
const char *room_waits_for(const struct serve *serve, int32_t index);

/* coming.c: work on its way to the stage that dispatch goes by. All but the first for runs that
 * has_comings alone. */
void coming_begin(struct serve *serve); /* sets has_comings */
/* The flight is on its way through its lane, for this step. */
bool coming_set(struct serve *serve, int32_t index, struct err *err);
/* It has reached the queue of its stage. */
void coming_enter(struct serve *serve, int32_t index);
/* It is no longer on its way. */
void coming_drop(struct serve *serve, int32_t index);
/* A batch has been formed: it is one job. */
void coming_batch(struct serve *serve, int32_t index);
/* Costs have changed. */
bool coming_reprice(struct serve *serve, struct err *err);
/* station_backlog_ps with what is on its way. Without has_comings that alone. */
int64_t coming_backlog_ps(const struct serve *serve, const struct site *site);

/* ledger.c: predictions, and what devices are promised to. All that change it but ledger_delay for
 * runs that has_ledger alone. */
enum ledger_promise { LEDGER_NOTHING, LEDGER_LATER_STAGES, LEDGER_ALL_STAGES };
#define LEDGER_ANY_DEVICE (-1)
void ledger_begin(struct serve *serve); /* sets has_ledger */
/* When a job of the flight, of that size, that started in stage 0 at start_ps would leave the last
 * stage, given what is booked and promised; messages meet no other, overheads take their mean. */
int64_t ledger_predict_ps(const struct serve *serve, int32_t index, int size, int64_t start_ps);
/* From the last stage to the source, when the message meets no other. */
int64_t ledger_back_ps(const struct serve *serve, int32_t index, int size);
/* --admission slo: whether the request that is dispatched would meet its objective. Books it. */
bool ledger_admit(struct serve *serve, int32_t index);
/* Its job starts in stage 0: books the later ones, where they are not. */
void ledger_start(struct serve *serve, int32_t index, int64_t start_ps);
/* The request is lost: what it is still booked for is free. */
void ledger_drop(struct serve *serve, int32_t index);
/* What is booked for stages with the device goes (-1), and comes back when costs have changed. */
void ledger_reprice(struct serve *serve, int32_t device, int sign);
/* The device is taken for something else. */
void ledger_delay(struct serve *serve, int32_t device, int64_t time_ps);

/* control.c: epochs, failures, speeds. */
bool control_changes_devices(const struct serve *serve); /* has events of devices */
void control_begin(struct serve *serve);
bool control_event(struct serve *serve, struct err *err);
/* By device: whether the epoch brings it slices that the one before did not have there. */
void control_switched(const struct serve *serve, int32_t epoch, bool *is_switched);

/* delays.c: overheads that delay a request and occupy nothing. */
void delays_begin(struct serve *serve);
enum delay_kind { DELAY_SUBMIT, DELAY_DISPATCH, DELAY_WORKER };
/* False when there is nothing to wait for; else the flight comes back at delays_event. */
bool delays_hold(struct serve *serve, enum delay_kind kind, int32_t index);
bool delays_event(struct serve *serve, struct err *err);
int64_t delays_response_ps(const struct serve *serve, uint64_t request);

/* serve.c: keeps and tells what became of a request. */
void serve_tell_end(struct serve *serve, const struct serve_end *end);
/* Chooses the replica of a request that has reached the dispatcher. */
bool serve_dispatch(struct serve *serve, int32_t index, struct err *err);
/* The replica that takes the request now: NULL and why, when none does. */
struct lane *serve_choose(struct serve *serve, int32_t service, uint64_t request,
                          enum trace_status *why);
/* Number of the smallest profiled batch size that holds the items of one request. */
int serve_size(const struct lane *lane, int32_t items);
/* An error: simulated time ends. */
bool serve_passes_calendar(struct err *err);
/* Counts an event of a loop; false and an error: the run is given up. */
bool serve_go_on(const struct serve *serve, uint32_t *ticks, struct err *err);

/* One epoch, nothing that holds, drops or fails a request, links that book one port, and nobody who
 * watches single jobs: what every shorter way needs. */
bool serve_is_undisturbed(const struct serve *serve);
/* And executables that arrive on their own. */
bool serve_is_plain(const struct serve *serve);
/* Nobody asks more of an end than a serve_block tells: serve_tell_block may stand for it. */
bool serve_tells_blocks(const struct serve *serve);
/* Told of requests that ended ok; what the options or the observer do not ask for may be NULL. */
void serve_tell_block(struct serve *serve, const struct serve_block *block);
/* arrivals_block in services of the plan. */
size_t serve_arrivals(struct serve *serve, size_t room, int64_t *room_ps, int32_t *services,
                      const int64_t **arrivals_ps);

/* lindley.c: the closed form. True when it is exact for this plan and these options. */
bool lindley_applies(const struct serve *serve);
/* Every device is fed by one sender alone, on one way, over links that are that sender's alone. */
bool lindley_is_apart(const struct serve *serve);
/* Whether the choice of a replica is known when the request arrives: by the order of requests
 * alone, or by what is booked at stages 0, where every request before it has been by then. */
bool lindley_dispatch_is_plain(const struct serve *serve);
bool lindley_run(struct serve *serve, struct err *err);
/* lindley_block.c: the same for many requests at once, where all are of one kind. */
bool lindley_block_applies(const struct serve *serve);
bool lindley_block_run(struct serve *serve, struct err *err);

/* express.c: the events of plain pipelines. True when it is exact for this plan and options. */
bool express_applies(struct serve *serve);
bool express_run(struct serve *serve, struct err *err);

/* tandem.c: steps of models pass their pipeline in closed form. Sets serve->tandem where that is
 * exact; tandem_pass then takes the place of a flight's way from the source through all stages, and
 * tandem_return is its event: the source holds the result. tandem_backlog_ps: coming_backlog_ps. */
void tandem_begin(struct serve *serve);
bool tandem_pass(struct serve *serve, int32_t index, struct err *err);
bool tandem_return(struct serve *serve, int slot, struct err *err);
int64_t tandem_backlog_ps(const struct serve *serve, const struct site *site);
/* Into devices and links, at the end. */
void tandem_fill(struct serve *serve);

/* book.c: the run under --rules alpaserve. */
bool book_run(struct serve *serve, struct err *err);

/* continuous.c: the run of continuous batches. */
bool continuous_run(struct serve *serve, struct err *err);

/* parts.c: what the time of requests is made of, and how long replicas had some in flight. */
void parts_begin(struct serve *serve);
/* A job of several requests, or on several devices, has taken so long. */
void parts_job(struct serve *serve, int32_t index, int64_t time_ps);
/* Into the result, at the end. */
void parts_fill(struct serve *serve);
/* Requests that the closed form has passed, in order of arrival, each service of one replica. */
void parts_block(struct serve *serve, const int32_t *services, const int64_t *arrivals_ps,
                 const int64_t *finishes_ps, size_t count);
double parts_double(struct wide value); /* two's complement */
static inline void parts_add_wide(struct wide *sum, int64_t time_ps)
{
    *sum = wide_add(*sum, (struct wide){ 0, (uint64_t)time_ps });
}

/* self_check.c: what must hold at the end of any run. */
bool self_check_end(const struct serve *serve, struct err *err);

/* The stage behind the one that it is in, or the one before. */
static inline struct site *way_next(const struct serve *serve, int32_t index)
{
    struct site *site = serve->flights[index].site;

    return serve->has_ways ? way_at(serve, index, site->base + 1) : site + 1;
}

static inline struct site *way_before(const struct serve *serve, int32_t index)
{
    struct site *site = serve->flights[index].site;

    return serve->has_ways ? way_at(serve, index, site->base - 1) : site - 1;
}

static inline int64_t later_ps(int64_t a_ps, int64_t b_ps)
{
    return a_ps > b_ps ? a_ps : b_ps;
}

static inline int64_t serve_batch_id(const struct serve *serve, int32_t index)
{
    return serve->batch_ids ? serve->batch_ids[index] : -1;
}

/* What the flight's devices are taken for in its stage, at the speeds of now. */
static inline struct job serve_job(const struct serve *serve, int32_t index)
{
    const struct flight *flight = &serve->flights[index];
    const struct site *site = flight->site;

    if (site->is_model)
        return (struct job){ serve->decodes[index].cost_ps, 0 };
    return site->is_sized ? site->jobs[flight->size] : site->job;
}

static inline void self_check_change(struct serve *serve, int change)
{
    int64_t now_ps = engine_now_ps(serve->engine);

    serve->area_ps += (uint64_t)serve->in_system * (uint64_t)(now_ps - serve->area_at_ps);
    serve->everyone.active_ps += serve->in_system > 0 ? now_ps - serve->area_at_ps : 0;
    serve->area_at_ps = now_ps;
    serve->in_system += change;
}

#endif
