/* shard_step.c - a step through a stage of whole layers, checked before memory or a kernel depends
 * on it: of one request, or of a batch, whose products are done at once. */
#include "lib/base/err.h"
#include "lib/kernels/codec.h"
#include "lib/kernels/forward.h"
#include "lib/policy/quantise.h"
#include "runner/setup/setup.h"
#include "runner/worker/kv.h"
#include "runner/worker/shard_internal.h"
#include <inttypes.h>
#include <string.h>

void shard_compute(struct shard *shard, int index, int sequences, int rows)
{
    const struct setup_stage *setup = &shard->setup->stages[index];
    struct shard_stage *stage = &shard->stages[index];
    struct shard_model *model = stage->model;
    bool is_padded = setup->batch_size > 1;
    struct forward_step step = { .batch = sequences,
                                 .tokens = rows,
                                 .past = model->past,
                                 .counts = model->counts,
                                 .own = model->own };
    const struct forward_stamp none = { NULL, NULL };

    for (int b = 0; b < sequences; b++) {
        model->past[b] = model->entries[b].past_tokens;
        model->own[b] = model->entries[b].tokens;
        model->counts[b] = is_padded ? rows / sequences : model->own[b];
        if (is_padded && model->past[b] + model->counts[b] > step.keys)
            step.keys = model->past[b] + model->counts[b]; /* of the longest */
    }
    if (setup->has_embed)
        forward_embed(model->forward, &stage->ends, model->tokens, model->patches, model->x, &step,
                      none);
    for (int i = 0; i < setup->layer_count; i++) {
        for (int b = 0; b < sequences; b++)
            model->layer_caches[b] = model->caches[b][i];
        forward_layer(model->forward, &stage->layers[i], model->layer_caches, model->x, &step,
                      none);
        if (shard->between)
            shard->between(shard->between_arg);
    }
    if (setup->has_lm_head)
        forward_lm_head(model->forward, &stage->ends, model->x, &step, model->best, none);
}

bool shard_step_ok(const struct shard *shard, int index, const struct frame *frame, struct err *err)
{
    const struct setup_model *model;

    shard = shard_look_at(shard, &index);
    model = &shard->setup->models[shard->setup->stages[index].model];
    return (frame->new_tokens >= 1 && frame->new_tokens <= model->max_tokens &&
            frame->total_tokens <= model->max_total_tokens &&
            frame->past_tokens + frame->new_tokens <= frame->total_tokens) ||
           err_set(err, ERR_INPUT,
                   "stage %d: a step of %d tokens on %d of %d: expected at most %d on %d",
                   frame->stage, frame->new_tokens, frame->past_tokens, frame->total_tokens,
                   model->max_tokens, model->max_total_tokens);
}

static bool tokens_ok(const struct shard_model *model, const int32_t *tokens, int count,
                      struct err *err)
{
    for (int i = 0; i < count && !model->shape.is_patches; i++)
        if (tokens[i] < 0 || tokens[i] >= model->shape.vocab)
            return err_set(err, ERR_INPUT, "token %d: expected 0 to %d", tokens[i],
                           model->shape.vocab - 1);
    return true;
}

/* What stands in front of the packed words. */
#define RANGE_WORDS (QUANTISE_SCALE_BYTES / 4)

/* A tensor of a message: as it is, or a range and packed values. Returns its bytes. */
static int64_t read_tensor(struct shard *shard, int index, const unsigned char *payload,
                           int64_t values, float *to)
{
    int bits = shard->setup->stages[index].wire_bits_in;
    int32_t *words = shard->stages[index].model->words;
    int64_t bytes = quantise_bytes(values, bits);
    struct codec_range range;

    if (bits == 0) {
        frame_get_words(to, payload, (size_t)values);
        return bytes;
    }
    frame_get_words(&range, payload, RANGE_WORDS);
    frame_get_words(words, payload + QUANTISE_SCALE_BYTES,
                    (size_t)(bytes - QUANTISE_SCALE_BYTES) / 4);
    codec_decode((const uint32_t *)words, values, bits, range, to);
    return bytes;
}

