/* random_case.h - small random scenarios: what is placed where, what it costs, what comes, what
 * fails. Drawn as a struct, so that a test knows all of it without a reader, and written as files.
 *
 * Times lie on a coarse grid in half of the cases, so that most instants are shared, and are drawn
 * to the picosecond in the others. All are even, for speed ratios of 2. */
#ifndef ORRERY_TESTS_UNIT_SIM_RANDOM_CASE_H
#define ORRERY_TESTS_UNIT_SIM_RANDOM_CASE_H

#include "tests/unit/sim/fixture.h"

#include "lib/base/rng.h"
#include "lib/format/events.h"
#include "lib/format/overhead.h"

enum {
    CASE_DEVICES = 6,
    CASE_NODES = 4,
    CASE_SERVICES = 4,
    CASE_STAGES = 3,
    CASE_WIDTH = 3,
    CASE_EPOCHS = 3,
    CASE_REPLICAS = CASE_SERVICES * 3 * CASE_EPOCHS,
    CASE_EXECUTABLES = 4,
    CASE_SIZES = 3,
    CASE_TYPES = 2,
    CASE_LINKS = 12,
    CASE_EVENTS = 8,
    CASE_REQUESTS = 60,
    CASE_OVERHEADS = OVERHEAD_RESPONSE + 1, /* all that are of single requests */
    CASE_SOURCE = -1,                       /* node of a link */
    CASE_EVERY = -2
};

struct case_stage {
    int device_count, devices[CASE_WIDTH];
    int queue_depth; /* 0 = unbounded */
};
struct case_replica {
    int service, number, epoch, executable;
    int max_batch; /* 0 = as --batch */
    struct case_stage stages[CASE_STAGES];
};
struct case_cost {
    int64_t latency_ps, gap_ps, output_bytes;
};
struct case_executable {
    int stage_count, size_count, sizes[CASE_SIZES];
    struct case_cost costs[CASE_TYPES][CASE_SIZES][CASE_STAGES];
};
struct case_device {
    int type, node;
    int halves; /* speed ratio times 2: 1, 2 or 4 */
};
enum case_medium { CASE_SWITCH, CASE_WIFI, CASE_BUS, CASE_RING, CASE_MESH, CASE_OPTICAL };
struct case_link {
    int medium; /* number: in file order */
    enum case_medium kind;
    int node;
    int64_t bytes_per_s, latency_ps, per_message_ps;
};
struct case_event {
    int64_t time_ps;
    int device;
    enum event_kind kind;
    int halves;
};
struct case_request {
    int service, client, session; /* -1 = none */
    int items, prompt_tokens;
    int64_t arrival_ps; /* -1: when its client is ready */
    int64_t think_ps, slo_ps;
};

struct random_case {
    struct rng rng;
    bool is_coarse;
    bool has_wide; /* a stage on several devices */
    bool has_cluster;
    int device_count, type_count, executable_count, service_count, replica_count, epoch_count;
    int link_count, event_count, request_count;
    int64_t epoch_ps[CASE_EPOCHS];
    struct case_device devices[CASE_DEVICES];
    struct case_executable executables[CASE_EXECUTABLES];
    struct case_replica replicas[CASE_REPLICAS];
    struct case_link links[CASE_LINKS];
    struct case_event events[CASE_EVENTS];
    struct case_request requests[CASE_REQUESTS];
    int64_t overhead_ps[CASE_OVERHEADS]; /* the mean; -1 = no row */
    bool is_drawn[CASE_OVERHEADS];       /* exponential, else constant */
    struct serve_options options;
};

static struct random_case random_case;

/* ---- draws ---- */

static inline int case_below(int bound)
{
    return (int)rng_below(&random_case.rng, (uint64_t)bound);
}

static inline bool case_chance(int percent)
{
    return case_below(100) < percent;
}

static inline int64_t case_time_ps(int most_ms)
{
    if (random_case.is_coarse)
        return MS * case_below(most_ms + 1);
    return 2 * (int64_t)rng_below(&random_case.rng, (uint64_t)(most_ms * MS / 2 + 1));
}

