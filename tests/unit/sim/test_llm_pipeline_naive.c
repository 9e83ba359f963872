/* test_llm_pipeline_naive.c - pipelines of continuous batches against a simulation that looks for
 * the next thing to happen among all of them: random stages on shared devices, one radio channel,
 * bounded queues. The decisions are lib/policy's in both. */
#include "tests/unit/sim/llm_fixture.h"

#include "lib/base/rng.h"
#include "lib/format/trace.h"
#include "lib/policy/continuous.h"

#define ROUNDS 120
#define REQUESTS 40
#define DEVICES 4
#define MOST 4 /* replicas, stages */
#define NEVER INT64_MAX
#define BYTE_PS 8000000 /* at 1e6 bits/s */
#define LATENCY_PS INT64_C(1000003)

static int draw(struct rng *rng, int low, int high)
{
    return low + (int)rng_below(rng, (uint64_t)(high - low + 1));
}

struct naive_stage {
    int device, layers, room; /* room 0 = any */
};

struct naive_replica {
    int stage_count;
    struct naive_stage stages[MOST];
    struct continuous *batcher;
    int in_flight;
};

enum where { NOWHERE, ON_LINK, IN_QUEUE, IN_JOB, IN_WAY, ON_WAY_BACK };

struct naive_batch {
    const struct continuous_batch *batch;
    enum where where;
    int replica, stage;
    int64_t until_ps; /* of link or job */
    int64_t order;    /* of queueing, or of finding no room */
};

struct world {
    struct continuous_options options;
    int replica_count, slow;
    bool has_links;
    struct naive_replica replicas[MOST];
    struct naive_batch batches[MOST * MOST];
    int64_t at_ps[REQUESTS];
    int prompts[REQUESTS], outputs[REQUESTS];
    int64_t starts_ps[REQUESTS], firsts_ps[REQUESTS], finishes_ps[REQUESTS], busy_ps[DEVICES];
    int64_t now_ps, free_ps, order; /* free_ps: of the channel */
    int woken[MOST], woken_count;   /* replicas that decide at this instant, in order of waking */
    bool is_full;                   /* somebody found no room in this world */
};

static int64_t cost_ps(const struct world *w, const struct naive_batch *b)
{
    const struct naive_replica *r = &w->replicas[b->replica];
    const struct naive_stage *stage = &r->stages[b->stage];
    int64_t time_ps = stage->layers * (b->batch->tokens * MS + 7) + (b->stage == 0) +
                      2 * (b->stage + 1 == r->stage_count);

    return stage->device == w->slow ? 2 * time_ps : time_ps;
}

static struct naive_batch *running(struct world *w, int device)
{
    for (int i = 0; i < MOST * MOST; i++) {
        struct naive_batch *b = &w->batches[i];

        if ((b->where == IN_JOB || b->where == IN_WAY) &&
            w->replicas[b->replica].stages[b->stage].device == device)
            return b;
    }
    return NULL;
}

static int coming(const struct world *w, int replica, int stage)
{
    int count = 0;

    for (int i = 0; i < MOST * MOST; i++) {
        const struct naive_batch *b = &w->batches[i];

        count += b->replica == replica && b->stage == stage &&
                 (b->where == ON_LINK || b->where == IN_QUEUE);
    }
    return count;
}

static bool has_room(const struct world *w, int replica, int stage)
{
    int room = w->replicas[replica].stages[stage].room;

    return room == 0 || coming(w, replica, stage) < room;
}

/* Under way until when; the present when nothing has to be sent. */
static int64_t send_ps(struct world *w, int64_t bytes, bool is_inside)
{
    if (!w->has_links || is_inside)
        return w->now_ps;
    w->free_ps = (w->free_ps > w->now_ps ? w->free_ps : w->now_ps) + bytes * BYTE_PS;
    return w->free_ps + LATENCY_PS;
}

static void wake(struct world *w, int replica)
{
    for (int i = 0; i < w->woken_count; i++)
        if (w->woken[i] == replica)
            return;
    w->woken[w->woken_count++] = replica;
}

static void go_on(struct world *w);

static void come_back(struct world *w, struct naive_batch *b)
{
    struct naive_replica *r = &w->replicas[b->replica];
    const struct continuous_ends *ends = continuous_step_done(r->batcher);

    for (int i = 0; i < ends->first_count; i++)
        w->firsts_ps[ends->firsts[i]] = w->now_ps;
    for (int i = 0; i < ends->finished_count; i++)
        w->finishes_ps[ends->finished[i]] = w->now_ps;
    b->where = NOWHERE;
    r->in_flight--;
    wake(w, b->replica);
}

static void send_in(struct world *w, struct naive_batch *b, bool is_inside)
{
    int64_t each = b->stage == 0 ? 4 : 32;

    b->until_ps = send_ps(w, each * b->batch->tokens, is_inside);
    b->where = b->until_ps > w->now_ps ? ON_LINK : IN_QUEUE;
    b->order = w->order++;
    go_on(w);
}

