/* test_spread.c - an iteration of seven operators on several devices, worked out by hand. */
#include "tests/unit/sim/spread_run.h"

#include "sim/ops/graph.h"

static void single_is_the_sum_of_the_operators(void **state)
{
    ask(SPREAD_SINGLE, 3);
    spread(*state, OPS_SMALL);
    assert_us(answer.iteration_ps, 76);
    assert_us(answer.compute_ps, 76);
    assert_us(answer.bubble_ps, 0);
    assert_us(answer.communication_ps, 0);
    assert_int_equal(answer.samples, 12);
    assert_int_equal(answer.warning_count, 0);
}

/* 40 bytes of gradients: 2 (N - 1) / N x 40 us, and 2 (N - 1) latencies. */
static void data_reduces_gradients_between_backward_pass_and_optimizer(void **state)
{
    ask(SPREAD_DATA, 2);
    spread(*state, OPS_SMALL);
    assert_us(answer.iteration_ps, 76 + 40);
    assert_us(answer.bubble_ps, 40);
    assert_us(answer.communication_ps, 40);
    assert_int_equal(answer.collectives, 1);
    assert_int_equal(answer.collective_bytes, 40);
    assert_int_equal(answer.devices[1].sent_bytes, 40);
    assert_us(answer.graph->tasks[6].start_ps, 66);  /* the ring */
    assert_us(answer.graph->tasks[7].start_ps, 106); /* adam */
    ask(SPREAD_DATA, 4);
    options.link_latency_ps = 2 * UNITS_PS_PER_US;
    spread(*state, OPS_SMALL);
    assert_us(answer.iteration_ps, 76 + 60 + 12);
    ask(SPREAD_DATA, 1);
    options.link_bytes_per_s = 0;
    spread(*state, OPS_SMALL);
    assert_us(answer.iteration_ps, 76);
}

/* Weight 5 is ready after operator 4, at 44; weight 2 after 6, at 66. */
static void ddp_reduces_buckets_while_it_goes_on_backward(void **state)
{
    ask(SPREAD_DDP, 2);
    options.bucket_bytes = options.first_bucket_bytes = 24;
    spread(*state, OPS_SMALL);
    assert_int_equal(answer.collectives, 2);
    assert_us(answer.graph->tasks[4].start_ps, 44); /* 24 us, till 68 */
    assert_us(answer.graph->tasks[7].start_ps, 68); /* 16 us, till 84 */
    assert_us(answer.iteration_ps, 84 + 10);
    assert_us(answer.communication_ps, 40);
    assert_int_equal(answer.devices[0].memory.buckets_bytes, 40);
    options.bucket_bytes = options.first_bucket_bytes = 25; /* 24 do not fill it */
    spread(*state, OPS_SMALL);
    assert_int_equal(answer.collectives, 1);
    assert_us(answer.iteration_ps, 76 + 40);
    options.first_bucket_bytes = 1;
    spread(*state, OPS_SMALL);
    assert_int_equal(answer.collectives, 2);
}

/* The last bucket is closed before the backward pass ends: the optimizer waits for it still. */
static void ddp_waits_for_a_bucket_that_closed_early(void **state)
{
    ask(SPREAD_DDP, 2);
    options.first_bucket_bytes = 1;
    spread(*state, OPS_HEAD "1,f,forward,0,1,8,16,8,1 2,3,\"[1,2] [2,2]\",\"[1,2]\"\n"
                            "2,b,backward,0,1,8,16,16,3 2,4,\"[1,2] [2,2]\",\"[2,2]\"\n"
                            "3,b,backward,0,2,0,0,0,,,,\n"
                            "4,o,optimizer,0,1,16,16,0,2 4,,\"[2,2] [2,2]\",\n");
    assert_int_equal(answer.collectives, 1);
    assert_us(answer.iteration_ps, 2 + 16 + 1);
}

/* Halves of 8, 12, 20, 16; gathers of 32 and 48 take half of that, the gradient of 4 (32 bytes) is
 * reduced; the first layer needs no gradient of its input. Both weights are halved: 10 -> 5. */