static inline void case_draw_devices(void)
{
    struct random_case *c = &random_case;

    c->has_cluster = case_chance(80);
    c->device_count = 1 + case_below(CASE_DEVICES);
    c->type_count = c->has_cluster ? 1 + case_below(CASE_TYPES) : 1;
    for (int i = 0; i < c->device_count; i++) {
        struct case_device *device = &c->devices[i];

        device->type = case_below(c->type_count);
        device->node = case_below(CASE_NODES);
        device->halves = c->has_cluster && case_chance(25) ? 1 << case_below(3) : 2;
    }
}

static inline void case_draw_costs(bool has_sizes)
{
    struct random_case *c = &random_case;

    c->executable_count = 1 + case_below(CASE_EXECUTABLES);
    for (int e = 0; e < c->executable_count; e++) {
        struct case_executable *executable = &c->executables[e];

        executable->stage_count = 1 + case_below(CASE_STAGES);
        executable->size_count = has_sizes ? 1 + case_below(CASE_SIZES) : 1;
        for (int b = 0; b < executable->size_count; b++)
            executable->sizes[b] = 1 << (b + (b > 0 && e % 2));
        for (int i = 0; i < CASE_TYPES * executable->size_count * executable->stage_count; i++) {
            int stage = i % executable->stage_count, rest = i / executable->stage_count;
            int size = rest % executable->size_count, type = rest / executable->size_count;

            executable->costs[type][size][stage] = (struct case_cost){
                .latency_ps = case_chance(10) ? 0 : case_time_ps(8 + 4 * size),
                .gap_ps = case_chance(50) ? 0 : case_time_ps(4),
                .output_bytes = case_below(3000),
            };
        }
    }
}

static inline void case_draw_stage(struct case_stage *stage, bool has_wide)
{
    int width = has_wide && case_chance(30) ? 2 + case_below(CASE_WIDTH - 1) : 1;

    if (width > random_case.device_count)
        width = random_case.device_count;
    for (int i = 0; i < width; i++) {
        bool is_new;

        do {
            stage->devices[i] = case_below(random_case.device_count);
            is_new = true;
            for (int k = 0; k < i; k++)
                is_new = is_new && stage->devices[k] != stage->devices[i];
        } while (!is_new);
    }
    stage->device_count = width;
    random_case.has_wide = random_case.has_wide || width > 1;
}

static inline void case_draw_rooms(bool has_rooms)
{
    struct random_case *c = &random_case;

    for (int r = 0; r < c->replica_count; r++)
        for (int k = 0; k < c->executables[c->replicas[r].executable].stage_count; k++)
            if (has_rooms && case_chance(60))
                c->replicas[r].stages[k].queue_depth = 1 + case_below(3);
}

/* Every service is in the first epoch; later ones may lack it. */
static inline void case_draw_placement(bool has_wide, bool has_batches)
{
    struct random_case *c = &random_case;

    c->service_count = 1 + case_below(CASE_SERVICES);
    for (int e = 0; e < c->epoch_count; e++)
        for (int s = 0; s < c->service_count; s++) {
            bool is_gone = e > 0 && s != e % c->service_count && case_chance(15);
            int count = is_gone ? 0 : 1 + case_below(3);

            for (int r = 0; r < count; r++) {
                struct case_replica *replica = &c->replicas[c->replica_count++];

                replica->service = s;
                replica->number = r;
                replica->epoch = e;
                replica->executable = case_below(c->executable_count);
                replica->max_batch = has_batches && case_chance(30) ? 1 + case_below(5) : 0;
                for (int k = 0; k < c->executables[replica->executable].stage_count; k++)
                    case_draw_stage(&replica->stages[k], has_wide);
            }
        }
    for (int e = 1; e < c->epoch_count; e++)
        c->epoch_ps[e] = c->epoch_ps[e - 1] + MS + case_time_ps(60);
}

static inline void case_draw_link(int medium, enum case_medium kind, int node)
{
    random_case.links[random_case.link_count++] = (struct case_link){
        .medium = medium,
        .kind = kind,
        .node = node,
        .bytes_per_s = INT64_C(100000) << case_below(4),
        .latency_ps = case_chance(50) ? 0 : case_time_ps(3),
        .per_message_ps = case_chance(50) ? 0 : case_time_ps(2),
    };
}

static inline int case_node(void)
{
    return random_case.devices[case_below(random_case.device_count)].node;
}

