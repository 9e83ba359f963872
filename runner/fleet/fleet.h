/* fleet.h - the workers as the coordinator sees them: started or awaited, set up, alive or dead.
 *
 * Knows nothing of requests. Messages about requests come out of fleet_receive; all others
 * (heartbeats, newcomers, the start of the run) are dealt with here. */
#ifndef ORRERY_RUNNER_FLEET_H
#define ORRERY_RUNNER_FLEET_H

#include "lib/wire/channel.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct arena;
struct assignment;
struct cluster;
struct err;
struct keys;
struct placement;
struct placement_row;
struct plan;

enum fleet_state {
    FLEET_ABSENT,
    FLEET_JOINED,  /* has said HELLO */
    FLEET_READY,   /* weights are there, listens */
    FLEET_UP,      /* connected to the stages after its own */
    FLEET_STOPPED, /* has said its last word */
    FLEET_DEAD,
};

struct fleet_worker {
    const char *device;
    const struct placement_row *row; /* of the placement, for errors */
    enum fleet_state state;
    struct channel_peer peer;
    pid_t pid;         /* 0: not started by us, or reaped */
    int64_t exited_ns; /* when the process was found gone, 0 = not */
    int64_t beat_ns;   /* last sign of life */
    int64_t number;    /* its own, in the beats before SETUP */
    bool is_busy;
    int64_t offset_ns; /* its clock minus ours */
    int64_t weight_bytes;
    const char *machine, *blas_core; /* once READY; NULL before */
    char endpoint[CHANNEL_ADDRESS_BYTES];
    struct channel *push; /* to its stage 0; NULL when it has none */
    char trouble[512];    /* why it is dead */
    bool is_reported;     /* fleet_find_dead has named it */
    int64_t session;      /* in its beats since SETUP: of the run, and another when it comes back */
    bool has_peers;       /* it knows where to send */
    int pongs;            /* exchanges of clocks, and the shortest way there and back of them */
    int64_t best_ns;
    bool
        is_returning; /* in the place of a lost one, and fleet_find_returned has not named it yet */
    bool is_awaited;  /* a process in its place has been started, and has not joined yet */
    bool is_held;     /* nor may it, until a drill says that the device is up again */
    bool is_new;      /* of a device that an update brings, which has not been taken up */
    bool is_loading;  /* it has been sent stages of an update, and has not answered */
    int64_t added_bytes;           /* weights that it has loaded for that */
    struct channel_peer next_peer; /* waits for its place; count 0: nobody does */
    int64_t next_number;
};

struct fleet_address { /* where the coordinator listens, and to whom */
    const char *listen;
    const struct keys *keys; /* NULL: plain text, open to everybody who can connect */
    const char *keys_folder; /* of the same, for workers on this machine */
};

struct fleet {
    struct arena *arena;
    struct channel_hub *hub;
    struct channel *router;
    const struct placement *placement;
    const struct assignment *assignment;
    int64_t session;
    char address[CHANNEL_ADDRESS_BYTES]; /* where the coordinator listens */
    const char *keys_folder;             /* NULL = none */
    char refusal[CHANNEL_REFUSAL_BYTES]; /* why somebody was turned away last, as it was told */
    int64_t told_bytes;                  /* the longest message that it takes */
    bool is_local;
    bool has_started; /* nobody may join any more */
    bool has_begun;   /* the load; but in the place of a lost worker */
    int count;
    struct fleet_worker *workers;
    struct channel_peer asker; /* of the status; count 0 = nobody */
    struct {
        struct channel_peer asker; /* count 0: nobody waits for an answer */
        const char *path, *text;   /* the placement; NULL once it has been taken from here */
        char trouble[512];         /* why it cannot be; "" = nothing is known against it */
        const struct assignment *added, *all; /* what it asks of workers */
        int64_t number;                       /* how many were taken before */
        int64_t wait_ns, deadline_ns;         /* for workers that are new */
        bool is_told;                         /* the workers know of it */
    } update;
    int64_t looked_ns; /* when the dead were last looked for */
};

/* Listens. */
struct fleet *fleet_create(struct arena *arena, const struct plan *plan,
                           const struct placement *placement, const struct assignment *assignment,
                           const struct fleet_address *address, int64_t session, struct err *err);
