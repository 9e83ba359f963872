/* infscale_job.c - the YAML of a job of InfScale: workers with layers, and the graph of who sends
 * to whom. Workers that are joined without the server are a replica; those of one that have the
 * same layers are copies of a stage. */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "sim/import/bundle.h"
#include "sim/import/infscale.h"
#include "sim/import/yaml_tree.h"
#include <assert.h>
#include <string.h>

#define MAX_LAYERS 100000
#define MAX_WORKERS 10000
#define MAX_BATCH 1000000

struct edge {
    int32_t from, to;
};

struct reader {
    struct import_job *job;
    const char *path;
    const struct yaml_node *workers, *graph;
    struct infscale_job *to;
    int32_t server;
    struct edge *edges;
    int32_t edge_count, edge_room;
    struct err *err;
};

static int32_t worker_find(const struct reader *reader, const char *id)
{
    int32_t w = 0;

    while (w < reader->to->worker_count && strcmp(reader->to->workers[w].id, id) != 0)
        w++;
    return w < reader->to->worker_count ? w : -1;
}

static bool unknown_worker(const struct reader *reader, const struct yaml_node *node,
                           const char *id)
{
    const struct infscale_job *to = reader->to;
    const char **list = arena_array(reader->job->arena, (size_t)to->worker_count + 1, sizeof *list);
    char choices[ERR_CHOICES_BYTES];

    for (int32_t w = 0; w < to->worker_count; w++)
        list[w] = to->workers[w].id;
    return err_at(reader->err, reader->path, node->line, node->column, "'%.60s' is no worker: %s",
                  id, err_choices(id, list, to->worker_count, choices));
}

/* ---- workers ---- */

static const char *text_of(const struct yaml_node *map, const char *key)
{
    const struct yaml_node *node = yaml_get(map, key);

    return node && node->kind == YAML_SCALAR && node->text[0] ? node->text : NULL;
}

static bool is_true(const char *text)
{
    return text && (strcmp(text, "true") == 0 || strcmp(text, "True") == 0);
}

static bool read_worker(struct reader *reader, const struct yaml_node *node)
{
    struct infscale_worker *worker = &reader->to->workers[reader->to->worker_count];
    const struct yaml_node *stage = yaml_get(node, "stage"), *start, *end;
    int64_t first = -1, last = -1;
    const char *id = text_of(node, "id");

    if (node->kind != YAML_MAP || !id)
        return yaml_bad(node, reader->path, reader->err, "expected a worker with an id");
    if (!bundle_is_name(id))
        return yaml_bad(yaml_get(node, "id"), reader->path, reader->err,
                        "expected a name without blanks");
    if (text_of(node, "device") && !bundle_is_name(text_of(node, "device")))
        return yaml_bad(yaml_get(node, "device"), reader->path, reader->err,
                        "expected a name without blanks");
    if (worker_find(reader, id) >= 0)
        return yaml_bad(yaml_get(node, "id"), reader->path, reader->err,
                        "the worker is there twice");
    *worker = (struct infscale_worker){ .id = id,
                                        .device = text_of(node, "device"),
                                        .is_server = is_true(text_of(node, "is_server")) };
    if (worker->is_server) {
        if (reader->server >= 0)
            return yaml_bad(yaml_get(node, "id"), reader->path, reader->err,
                            "a second server: expected one");
        reader->server = reader->to->worker_count++;
        return true;
    }
    start = stage ? yaml_get(stage, "start") : NULL;
    end = stage ? yaml_get(stage, "end") : NULL;
    if (!start || !end)
        return yaml_bad(node, reader->path, reader->err, "expected a stage with start and end");
    if (!yaml_int(start, reader->path, 0, MAX_LAYERS, &first, reader->err) ||
        !yaml_int(end, reader->path, first, MAX_LAYERS, &last, reader->err))
        return false;
    worker->layer_first = (int32_t)first;
    worker->layer_last = (int32_t)last;
    reader->to->worker_count++;
    return true;
}