/* A way between any two ends: one medium for all, before it others for some. */
static inline void case_draw_links(void)
{
    static const enum case_medium kinds[] = { CASE_SWITCH, CASE_SWITCH, CASE_WIFI, CASE_BUS };
    int others = case_below(3);

    for (int m = 0; m < others; m++) {
        enum case_medium kind = kinds[case_below(4)];
        int first = case_node(), second = case_chance(30) ? CASE_SOURCE : case_node();

        case_draw_link(m, kind, first);
        if (second != first)
            case_draw_link(m, kind, second);
    }
    if (case_chance(50))
        case_draw_link(others, CASE_SWITCH, case_node());
    case_draw_link(others, CASE_SWITCH, CASE_EVERY);
    if (case_chance(30)) /* all on one radio channel */
        for (int i = 0; i < random_case.link_count; i++)
            if (random_case.links[i].medium == others)
                random_case.links[i].kind = CASE_WIFI;
}

static inline void case_draw_requests(bool has_items, bool has_slos)
{
    struct random_case *c = &random_case;
    int clients = case_chance(50) ? case_below(4) : 0, sessions = case_chance(40) ? 3 : 0;
    int64_t at_ps = 0;

    c->request_count = 1 + case_below(CASE_REQUESTS);
    for (int i = 0; i < c->request_count; i++) {
        struct case_request *request = &c->requests[i];

        at_ps += case_chance(30) ? 0 : case_time_ps(9);
        *request = (struct case_request){
            .service = case_below(c->service_count),
            .client = clients > 0 && case_chance(60) ? case_below(clients) : -1,
            .session = sessions > 0 && case_chance(40) ? case_below(sessions) : -1,
            .items = has_items && case_chance(30) ? 1 + case_below(3) : 1,
            .prompt_tokens = case_below(200),
            .arrival_ps = at_ps,
            .think_ps = case_chance(30) ? 0 : case_time_ps(20),
            .slo_ps = has_slos && case_chance(60) ? 1 + case_time_ps(60) : 0,
        };
        if (request->client >= 0 && case_chance(70))
            request->arrival_ps = -1;
    }
}

/* Without a cluster only devices that something is placed on are known. */
static inline int case_event_device(void)
{
    const struct case_replica *replica = &random_case.replicas[0];

    return random_case.has_cluster ? case_below(random_case.device_count)
                                   : replica->stages[0].devices[0];
}

static inline void case_draw_events(void)
{
    struct random_case *c = &random_case;
    bool is_down[CASE_DEVICES] = { false };
    int64_t at_ps = 0;

    c->event_count = 1 + case_below(CASE_EVENTS);
    for (int i = 0; i < c->event_count; i++) {
        struct case_event *event = &c->events[i];

        at_ps += 2 + case_time_ps(25); /* two at one time are another test's */
        event->time_ps = at_ps;
        event->device = case_event_device();
        if (case_chance(30)) {
            event->kind = EVENT_SPEED_RATIO;
            event->halves = 1 << case_below(3);
        } else {
            event->kind = is_down[event->device] ? EVENT_UP : EVENT_DOWN;
            is_down[event->device] = !is_down[event->device];
        }
    }
}

/* Requests of more items than a replica of their service can take are refused as input. */
static inline void case_limit_items(void)
{
    struct random_case *c = &random_case;

    for (int i = 0; i < c->request_count; i++)
        for (int r = 0; r < c->replica_count; r++) {
            const struct case_executable *executable = &c->executables[c->replicas[r].executable];
            int most = executable->sizes[executable->size_count - 1];

            if (c->replicas[r].service == c->requests[i].service && c->requests[i].items > most)
                c->requests[i].items = most;
        }
}

/* ---- a whole case ---- */

/* What may be in it: each is drawn in some of the cases. */
struct case_may {
    bool links, wide, batches, events, epochs, objectives, overheads;
    bool rooms;     /* bounded queues */
    bool any_rules; /* any of them together, alpaserve included */
};

static inline void case_draw_overheads(void)
{
    for (int i = 0; i < CASE_OVERHEADS; i++)
        random_case.overhead_ps[i] = case_chance(60) ? case_time_ps(3) : -1;
    for (int i = 0; i < OVERHEAD_RESPONSE; i++)
        random_case.is_drawn[i] = random_case.overhead_ps[i] > 0 && case_chance(40);
}

