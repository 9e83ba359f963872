/* test_random.c - what must hold of any run, whatever is placed, asked for, dropped or fails. */
#include "tests/unit/sim/case_files.h"

#include "lib/format/cluster.h"
#include "sim/report/report.h"

static const struct case_may anything = { .links = true,
                                          .wide = true,
                                          .batches = true,
                                          .events = true,
                                          .epochs = true,
                                          .objectives = true,
                                          .overheads = true,
                                          .any_rules = true };

static uint64_t seed_now;

#define MUST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition))                                                                          \
            fail_msg("case %llu: not so: %s", (unsigned long long)seed_now, #condition);           \
    } while (0)

/* The first medium, if it is not for all nodes, becomes a network of many ways between them. */
static void draw_network(uint64_t seed)
{
    static const enum case_medium kinds[] = { CASE_SWITCH, CASE_RING, CASE_MESH, CASE_OPTICAL };
    struct rng rng = rng_stream(seed, RNG_TEST, 77);
    enum case_medium kind = kinds[rng_below(&rng, 4)];
    bool lacks_node[CASE_NODES] = { false };

    fixture.options.network = (enum serve_network)rng_below(&rng, SERVE_NETWORK_COUNT);
    if (random_case.link_count == 0 || kind == CASE_SWITCH)
        return;
    for (int i = 0; i < random_case.link_count; i++)
        if (random_case.links[i].medium == 0 && random_case.links[i].node == CASE_EVERY)
            return;
    for (int i = 0; i < random_case.device_count; i++)
        lacks_node[random_case.devices[i].node] = true;
    for (int i = 0; i < random_case.link_count; i++) {
        if (random_case.links[i].medium != 0)
            continue;
        random_case.links[i].kind = kind;
        if (random_case.links[i].node >= 0)
            lacks_node[random_case.links[i].node] = false;
    }
    for (int node = 0; node < CASE_NODES; node++)
        if (lacks_node[node])
            case_draw_link(0, kind, node);
}

static void case_load(uint64_t seed, const struct case_may *may)
{
    seed_now = seed;
    case_draw(seed, may);
    case_begin();
    draw_network(seed);
    case_write(NULL);
    if (getenv("ORACLE_SEED"))
        case_show();
}

static void load_files(void)
{
    if (!fixture_load())
        fail_msg("case %llu: %s", (unsigned long long)seed_now, fixture.err.text);
}

static void run_observed(const struct serve_observer *observer)
{
    fixture.err = (struct err)ERR_INIT;
    if (!serve_run(fixture.arena, &fixture.scenario.input, &fixture.options, observer,
                   &fixture.result, &fixture.err))
        fail_msg("case %llu: %s", (unsigned long long)seed_now, fixture.err.text);
}

/* ---- all that a run writes ---- */

struct outcome {
    const char *requests, *stages, *transfers, *json, *summary;
};

/* The report without what names its inputs, and devices in the order of their names. */
static const char *summary_of(void)
{
    const struct cluster *cluster = fixture.scenario.input.plan->cluster;
    const struct serve_result *result = &fixture.result;
    struct out *out = out_open_memory(fixture.arena);

    out_printf(out, "%zu requests, end %lld, %lld events, %lld bytes, %lld migrations\n",
               result->taken_count, (long long)result->end_ps, (long long)result->event_count,
               (long long)result->moved_bytes, (long long)result->migrations);
    for (int d = 0; d < CASE_DEVICES; d++) {
        int i = cluster_find_device(cluster, text_int("d", d));

        if (i >= 0)
            out_printf(out, "d%d: %lld %lld %lld %lld\n", d, (long long)result->devices[i].busy_ps,
                       (long long)result->devices[i].gap_ps,
                       (long long)result->devices[i].offered_ps,
                       (long long)result->devices[i].wait_peak_ps);
    }
    for (int i = 0; i < result->link_count; i++)
        out_printf(out, "%s: %lld %lld\n", result->links[i].name,
                   (long long)result->links[i].busy_ps, (long long)result->links[i].bytes);
    return out_memory(out, NULL);
}

static const char *json_of(struct meter *meter)
{
    struct report report = { .seed = fixture.options.seed };
    struct out *out = out_open_memory(fixture.arena);

    report.inputs = &fixture.scenario.inputs;
    report_fill(fixture.arena, &report, &fixture.scenario.input, &fixture.result, meter);
    report_json(fixture.arena, &report, out);
    return out_memory(out, NULL);
}

