/* test_sliced.c - one pass of a stage on several devices, against sums that are written out. */
#include "tests/unit/sim/sliced_rules.h"

/* ---- one stage ---- */

static void tensor_parallel_layers_take_the_slowest_device_and_two_all_reduces(void **state)
{
    static const double uneven[] = { 1, 0.5, 0.8, 1.25 };

    (void)state;
    for (int n = 2; n <= 4; n += 2)
        for (int is_uneven = 0; is_uneven < 2; is_uneven++) {
            const double *speeds = is_uneven ? uneven : even;
            int64_t times[4] = { embed_ps(1) };

            fixture_cluster(is_uneven ? "device,type,speed_ratio\na,t,1\nb,t,0.5\nc,t,0.8\n"
                                        "d,t,1.25\n"
                                      : DEVICES,
                            NO_SOURCE);
            place(arena_printf(fixture.arena,
                               "chat,0,0,a,wide,,embed,\n%schat,0,0,a,wide,,lm_head,\n",
                               equal_rows("0", 0, LAYERS - 1, n == 2 ? "ab" : "abcd")));
            /* The embedding goes down the ring in n parts. */
            meet(times, n,
                 n == 2 ? message_ps(4 * HIDDEN) : (2 * n - 2) * message_ps(4 * HIDDEN / n));
            compute(times, n, norm_ps(1), speeds);
            ring_layers(times, LAYERS, n, 1, speeds);
            times[0] += head_ps(VOCAB);
            meet(times, n, 0);
            assert_pass(1, times[0]);
        }
}

/* The root sends to one after the other, and adds up what comes back; conn is its own. */
static void a_star_goes_through_its_root_message_by_message(void **state)
{
    static const double speeds[] = { 1, 0.5, 0.8, 1.25 };

    (void)state;
    fixture.options.collective = COLLECTIVE_STAR;
    fixture_cluster("device,type,speed_ratio\na,t,1\nb,t,0.5\nc,t,0.8\nd,t,1.25\n", NO_SOURCE);
    for (int n = 2; n <= 4; n += 2)
        for (int32_t m = 1; m <= 4; m += 3) {
            struct part part = { HEADS / n, KV_HEADS / n, FFN / n };
            int64_t times[4] = { embed_ps(m) + norm_ps(m) };

            place(arena_printf(fixture.arena,
                               "chat,0,0,a,wide,,embed,\n%schat,0,0,a,wide,,lm_head,\n",
                               equal_rows("0", 0, LAYERS - 1, n == 2 ? "ab" : "abcd")));
            for (int half = 0; half < 2 * LAYERS; half++) {
                int64_t message = message_ps(4 * HIDDEN * m);

                meet(times, n, (n - 1) * (message - LATENCY) + LATENCY);
                compute(times, n,
                        half % 2 ? ffn_ps(&part, m) : attn_ps(&part, m) + proj_ps(&part, m),
                        speeds);
                meet(times, n, message);
                times[0] += add_ps(m) + (half + 1 < 2 * LAYERS ? norm_ps(m) : 0);
            }
            times[0] += head_ps(VOCAB);
            assert_pass_on(SERVE_NETWORK_FIFO, m, times[0]);
            if (n == 2)
                assert_pass_on(SERVE_NETWORK_FLOWS, m, times[0]);
        }
}

static void norms_along_the_sequence_turn_all_reduces_into_scatters_and_gathers(void **state)
{
    struct part part = { HEADS / 2, KV_HEADS / 2, FFN / 2 };
    int64_t half = message_ps(4 * HIDDEN * 2), sum = embed_ps(4);

    (void)state;
    fixture_cluster(DEVICES, NO_SOURCE);
    place("chat,0,0,a,wide,,embed,\nchat,0,0,a,wide,0-4,layer,0/2\n"
          "chat,0,0,b,wide,0-4,layer,1/2\nchat,0,0,b,wide,,lm_head,\n");
    sum += half + norm_ps(2); /* b's tokens are scattered */
    for (int layer = 0; layer < LAYERS; layer++) {
        sum += half + attn_ps(&part, 4) + proj_ps(&part, 4) + half + add_ps(2) + norm_ps(2);
        sum += half + ffn_ps(&part, 4) + half + add_ps(2) + (layer + 1 < LAYERS ? norm_ps(2) : 0);
    }
    sum += head_ps(VOCAB) + message_ps(4); /* the last token is b's */
    assert_pass(4, sum);
}

/* a and b have other shares of heads than of the projection; the FFN is c's, norms go along. */
static void heads_may_lie_elsewhere_than_the_projection(void **state)
{
    struct part three = { 6, 3, FFN }, one = { 2, 1, FFN };
    int64_t all = message_ps(4 * HIDDEN), sum = embed_ps(1) + norm_ps(1);

    (void)state;
    fixture_cluster(DEVICES, NO_SOURCE);
    fixture.options.collective = COLLECTIVE_STAR;
    place("chat,0,0,a,wide,,embed,\nchat,0,0,a,wide,0-4,attn,0-2/4\n"
          "chat,0,0,b,wide,0-4,attn,3/4\nchat,0,0,a,wide,0-4,proj,0/2\n"
          "chat,0,0,b,wide,0-4,proj,1/2\nchat,0,0,c,wide,0-4,ffn,\nchat,0,0,a,wide,,lm_head,\n");
    for (int layer = 0; layer < LAYERS; layer++) {
        struct part half = { HEADS / 2, KV_HEADS / 2, FFN };
        int64_t a = sum + all + attn_ps(&three, 1), b = sum + all + attn_ps(&one, 1);

        /* Two heads of a's belong to b's half; both go on when they are there. */
        a += message_ps(2 * HEAD_DIM * 4);
        b = larger(a, b) + proj_ps(&half, 1);
        a += proj_ps(&half, 1);
        sum = larger(a, b) + all;         /* sums to c */
        sum = larger(sum, a + all + all); /* and the residual, behind a's sum */
        sum += add_ps(1) + norm_ps(1) + ffn_ps(&three, 1);
        sum += message_ps(2 * 4 * HIDDEN); /* output and residual back to a */
        sum += add_ps(1) + (layer + 1 < LAYERS ? norm_ps(1) : 0);
    }
    assert_pass_on(SERVE_NETWORK_FIFO, 1, sum + head_ps(VOCAB));
}

