/* test_parts_batches.c - a pass of several requests computes what each of them computes alone,
 * wherever attention, FFN and the sequence are cut. */
#include "runner/worker/parts.h"

#include "tests/unit/runner/parts_world.h"

/* The largest value that the output matrix has made for a sequence. */
static float value_of(const struct world *world, int32_t positions, int32_t sequences, int32_t b)
{
    float best = -INFINITY;

    for (int32_t i = 0; i < positions; i++)
        for (int32_t k = 0; k < world->parts[i]->head_members; k++)
            if (world->parts[i]->best[k * sequences + b].value > best)
                best = world->parts[i]->best[k * sequences + b].value;
    return best;
}

struct requests { /* of a batch; what each has made alone, on one device */
    struct world alone[SEQS];
    struct setup one;
    int32_t tokens[SEQS][PROMPT], past[SEQS], counts[SEQS];
};

static struct requests new_requests(struct arena *arena, const struct setup *setup, uint64_t seed)
{
    static const int32_t prompts[SEQS] = { 3, 5, 1 };
    struct requests requests = { .one = gathered(arena, setup) };

    for (int b = 0; b < SEQS; b++) {
        requests.alone[b] = assemble(arena, &requests.one);
        requests.counts[b] = prompts[b];
        for (int i = 0; i < PROMPT; i++)
            requests.tokens[b][i] = (int32_t)((seed * 31 + (uint64_t)(b * PROMPT + i) * 37) % 300);
    }
    return requests;
}

/* The words of a batch. Padded, each has as many as the longest; returns how many all have. */
static int32_t put_tokens(const struct requests *requests, int32_t sequences, bool is_padded,
                          int32_t *rows, int32_t *tokens)
{
    int32_t longest = 0, at = 0;

    for (int b = 0; b < sequences; b++)
        longest = requests->counts[b] > longest ? requests->counts[b] : longest;
    for (int b = 0; b < sequences; at += rows[b], b++) {
        rows[b] = is_padded ? longest : requests->counts[b];
        memset(tokens + at, 0, (size_t)rows[b] * sizeof *tokens);
        memcpy(tokens + at, requests->tokens[b], (size_t)requests->counts[b] * sizeof *tokens);
    }
    return at;
}

static void batch_step(struct world *many, const struct setup *setup,
                       const struct requests *requests, int32_t sequences)
{
    bool is_padded = setup->stages[0].batch_size > 1;
    int32_t rows[SEQS];
    struct parts_step step = { .sequences = sequences, .past = requests->past, .counts = rows };

    step.tokens = put_tokens(requests, sequences, is_padded, rows, parts_tokens(many->parts[0]));
    if (is_padded)
        step.own = requests->counts;
    for (int b = 0; is_padded && b < sequences; b++)
        if (requests->past[b] + rows[b] > step.keys)
            step.keys = requests->past[b] + rows[b];
    for (int i = 0; i < DEVICES && many->parts[i]; i++) /* nothing of larger batches stays */
        for (int k = 0; k < PASS_MAX_DEVICES * SEQS; k++)
            many->parts[i]->best[k].value = -INFINITY;
    run_batch(many, setup->collective, &step);
}

/* Three prompts of different lengths at once, then a token of each, of a fixed batch until they
 * leave it one by one: as each alone, but for the order of sums. Returns how many tokens differ: of
 * values that are as close as that either may be the largest. */
static int same_as_alone(struct arena *arena, const struct model *model, uint64_t seed,
                         bool is_padded)
{
    struct setup setup = scattered(arena, model, seed);
    struct requests requests = new_requests(arena, &setup, seed);
    struct world many;
    int32_t positions = setup.stages[0].position_count;
    int differ = 0;

    setup.models[0].max_seqs = SEQS;
    setup.models[0].max_tokens = SEQS * PROMPT;
    setup.stages[0].has_batches = true;
    setup.stages[0].batch_size = is_padded ? SEQS : 1;
    many = assemble(arena, &setup);
    for (int step = 0; step < steps_of(model); step++) {
        int32_t sequences = is_padded && step > 1 ? SEQS + 1 - step : SEQS;

        batch_step(&many, &setup, &requests, sequences);
        for (int b = 0; b < sequences; b++) {
            char where[96];

            step_both(&requests.alone[b], &requests.one, requests.tokens[b], requests.counts[b],
                      requests.past[b]);
            differ += parts_made(many.parts[0])[b] != *parts_made(requests.alone[b].parts[0]);
            snprintf(where, sizeof where, "seed %d, step %d, sequence %d", (int)seed, step, b);
            is_close(model, value_of(&many, positions, sequences, b),
                     value_of(&requests.alone[b], positions, 1, 0), where);
            requests.past[b] += requests.counts[b];
            requests.counts[b] = 1;
            requests.tokens[b][0] = *parts_made(requests.alone[b].parts[0]);
        }
    }
    return differ;
}

static int all_as_alone(bool is_padded)
{
    struct model models[] = { tiny_model(), llama(32), tiny_model() };
    int differ = 0;

    models[2].kind = MODEL_ENCODER;
    models[2].tied_lm_head = false;
    for (uint64_t seed = 1; seed <= 40; seed++)
        for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
            struct arena *arena = arena_create();

            differ += same_as_alone(arena, &models[i], seed, is_padded);
            arena_destroy(arena);
        }
    return differ;
}

static void batches_add_up_to_each_request_alone(void **state)
{
    (void)state;
    assert_in_range(all_as_alone(false), 0, 2); /* of 1080 */
}

static void so_do_padded_ones(void **state)
{
    (void)state;
    assert_in_range(all_as_alone(true), 0, 2); /* of 920 */
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(batches_add_up_to_each_request_alone),
        TEST(so_do_padded_ones),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