static int block_count; /* that shorter ways have told of */

static void add_block(void *arg, const struct serve_block *block)
{
    block_count++;
    metrics_add_block(arg, block);
}

/* With stages and transfers, which takes events; or without them. */
static struct outcome run_case(bool has_traces, enum serve_fast fast_path)
{
    struct outcome outcome = { 0 };
    struct serve_observer observers[2] = { { 0 } }, observer;
    struct record *record;
    struct meter *meter;

    fixture.options.fast_path = fast_path;
    fixture.options.has_parts = fixture.metrics.has_all = true;
    record = record_create(fixture.arena, &fixture.scenario.input, has_traces, has_traces, NULL);
    meter = metrics_begin(fixture.arena, fixture.scenario.input.plan, &fixture.metrics);
    observers[0] = record_observer(record);
    observers[1] = metrics_observer(meter);
    observers[1].on_block = add_block;
    observer = watch_join(fixture.arena, observers, 2);
    run_observed(&observer);
    outcome.json = json_of(meter);
    outcome.summary = summary_of();
    if (fixture.options.keeps_requests)
        outcome.requests = fixture_requests();
    if (has_traces) {
        fixture.record = record;
        outcome.stages = fixture_stages_text();
        outcome.transfers = fixture_transfers();
    }
    return outcome;
}

static void assert_same_text(const char *what, const char *seen, const char *expected)
{
    if (!seen || !expected || strcmp(seen, expected) != 0)
        fail_msg("case %llu: other %s:\n%s\nnot\n%s", (unsigned long long)seed_now, what, seen,
                 expected);
}

static void assert_same_traces(const struct outcome *seen, const struct outcome *expected)
{
    assert_same_text("requests", seen->requests, expected->requests);
    assert_same_text("stages", seen->stages, expected->stages);
    assert_same_text("transfers", seen->transfers, expected->transfers);
    assert_same_text("summary", seen->summary, expected->summary);
}

static void the_order_of_columns_and_rows_is_no_matter(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 150; seed++) {
        struct outcome plain, permuted;
        struct rng order = rng_stream(seed, RNG_TEST, 1);

        case_load(seed, &anything);
        load_files();
        plain = run_case(true, SERVE_FAST_ON);
        case_write(&order);
        load_files();
        permuted = run_case(true, SERVE_FAST_ON);
        assert_same_traces(&permuted, &plain);
    }
}

static void a_device_that_nothing_is_placed_on_changes_nothing(void **state)
{
    (void)state;
    for (uint64_t seed = 1001; seed <= 1150; seed++) {
        struct outcome plain, more;

        case_load(seed, &anything);
        load_files();
        plain = run_case(true, SERVE_FAST_ON);
        case_has_spare_device = true;
        case_write(NULL);
        case_has_spare_device = false;
        load_files();
        more = run_case(true, SERVE_FAST_ON);
        assert_same_traces(&more, &plain);
    }
}

/* A switch to which every node has a way of its own, and devices that mostly have a node each. */
static void make_switch(void)
{
    static const int nodes[CASE_DEVICES] = { 0, 0, 1, 2, 3, 3 };

    random_case.link_count = 0;
    for (int i = 0; i < CASE_DEVICES; i++)
        random_case.devices[i].node = nodes[i];
    for (int node = 0; node < CASE_NODES; node++)
        case_draw_link(0, CASE_SWITCH, node);
    case_draw_link(0, CASE_SWITCH, CASE_SOURCE);
}

/* Open arrivals, and stages that are each fed by one device: what a closed form is there for. */
static void make_pipelines(bool is_simple)
{
    struct random_case *c = &random_case;
    int kept = 0;

    for (int r = 0; r < c->replica_count; r++)
        if (!is_simple || c->replicas[r].number == 0)
            c->replicas[kept++] = c->replicas[r];
    c->replica_count = kept;

    for (int i = c->device_count; i < CASE_DEVICES; i++)
        c->devices[i] = (struct case_device){ 0, c->devices[0].node, 2 };
    c->device_count = CASE_DEVICES;
    if (c->link_count > 0)
        make_switch();
    for (int r = 0; r < c->replica_count; r++)
        for (int s = 0; s < CASE_STAGES; s++) {
            struct case_stage *stage = &c->replicas[r].stages[s];

            if (stage->device_count > 2 || is_simple)
                stage->device_count = is_simple ? 1 : 2;
            for (int i = 0; i < stage->device_count; i++) /* one sender, on several ways */
                stage->devices[i] = 2 * s + ((s > 0 ? r : 0) + i) % 2;
        }
    for (int i = 0; i < c->request_count; i++) {
        struct case_request *request = &c->requests[i];

        request->client = request->session = -1;
        if (request->arrival_ps < 0)
            request->arrival_ps = i > 0 ? c->requests[i - 1].arrival_ps : 0;
        if (is_simple)
            request->prompt_tokens = 0;
    }
}