static bool is_long(const struct frame *frame, int64_t bytes, struct err *err)
{
    int64_t head_bytes = INT64_C(4) * FRAME_ENTRY_WORDS * frame->entries;

    return frame->payload_bytes == head_bytes + bytes ||
           err_set(err, ERR_INPUT, "stage %d: %" PRId64 " bytes of input: expected %" PRId64,
                   frame->stage, frame->payload_bytes, head_bytes + bytes);
}

bool shard_input(struct shard *shard, int index, const struct frame *frame,
                 const unsigned char *payload, void *words, struct err *err)
{
    const struct setup_stage *stage;
    const struct shard_model *model;
    int64_t values;

    shard = shard_at(shard, &index);
    stage = &shard->setup->stages[index];
    model = shard->stages[index].model;
    values = (int64_t)frame->new_tokens * model->shape.hidden;
    payload += INT64_C(4) * FRAME_ENTRY_WORDS * frame->entries;
    if (!stage->has_embed) {
        if (!is_long(frame, quantise_bytes(values, stage->wire_bits_in), err))
            return false;
        read_tensor(shard, index, payload, values, words);
        return true;
    }
    if (!is_long(frame, 4 * (int64_t)frame->new_tokens, err))
        return false;
    frame_get_words(words, payload, (size_t)frame->new_tokens);
    return tokens_ok(model, words, frame->new_tokens, err);
}

bool shard_input_two(struct shard *shard, int index, const struct frame *frame,
                     const unsigned char *payload, struct shard_tensor output,
                     struct shard_tensor residual, struct err *err)
{
    int bits;

    shard = shard_at(shard, &index);
    bits = shard->setup->stages[index].wire_bits_in;
    if (!is_long(frame, quantise_bytes(output.count, bits) + quantise_bytes(residual.count, bits),
                 err))
        return false;
    payload += INT64_C(4) * FRAME_ENTRY_WORDS * frame->entries;
    payload += read_tensor(shard, index, payload, output.count, output.values);
    read_tensor(shard, index, payload, residual.count, residual.values);
    return true;
}

/* Behind so many words that are there already; returns how many there are then. */
static size_t pack_behind(struct shard *shard, int index, float *x, int64_t values, size_t head)
{
    const struct setup_stage *stage = &shard->setup->stages[index];
    int32_t *words = shard->stages[index].model->words;
    struct codec_range range;

    if (stage->wire_bits == 0) {
        memcpy(words + head, x, (size_t)values * sizeof *x);
        return head + (size_t)values;
    }
    if (shard->setup->has_clamp)
        codec_clamp(x, values, stage->wire_bits);
    range = codec_encode(x, values, stage->wire_bits, (uint32_t *)words + head + RANGE_WORDS);
    memcpy(words + head, &range, sizeof range);
    return head + (size_t)quantise_bytes(values, stage->wire_bits) / 4;
}

/* The entries of a batch go before what it makes. */
static size_t put_head(struct shard *shard, int index, struct shard_head head)
{
    size_t count = (size_t)FRAME_ENTRY_WORDS * (size_t)head.entries;

    if (count > 0)
        memcpy(shard->stages[index].model->words, head.words, 4 * count);
    return count;
}

struct shard_output shard_pack_two(struct shard *shard, int index, struct shard_head head,
                                   struct shard_tensor output, struct shard_tensor residual)
{
    size_t count;

    shard = shard_at(shard, &index);
    count = put_head(shard, index, head);
    count = pack_behind(shard, index, output.values, output.count, count);
    count = pack_behind(shard, index, residual.values, residual.count, count);
    return (struct shard_output){ shard->stages[index].model->words, 4 * count, 1 };
}

struct shard_output shard_pack_tokens(struct shard *shard, int index, struct shard_head head,
                                      const int32_t *tokens, int sequences)
{
    size_t count;

    shard = shard_at(shard, &index);
    count = put_head(shard, index, head);
    memcpy(shard->stages[index].model->words + count, tokens, (size_t)sequences * sizeof *tokens);
    return (struct shard_output){ shard->stages[index].model->words,
                                  4 * (count + (size_t)sequences), sequences };
}

struct shard_output shard_pack(struct shard *shard, int index, struct shard_head head, float *x,
                               int64_t values)
{
    size_t count;

    shard = shard_at(shard, &index);
    if (shard->setup->stages[index].wire_bits == 0 && head.entries == 0)
        return (struct shard_output){ x, 4 * (size_t)values, 1 };
    count = pack_behind(shard, index, x, values, put_head(shard, index, head));
    return (struct shard_output){ shard->stages[index].model->words, 4 * count, 1 };
}