static void tensor_divides_operators_and_gathers_what_they_make(void **state)
{
    ask(SPREAD_TENSOR, 2);
    spread(*state, OPS_SMALL);
    assert_us(answer.compute_ps, 4 + 4 + 6 + 10 + 6 + 8 + 5);
    assert_us(answer.communication_ps, 16 + 24 + 32);
    assert_us(answer.iteration_ps, 43 + 72);
    assert_int_equal(answer.collectives, 3);
    assert_int_equal(answer.samples, 4);
    assert_int_equal(answer.devices[0].memory.weights_bytes, 20);
    assert_int_equal(answer.devices[0].memory.gradients_bytes, 20);
    assert_int_equal(answer.devices[0].memory.state_bytes, 20);
    options.link_latency_ps = UNITS_PS_PER_US;
    spread(*state, OPS_SMALL);
    assert_us(answer.iteration_ps, 115 + 1 + 1 + 2);
}

/* A layer that is not the first, and whose operator gives only the gradient of its weight: what it
 * reads is reduced all the same. */
static void tensor_reduces_a_gradient_that_the_trace_leaves_out(void **state)
{
    ask(SPREAD_TENSOR, 2);
    spread(*state, OPS_HEAD "1,a,forward,0,1,8,0,8,1,2,\"[1,2]\",\"[1,2]\"\n"
                            "2,f,forward,1,2,8,16,8,2 3,4,\"[1,2] [2,2]\",\"[1,2]\"\n"
                            "3,b,backward,1,2,8,0,16,4,5,\"[1,2]\",\"[2,2]\"\n");
    assert_us(answer.iteration_ps, 1 + 1 + 4 + 1 + 8);
}

/* Stage 0 is operator 1 and its backward 6, stage 1 the rest. 32 bytes each way. */
static void pipeline_of_one_batch_is_one_path(void **state)
{
    ask(SPREAD_PIPELINE, 2);
    spread(*state, OPS_SMALL);
    assert_us(answer.iteration_ps, 8 + 32 + 16 + 26 + 32 + 16 + 4);
    assert_us(answer.devices[0].compute_ps, 8 + 16 + 4);
    assert_us(answer.devices[1].compute_ps, 16 + 26 + 6);
    assert_us(answer.compute_ps, 38);
    assert_us(answer.bubble_ps, 134 - 38);
    assert_us(answer.communication_ps, 32);
    assert_int_equal(answer.messages, 2);
    options.link_latency_ps = UNITS_PS_PER_US;
    spread(*state, OPS_SMALL);
    assert_us(answer.iteration_ps, 136);
    ask(SPREAD_PIPELINE, 1);
    spread(*state, OPS_SMALL);
    assert_us(answer.iteration_ps, 76);
}

/* Forward 0-4, 4-8 | 4-20, 20-36 | 20-28, 36-44; back 44-57, 57-70 | 57-73, 73-89 | 73-81, 89-97;
 * the optimizer of stage 1 from 70 to 76, of stage 0 from 97 to 101. */
static void pipeline_overlaps_micro_batches(void **state)
{
    ask(SPREAD_PIPELINE, 2);
    options.micro_batch = 2;
    spread(*state, OPS_SMALL);
    assert_int_equal(answer.micro_count, 2);
    assert_us(answer.iteration_ps, 101);
    assert_us(answer.compute_ps, 38);
    assert_us(answer.communication_ps, 32);
    assert_int_equal(answer.messages, 4);
    assert_int_equal(answer.warning_count, 1);
    assert_string_equal(answer.warnings[0],
                        "times are extrapolated from batch 4 to 2, in proportion");
}

/* Times with their backward operators: 24, 10, 32. Two stages: 34 | 32 beat 24 | 42. */
static void a_cut_by_time_makes_the_slowest_stage_fast(void **state)
{
    ask(SPREAD_PIPELINE, 2);
    spread(*state, OPS_SMALL);
    assert_int_equal(answer.devices[0].to_row, 1);
    options.cut = SPREAD_CUT_TIME;
    spread(*state, OPS_SMALL);
    assert_int_equal(answer.devices[0].to_row, 2);
    assert_int_equal(answer.devices[1].to_row, 3);
    options.devices = 3;
    spread(*state, OPS_SMALL);
    for (int32_t d = 0; d < 3; d++)
        assert_int_equal(answer.devices[d].to_row, d + 1);
    options.devices = 4;
    spread_fails(*state, OPS_SMALL,
                 "o.csv: 3 forward operators: expected at least one for each of 4 devices");
}

