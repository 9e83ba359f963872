/* kafetzis_yaml.c - a YAML configuration of the program: distributions of devices and links, and
 * the sizes and lengths of its transformers. Every key of the sections that are read must be known.
 */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "sim/import/kafetzis.h"
#include "sim/import/yaml_tree.h"
#include <assert.h>
#include <string.h>

#define MAX_TOKENS 1000000
#define MAX_LIST 64

struct section {
    const char *path; /* of the file */
    const char *name;
    const struct yaml_node *node;
};

/* ---- sections and keys ---- */

static const char *const section_names[] = { "network", "resources", "workload" };
enum { NETWORK, RESOURCES, WORKLOAD, SECTION_COUNT };

static const char *const keys[SECTION_COUNT][12] = {
    /* NULL-ended */
    [NETWORK] = { "topology_type", "num_devices", "min_bandwidth", "max_bandwidth",
                  "edge_probability", "seed" },
    [RESOURCES] = { "num_devices", "memory_mu", "memory_sigma", "memory_min", "memory_max",
                    "compute_mu", "compute_sigma", "compute_min", "compute_max", "seed" },
    [WORKLOAD] = { "model_types", "sequence_lengths", "generation_steps", "precision_bytes",
                   "seed" },
};

/* The sections that say something about the environment; others are noted. */
static bool find_sections(struct import_job *job, const char *path, const struct yaml_node *root,
                          struct section sections[SECTION_COUNT], struct err *err)
{
    const char *others = "";

    if (root->kind != YAML_MAP)
        return yaml_bad(root, path, err, "expected a map of network, resources and workload");
    for (int i = 0; i < root->count; i++) {
        int s = 0;

        while (s < SECTION_COUNT && strcmp(section_names[s], root->items[i].key) != 0)
            s++;
        if (s == SECTION_COUNT)
            others = arena_printf(job->arena, "%s%s%.60s", others, others[0] ? ", " : "",
                                  root->items[i].key);
        else
            sections[s] = (struct section){ path, section_names[s], &root->items[i] };
    }
    for (int s = 0; s < SECTION_COUNT; s++) {
        if (!sections[s].node)
            return err_at(err, path, 0, 0, "'%s' is missing%s%.200s", section_names[s],
                          others[0] ? ": beside it there are " : "", others);
        if (sections[s].node->kind != YAML_MAP)
            return yaml_bad(sections[s].node, path, err, "expected a map");
        if (!yaml_check_keys(sections[s].node, path, section_names[s], keys[s], err))
            return false;
    }
    if (others[0])
        import_note(job, "left out: %s", others);
    return true;
}

static const struct yaml_node *need(const struct section *section, const char *key, struct err *err)
{
    const struct yaml_node *node;

    assert(section->node); /* find_sections has found all */
    node = yaml_get(section->node, key);
    if (!node)
        err_at(err, section->path, section->node->line, 0, "%s.%s is missing", section->name, key);
    return node;
}

static bool need_int(const struct section *section, const char *key, int64_t min, int64_t max,
                     int64_t *value, struct err *err)
{
    const struct yaml_node *node = need(section, key, err);

    return node && yaml_int(node, section->path, min, max, value, err);
}

static bool need_double(const struct section *section, const char *key, double min, double max,
                        double *value, struct err *err)
{
    const struct yaml_node *node = need(section, key, err);

    return node && yaml_double(node, section->path, min, max, value, err);
}

static bool need_choice(const struct yaml_node *node, const char *path, const char *const *names,
                        int count, int *index, struct err *err)
{
    char choices[ERR_CHOICES_BYTES];

    for (*index = 0; *index < count; ++*index)
        if (node->kind == YAML_SCALAR && strcmp(node->text, names[*index]) == 0)
            return true;
    return yaml_bad(node, path, err, "%s", err_choices(node->text, names, count, choices));
}

/* ---- network, resources ---- */