static bool read_workers(struct reader *reader)
{
    const struct yaml_node *list = reader->workers;

    if (list->kind != YAML_LIST || list->count > MAX_WORKERS)
        return yaml_bad(list, reader->path, reader->err, "expected a list of at most %d workers",
                        MAX_WORKERS);
    reader->to->workers =
        arena_array(reader->job->arena, (size_t)list->count + 1, sizeof *reader->to->workers);
    for (int i = 0; i < list->count; i++)
        if (!read_worker(reader, &list->items[i]))
            return false;
    if (reader->server < 0 || reader->to->worker_count < 2)
        return yaml_bad(list, reader->path, reader->err,
                        "expected a server (is_server) and workers with stages");
    return true;
}

/* ---- who sends to whom ---- */

static bool has_edge(const struct reader *reader, int32_t from, int32_t to)
{
    for (int32_t e = 0; e < reader->edge_count; e++)
        if (reader->edges[e].from == from && reader->edges[e].to == to)
            return true;
    return false;
}

static void add_edge(struct reader *reader, int32_t from, int32_t to)
{
    if (has_edge(reader, from, to))
        return;
    if (reader->edge_count == reader->edge_room) {
        int32_t room = arena_wider(reader->edge_room, 64);

        reader->edges = arena_grow(reader->job->arena, reader->edges, (size_t)reader->edge_room,
                                   (size_t)room, sizeof *reader->edges);
        reader->edge_room = room;
    }
    reader->edges[reader->edge_count++] = (struct edge){ from, to };
}

/* A world: the receiver, and the peers that send to it. */
static bool read_world(struct reader *reader, int32_t receiver, const struct yaml_node *world)
{
    const struct yaml_node *peers = yaml_get(world, "peers");
    struct infscale_worker *worker = &reader->to->workers[receiver];

    if (!peers || peers->kind != YAML_LIST)
        return yaml_bad(world, reader->path, reader->err, "expected a world with a list of peers");
    if (!worker->node)
        worker->node = text_of(world, "addr");
    if (worker->node && !bundle_is_name(worker->node))
        return yaml_bad(yaml_get(world, "addr"), reader->path, reader->err,
                        "expected a name without blanks");
    for (int i = 0; i < peers->count; i++) {
        int32_t peer = worker_find(reader, peers->items[i].text);

        if (peer < 0)
            return unknown_worker(reader, &peers->items[i], peers->items[i].text);
        if (peer == receiver)
            return yaml_bad(&peers->items[i], reader->path, reader->err,
                            "a worker that sends to itself");
        add_edge(reader, peer, receiver);
    }
    return true;
}

static bool read_graph(struct reader *reader)
{
    const struct yaml_node *graph = reader->graph;

    if (graph->kind != YAML_MAP)
        return yaml_bad(graph, reader->path, reader->err, "expected a map of receivers");
    for (int i = 0; i < graph->count; i++) {
        const struct yaml_node *worlds = &graph->items[i];
        int32_t receiver = worker_find(reader, worlds->key);

        if (receiver < 0)
            return unknown_worker(reader, worlds, worlds->key);
        if (worlds->kind != YAML_LIST)
            return yaml_bad(worlds, reader->path, reader->err, "expected a list of worlds");
        for (int w = 0; w < worlds->count; w++)
            if (!read_world(reader, receiver, &worlds->items[w]))
                return false;
    }
    return true;
}

/* ---- replicas, stages, copies ---- */

/* Workers that are joined by edges, the server's left out, get the number of the first of them;
 * these numbers are then made dense. */
static void number_replicas(struct reader *reader)
{
    struct infscale_job *to = reader->to;
    bool has_changed = true;
    int32_t count = 0;

    for (int32_t w = 0; w < to->worker_count; w++)
        to->workers[w].replica = w;
    while (has_changed) {
        has_changed = false;
        for (int32_t e = 0; e < reader->edge_count; e++) {
            int32_t *a = &to->workers[reader->edges[e].from].replica;
            int32_t *b = &to->workers[reader->edges[e].to].replica;

            if (reader->edges[e].from == reader->server || reader->edges[e].to == reader->server ||
                *a == *b)
                continue;
            *a = *b = *a < *b ? *a : *b;
            has_changed = true;
        }
    }
    for (int32_t w = 0; w < to->worker_count; w++) {
        int32_t first = to->workers[w].replica;

        if (w == reader->server)
            continue;
        if (first == w)
            to->workers[w].replica = count++;
        else
            to->workers[w].replica = to->workers[first].replica;
    }
}