/* ---- steps of one request and of many ---- */

static bool entry_ok(const struct setup_model *model, const struct frame_entry *entry,
                     struct err *err)
{
    return (entry->request >= 0 && entry->tokens >= 0 && entry->past_tokens >= 0 &&
            entry->total_tokens >= 0 && entry->total_tokens <= model->max_total_tokens &&
            entry->tokens <= entry->total_tokens - entry->past_tokens) ||
           err_set(err, ERR_INPUT,
                   "a batch asks for %d tokens on %d of %d: expected at most %d in all",
                   entry->tokens, entry->past_tokens, entry->total_tokens, model->max_total_tokens);
}

/* Tokens of a batch that computes: of a padded one each counts as the longest. */
static bool rows_ok(const struct setup_stage *stage, const struct setup_model *model,
                    const struct frame_entry *entries, int sequences, int64_t tokens,
                    const struct frame *frame, struct err *err)
{
    int64_t longest = 0, past = 0;

    for (int b = 0; b < sequences; b++) {
        longest = entries[b].tokens > longest ? entries[b].tokens : longest;
        past = entries[b].past_tokens > past ? entries[b].past_tokens : past;
    }
    if (stage->batch_size > 1)
        tokens = longest * sequences;
    if (stage->batch_size > 1 && past + longest > model->max_total_tokens)
        return err_set(err, ERR_INPUT,
                       "a batch padded to %" PRId64 " tokens on %" PRId64 ": expected %d in all",
                       longest, past, model->max_total_tokens);
    return (sequences > 0 && tokens == frame->new_tokens && tokens <= model->max_tokens) ||
           err_set(err, ERR_INPUT, "a batch of %" PRId64 " tokens: expected 1 to %d", tokens,
                   model->max_tokens);
}

/* Those that compute go into the model's list; the others lose their caches. */
static bool read_entries(struct shard *shard, int index, const struct frame *frame,
                         const unsigned char *payload, int *sequences, struct err *err)
{
    const struct setup_model *setup = &shard->setup->models[shard->setup->stages[index].model];
    struct shard_model *model = shard->stages[index].model;
    int64_t tokens = 0;

    *sequences = 0;
    if (!shard->setup->stages[index].has_batches ||
        frame->entries > shard_max_entries(setup->max_seqs) ||
        frame->payload_bytes < INT64_C(4) * FRAME_ENTRY_WORDS * frame->entries)
        return err_set(err, ERR_INPUT, "stage %d: a batch of %d in %" PRId64 " bytes", frame->stage,
                       frame->entries, frame->payload_bytes);
    for (int i = 0; i < frame->entries; i++) {
        int32_t words[FRAME_ENTRY_WORDS];
        struct frame_entry entry;

        frame_get_words(words, payload + (ptrdiff_t)i * (ptrdiff_t)sizeof words, FRAME_ENTRY_WORDS);
        frame_get_entry(words, &entry);
        if (!entry_ok(setup, &entry, err))
            return false;
        if (entry.tokens == 0) {
            shard_release_stage(shard, index, entry.request);
            continue;
        }
        if (*sequences == setup->max_seqs)
            return err_set(err, ERR_INPUT, "a batch of more than %d requests", setup->max_seqs);
        model->entries[(*sequences)++] = entry;
        tokens += entry.tokens;
    }
    return rows_ok(&shard->setup->stages[index], setup, model->entries, *sequences, tokens, frame,
                   err);
}

bool shard_read_step(struct shard *shard, int index, const struct frame *frame,
                     const unsigned char *payload, int *sequences, struct err *err)
{
    shard = shard_at(shard, &index);
    if (frame->entries > 0)
        return read_entries(shard, index, frame, payload, sequences, err);
    *sequences = 1;
    shard->stages[index].model->entries[0] =
        (struct frame_entry){ frame->request, frame->new_tokens, frame->past_tokens,
                              frame->total_tokens };
    return shard_step_ok(shard, index, frame, err);
}

/* The caches of a step's requests. Of a batch all are as large as the largest, so that as many as
 * fit are always enough. */