/* Parts of the output matrix of 50 rows: 17, 17, 16, the last of which costs as the others do. Each
 * sends its best token to the first of them. */
static void a_divided_vocabulary_sends_the_best_of_each_part(void **state)
{
    struct part whole = { HEADS, KV_HEADS, FFN };
    int64_t sum = embed_ps(1);

    (void)state;
    fixture_cluster(DEVICES, NO_SOURCE);
    fixture.options.collective = COLLECTIVE_STAR;
    place("chat,0,0,a,wide,,embed,\nchat,0,0,a,wide,0-4,layer,\nchat,0,0,b,wide,,lm_head,0/3\n"
          "chat,0,0,c,wide,,lm_head,1/3\nchat,0,0,d,wide,,lm_head,2/3\n");
    for (int layer = 0; layer < LAYERS; layer++)
        sum += 2 * norm_ps(1) + 2 * add_ps(1) + attn_ps(&whole, 1) + proj_ps(&whole, 1) +
               ffn_ps(&whole, 1);
    sum += 3 * message_ps(4 * HIDDEN) - 2 * LATENCY; /* to b, c and d, one behind the other */
    sum += head_ps(17) + message_ps(8) + message_ps(4);
    assert_pass_on(SERVE_NETWORK_FIFO, 1, sum);
}

/* With overlap the root computes while its port sends, workers begin when they have theirs, and
 * what they made travels while others compute. */
static void with_overlap_each_device_goes_on_as_soon_as_it_can(void **state)
{
    static const double speeds[] = { 1, 0.5, 0.8, 1.25 };
    struct part part = { HEADS / 4, KV_HEADS / 4, FFN / 4 };
    int64_t times[4] = { embed_ps(1) + norm_ps(1) }, message = message_ps(4 * HIDDEN);

    (void)state;
    fixture.options.collective = COLLECTIVE_STAR;
    fixture.options.has_overlap = true;
    fixture_cluster("device,type,speed_ratio\na,t,1\nb,t,0.5\nc,t,0.8\nd,t,1.25\n", NO_SOURCE);
    place(arena_printf(fixture.arena, "chat,0,0,a,wide,,embed,\n%schat,0,0,a,wide,,lm_head,\n",
                       equal_rows("0", 0, LAYERS - 1, "abcd")));
    for (int half = 0; half < 2 * LAYERS; half++) {
        for (int i = 1; i < 4; i++)
            times[i] = times[0] + (i - 1) * (message - LATENCY) + message;
        compute(times, 4, half % 2 ? ffn_ps(&part, 1) : attn_ps(&part, 1) + proj_ps(&part, 1),
                speeds);
        for (int i = 1; i < 4; i++)
            times[0] = larger(times[0], times[i] + message);
        times[0] += add_ps(1) + (half + 1 < 2 * LAYERS ? norm_ps(1) : 0);
    }
    assert_pass_on(SERVE_NETWORK_FIFO, 1, times[0] + head_ps(VOCAB));
}

/* Its norms stand behind its blocks; the pooler is whole. */
static void an_encoder_is_cut_as_a_decoder_is(void **state)
{
    struct part half = { HEADS / 2, KV_HEADS / 2, FFN / 2 };
    int64_t sum = embed_ps(4) + message_ps(4 * HIDDEN * 4);

    (void)state;
    fixture_cluster(DEVICES, NO_SOURCE);
    place("chat,0,0,a,reader,,embed,\nchat,0,0,a,reader,0-4,attn,0/2\n"
          "chat,0,0,b,reader,0-4,attn,1/2\nchat,0,0,a,reader,0-4,proj,0/2\n"
          "chat,0,0,b,reader,0-4,proj,1/2\nchat,0,0,a,reader,0-4,ffn,0/2\n"
          "chat,0,0,b,reader,0-4,ffn,1/2\nchat,0,0,a,reader,,lm_head,\n");
    for (int layer = 0; layer < LAYERS; layer++)
        sum += attn_ps(&half, 4) + proj_ps(&half, 4) + ffn_ps(&half, 4) + 2 * all_reduce_ps(2, 4) +
               2 * (add_ps(4) + norm_ps(4));
    sum += call_ps(OP_FNORM, 1, HIDDEN, 1) + call_ps(OP_LMHEAD, 1, HIDDEN, HIDDEN);
    assert_pass(4, sum);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        sliced_test(tensor_parallel_layers_take_the_slowest_device_and_two_all_reduces),
        sliced_test(a_star_goes_through_its_root_message_by_message),
        sliced_test(norms_along_the_sequence_turn_all_reduces_into_scatters_and_gathers),
        sliced_test(heads_may_lie_elsewhere_than_the_projection),
        sliced_test(a_divided_vocabulary_sends_the_best_of_each_part),
        sliced_test(an_encoder_is_cut_as_a_decoder_is),
        sliced_test(with_overlap_each_device_goes_on_as_soon_as_it_can),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