/* Starts one worker process for each device, on this machine. */
bool fleet_spawn(struct fleet *fleet, struct err *err);
/* The address for a worker on this machine. */
const char *fleet_reachable_address(struct fleet *fleet);
/* Until every worker is up: joined within wait_ns, weights filled, connected, clocks compared. An
 * error names the row of the placement whose worker is missing, and how to start it. */
bool fleet_assemble(struct fleet *fleet, const struct plan *plan, int64_t wait_ns, struct err *err);

/* The next message about a request (RESULT, RECORD, REFUSE) from a worker that is up: its number,
 * and the caller closes message. -1: nothing more for now. */
int fleet_receive(struct fleet *fleet, struct channel_message *message);
/* A worker that has died since the last call: its number, -1 = none. Call after fleet_receive has
 * emptied the socket. */
int fleet_find_dead(struct fleet *fleet);
/* A worker that has taken the place of a lost one, and is up: its number, -1 = none. Its caches are
 * empty, and nothing of before is on its way to it. */
int fleet_find_returned(struct fleet *fleet);
/* A lost worker that is on its way back. */
bool fleet_is_returning(const struct fleet *fleet, int worker);
/* The replica of the stage has been lost, and is of that generation from now on: its workers, now
 * or when they come back, know of nothing before. */
void fleet_reset_stage(struct fleet *fleet, int32_t stage_id, int32_t generation);
/* For drills, of workers on this machine: kills one, which is dead at once, for the reason given;
 * and starts another process in its place. */
void fleet_kill_worker(struct fleet *fleet, int worker, const char *trouble);
bool fleet_respawn(struct fleet *fleet, int worker, struct err *err);
/* Somebody has asked what the run is doing (FRAME_STATUS); the answer goes to who asked last. */
bool fleet_is_asked(const struct fleet *fleet);
void fleet_answer(struct fleet *fleet, const char *text);
/* ---- update.c: another placement for a run that goes on ---- */

/* Somebody has asked for one, and no other is under way: its path and text. */
bool fleet_take_update(struct fleet *fleet, const char **path, const char **text);
struct fleet_update {
    const struct assignment *added; /* the stages that workers lack */
    const struct assignment *all;   /* of everything that is placed then */
    const struct cluster *cluster;
    int64_t number;  /* how many updates the run has taken */
    int64_t wait_ns; /* for workers of devices that the run does not have yet */
};
/* Begins to await those, or starts them; when they are ready, everybody is sent the stages that it
 * lacks, and where those listen that it will send to. What it points to outlives the fleet. False
 * with why not: a worker is not up, or cannot be started. */
bool fleet_begin_update(struct fleet *fleet, const struct fleet_update *update, struct err *err);
enum fleet_progress { FLEET_LOADING, FLEET_LOADED, FLEET_NOT_LOADED };
/* FLEET_NOT_LOADED: update.trouble says why. */
enum fleet_progress fleet_look_update(struct fleet *fleet);
/* All have loaded: what is placed is what `all` says from now on. */
void fleet_end_update(struct fleet *fleet);
/* To whoever has asked for it. When it is not taken, its new workers are sent away. */
void fleet_answer_update(struct fleet *fleet, bool is_taken, const char *line);

/* Every worker that is up says that it is not computing. */
bool fleet_is_idle(const struct fleet *fleet);
/* There is room in the queue of a stage for the step that the worker has asked for. */
void fleet_grant(struct fleet *fleet, int worker, int32_t stage, int64_t number);
void fleet_release(struct fleet *fleet, int worker, int64_t request, int64_t sent_count);
/* A MOVE: KV caches go from it to where they are read. */
void fleet_move(struct fleet *fleet, int worker, const struct frame *frame,
                const unsigned char *payload);
/* SIGINT, SIGTERM or SIGHUP that has come, 0 = none. They must be blocked in this thread. */
int fleet_take_signal(void);
const char *fleet_signal_name(int signal_number);

/* The run is over: tells the workers that are up. They are done when fleet_is_stopped. */
void fleet_stop(struct fleet *fleet);
bool fleet_is_stopped(const struct fleet *fleet);
/* Tells everybody that is left, ends and reaps every process, closes all. NULL is allowed. */
void fleet_end(struct fleet *fleet);
/* Part of fleet_end: waits for processes that have stopped, kills the others, reaps all. */
void fleet_kill(struct fleet *fleet);

#endif
