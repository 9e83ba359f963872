/* crew_setup.c - before time starts: which stages stand on several devices, and what these hold. */
#include "sim/serve/crew.h"

#include "lib/format/cluster.h"
#include "lib/format/cost.h"
#include "sim/network/network.h"
#include <assert.h>

static void parts_fill_of(struct serve *serve, struct crew *crew)
{
    const struct plan *plan = serve->input->plan;
    const struct site *site = crew->site;
    size_t count = (size_t)site->device_count;

    crew->parts = arena_array(serve->arena, count, sizeof(*crew->parts));
    crew->strays = arena_array(serve->arena, count, sizeof(*crew->strays));
    crew->pieces = arena_array(serve->arena, count, sizeof(*crew->pieces));
    crew->flights = arena_array(serve->arena, count, sizeof(*crew->flights));
    crew->tables = arena_array(serve->arena, count, sizeof(const struct cost_table *));
    crew->weight_bytes = arena_array(serve->arena, count, sizeof(int64_t));
    crew->kv_bytes_per_token = arena_array(serve->arena, count, sizeof(int64_t));
    for (int32_t i = 0; i < site->device_count; i++) {
        int32_t device = site->devices[i];

        crew->tables[i] = cost_set_find(serve->input->costs, plan->cluster->devices[device].type);
        assert(crew->tables[i]); /* plan.c has looked */
        crew->weight_bytes[i] = plan_stage_weight_bytes(plan, site->stage, device);
        crew->kv_bytes_per_token[i] = plan_device_kv_bytes_per_token(plan, site->stage, device);
        crew->parts[i] = (struct site){ .device = device,
                                        .device_count = 1,
                                        .devices = &site->devices[i],
                                        .stage = site->stage,
                                        .replica = site->replica,
                                        .service = site->service,
                                        .is_last = true,
                                        .route_in = -1,
                                        .route_back = CREW_PART,
                                        .crew = crew,
                                        .position = i };
        crew->strays[i] = crew->parts[i];
        crew->strays[i].route_back = CREW_STRAY;
    }
}

void crew_build(struct serve *serve)
{
    const struct plan *plan = serve->input->plan;

    serve->sliced = sliced_create(serve->arena, serve->options->collective,
                                  serve->options->has_overlap, plan->stage_count);
    serve->crews = arena_array(serve->arena, (size_t)plan->stage_count, sizeof(struct crew *));
    for (int i = 0; i < plan->stage_count; i++) {
        struct site *site = &serve->sites[i];
        struct crew *crew;

        if (!site->is_model || site->device_count == 1)
            continue;
        crew = arena_alloc(serve->arena, sizeof(*crew));
        crew->site = site;
        crew->kept = NO_FLIGHT;
        crew->sliced = sliced_add(serve->sliced, site->stage, site->model,
                                  serve->options->batch.kind == BATCH_CONTINUOUS ||
                                      serve->lanes[site->replica].max_batch > 1);
        site->crew = crew;
        parts_fill_of(serve, crew);
        serve->crews[serve->crew_count++] = crew;
    }
}

bool crew_network(struct serve *serve, const struct network_options *options,
                  const struct network_pair *pairs, int count, struct err *err)
{
    sliced_routes(serve->sliced, serve->network);
    if (serve->crew_count == 0 || serve->options->fast_path != SERVE_FAST_ON ||
        serve->options->has_overlap || serve->input->events || serve->observer.on_transfer ||
        network_has_circuits(serve->network))
        return true;
    return sliced_alone_setup(serve->sliced, serve->input->plan->cluster, options, pairs, count,
                              err);
}