static void shorter_ways_write_the_same_bytes(void **state)
{
    static const struct case_may may = { .links = true, .wide = true, .overheads = true };
    int counts[SERVE_FAST_COUNT] = { 0 };

    (void)state;
    block_count = 0;
    for (uint64_t seed = 2001; seed <= 2600; seed++) {
        case_load(seed, &may);
        if (seed % 4)
            make_pipelines(seed % 4 == 1);
        case_write(NULL);
        load_files();
        if (seed % 3 > 0)
            fixture.options.network = SERVE_NETWORK_FIFO;
        for (int keeps = 0; keeps < 2; keeps++) { /* in blocks where nobody keeps requests */
            struct outcome events;

            fixture.options.keeps_requests = keeps == 1;
            events = run_case(false, SERVE_FAST_OFF);
            for (int way = SERVE_FAST_EVENTS; way < SERVE_FAST_COUNT; way++) {
                struct outcome fast = run_case(false, (enum serve_fast)way);

                counts[fixture.result.fast_path]++;
                if (keeps == 1)
                    assert_same_text("requests", fast.requests, events.requests);
                assert_same_text("report", fast.json, events.json);
                assert_same_text("summary", fast.summary, events.summary);
            }
        }
    }
    assert_true(counts[SERVE_FAST_ON] >= 150 && counts[SERVE_FAST_EVENTS] >= 200 &&
                block_count >= 30); /* or there was nothing to compare */
}

/* Events that change nothing make every device look at its queue anew. */
static void queues_that_are_looked_at_give_the_same_as_closed_forms(void **state)
{
    static const struct case_may may = { .links = true, .wide = true, .overheads = true };

    (void)state;
    for (uint64_t seed = 3001; seed <= 3200; seed++) {
        struct outcome plain, looked;

        case_load(seed, &may);
        load_files();
        plain = run_case(true, SERVE_FAST_OFF);
        fixture_write("e.csv", "time_s,target,event,value\n");
        fixture.files.events = fixture_path("e.csv");
        load_files();
        looked = run_case(true, SERVE_FAST_OFF);
        assert_same_text("requests", looked.requests, plain.requests);
        assert_same_text("stages", looked.stages, plain.stages);
        assert_same_text("transfers", looked.transfers, plain.transfers);
    }
}

static void queues_that_never_fill_give_the_same_as_unbounded_ones(void **state)
{
    (void)state;
    for (uint64_t seed = 9001; seed <= 9200; seed++) {
        struct outcome plain, bounded;

        case_load(seed, &anything);
        random_case.options.rules = SERVE_DEFAULT;
        case_write(NULL);
        load_files();
        plain = run_case(true, SERVE_FAST_ON);
        for (int r = 0; r < random_case.replica_count; r++)
            for (int s = 0; s < CASE_STAGES; s++)
                random_case.replicas[r].stages[s].queue_depth = CASE_REQUESTS * CASE_SIZES;
        case_write(NULL);
        load_files();
        bounded = run_case(true, SERVE_FAST_ON);
        assert_same_text("requests", bounded.requests, plain.requests);
        assert_same_text("stages", bounded.stages, plain.stages);
        assert_same_text("transfers", bounded.transfers, plain.transfers);
    }
}

/* ---- what must hold of every job ---- */

enum { MOST_SPANS = 4000 };

static struct {
    int count;
    struct serve_span at[MOST_SPANS];
    int end_counts[CASE_REQUESTS];
    int64_t lost_ps[CASE_DEVICES + 1]; /* by device: of jobs that were cut off */
    int64_t switch_ps[CASE_DEVICES + 1];
    int64_t gap_end_ps[CASE_DEVICES + 1];
} seen;