static enum shard_result find_caches(struct shard *shard, int index, const struct frame *frame,
                                     int sequences, struct err *err)
{
    const struct setup_model *setup = &shard->setup->models[shard->setup->stages[index].model];
    struct shard_stage *stage = &shard->stages[index];
    bool is_of_prompts = shard->setup->stages[index].phase == SETUP_PROMPTS;

    for (int b = 0; b < sequences && stage->kv; b++) {
        const struct frame_entry *entry = &stage->model->entries[b];
        const struct forward_kv *kv = kv_pool_find(stage->kv, entry->request);

        if (!kv && entry->past_tokens > 0)
            return SHARD_STALE;
        if (!kv)
            kv = kv_pool_take(stage->kv, entry->request,
                              frame->entries > 0 ? setup->max_total_tokens
                              : is_of_prompts    ? entry->tokens
                                                 : entry->total_tokens);
        if (!kv && frame->entries > 0) {
            err_set(err, ERR_SYSTEM, "stage %d: no memory for the caches of a batch", frame->stage);
            return SHARD_BAD;
        }
        if (!kv)
            return SHARD_REFUSED;
        if (kv->capacity < entry->past_tokens + entry->tokens) {
            err_set(err, ERR_INPUT, "stage %d: request %" PRId64 " outgrew its cache of %d tokens",
                    frame->stage, entry->request, kv->capacity);
            return SHARD_BAD;
        }
        stage->model->caches[b] = kv;
    }
    return SHARD_DONE;
}

/* Activations of a batch follow its entries, those that only lose their caches included. */
static void set_output(struct shard *shard, int index, const struct frame *frame,
                       const unsigned char *payload, int sequences, struct shard_output *output)
{
    struct shard_model *model = shard->stages[index].model;
    size_t head = (size_t)FRAME_ENTRY_WORDS * (size_t)frame->entries;
    int64_t values = (int64_t)frame->new_tokens * model->shape.hidden;

    if (shard->setup->stages[index].is_last && shard->setup->stages[index].batch_size > 1) {
        /* who made it up has told nobody: its members go with it */
        frame_get_words(model->words, payload, head);
        memcpy(model->words + head, model->best, (size_t)sequences * sizeof *model->best);
        *output = (struct shard_output){ model->words, 4 * (head + (size_t)sequences), sequences };
        return;
    }
    if (shard->setup->stages[index].is_last) {
        *output = (struct shard_output){ model->best, (size_t)sequences * sizeof *model->best,
                                         sequences };
        return;
    }
    if (frame->entries == 0) {
        *output = shard_pack(shard, index, (struct shard_head){ 0 }, model->x, values);
        return;
    }
    frame_get_words(model->words, payload, head);
    *output =
        (struct shard_output){ model->words, 4 * pack_behind(shard, index, model->x, values, head),
                               sequences };
}

/* A model that makes one step of a request looks at nothing of it later. */
static void drop_caches(struct shard *shard, int index, int sequences)
{
    struct shard_stage *stage = &shard->stages[index];
    bool decodes =
        shard->setup->models[shard->setup->stages[index].model].model.kind == MODEL_DECODER;

    for (int b = 0; b < sequences && stage->kv && !decodes; b++)
        kv_pool_release(stage->kv, stage->model->entries[b].request);
}

enum shard_result shard_step(struct shard *shard, int index, const struct frame *frame,
                             const unsigned char *payload, struct shard_output *output,
                             struct err *err)
{
    const struct setup_stage *setup;
    struct shard_model *model;
    enum shard_result found;
    int sequences;

    shard = shard_at(shard, &index);
    setup = &shard->setup->stages[index];
    model = shard->stages[index].model;
    if (!shard_read_step(shard, index, frame, payload, &sequences, err) ||
        !shard_input(shard, index, frame, payload,
                     setup->has_embed ? (void *)model->tokens : model->x, err))
        return SHARD_BAD;
    found = find_caches(shard, index, frame, sequences, err);
    if (found != SHARD_DONE)
        return found;
    shard_compute(shard, index, sequences, frame->new_tokens);
    drop_caches(shard, index, sequences);
    set_output(shard, index, frame, payload, sequences, output);
    return SHARD_DONE;
}
