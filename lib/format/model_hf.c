/* model_hf.c - see model_hf.h. Each family of models spells its shape in keys of its own; the table
 * below says which. Weights are f32 unless torch_dtype is a 16-bit type, because f32 is what the
 * kernels of this version compute in when the file does not say. */
#include "lib/format/model_hf.h"
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/json.h"
#include "lib/format/model.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define PATCH_PIXELS 16 /* the embedding of a patch is 16 x 16 x 3 values */

struct family { /* "" = the family has no such key */
    const char *type;
    enum model_kind kind;
    enum model_ffn ffn;
    enum model_norm norm;
    enum model_positions positions;
    bool is_tied; /* unless tie_word_embeddings says otherwise */
    const char *layers, *hidden, *heads, *kv_heads, *ffn_hidden, *context;
};

#define GPT2_KEYS "n_layer", "n_embd", "n_head", "", "n_inner", "n_positions"
#define COMMON_KEYS(kv_heads)                                                                      \
    "num_hidden_layers", "hidden_size", "num_attention_heads", kv_heads, "intermediate_size"
#define LLAMA_KEYS COMMON_KEYS("num_key_value_heads"), "max_position_embeddings"
#define LLAMA_LIKE MODEL_DECODER, MODEL_SWIGLU, MODEL_RMSNORM, MODEL_ROPE
#define BERT_LIKE(kind) kind, MODEL_GELU, MODEL_LAYERNORM, MODEL_LEARNED

static const struct family families[] = {
    { "gpt2", BERT_LIKE(MODEL_DECODER), true, GPT2_KEYS },
    { "llama", LLAMA_LIKE, false, LLAMA_KEYS },
    { "mistral", LLAMA_LIKE, false, LLAMA_KEYS },
    { "qwen2", LLAMA_LIKE, false, LLAMA_KEYS },
    { "phi", MODEL_DECODER, MODEL_GELU, MODEL_LAYERNORM, MODEL_ROPE, false, LLAMA_KEYS },
    { "bert", BERT_LIKE(MODEL_ENCODER), false, COMMON_KEYS(""), "max_position_embeddings" },
    { "vit", BERT_LIKE(MODEL_VISION), false, COMMON_KEYS(""), "" },
    { "deit", BERT_LIKE(MODEL_VISION), false, COMMON_KEYS(""), "" },
};
#define FAMILY_COUNT ((int)(sizeof families / sizeof families[0]))

struct config {
    struct arena *arena;
    const struct json *json;
    const char *path;
    struct err *err;
};

/* A whole number from 1 to max; fallback 0 makes the key a must. Returns 1 after an error. */
static int32_t get_int(const struct config *config, const char *key, int32_t fallback, int32_t max)
{
    const struct json *value = key[0] ? json_get(config->json, key) : NULL;
    int64_t number;

    if (!value && fallback > 0)
        return fallback;
    if (!value) {
        err_at(config->err, config->path, 0, 0, "missing key '%s'", key);
        return 1;
    }
    if (json_int(value, &number) && number >= 1 && number <= max)
        return (int32_t)number;
    err_at(config->err, config->path, 0, 0, "%s: expected a whole number from 1 to %" PRId32, key,
           max);
    return 1;
}

static int32_t get_size(const struct config *config, const char *key, int32_t fallback)
{
    return get_int(config, key, fallback, MODEL_SIZE_MAX);
}

static const struct family *find_family(const struct config *config)
{
    const char *type = json_text(json_get(config->json, "model_type"));
    const char *names[FAMILY_COUNT];
    char choices[ERR_CHOICES_BYTES];

    if (!type) {
        err_at(config->err, config->path, 0, 0, "missing key 'model_type'");
        return NULL;
    }
    for (int i = 0; i < FAMILY_COUNT; i++) {
        names[i] = families[i].type;
        if (strcmp(names[i], type) == 0)
            return &families[i];
    }
    err_at(config->err, config->path, 0, 0, "model_type is '%.60s': %s", type,
           err_choices(type, names, FAMILY_COUNT, choices));
    return NULL;
}

