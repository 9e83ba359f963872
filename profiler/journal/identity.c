/* identity.c - key and value lists of machine, model and options, and the first difference. */
#include "profiler/journal/identity.h"
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/out.h"
#include "lib/base/units.h"
#include "lib/format/model.h"
#include "profiler/device/facts.h"
#include <stdlib.h>
#include <string.h>

#define MEMORY_STEP_BYTES (INT64_C(256) << 20)
#define ENVIRONMENT "env_"

struct identity identity_create(struct arena *arena)
{
    return (struct identity){ arena, NULL, 0, 0 };
}

size_t identity_escape_byte(char byte, bool is_end, char to[3])
{
    static const char digits[] = "0123456789ABCDEF";
    unsigned char c = (unsigned char)byte;

    to[0] = byte;
    if (c >= ' ' && c < 127 && !strchr("%,\"", c) && (c != ' ' || !is_end))
        return 1;
    to[0] = '%';
    to[1] = digits[c >> 4];
    to[2] = digits[c & 15];
    return 3;
}

const char *identity_escape(struct arena *arena, const char *text)
{
    size_t length = strlen(text), used = 0;
    char *to = arena_alloc(arena, 3 * length + 1);

    for (size_t i = 0; i < length; i++)
        used += identity_escape_byte(text[i], i == 0 || i + 1 == length, to + used);
    to[used] = '\0';
    return to;
}

void identity_put_raw(struct identity *identity, enum identity_part part, const char *key,
                      const char *value)
{
    struct arena *arena = identity->arena;

    if (identity->count == identity->room) {
        int room = identity->room ? 2 * identity->room : 32;

        identity->list = arena_grow(arena, identity->list, (size_t)identity->count, (size_t)room,
                                    sizeof(*identity->list));
        identity->room = room;
    }
    identity->list[identity->count++] =
        (struct identity_pair){ part, arena_strdup(arena, key), arena_strdup(arena, value) };
}

void identity_put(struct identity *identity, enum identity_part part, const char *key,
                  const char *value)
{
    identity_put_raw(identity, part, identity_escape(identity->arena, key),
                     identity_escape(identity->arena, value ? value : ""));
}

static int compare_facts(const void *left, const void *right)
{
    const struct fact *a = *(const struct fact *const *)left;
    const struct fact *b = *(const struct fact *const *)right;

    return strcmp(a->key, b->key);
}

/* In the order of their names: the environment has none. */
static void put_environment(struct identity *identity, const struct facts *facts)
{
    const struct fact **set =
        arena_array(identity->arena, (size_t)facts->count + 1, sizeof(struct fact *));
    size_t count = 0;

    for (int i = 0; i < facts->count; i++)
        if (strncmp(facts->list[i].key, ENVIRONMENT, strlen(ENVIRONMENT)) == 0 &&
            facts->list[i].value[0])
            set[count++] = &facts->list[i];
    qsort(set, count, sizeof(struct fact *), compare_facts);
    for (size_t i = 0; i < count; i++)
        identity_put(identity, IDENTITY_MACHINE, set[i]->key + strlen(ENVIRONMENT), set[i]->value);
}

void identity_put_machine(struct identity *identity, const struct facts *facts)
{
    static const char *const keys[] = { "board",     "arch",        "cpu",      "cpu_part",
                                        "llc_bytes", "blas_config", "blas_core" };
    int64_t memory_bytes;

    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        identity_put(identity, IDENTITY_MACHINE, keys[i], facts_get(facts, keys[i]));
    identity_put(identity, IDENTITY_MACHINE, "cores_online", facts_get(facts, "cores_online"));
    if (units_parse_int(facts_get(facts, "memory_total_bytes"), &memory_bytes)) {
        int64_t steps = (memory_bytes + MEMORY_STEP_BYTES / 2) / MEMORY_STEP_BYTES;

        identity_put(
            identity, IDENTITY_MACHINE, "memory_mib",
            arena_printf(identity->arena, "%lld", (long long)(steps * (MEMORY_STEP_BYTES >> 20))));
    }
    put_environment(identity, facts);
}

void identity_put_model(struct identity *identity, const struct model *model)
{
    identity_put(identity, IDENTITY_MODEL, "model", model->name);
    identity_put(identity, IDENTITY_MODEL, "shape",
                 arena_printf(identity->arena,
                              "kind %d ffn %d norm %d positions %d layers %d hidden %d heads %d "
                              "kv_heads %d head_dim %d ffn_hidden %d vocab %d tied %d",
                              (int)model->kind, (int)model->ffn, (int)model->norm,
                              (int)model->positions, model->layers, model->hidden, model->heads,
                              model->kv_heads, model->head_dim, model->ffn_hidden, model->vocab,
                              model->tied_lm_head));
}

void identity_write(struct out *out, const struct identity *identity)
{
    for (int i = 0; i < identity->count; i++)
        out_printf(out, "# %s: %s\n", identity->list[i].key, identity->list[i].value);
}

/* Value of a key, or NULL. */
static const char *find(const struct identity *identity, const char *key)
{
    for (int i = 0; i < identity->count; i++)
        if (strcmp(identity->list[i].key, key) == 0)
            return identity->list[i].value;
    return NULL;
}

static bool differ(const struct identity_pair *pair, const char *here, const char *there,
                   const char *path, struct err *err)
{
    const char *what = "";

    switch (pair->part) {
    case IDENTITY_TOOL:
        what = "by another version";
        break;
    case IDENTITY_MACHINE:
        what = "on another machine";
        break;
    case IDENTITY_MODEL:
        what = "for another model";
        break;
    case IDENTITY_OPTIONS:
        what = "with other options";
        break;
    }
    return err_set(err, ERR_INPUT, "%s: measured %s: %s is '%.160s' here, '%.160s' there", path,
                   what, pair->key, here, there);
}

bool identity_check(const struct identity *here, const struct identity *there, const char *path,
                    struct err *err)
{
    for (int i = 0; i < here->count; i++) {
        const struct identity_pair *pair = &here->list[i];
        const char *other = find(there, pair->key);

        if (!other || strcmp(other, pair->value) != 0)
            return differ(pair, pair->value, other ? other : "", path, err);
    }
    /* a variable that was set there and is not here */
    for (int i = 0; i < there->count; i++)
        if (!find(here, there->list[i].key))
            return differ(&there->list[i], "", there->list[i].value, path, err);
    return true;
}
