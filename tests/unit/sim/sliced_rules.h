/* sliced_rules.h - what steps of the model of sliced_model.h take, written out: of each step the
 * slowest device, then its operation's messages one after the other. And runs to hold against it.
 */
#ifndef ORRERY_TESTS_UNIT_SIM_SLICED_RULES_H
#define ORRERY_TESTS_UNIT_SIM_SLICED_RULES_H

#include "tests/unit/sim/sliced_model.h"

#define sliced_test(f) cmocka_unit_test_setup_teardown(f, wide_set_up, fixture_tear_down)
#define NS UNITS_PS_PER_NS
#define US UNITS_PS_PER_US
#define PER_MESSAGE (20 * US)
#define LATENCY (100 * US)
#define LAN "medium,kind,node,bits_per_s,latency_s,per_message_s\nlan,switch,*,8e9,0.0001,0.00002\n"
#define NO_SOURCE                                                                                  \
    "medium,kind,node,bits_per_s,latency_s,per_message_s\nlan,switch,a,8e9,0.0001,0.00002\n"       \
    "lan,switch,b,8e9,0.0001,0.00002\nlan,switch,c,8e9,0.0001,0.00002\n"                           \
    "lan,switch,d,8e9,0.0001,0.00002\n"
#define DEVICES "device,type\na,t\nb,t\nc,t\nd,t\n"

/* ---- the rule, written out ---- */

struct part { /* of the blocks of a layer, on one device */
    int32_t heads, kv_heads, ffn;
};

static inline int64_t message_ps(int64_t bytes) /* alone: 1 ns a byte */
{
    return PER_MESSAGE + LATENCY + bytes * NS;
}

static inline int64_t scaled_ps(int64_t time_ps, double speed_ratio)
{
    return (int64_t)((double)time_ps / speed_ratio + 0.5);
}

static inline int64_t attn_ps(const struct part *part, int32_t m)
{
    return call_ps(OP_QKV, m, (part->heads + 2 * part->kv_heads) * HEAD_DIM, HIDDEN) +
           call_ps(OP_ROPE, m, part->heads, part->kv_heads) +
           call_ps(OP_KVAPPEND, m, part->heads, part->kv_heads) +
           call_ps(OP_ATTN, m, part->heads, part->kv_heads);
}

static inline int64_t proj_ps(const struct part *part, int32_t m)
{
    return call_ps(OP_OPROJ, m, HIDDEN, part->heads * HEAD_DIM);
}

static inline int64_t ffn_ps(const struct part *part, int32_t m)
{
    return call_ps(OP_FFN_UP, m, 2 * part->ffn, HIDDEN) + call_ps(OP_ACT, m, part->ffn, 1) +
           call_ps(OP_FFN_DOWN, m, HIDDEN, part->ffn);
}

static inline int64_t norm_ps(int32_t m)
{
    return call_ps(OP_NORM, m, HIDDEN, 1);
}

static inline int64_t add_ps(int32_t m)
{
    return call_ps(OP_ADD, m, HIDDEN, 0);
}

static inline int64_t embed_ps(int32_t m)
{
    return call_ps(OP_EMBED, m, HIDDEN, 0);
}

static inline int64_t head_ps(int32_t vocab)
{
    return call_ps(OP_FNORM, 1, HIDDEN, 1) + call_ps(OP_LMHEAD, 1, vocab, HIDDEN);
}

static inline int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* 2 (n - 1) messages one after the other, each of a share (Patarasuk and Yuan, 2009). */
static inline int64_t all_reduce_ps(int n, int32_t m)
{
    return 2 * (n - 1) * message_ps(4 * HIDDEN * m / n);
}

/* The devices wait for one another, then all go on after the operation. */
static inline void meet(int64_t *times, int n, int64_t operation_ps)
{
    int64_t latest = 0;

    for (int i = 0; i < n; i++)
        latest = larger(latest, times[i]);
    for (int i = 0; i < n; i++)
        times[i] = latest + operation_ps;
}

static inline void compute(int64_t *times, int n, int64_t cost_ps, const double *speeds)
{
    for (int i = 0; i < n; i++)
        times[i] += scaled_ps(cost_ps, speeds[i]);
}

/* Layers of a stage whose n devices have an equal share of every block, by ring; times of its
 * devices, with the norm before the first layer done. */
static inline void ring_layers(int64_t *times, int layers, int n, int32_t m, const double *speeds)
{
    struct part part = { HEADS / n, KV_HEADS / n, FFN / n };

    for (int layer = 0; layer < layers; layer++) {
        compute(times, n, attn_ps(&part, m) + proj_ps(&part, m), speeds);
        meet(times, n, all_reduce_ps(n, m));
        compute(times, n, add_ps(m) + norm_ps(m) + ffn_ps(&part, m), speeds);
        meet(times, n, all_reduce_ps(n, m));
        compute(times, n, add_ps(m) + (layer + 1 < layers ? norm_ps(m) : 0), speeds);
    }
}

/* ---- runs ---- */

static const double even[] = { 1, 1, 1, 1 };

/* Rows that give each of the first n devices an equal share of layers first to last. */
static inline const char *equal_rows(const char *stage, int first, int last, const char *devices)
{
    static const char *const blocks[] = { "attn", "proj", "ffn" };
    int n = (int)strlen(devices);
    const char *text = "";

    for (int b = 0; b < 3; b++)
        for (int i = 0; i < n; i++)
            text = arena_printf(fixture.arena, "%schat,0,%s,%c,wide,%d-%d,%s,%d/%d\n", text, stage,
                                devices[i], first, last, blocks[b], i, n);
    return text;
}

static inline void place(const char *text)
{
    fixture_write("p.csv", arena_printf(fixture.arena, P "%s", text));
}

static inline int64_t time_ps(size_t request)
{
    return fixture.result.requests[request].finish_ps - fixture.result.requests[request].arrival_ps;
}

static inline void assert_sums(const struct sliced_sums *pass)
{
    assert_int_equal(pass->time_ps, pass->compute_ps + pass->per_message_ps + pass->bytes_ps +
                                        pass->latency_ps + pass->wait_ps);
}

/* A prompt of m tokens and one of output: a single pass. Equal to what is expected under FIFO, and
 * to 1 ps a message under flows. */
static inline void assert_pass_on(enum serve_network model, int32_t m, int64_t expected_ps)
{
    const struct sliced_sums *pass;
    int64_t slack_ps;

    fixture_write("w.csv", arena_printf(fixture.arena, W "0,0,chat,%d,1\n", m));
    fixture.options.network = model;
    fixture_must_run();
    pass = &fixture.result.passes->prefill;
    slack_ps = model == SERVE_NETWORK_FLOWS ? pass->messages : 0;
    assert_in_range(time_ps(0), expected_ps - slack_ps, expected_ps + slack_ps);
    assert_int_equal(pass->count, 1);
    assert_int_equal(pass->time_ps, time_ps(0));
    assert_sums(pass);
}

static inline void assert_pass(int32_t m, int64_t expected_ps)
{
    assert_pass_on(SERVE_NETWORK_FIFO, m, expected_ps);
    assert_pass_on(SERVE_NETWORK_FLOWS, m, expected_ps);
}

#endif