static bool read_count(const struct section *section, struct kafetzis_recipe *recipe,
                       struct err *err)
{
    const struct yaml_node *node = yaml_get(section->node, "num_devices");
    int32_t fixed = kafetzis_topology_devices(recipe->topology);
    int64_t count;

    if (!node)
        return true;
    if (!yaml_int(node, section->path, KAFETZIS_MIN_DEVICES, KAFETZIS_MAX_DEVICES, &count, err))
        return false;
    if (fixed > 0 && count != fixed)
        return yaml_bad(node, section->path, err, "topology %s has %d devices",
                        kafetzis_topology_names[recipe->topology], (int)fixed);
    if (recipe->device_count > 0 && count != recipe->device_count)
        return yaml_bad(node, section->path, err, "network.num_devices is %d",
                        (int)recipe->device_count);
    recipe->device_count = (int32_t)count;
    return true;
}

static bool read_network(const struct section *section, struct kafetzis_recipe *recipe,
                         struct err *err)
{
    const struct yaml_node *topology = need(section, "topology_type", err);
    int64_t seed;
    int index;

    if (!topology || !need_choice(topology, section->path, kafetzis_topology_names,
                                  KAFETZIS_TOPOLOGY_COUNT, &index, err))
        return false;
    recipe->topology = (enum kafetzis_topology)index;
    if (!read_count(section, recipe, err) || !need_int(section, "seed", 0, UINT32_MAX, &seed, err))
        return false;
    recipe->link_seed = (uint32_t)seed;
    if (recipe->topology != KAFETZIS_TOY)
        return true;
    if (!need_double(section, "min_bandwidth", 1e-9, 1e5, &recipe->min_gib_per_s, err) ||
        !need_double(section, "max_bandwidth", 1e-9, 1e5, &recipe->max_gib_per_s, err))
        return false;
    return recipe->max_gib_per_s >= recipe->min_gib_per_s ||
           yaml_bad(yaml_get(section->node, "max_bandwidth"), section->path, err,
                    "min_bandwidth is larger");
}

static bool read_range(const struct section *section, const char *const names[4],
                       struct kafetzis_range *range, struct err *err)
{
    if (!need_double(section, names[0], -100, 100, &range->mu, err) ||
        !need_double(section, names[1], 0, 100, &range->sigma, err) ||
        !need_double(section, names[2], 0, 1e21, &range->min, err) ||
        !need_double(section, names[3], 0, 1e21, &range->max, err))
        return false;
    return range->max >= range->min || yaml_bad(yaml_get(section->node, names[3]), section->path,
                                                err, "%s is larger", names[2]);
}

static bool read_resources(const struct section *section, struct kafetzis_recipe *recipe,
                           struct err *err)
{
    static const char *const memory[] = { "memory_mu", "memory_sigma", "memory_min", "memory_max" };
    static const char *const compute[] = { "compute_mu", "compute_sigma", "compute_min",
                                           "compute_max" };
    int64_t seed;

    assert(section->node);
    if (!read_count(section, recipe, err) ||
        !read_range(section, memory, &recipe->memory_gib, err) ||
        !read_range(section, compute, &recipe->flop_per_s, err) ||
        !need_int(section, "seed", 0, UINT32_MAX, &seed, err))
        return false;
    recipe->device_seed = (uint32_t)seed;
    if (recipe->device_count == 0)
        recipe->device_count = kafetzis_topology_devices(recipe->topology);
    return recipe->device_count > 0 || err_at(err, section->path, section->node->line, 0,
                                              "num_devices is missing: in network or in resources");
}

/* ---- workload ---- */

/* One value, or a list of them. */
static bool list_of(const struct section *section, const char *key, const struct yaml_node **first,
                    int *count, struct err *err)
{
    const struct yaml_node *node = need(section, key, err);

    if (!node)
        return false;
    *first = node->kind == YAML_LIST ? node->items : node;
    *count = node->kind == YAML_LIST ? node->count : 1;
    return (*count > 0 && *count <= MAX_LIST) ||
           yaml_bad(node, section->path, err, "expected 1 to %d values", MAX_LIST);
}