/* Bookings of stages on several devices are exact only as long as nothing but their queue decides
 * when they start: where they are not, rules that look at them are left out. */
static inline void case_draw_options(const struct case_may *has)
{
    static const enum dispatch_kind unbooked[] = { DISPATCH_ROUND_ROBIN, DISPATCH_LEAST_OUTSTANDING,
                                                   DISPATCH_RANDOM, DISPATCH_STICKY };
    struct serve_options *options = &random_case.options;
    bool is_inexact =
        random_case.has_wide && (has->events || has->batches || has->epochs || has->rooms);

    *options = (struct serve_options){ .seed = rng_below(&random_case.rng, 1000),
                                       .until_ps = ENGINE_NEVER,
                                       .max_requests = SIZE_MAX,
                                       .keeps_requests = true };
    options->rules = case_chance(30) && !has->rooms ? SERVE_DLSIM : SERVE_DEFAULT;
    options->dispatch =
        is_inexact ? unbooked[case_below(4)] : (enum dispatch_kind)case_below(DISPATCH_COUNT);
    if (has->objectives && !is_inexact)
        options->admission = random_case.is_coarse || random_case.has_wide || case_chance(50)
                                 ? ADMIT_SLO
                                 : ADMIT_LATE;
    if (has->objectives && case_chance(50))
        options->slo_ps = 1 + case_time_ps(50);
    if (has->epochs && case_chance(70))
        options->switch_cost_ps = case_time_ps(15);
    if (has->batches && case_chance(70))
        options->batch =
            (struct batch_options){ .kind = BATCH_FIXED, .max_size = 1 + case_below(6) };
    if (has->batches && !random_case.is_coarse && case_chance(50))
        options->batch.wait_ps = case_time_ps(12);
}

/* Whatever the command line takes. */
static inline void case_draw_any_rules(const struct case_may *has)
{
    struct serve_options *options = &random_case.options;
    bool is_for_alpaserve = random_case.event_count == 0;

    for (int i = 0; i < OVERHEAD_RESPONSE; i++)
        is_for_alpaserve = is_for_alpaserve && random_case.overhead_ps[i] < 0;
    options->rules =
        (enum serve_rules)case_below(is_for_alpaserve ? SERVE_RULES_COUNT : SERVE_ALPASERVE);
    if (has->rooms)
        options->rules = SERVE_DEFAULT;
    options->dispatch = (enum dispatch_kind)case_below(DISPATCH_COUNT);
    if (has->objectives)
        options->admission = (enum admit_kind)case_below(ADMIT_KIND_COUNT);
    if (has->batches && case_chance(50))
        options->batch.wait_ps = case_time_ps(12);
    if (case_chance(10))
        options->until_ps = case_time_ps(300);
    if (case_chance(10))
        options->max_requests = (size_t)case_below(60);
}

static inline void case_draw(uint64_t seed, const struct case_may *may)
{
    struct random_case *c = &random_case;
    struct case_may has;

    memset(c, 0, sizeof(*c));
    c->rng = rng_stream(seed, RNG_TEST, 0);
    has = (struct case_may){
        .links = may->links && case_chance(50),
        .wide = may->wide && case_chance(50),
        .batches = may->batches && case_chance(35),
        .events = may->events && case_chance(35),
        .epochs = may->epochs && case_chance(35),
        .overheads = may->overheads && case_chance(30),
    };
    has.objectives = may->objectives && (may->any_rules || !has.batches) && case_chance(50);
    c->is_coarse = case_chance(50);
    c->epoch_count = has.epochs ? 2 + case_below(CASE_EPOCHS - 1) : 1;
    case_draw_devices();
    case_draw_costs(has.batches || case_chance(20));
    case_draw_placement(has.wide, has.batches);
    if (has.links && c->has_cluster)
        case_draw_links();
    case_draw_requests(has.batches, has.objectives);
    case_limit_items();
    if (has.events)
        case_draw_events();
    for (int i = 0; i < CASE_OVERHEADS; i++)
        c->overhead_ps[i] = -1;
    if (has.overheads)
        case_draw_overheads();
    if (may->rooms) {
        has.rooms = case_chance(70);
        case_draw_rooms(has.rooms);
    }
    case_draw_options(&has);
    if (may->any_rules)
        case_draw_any_rules(&has);
}

#endif