static void leave(struct world *w, struct naive_batch *b)
{
    const struct naive_replica *r = &w->replicas[b->replica];

    if (b->stage + 1 == r->stage_count) {
        b->until_ps = send_ps(w, 4 * b->batch->count, false);
        b->where = ON_WAY_BACK;
        if (b->until_ps == w->now_ps)
            come_back(w, b);
        go_on(w);
    } else if (has_room(w, b->replica, b->stage + 1)) {
        int from = r->stages[b->stage++].device;

        send_in(w, b, from == r->stages[b->stage].device);
    } else {
        b->where = IN_WAY;
        b->order = w->order++;
        w->is_full = true;
    }
}

/* Idle devices take who has waited longest; who found no room before a stage and may go, goes. */
static void go_on(struct world *w)
{
    for (int device = 0; device < DEVICES; device++) {
        struct naive_batch *first = NULL;

        for (int i = 0; i < MOST * MOST; i++) {
            struct naive_batch *b = &w->batches[i];

            if (b->where == IN_QUEUE && w->replicas[b->replica].stages[b->stage].device == device &&
                (!first || b->order < first->order))
                first = b;
        }
        if (!first || running(w, device))
            continue;
        first->where = IN_JOB;
        first->until_ps = w->now_ps + cost_ps(w, first);
        w->busy_ps[device] += first->until_ps - w->now_ps;
        if (first->stage == 0)
            wake(w, first->replica);
        for (int i = 0; i < first->batch->entry_count && first->stage == 0; i++)
            if (first->batch->entries[i].is_new)
                w->starts_ps[first->batch->entries[i].tag] = w->now_ps;
    }
    for (int i = 0; i < MOST * MOST; i++) {
        struct naive_batch *b = &w->batches[i];

        if (b->where == IN_WAY && has_room(w, b->replica, b->stage + 1)) {
            leave(w, b);
            return;
        }
    }
}

static void decide(struct world *w, int index)
{
    struct naive_replica *r = &w->replicas[index];

    while (r->in_flight < r->stage_count && has_room(w, index, 0)) {
        const struct continuous_batch *batch = continuous_schedule(r->batcher);
        struct naive_batch *b = w->batches;

        if (batch->count == 0)
            return;
        while (b->where != NOWHERE)
            b++;
        *b = (struct naive_batch){ .batch = batch, .replica = index };
        r->in_flight++;
        send_in(w, b, false);
    }
}

/* The next thing to happen: jobs that end in order of devices, then messages. */
static struct naive_batch *next_of(struct world *w)
{
    struct naive_batch *next = NULL;

    for (int device = 0; device < DEVICES; device++) {
        struct naive_batch *b = running(w, device);

        if (b && b->where == IN_JOB && (!next || b->until_ps < next->until_ps))
            next = b;
    }
    for (int i = 0; i < MOST * MOST; i++) {
        struct naive_batch *b = &w->batches[i];

        if ((b->where == ON_LINK || b->where == ON_WAY_BACK) &&
            (!next || b->until_ps < next->until_ps))
            next = b;
    }
    return next;
}

/* False: it has come to a standstill. */
static bool simulate(struct world *w)
{
    int next = 0;

    for (;;) {
        struct naive_batch *b = next_of(w);
        int64_t at_ps = b ? b->until_ps : NEVER;

        if (next < REQUESTS && w->at_ps[next] < at_ps)
            at_ps = w->at_ps[next];
        if (at_ps > w->now_ps) /* all of this instant has happened */
            for (; w->woken_count > 0; w->woken_count--) {
                decide(w, w->woken[0]);
                for (int i = 1; i < w->woken_count; i++)
                    w->woken[i - 1] = w->woken[i];
            }
        b = next_of(w);
        if (!b && next == REQUESTS)
            break;
        if (b && (next == REQUESTS || b->until_ps <= w->at_ps[next])) {
            w->now_ps = b->until_ps;
            if (b->where == IN_JOB) {
                leave(w, b);
            } else if (b->where == ON_LINK) {
                b->where = IN_QUEUE;
                b->order = w->order++;
                go_on(w);
            } else {
                come_back(w, b);
            }
        } else {
            w->now_ps = w->at_ps[next];
            continuous_arrive(w->replicas[next % w->replica_count].batcher, w->prompts[next],
                              w->outputs[next], next);
            wake(w, next++ % w->replica_count);
        }
    }
    for (int r = 0; r < w->replica_count; r++)
        if (!continuous_is_idle(w->replicas[r].batcher))
            return false;
    return true;
}

/* ---- the same for both ---- */