static const struct yaml_node *node_of(const struct reader *reader, int32_t worker)
{
    return &reader->workers->items[worker];
}

static bool is_of(const struct reader *reader, int32_t worker, int32_t replica)
{
    return worker != reader->server && reader->to->workers[worker].replica == replica;
}

/* Stages of a replica begin where the one before ends, with layer 0. */
static bool number_stages(struct reader *reader, int32_t replica, int32_t *last_layer)
{
    struct infscale_job *to = reader->to;
    int32_t next = 0, stage = 0, left = 0;

    for (int32_t w = 0; w < to->worker_count; w++)
        left += is_of(reader, w, replica);
    while (left > 0) {
        int32_t last = -1, copy = 0, least = -1;

        for (int32_t w = 0; w < to->worker_count; w++) {
            struct infscale_worker *worker = &to->workers[w];

            if (!is_of(reader, w, replica))
                continue;
            if (worker->layer_first > next &&
                (least < 0 || worker->layer_first < to->workers[least].layer_first))
                least = w;
            if (worker->layer_first != next)
                continue;
            if (last >= 0 && worker->layer_last != last)
                return err_at(reader->err, reader->path, node_of(reader, w)->line, 0,
                              "worker '%.60s' has layers %d to %d: those that begin there end with "
                              "%d",
                              worker->id, (int)next, (int)worker->layer_last, (int)last);
            last = worker->layer_last;
            worker->stage = stage;
            worker->copy = copy++;
        }
        if (last < 0) {
            int32_t w = least;

            for (int32_t i = 0; w < 0 && i < to->worker_count; i++)
                if (is_of(reader, i, replica) && to->workers[i].layer_first < next)
                    w = i;
            assert(w >= 0);
            return err_at(reader->err, reader->path, node_of(reader, w)->line, 0,
                          "worker '%.60s' begins with layer %d: its replica has no stage, or two, "
                          "for layer %d",
                          to->workers[w].id, (int)to->workers[w].layer_first, (int)next);
        }
        left -= copy;
        next = last + 1;
        stage++;
    }
    *last_layer = next - 1;
    to->stage_count = stage > to->stage_count ? stage : to->stage_count;
    return true;
}

static bool needs_edge(const struct reader *reader, int32_t from, int32_t to, int32_t at)
{
    return has_edge(reader, from, to) ||
           err_at(reader->err, reader->path, node_of(reader, at)->line, 0,
                  "worker '%.60s' gets nothing from '%.60s': every copy of a stage sends to every "
                  "one of the next",
                  reader->to->workers[to].id, reader->to->workers[from].id);
}

/* Edges go from each copy to each of the next stage, and no others. */
static bool check_edges(const struct reader *reader)
{
    const struct infscale_job *job = reader->to;

    for (int32_t a = 0; a < job->worker_count; a++)
        for (int32_t b = 0; b < job->worker_count; b++) {
            const struct infscale_worker *from = &job->workers[a], *to = &job->workers[b];
            bool is_next;

            if (a == reader->server || b == reader->server || a == b)
                continue;
            is_next = from->replica == to->replica && to->stage == from->stage + 1;
            if (is_next && !needs_edge(reader, a, b, b))
                return false;
            if (!is_next && has_edge(reader, a, b))
                return err_at(reader->err, reader->path, node_of(reader, b)->line, 0,
                              "worker '%.60s' gets from '%.60s', which is not of the stage before",
                              to->id, from->id);
        }
    return true;
}