static bool read_numbers(struct arena *arena, const struct section *section, const char *key,
                         int32_t **values, int32_t *count, struct err *err)
{
    const struct yaml_node *nodes;

    if (!list_of(section, key, &nodes, count, err))
        return false;
    *values = arena_array(arena, (size_t)*count, sizeof **values);
    for (int i = 0; i < *count; i++) {
        int64_t value;

        if (!yaml_int(&nodes[i], section->path, 1, MAX_TOKENS, &value, err))
            return false;
        (*values)[i] = (int32_t)value;
    }
    return true;
}

static bool read_models(struct arena *arena, const struct section *section, int32_t precision_bytes,
                        struct kafetzis_environment *environment, struct err *err)
{
    const char *names[KAFETZIS_SIZE_COUNT];
    const struct yaml_node *nodes;

    for (int i = 0; i < KAFETZIS_SIZE_COUNT; i++)
        names[i] = kafetzis_sizes[i].name;
    if (!list_of(section, "model_types", &nodes, &environment->model_count, err))
        return false;
    environment->models =
        arena_array(arena, (size_t)environment->model_count, sizeof *environment->models);
    for (int i = 0; i < environment->model_count; i++) {
        int size;

        if (!need_choice(&nodes[i], section->path, names, KAFETZIS_SIZE_COUNT, &size, err))
            return false;
        for (int k = 0; k < i; k++)
            if (strcmp(nodes[k].text, nodes[i].text) == 0)
                return yaml_bad(&nodes[i], section->path, err, "this model is there twice");
        environment->models[i] = kafetzis_model_of(arena, kafetzis_sizes[size].heads,
                                                   kafetzis_sizes[size].width, precision_bytes);
    }
    return true;
}

static bool read_workload(struct arena *arena, const struct section *section,
                          struct kafetzis_environment *environment, struct err *err)
{
    int64_t precision_bytes;

    if (!need_int(section, "precision_bytes", 1, 4, &precision_bytes, err))
        return false;
    if (precision_bytes == 3)
        return yaml_bad(yaml_get(section->node, "precision_bytes"), section->path, err,
                        "expected 1, 2 or 4");
    return read_models(arena, section, (int32_t)precision_bytes, environment, err) &&
           read_numbers(arena, section, "sequence_lengths", &environment->lengths,
                        &environment->length_count, err) &&
           read_numbers(arena, section, "generation_steps", &environment->steps,
                        &environment->step_count, err);
}

bool kafetzis_read_yaml(struct import_job *job, const char *path,
                        struct kafetzis_environment *environment, struct err *err)
{
    const struct yaml_node *root = yaml_load(job->arena, path, err);
    struct section sections[SECTION_COUNT] = { { NULL, NULL, NULL } };
    struct kafetzis_recipe recipe = { 0 };

    path = strcmp(path, "-") == 0 ? "stdin" : path;
    if (!root || !find_sections(job, path, root, sections, err) ||
        !read_network(&sections[NETWORK], &recipe, err) ||
        !read_resources(&sections[RESOURCES], &recipe, err) ||
        !read_workload(job->arena, &sections[WORKLOAD], environment, err))
        return false;
    kafetzis_draw(job->arena, &recipe, environment);
    job->report.read = -1;
    import_note(job, "%s of %d devices and %d links, drawn as the program does",
                kafetzis_topology_names[recipe.topology], environment->device_count,
                environment->link_count);
    import_note(job, "a configuration has no placement");
    import_meta(job, "topology", kafetzis_topology_names[recipe.topology]);
    import_meta(
        job, "seeds",
        arena_printf(job->arena, "network %u, resources %u", recipe.link_seed, recipe.device_seed));
    return true;
}