/* A tensor that stage 2 reads goes through stage 1. */
static void a_tensor_that_is_read_later_is_passed_on(void **state)
{
    ask(SPREAD_PIPELINE, 3);
    spread(*state, OPS_HEAD "1,a,forward,0,1,0,0,8,,1,,\"[2]\"\n"
                            "2,b,forward,0,1,8,0,4,1,2,\"[2]\",\"[1]\"\n"
                            "3,c,forward,0,1,12,0,0,1 2,,\"[2] [1]\",\n");
    assert_us(answer.iteration_ps, 1 + 8 + 1 + 12 + 1);
    assert_int_equal(answer.devices[0].sent_bytes, 8);
    assert_int_equal(answer.devices[1].sent_bytes, 12);
    /* Nothing ties the operators together: what the last of a stage makes is sent. */
    spread(*state, OPS_HEAD "1,a,forward,0,1,0,0,8,,1,,\"[2]\"\n"
                            "2,b,forward,0,1,0,0,4,,2,,\"[1]\"\n"
                            "3,c,forward,0,1,0,0,0,,,,\n");
    assert_us(answer.iteration_ps, 1 + 8 + 1 + 4 + 1);
}

/* ---- batch ---- */

static void a_batch_scales_times_and_activations_but_no_weights(void **state)
{
    ask(SPREAD_DATA, 2);
    options.batch = 8;
    spread(*state, OPS_SMALL);
    assert_us(answer.iteration_ps, 66 * 2 + 10 + 40);
    assert_int_equal(answer.samples, 16);
    assert_int_equal(answer.devices[0].memory.weights_bytes, 40);
    assert_int_equal(answer.devices[0].memory.gradients_bytes, 40);
    assert_int_equal(answer.devices[0].memory.state_bytes, 40);
    assert_int_equal(answer.devices[0].memory.working_bytes, 2 * 176);
    ask(SPREAD_PIPELINE, 2);
    options.batch = 8;
    spread(*state, OPS_SMALL);
    assert_us(answer.iteration_ps, 2 * (8 + 32 + 16 + 26 + 32 + 16) + 4);
    options.traced_batch = 8;
    spread(*state, OPS_SMALL);
    assert_us(answer.iteration_ps, 134);
}

/* ---- memory ---- */

/* Live bytes: 64, 96 forward, 144 with the output of 3, 176 while operator 4 runs (1, 3, 4, 6 as
 * the gradient that nobody made, 8), then 128, 64. */
static void memory_is_what_must_be_there_at_once(void **state)
{
    const struct spread_memory *memory;

    ask(SPREAD_SINGLE, 1);
    spread(*state, OPS_SMALL);
    memory = &answer.devices[0].memory;
    assert_int_equal(memory->weights_bytes, 40);
    assert_int_equal(memory->gradients_bytes, 40);
    assert_int_equal(memory->state_bytes, 40);
    assert_int_equal(memory->buckets_bytes, 0);
    assert_int_equal(memory->working_bytes, 176);
    assert_int_equal(memory->peak_bytes, 296);
}

/* Stage 0: 64 and three times 16. Stage 1: 144 and three times 24. With two micro-batches stage 1
 * has 72, and 56 that the other one saved (3, 4, 6). */
static void stages_hold_what_their_micro_batches_save(void **state)
{
    ask(SPREAD_PIPELINE, 2);
    spread(*state, OPS_SMALL);
    assert_int_equal(answer.devices[0].memory.peak_bytes, 64 + 48);
    assert_int_equal(answer.devices[1].memory.peak_bytes, 144 + 72);
    assert_int_equal(answer.largest_device, 1);
    options.micro_batch = 2;
    spread(*state, OPS_SMALL);
    assert_int_equal(answer.devices[1].memory.working_bytes, 72 + 56);
}

static void what_does_not_fit_has_no_times(void **state)
{
    ask(SPREAD_PIPELINE, 2);
    options.memory_bytes = 216;
    spread(*state, OPS_SMALL);
    assert_true(answer.fits);
    assert_us(answer.iteration_ps, 134);
    options.memory_bytes = 215;
    spread(*state, OPS_SMALL);
    assert_false(answer.fits);
    assert_int_equal(answer.largest_device, 1);
    assert_int_equal(answer.iteration_ps, -1);
    assert_null(answer.graph);
}