static bool check_ends(const struct reader *reader, int32_t last_layer)
{
    for (int32_t w = 0; w < reader->to->worker_count; w++) {
        const struct infscale_worker *worker = &reader->to->workers[w];

        if (w == reader->server)
            continue;
        if (worker->layer_first == 0 && !has_edge(reader, reader->server, w))
            return err_at(reader->err, reader->path, node_of(reader, w)->line, 0,
                          "worker '%.60s' has the first layers and gets nothing from the server",
                          worker->id);
        if (worker->layer_last == last_layer && !has_edge(reader, w, reader->server))
            return err_at(reader->err, reader->path, node_of(reader, w)->line, 0,
                          "worker '%.60s' has the last layers and sends nothing to the server",
                          worker->id);
    }
    return true;
}

static bool number_all(struct reader *reader)
{
    int32_t last_layer = -1, first_last = -1;

    number_replicas(reader);
    for (int32_t w = 0; w < reader->to->worker_count; w++) {
        int32_t replica = reader->to->workers[w].replica;
        bool is_first = w != reader->server;

        for (int32_t before = 0; before < w; before++)
            is_first = is_first && !is_of(reader, before, replica);
        if (!is_first)
            continue;
        if (!number_stages(reader, replica, &last_layer))
            return false;
        if (first_last >= 0 && last_layer != first_last)
            return err_at(reader->err, reader->path, node_of(reader, w)->line, 0,
                          "the replica of worker '%.60s' ends with layer %d, another one with %d",
                          reader->to->workers[w].id, (int)last_layer, (int)first_last);
        first_last = last_layer;
    }
    return check_edges(reader) && check_ends(reader, last_layer);
}

/* ---- the job ---- */

/* How the program chooses among workers, in words of ours. */
static bool note_policy(struct reader *reader, const struct yaml_node *root)
{
    static const char *const policies[] = { "random", "rr", "shortest", "static" };
    static const char *const ours[] = { "--dispatch random", "--dispatch round-robin",
                                        "--dispatch least-outstanding", NULL };
    const struct yaml_node *node = yaml_get(root, "fwd_policy");
    char choices[ERR_CHOICES_BYTES];

    if (!node)
        return true;
    for (int i = 0; i < 4; i++)
        if (node->kind == YAML_SCALAR && strcmp(node->text, policies[i]) == 0) {
            import_note(reader->job, "fwd_policy %s: %s", policies[i],
                        ours[i] ? ours[i] : "there is no such --dispatch");
            return true;
        }
    return yaml_bad(node, reader->path, reader->err, "%s",
                    err_choices(node->text, policies, 4, choices));
}

/* What says nothing of a placement. */
static void note_others(struct import_job *job, const struct yaml_node *root)
{
    static const char *const known[] = { "name",       "model",      "micro_batch_size",
                                         "fwd_policy", "flow_graph", "workers" };
    const char *others = "";

    for (int i = 0; i < root->count; i++) {
        size_t k = 0;

        while (k < sizeof known / sizeof known[0] && strcmp(known[k], root->items[i].key) != 0)
            k++;
        if (k == sizeof known / sizeof known[0])
            others = arena_printf(job->arena, "%s%s%.60s", others, others[0] ? ", " : "",
                                  root->items[i].key);
    }
    if (others[0])
        import_note(job, "left out: %s", others);
}

bool infscale_read_job(struct import_job *job, const char *path, struct infscale_job *to,
                       struct err *err)
{
    struct reader reader = { .job = job, .path = path, .to = to, .server = -1, .err = err };
    const struct yaml_node *root = yaml_load(job->arena, path, err), *batch;
    int64_t items = 0;

    *to = (struct infscale_job){ 0 };
    if (!root)
        return false;
    if (yaml_get(root, "job"))
        root = yaml_get(root, "job");
    reader.workers = yaml_get(root, "workers");
    reader.graph = yaml_get(root, "flow_graph");
    if (!reader.workers || !reader.graph)
        return yaml_bad(root, path, err, "expected a job with workers and flow_graph");
    to->model = text_of(root, "model");
    batch = yaml_get(root, "micro_batch_size");
    if (batch && !yaml_int(batch, path, 1, MAX_BATCH, &items, err))
        return false;
    to->batch = (int32_t)items;
    note_others(job, root);
    return note_policy(&reader, root) && read_workers(&reader) && read_graph(&reader) &&
           number_all(&reader);
}