static void draw_world(struct rng *rng, struct world *w)
{
    const char *rows = "service,replica,stage,device,model,layers,block,queue_depth\n";
    const char *requests = W;
    int64_t at_ps = 0;

    w->replica_count = draw(rng, 1, 3);
    w->slow = draw(rng, 0, DEVICES - 1);
    w->has_links = draw(rng, 0, 1) > 0;
    for (int r = 0; r < w->replica_count; r++) {
        struct naive_replica *replica = &w->replicas[r];

        for (int layer = 0; layer < 4;) {
            int number = replica->stage_count++, end = draw(rng, layer, 3);
            struct naive_stage *stage = &replica->stages[number];
            const char *depth;

            *stage = (struct naive_stage){ draw(rng, 0, DEVICES - 1), end - layer + 1,
                                           draw(rng, 0, 1) * draw(rng, 0, 2) };
            depth = stage->room > 0 ? arena_printf(fixture.arena, "%d", stage->room) : "";
            if (number == 0)
                rows = arena_printf(fixture.arena, "%ss,%d,0,d%d,quad,,embed,%s\n", rows, r,
                                    stage->device, depth);
            rows = arena_printf(fixture.arena, "%ss,%d,%d,d%d,quad,%d-%d,layer,%s\n", rows, r,
                                number, stage->device, layer, end, depth);
            if (end == 3)
                rows = arena_printf(fixture.arena, "%ss,%d,%d,d%d,quad,,lm_head,%s\n", rows, r,
                                    number, stage->device, depth);
            layer = end + 1;
        }
    }
    for (int i = 0; i < REQUESTS; i++) {
        at_ps += draw(rng, 0, 3) * draw(rng, 0, 40) * MS + draw(rng, 1, 9999) * INT64_C(1000);
        w->at_ps[i] = at_ps;
        w->prompts[i] = draw(rng, 1, 30);
        w->outputs[i] = draw(rng, 1, 12);
        requests =
            arena_printf(fixture.arena, "%s%d,%lld.%09lld,s,%d,%d\n", requests, i,
                         (long long)(at_ps / UNITS_PS_PER_S),
                         (long long)(at_ps % UNITS_PS_PER_S / 1000), w->prompts[i], w->outputs[i]);
    }
    fixture_write("p.csv", rows);
    fixture_write("w.csv", requests);
    fixture_cluster(arena_printf(fixture.arena,
                                 "device,type,speed_ratio\nd0,t,%s\nd1,t,%s\nd2,t,%s\nd3,t,%s\n",
                                 w->slow == 0 ? "0.5" : "1", w->slow == 1 ? "0.5" : "1",
                                 w->slow == 2 ? "0.5" : "1", w->slow == 3 ? "0.5" : "1"),
                    w->has_links ? "medium,kind,node,bits_per_s,latency_s\n"
                                   "air,wifi,*,1e6,0.000001000003\n"
                                 : NULL);
}

static void pipelines_do_what_a_naive_simulation_does(void **state)
{
    struct rng rng = rng_stream(7, RNG_TEST, 0);
    int stuck = 0, full = 0;
    int64_t preemptions = 0;

    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        struct world *w;
        bool is_done;

        if (round > 0) {
            fixture_tear_down(NULL);
            fixture_set_up(NULL);
        }
        w = arena_alloc(fixture.arena, sizeof *w);
        llm_setup_files(draw(&rng, 1, 6), draw(&rng, 6, 40), draw(&rng, 15, 40));
        fixture.options.kv.has_prefix_cache = false;
        fixture.options.network = SERVE_NETWORK_FIFO;
        fixture.options.dispatch = DISPATCH_ROUND_ROBIN;
        draw_world(&rng, w);
        w->options = (struct continuous_options){
            .max_seqs = fixture.options.batch.max_seqs,
            .token_budget = fixture.options.batch.token_budget,
            .block_tokens = 4,
            .block_count = fixture.options.kv.block_count,
            .has_chunks = true,
        };
        for (int r = 0; r < w->replica_count; r++) {
            w->options.max_in_flight = w->replicas[r].stage_count;
            w->replicas[r].batcher = continuous_create(fixture.arena, &w->options);
        }
        is_done = simulate(w);
        full += w->is_full;
        assert_int_equal(llm_run_files(), is_done);
        if (!is_done) {
            assert_non_null(strstr(fixture.err.text, "blocked: "));
            stuck++;
            continue;
        }
        for (int i = 0; i < REQUESTS; i++) {
            const struct serve_request *request = &fixture.result.requests[i];

            assert_int_equal(request->status, TRACE_OK);
            assert_int_equal(request->start_ps, w->starts_ps[i]);
            assert_int_equal(request->first_token_ps, w->firsts_ps[i]);
            assert_int_equal(request->finish_ps, w->finishes_ps[i]);
        }
        for (int i = 0; i < DEVICES; i++)
            assert_int_equal(fixture.result.devices[i].busy_ps, w->busy_ps[i]);
        preemptions += llm_counts(fixture.result.continuous).preemptions;
    }
    assert_in_range(full, ROUNDS / 20, INT32_MAX);
    assert_in_range(stuck, 0, ROUNDS / 10);
    assert_in_range(preemptions, 1, INT32_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(pipelines_do_what_a_naive_simulation_does, fixture_set_up,
                                        fixture_tear_down),
    };

    return cmocka_run_group_tests_name("llm_pipeline_naive", tests, NULL, NULL);
}