/* 16 bytes of weights; the optimizer makes 16 more twice, at once. */
static void the_optimizer_needs_room_too(void **state)
{
    ask(SPREAD_SINGLE, 1);
    spread(*state, OPS_HEAD "1,f,forward,0,1,8,16,8,1 2,3,\"[1,2] [2,2]\",\"[1,2]\"\n"
                            "2,b,backward,0,1,8,16,16,3 2,4,\"[1,2] [2,2]\",\"[2,2]\"\n"
                            "3,o,optimizer,0,1,16,0,16,4,5,\"[2,2]\",\"[2,2]\"\n"
                            "4,o,optimizer,0,1,16,0,16,5,6,\"[2,2]\",\"[2,2]\"\n"
                            "5,o,optimizer,0,1,16,16,0,2 6,,\"[2,2] [2,2]\",\n");
    assert_int_equal(answer.devices[0].memory.working_bytes, 32);
    assert_int_equal(answer.devices[0].memory.state_bytes, 0);
}

/* ---- what is refused ---- */

static void operators_that_wait_for_ever_are_named(void **state)
{
    ask(SPREAD_DATA, 2);
    spread_fails(
        *state,
        OPS_HEAD "1,a,forward,0,1,4,0,4,9,1,\"[1]\",\"[1]\"\n"
                 "2,b,forward,0,1,8,0,4,1 7,2,\"[1] [1]\",\"[1]\"\n"
                 "3,c,forward,0,1,4,0,4,2,7,\"[1]\",\"[1]\"\n",
        "o.csv: 2 operators can never start: a tensor is made behind its reader: operator 2 "
        "'b' waits for operator 3 'c'; operator 3 'c' waits for operator 2 'b'");
    /* An update in place of what was there before is no such thing, nor is a tensor of no bytes. */
    spread(*state, OPS_HEAD "1,a,forward,0,1,4,0,4,9 8,1,\"[1] []\",\"[1]\"\n"
                            "2,b,forward,0,1,4,0,4,9,9 8,\"[1]\",\"[1] []\"\n");
    assert_us(answer.iteration_ps, 2);
}

static void options_that_do_not_fit_are_refused(void **state)
{
    ask(SPREAD_DATA, 2);
    options.micro_batch = 2;
    spread_fails(*state, OPS_SMALL, "--micro-batch needs --parallel pipeline");
    ask(SPREAD_PIPELINE, 2);
    options.micro_batch = 3;
    spread_fails(*state, OPS_SMALL, "--micro-batch is 3: expected a divisor of the batch, 4");
    options.micro_batch = 8;
    spread_fails(*state, OPS_SMALL, "--micro-batch is 8: expected a divisor of the batch, 4");
    options.batch = 100000000;
    options.micro_batch = 1;
    spread_fails(*state, OPS_SMALL, "100000000 micro-batches on 2 devices are more than one run");
    ask(SPREAD_TENSOR, 2);
    options.link_bytes_per_s = 0;
    spread_fails(*state, OPS_SMALL, "--link-bytes-per-s is missing");
    ask(SPREAD_DATA, 2);
    options.cut = SPREAD_CUT_TIME;
    spread_fails(*state, OPS_SMALL, "--cut needs --parallel pipeline");
    ask(SPREAD_SINGLE, 1);
    options.batch = 2;
    spread_fails(*state, OPS_HEAD "1,a,forward,0,1,0,0,0,,,,\n",
                 "o.csv: nothing tells the batch that was traced");
    ask(SPREAD_SINGLE, 1);
    options.batch = 1000000000;
    spread_fails(*state, OPS_HEAD "1,a,forward,0,1,1000000000000,0,0,1,,\"[1,250000000000]\",\n",
                 "have more than 10^18 bytes");
    ask(SPREAD_SINGLE, 1);
    spread_fails(*state, OPS_HEAD "1,a,forward,0,9e12,0,0,0,,,,\n2,a,forward,0,1,0,0,0,,,,\n",
                 "the iteration takes more than 9000000 s");
}

static void what_has_no_effect_is_warned_of(void **state)
{
    ask(SPREAD_DATA, 2);
    spread(*state, OPS_HEAD "1,a,forward,0,1,4,0,0,1,,\"[1]\",\n");
    assert_int_equal(answer.warning_count, 1);
    assert_non_null(strstr(answer.warnings[0], "there is nothing to reduce"));
    ask(SPREAD_TENSOR, 2);
    spread(*state, OPS_HEAD "1,a,forward,0,1,4,0,0,1,,\"[1]\",\n");
    assert_non_null(strstr(answer.warnings[0], "no operator has tp_split 1"));
}

/* ---- random chains against the recursion of a pipeline ---- */

#define CHAIN 12