static void on_span(void *arg, const struct serve_span *span)
{
    (void)arg;
    if (span->finish_ps + span->gap_ps > seen.gap_end_ps[span->device])
        seen.gap_end_ps[span->device] = span->finish_ps + span->gap_ps;
    if (span->kind == SERVE_SPAN_SWITCH)
        seen.switch_ps[span->device] += span->finish_ps - span->start_ps;
    else if (span->kind == SERVE_SPAN_LOST && span->share == 0)
        seen.lost_ps[span->device] += span->finish_ps - span->start_ps;
    if (span->kind != SERVE_SPAN_JOB)
        return;
    assert_true(seen.count < MOST_SPANS);
    seen.at[seen.count++] = *span;
}

static void on_end(void *arg, const struct serve_end *end)
{
    const struct serve_request *request = &fixture.result.requests[end->index];

    (void)arg;
    MUST(++seen.end_counts[end->index] == 1);
    MUST(request->is_taken && request->status == end->status);
    MUST(request->finish_ps == end->finish_ps && request->start_ps == end->start_ps);
}

static int compare_spans(const void *left, const void *right)
{
    const struct serve_span *a = left, *b = right;

    if (a->device != b->device)
        return a->device < b->device ? -1 : 1;
    if (a->start_ps != b->start_ps)
        return a->start_ps < b->start_ps ? -1 : 1;
    return (a->finish_ps > b->finish_ps) - (a->finish_ps < b->finish_ps);
}

static int64_t ready_ps(const struct serve_span *span)
{
    return span->start_ps - span->wait_ps;
}

/* Each device does one thing at a time, behind its gap, in the order in which jobs became ready. */
static void assert_devices(void)
{
    bool has_order = fixture.options.rules != SERVE_ALPASERVE && fixture.options.batch.wait_ps == 0;
    const struct serve_span *before = NULL;

    qsort(seen.at, (size_t)seen.count, sizeof(seen.at[0]), compare_spans);
    for (int i = 0; i < seen.count; i++) {
        const struct serve_span *span = &seen.at[i];

        MUST(span->finish_ps >= span->start_ps && span->wait_ps >= 0 && span->gap_ps >= 0);
        if (span->share > 0)
            continue;
        if (before && before->device == span->device) {
            MUST(span->start_ps >= before->finish_ps + before->gap_ps);
            MUST(!has_order || before->start_ps == span->start_ps ||
                 ready_ps(span) >= ready_ps(before));
        }
        before = span;
    }
}

/* Devices are busy, and in gaps until the run ends, for what spans say. */
static void assert_busy(void)
{
    int64_t busy_ps[CASE_DEVICES + 1] = { 0 }, gap_ps[CASE_DEVICES + 1] = { 0 };
    int device_count = fixture.scenario.input.plan->cluster->device_count;

    for (int i = 0; i < seen.count; i++)
        if (seen.at[i].share == 0) {
            busy_ps[seen.at[i].device] += seen.at[i].finish_ps - seen.at[i].start_ps;
            gap_ps[seen.at[i].device] += seen.at[i].gap_ps;
        }
    for (int d = 0; d < device_count; d++) {
        int64_t over_ps = seen.gap_end_ps[d] - fixture.result.end_ps;

        MUST(busy_ps[d] + seen.lost_ps[d] == fixture.result.devices[d].busy_ps);
        MUST(gap_ps[d] + seen.switch_ps[d] - (over_ps > 0 ? over_ps : 0) ==
             fixture.result.devices[d].gap_ps);
    }
}

/* Items that were computed together fit into a profiled size of at most N; a larger request runs
 * alone. */
static void assert_batches(void)
{
    int64_t batch_items[MOST_SPANS] = { 0 };
    int batch_requests[MOST_SPANS] = { 0 };

    for (int i = 0; i < seen.count; i++)
        if (seen.at[i].batch_id >= 0 && seen.at[i].position == 0) {
            const struct plan_stage *stage = fixture.scenario.input.plan->stages[seen.at[i].stage];

            MUST(seen.at[i].batch_id < MOST_SPANS);
            if (stage->number > 0)
                continue;
            batch_items[seen.at[i].batch_id] += random_case.requests[seen.at[i].request].items;
            batch_requests[seen.at[i].batch_id]++;
        }
    for (int i = 0; i < seen.count; i++) {
        const struct plan_stage *stage = fixture.scenario.input.plan->stages[seen.at[i].stage];
        const struct case_replica *replica = &random_case.replicas[stage->replica];
        int most = replica->max_batch > 0 ? replica->max_batch : fixture.options.batch.max_size;
        const struct case_executable *executable = &random_case.executables[replica->executable];

        if (seen.at[i].batch_id < 0)
            continue;
        MUST(batch_items[seen.at[i].batch_id] <= executable->sizes[executable->size_count - 1]);
        MUST(batch_items[seen.at[i].batch_id] <= most || batch_requests[seen.at[i].batch_id] == 1);
    }
}