/* Patches of a square image, and the class token. */
static int32_t get_image_tokens(const struct config *config)
{
    int64_t image = get_size(config, "image_size", 224);
    int64_t patch = get_size(config, "patch_size", PATCH_PIXELS);
    int64_t side = image / patch;

    if (config->err->kind == ERR_NONE && (side < 1 || side > 4096))
        err_at(config->err, config->path, 0, 0,
               "image_size is %" PRId64 " and patch_size %" PRId64
               ": expected 1 to 4096 patches a side",
               image, patch);
    return (int32_t)(side * side + 1);
}

/* Transformers leaves the count out and lists the labels; ImageNet's 1000 are the usual ones. */
static int32_t get_classes(const struct config *config)
{
    return get_int(config, "num_labels", 1000, MODEL_VOCAB_MAX);
}

static bool get_tied(const struct config *config, bool fallback)
{
    const struct json *value = json_get(config->json, "tie_word_embeddings");
    bool is_tied = fallback;

    if (value && !json_bool(value, &is_tied))
        err_at(config->err, config->path, 0, 0, "tie_word_embeddings: expected true or false");
    return is_tied;
}

/* torch_dtype, and its name in files of 2025 and later, dtype. */
static int32_t get_bits(const struct config *config)
{
    const char *dtype = json_text(json_get(config->json, "torch_dtype"));

    if (!dtype)
        dtype = json_text(json_get(config->json, "dtype"));
    return dtype && (strcmp(dtype, "float16") == 0 || strcmp(dtype, "bfloat16") == 0) ? 16 : 32;
}

static void check_heads(const struct config *config, const struct model *model, bool has_head_dim)
{
    if ((int64_t)model->heads * model->head_dim > MODEL_SIZE_MAX)
        err_at(config->err, config->path, 0, 0, "head_dim: expected heads x head_dim of at most %d",
               MODEL_SIZE_MAX);
    if (!has_head_dim && model->hidden % model->heads != 0)
        err_at(config->err, config->path, 0, 0,
               "%" PRId32 " heads do not divide a hidden size of %" PRId32
               ": expected a key 'head_dim'",
               model->heads, model->hidden);
    if (model->heads % model->kv_heads != 0)
        err_at(config->err, config->path, 0, 0,
               "%" PRId32 " heads are no multiple of %" PRId32 " key-value heads", model->heads,
               model->kv_heads);
}

static void read_shape(const struct config *config, const struct family *family,
                       struct model *model)
{
    bool has_head_dim = json_get(config->json, "head_dim") != NULL;
    bool is_gpt2 = strcmp(family->ffn_hidden, "n_inner") == 0;

    model->layers = get_int(config, family->layers, 0, MODEL_LAYERS_MAX);
    model->hidden = get_size(config, family->hidden, 0);
    model->heads = get_size(config, family->heads, 0);
    if (config->err->kind != ERR_NONE)
        return;
    model->kv_heads = get_size(config, family->kv_heads, model->heads);
    model->head_dim = get_size(config, "head_dim",
                               model->hidden >= model->heads ? model->hidden / model->heads : 1);
    /* GPT-2 leaves n_inner null for the usual factor of 4. */
    model->ffn_hidden = get_size(config, family->ffn_hidden, is_gpt2 ? 4 * model->hidden : 0);
    if (config->err->kind == ERR_NONE)
        check_heads(config, model, has_head_dim);
}

struct model *model_hf_load(struct arena *arena, const char *path, struct err *err)
{
    struct config config = { arena, json_load(arena, path, err), path, err };
    const struct family *family = config.json ? find_family(&config) : NULL;
    struct model *model = arena_alloc(arena, sizeof *model);

    if (!family)
        return NULL;
    model->name = arena_strdup(arena, path);
    model->kind = family->kind;
    model->ffn = family->ffn;
    model->norm = family->norm;
    model->positions = family->positions;
    read_shape(&config, family, model);
    model->weight_bits = get_bits(&config);
    model->kv_bits = model->weight_bits;
    if (family->kind == MODEL_VISION) {
        model->vocab = get_classes(&config);
        model->max_context = get_image_tokens(&config);
    } else {
        model->vocab = get_int(&config, "vocab_size", 0, MODEL_VOCAB_MAX);
        model->max_context = get_int(&config, family->context, 0, INT32_MAX);
        model->tied_lm_head = family->kind == MODEL_DECODER && get_tied(&config, family->is_tied);
    }
    return err->kind == ERR_NONE ? model : NULL;
}