/* A chain of forward operators with random times and sizes, and one backward operator each. */
static const char *chain(struct scratch *scratch, uint64_t seed, int64_t *forward_us,
                         int64_t *backward_us, int64_t *bytes)
{
    const char *text = OPS_HEAD;

    for (int i = 0; i < CHAIN; i++) {
        seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        forward_us[i] = 8 * (int64_t)(1 + (seed >> 33) % 50);
        backward_us[i] = 8 * (int64_t)(1 + (seed >> 40) % 90);
        bytes[i] = 32 * (int64_t)(1 + (seed >> 47) % 20);
        text = arena_printf(scratch->arena,
                            "%s%d,f,forward,0,%d,%d,0,%d,%d,%d,\"[8,%d]\",\"[8,%d]\"\n", text, i,
                            (int)forward_us[i], (int)(i ? bytes[i - 1] : 32), (int)bytes[i], i,
                            i + 1, (int)(i ? bytes[i - 1] : 32) / 32, (int)bytes[i] / 32);
    }
    for (int i = CHAIN - 1; i >= 0; i--)
        text = arena_printf(scratch->arena, "%s%d,b,backward,0,%d,%d,0,0,%d,,\"[8,%d]\",\n", text,
                            2 * CHAIN - i, (int)backward_us[i], (int)(i ? bytes[i - 1] : 32), i,
                            (int)(i ? bytes[i - 1] : 32) / 32);
    return text;
}

static int64_t most(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t recursion_us(int stages, int micros, const int64_t *forward_us,
                            const int64_t *backward_us, const int64_t *bytes)
{
    int64_t free_us[CHAIN] = { 0 }, link_us[2 * CHAIN] = { 0 }, at_us, end_us = 0;

    for (int m = 0; m < 2 * micros; m++) {
        bool is_back = m >= micros;

        at_us = 0;
        for (int k = 0; k < stages; k++) {
            int s = is_back ? stages - 1 - k : k;
            int first = s * CHAIN / stages, last = (s + 1) * CHAIN / stages;

            at_us = most(at_us, free_us[s]);
            for (int i = first; i < last; i++)
                at_us += (is_back ? backward_us[i] : forward_us[i]) / micros;
            free_us[s] = at_us;
            end_us = most(end_us, at_us);
            if (k == stages - 1)
                continue;
            link_us[is_back ? CHAIN + s : s] = most(at_us, link_us[is_back ? CHAIN + s : s]) +
                                               bytes[is_back ? first - 1 : last - 1] / micros;
            at_us = link_us[is_back ? CHAIN + s : s];
        }
    }
    return end_us;
}

static void random_chains_run_as_the_recursion_says(void **state)
{
    struct scratch *scratch = *state;
    int64_t forward_us[CHAIN], backward_us[CHAIN], bytes[CHAIN];

    for (uint64_t seed = 1; seed <= 40; seed++) {
        const char *text = chain(scratch, seed, forward_us, backward_us, bytes);

        for (int stages = 1; stages <= CHAIN; stages += 1 + stages / 3)
            for (int micros = 1; micros <= 8; micros *= 2) {
                ask(SPREAD_PIPELINE, stages);
                options.batch = 8;
                options.micro_batch = 8 / micros;
                spread(scratch, text);
                assert_us(answer.iteration_ps,
                          recursion_us(stages, micros, forward_us, backward_us, bytes));
            }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(single_is_the_sum_of_the_operators),
        scratch_test(data_reduces_gradients_between_backward_pass_and_optimizer),
        scratch_test(ddp_reduces_buckets_while_it_goes_on_backward),
        scratch_test(ddp_waits_for_a_bucket_that_closed_early),
        scratch_test(tensor_divides_operators_and_gathers_what_they_make),
        scratch_test(tensor_reduces_a_gradient_that_the_trace_leaves_out),
        scratch_test(pipeline_of_one_batch_is_one_path),
        scratch_test(pipeline_overlaps_micro_batches),
        scratch_test(a_cut_by_time_makes_the_slowest_stage_fast),
        scratch_test(a_tensor_that_is_read_later_is_passed_on),
        scratch_test(a_batch_scales_times_and_activations_but_no_weights),
        scratch_test(memory_is_what_must_be_there_at_once),
        scratch_test(stages_hold_what_their_micro_batches_save),
        scratch_test(what_does_not_fit_has_no_times),
        scratch_test(the_optimizer_needs_room_too),
        scratch_test(operators_that_wait_for_ever_are_named),
        scratch_test(options_that_do_not_fit_are_refused),
        scratch_test(what_has_no_effect_is_warned_of),
        scratch_test(random_chains_run_as_the_recursion_says),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