/* Stages follow each other; the first start and the finish are those of the request. */
static void assert_request(size_t index)
{
    const struct serve_request *request = &fixture.result.requests[index];
    const struct plan *plan = fixture.scenario.input.plan;
    int64_t first_ps = TRACE_NONE, last_ps = TRACE_NONE;
    int jobs = 0, expected = 0;

    if (request->replica >= 0)
        for (int s = 0; s < plan->replicas[request->replica].stage_count; s++)
            expected += plan->replicas[request->replica].stages[s].device_count;
    for (int i = 0; i < seen.count; i++) {
        const struct serve_span *span = &seen.at[i];

        if (span->request != index)
            continue;
        MUST(plan->stages[span->stage]->replica == request->replica);
        MUST(span->start_ps >= request->arrival_ps && span->finish_ps <= fixture.result.end_ps);
        if (first_ps == TRACE_NONE || span->start_ps < first_ps)
            first_ps = span->start_ps;
        if (span->finish_ps > last_ps)
            last_ps = span->finish_ps;
        jobs++;
    }
    for (int i = 0; i < seen.count; i++)
        for (int k = 0; k < seen.count && seen.at[i].request == index; k++)
            if (seen.at[k].request == index && seen.at[k].stage > seen.at[i].stage)
                MUST(ready_ps(&seen.at[k]) >= seen.at[i].finish_ps ||
                     fixture.options.rules == SERVE_ALPASERVE);
    switch (request->status) {
    case TRACE_OK:
        MUST(jobs == expected && request->start_ps == first_ps);
        MUST(request->finish_ps >= last_ps && request->finish_ps <= fixture.result.end_ps);
        break;
    case TRACE_DROPPED:
    case TRACE_REFUSED:
        MUST(jobs == 0 && request->start_ps == TRACE_NONE && request->finish_ps == TRACE_NONE);
        break;
    default:
        MUST(jobs < expected || expected == 0);
        MUST(request->finish_ps == TRACE_NONE && random_case.event_count > 0);
    }
}

static void every_job_of_any_case_keeps_the_rules(void **state)
{
    const struct serve_observer observer = { .on_span = on_span, .on_end = on_end };
    const char *one = getenv("ORACLE_SEED");
    int status_counts[TRACE_STATUS_COUNT] = { 0 };

    (void)state;
    for (uint64_t seed = 4001; seed <= 4800; seed++) {
        size_t ended = 0;

        if (one && strtoull(one, NULL, 10) != seed)
            continue;
        case_load(seed, &anything);
        load_files();
        memset(&seen, 0, sizeof(seen));
        run_observed(&observer);
        assert_devices();
        assert_busy();
        assert_batches();
        for (int i = 0; i < random_case.request_count; i++) {
            MUST(seen.end_counts[i] == (fixture.result.requests[i].is_taken ? 1 : 0));
            if (!fixture.result.requests[i].is_taken)
                continue;
            assert_request((size_t)i);
            status_counts[fixture.result.requests[i].status]++;
            ended++;
        }
        MUST(ended == fixture.result.taken_count);
        MUST(ended == (size_t)random_case.request_count ||
             fixture.options.until_ps != ENGINE_NEVER || ended == fixture.options.max_requests);
    }
    for (int i = 0; i < TRACE_STATUS_COUNT && !one; i++)
        assert_true(status_counts[i] > 100);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_order_of_columns_and_rows_is_no_matter),
        TEST(a_device_that_nothing_is_placed_on_changes_nothing),
        TEST(shorter_ways_write_the_same_bytes),
        TEST(queues_that_are_looked_at_give_the_same_as_closed_forms),
        TEST(queues_that_never_fill_give_the_same_as_unbounded_ones),
        TEST(every_job_of_any_case_keeps_the_rules),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
