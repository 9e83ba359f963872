/* link.c - `orrery-profile link`: what a message between two boards costs, as a row of links.csv.
 *
 * Only in builds with ZeroMQ: a static build for a board says that it cannot. */
#include "lib/base/arena.h"
#include "lib/base/cli.h"
#include "lib/base/err.h"
#include "lib/base/json.h"
#include "lib/base/out.h"
#include "lib/base/units.h"
#include "lib/format/cluster.h"
#include "profiler/cmd/wrap.h"
#include "profiler/commands.h"
#include "profiler/link/link_probe.h"
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef HAVE_ZMQ
#include "lib/wire/channel.h"
#include "lib/wire/keys.h"

#define DEFAULT_PAUSE_PS (10 * UNITS_PS_PER_MS)
#define MAX_PAUSE_PS UNITS_PS_PER_S

struct options {
    const char *listen, *connect, *keys, *medium, *output;
    int64_t pause_ps;
    bool is_json;
};

/* ---- a peer of our own ---- */

static void tell_parent(void *arg, const char *address)
{
    const int *handle = arg;
    ssize_t written = write(*handle, address, strlen(address) + 1);

    if (written < 0) /* the parent is gone: nobody is left to tell */
        _exit(CLI_FAIL);
}

static _Noreturn void be_peer(const struct keys *keys, int handle)
{
    struct arena *arena = arena_create();
    struct err err = ERR_INIT;
    bool ok;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    ok = link_peer(arena, "127.0.0.1:0", keys, tell_parent, &handle, &err);
    arena_destroy(arena);
    _exit(ok ? CLI_DONE : CLI_FAIL);
}

static bool read_address(int handle, char address[CHANNEL_ADDRESS_BYTES], struct err *err)
{
    ssize_t got = read(handle, address, CHANNEL_ADDRESS_BYTES - 1);

    if (got <= 0)
        return err_set(err, ERR_SYSTEM, "the peer process did not start");
    address[got] = '\0';
    return true;
}

static bool probe_loopback(struct arena *arena, const struct keys *keys, int64_t pause_ns,
                           struct link_measured *measured, struct err *err)
{
    char address[CHANNEL_ADDRESS_BYTES];
    int handles[2];
    pid_t peer;
    bool ok;

    if (pipe(handles) != 0)
        return err_errno(err, "pipe");
    peer = fork();
    if (peer == 0) {
        close(handles[0]);
        be_peer(keys, handles[1]);
    }
    close(handles[1]);
    ok = peer > 0 ? read_address(handles[0], address, err) : err_errno(err, "fork");
    close(handles[0]);
    ok = ok && link_probe(arena, address, keys, pause_ns, measured, err);
    if (peer > 0) {
        if (!ok)
            kill(peer, SIGKILL);
        waitpid(peer, NULL, 0);
    }
    return ok;
}

/* ---- results ---- */

static struct cluster_medium medium_of(struct arena *arena, const struct options *options,
                                       const struct link_fit *fit)
{
    struct cluster_attachment *all = arena_alloc(arena, sizeof *all);

    *all = (struct cluster_attachment){ .node = "*",
                                        .bits_per_s =
                                            floor(fit->bits_per_s / fit->efficiency_ratio + 0.5),
                                        .latency_ps = fit->latency_ps,
                                        .per_message_ps = fit->per_message_ps,
                                        .efficiency_ratio = fit->efficiency_ratio };
    return (struct cluster_medium){
        .name = options->medium, .kind = CLUSTER_SWITCH, .attachment_count = 1, .attachments = all
    };
}

static void put_csv(struct arena *arena, const struct options *options, const struct link_fit *fit,
                    struct out *out)
{
    const char *const meta[] = {
        "version",
        "orrery-profile " CLI_VERSION,
        "measured",
        options->connect ? options->connect : "loopback",
        "pause_s",
        arena_printf(arena, "%.6f", 1e-12 * (double)options->pause_ps),
        "burst_bytes", /* pass at once after a pause; the row does not know of it */
        arena_printf(arena, "%lld", (long long)fit->burst_bytes),
        "fit_median_error_ratio",
        arena_printf(arena, "%.4f", fit->median_error_ratio),
        "fit_max_error_ratio",
        arena_printf(arena, "%.4f", fit->max_error_ratio),
        NULL,
    };
    struct cluster_medium medium = medium_of(arena, options, fit);

    cluster_write_links(out, &medium, 1, meta);
}

static void put_json(struct arena *arena, const struct options *options,
                     const struct link_measured *measured, const struct link_fit *fit,
                     struct out *out)
{
    struct json_writer *json = json_writer_create(arena, out, true);

    json_begin_object(json, NULL);
    json_put_int(json, "schema", 1);
    json_put_text(json, "medium", options->medium);
    json_put_double(json, "bits_per_s", floor(fit->bits_per_s / fit->efficiency_ratio + 0.5));
    json_put_seconds(json, "latency_s", fit->latency_ps);
    json_put_seconds(json, "per_message_s", fit->per_message_ps);
    json_put_double(json, "efficiency_ratio", fit->efficiency_ratio);
    json_put_double(json, "payload_bits_per_s", fit->bits_per_s);
    json_put_seconds(json, "pause_s", options->pause_ps);
    json_put_int(json, "mtu_bytes", measured->mtu_bytes);
    json_put_int(json, "burst_bytes", fit->burst_bytes);
    json_put_double(json, "fit_median_error_ratio", fit->median_error_ratio);
    json_put_double(json, "fit_max_error_ratio", fit->max_error_ratio);
    json_begin_array(json, "points");
    for (int i = 0; i < measured->point_count; i++) {
        const struct link_point *point = &measured->points[i];

        json_begin_object(json, NULL);
        json_put_int(json, "bytes", point->bytes);
        json_put_int(json, "n", point->count);
        json_put_seconds(json, "one_way_s", point->time_ns * UNITS_PS_PER_NS);
        json_put_double(json, "fit_s", 1e-9 * link_fit_ns(fit, point->bytes));
        json_end_object(json);
    }
    json_end_array(json);
    json_end_object(json);
    out_char(out, '\n');
}

/* Three significant digits: "17.5 Gbit/s". */
static const char *format_rate(struct arena *arena, double bits_per_s)
{
    static const char *const units[] = { "bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s" };
    size_t unit = 0;

    for (; unit + 1 < sizeof units / sizeof units[0] && bits_per_s >= 999.5; unit++)
        bits_per_s /= 1000;
    return arena_printf(arena, "%.*f %s",
                        bits_per_s < 9.995   ? 2
                        : bits_per_s < 99.95 ? 1
                                             : 0,
                        bits_per_s, units[unit]);
}

static void put_text(struct arena *arena, const struct options *options,
                     const struct link_measured *measured, const struct link_fit *fit,
                     struct out *out)
{
    char a[UNITS_TEXT_BYTES], b[UNITS_TEXT_BYTES];

    out_printf(out, "%10s  %10s  %10s  %s\n", "bytes", "one way", "fit", "error");
    for (int i = 0; i < measured->point_count; i++) {
        const struct link_point *point = &measured->points[i];
        double fit_ns = link_fit_ns(fit, point->bytes);

        out_printf(out, "%10lld  %10s  %10s  %+.1f %%\n", (long long)point->bytes,
                   units_format_human(point->time_ns * UNITS_PS_PER_NS, a),
                   units_format_human((int64_t)(fit_ns * 1e3), b),
                   100 * (fit_ns / (double)point->time_ns - 1));
    }
    wrap_put(out, 0, 2,
             arena_printf(arena, "%s: %s, latency %s, %s a message", options->medium,
                          format_rate(arena, fit->bits_per_s),
                          units_format_human(fit->latency_ps, a),
                          units_format_human(fit->per_message_ps, b)));
    wrap_put(out, 0, 2,
             fit->efficiency_ratio < 1
                 ? arena_printf(arena,
                                "framing: packets of %lld bytes carry %.1f %% of payload, so the "
                                "link itself runs at %s",
                                (long long)measured->mtu_bytes, 100 * fit->efficiency_ratio,
                                format_rate(arena, fit->bits_per_s / fit->efficiency_ratio))
                 : "framing: the size of packets is not known");
    if (fit->burst_bytes > 0)
        wrap_put(out, 0, 2,
                 arena_printf(arena,
                              "shaped: after a pause about %lld bytes pass at once (a bucket), "
                              "which no row of links.csv can say: short messages after a pause "
                              "are faster than predicted",
                              (long long)fit->burst_bytes));
    out_printf(out, "error of the fit: median %.1f %%, largest %.1f %%\n",
               100 * fit->median_error_ratio, 100 * fit->max_error_ratio);
}

/* The file and what is printed, both or neither. */
static bool write_results(struct arena *arena, const struct options *options,
                          const struct link_measured *measured, const struct link_fit *fit,
                          struct err *err)
{
    bool has_file = options->output && strcmp(options->output, "-") != 0;
    struct out *outs[2] = { NULL, NULL };

    if (has_file) {
        outs[0] = out_open(arena, options->output, err);
        if (!outs[0])
            return false;
        put_csv(arena, options, fit, outs[0]);
    }
    outs[1] = out_open(arena, "-", err);
    if (options->output && !has_file)
        put_csv(arena, options, fit, outs[1]);
    else if (options->is_json)
        put_json(arena, options, measured, fit, outs[1]);
    else
        put_text(arena, options, measured, fit, outs[1]);
    return out_commit_all(outs, 2, err);
}

/* ---- the command ---- */

enum key { KEY_LISTEN = 256, KEY_CONNECT, KEY_KEYS, KEY_MEDIUM, KEY_PAUSE, KEY_JSON };

static error_t parse_option(int key, char *text, struct argp_state *state)
{
    struct options *options = state->input;
    struct err err = ERR_INIT;

    switch (key) {
    case KEY_LISTEN:
        options->listen = text;
        if (!channel_check_address("--listen", text, &err))
            cli_error(state, "%s", err.text);
        return 0;
    case KEY_CONNECT:
        options->connect = text;
        if (!channel_check_address("--connect", text, &err))
            cli_error(state, "%s", err.text);
        return 0;
    case KEY_KEYS:
        options->keys = text;
        return 0;
    case KEY_MEDIUM:
        options->medium = text;
        if (text[0] == '\0')
            cli_error(state, "--medium: expected a name");
        return 0;
    case KEY_PAUSE:
        if (!units_parse_duration(text, &options->pause_ps) || options->pause_ps > MAX_PAUSE_PS)
            cli_error(state, "--pause: '%s': expected a time of at most 1s, such as 10ms", text);
        return 0;
    case 'o':
        options->output = text;
        return 0;
    case KEY_JSON:
        options->is_json = true;
        return 0;
    case ARGP_KEY_ARG:
        cli_error(state, "'%s': expected options only", text);
        return 0;
    case ARGP_KEY_END:
        if (options->listen && options->connect)
            cli_error(state, "--listen and --connect: one end of a link is either");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void say_listening(void *arg, const char *address)
{
    fprintf(stderr,
            "%s: listening on %s; on the other board:\n"
            "  orrery-profile link --connect HOST%s\n",
            (const char *)arg, address, strrchr(address, ':'));
}

static bool measure_link(struct arena *arena, const struct options *options, char *program,
                         struct err *err)
{
    struct link_measured measured = { .points = { { 0 } } };
    struct link_fit fit = { 0 };
    const struct keys *keys = NULL;
    int64_t pause_ns = options->pause_ps / UNITS_PS_PER_NS;
    bool ok;

    if (options->keys) {
        keys = keys_load(arena, options->keys, err);
        if (!keys)
            return false;
    }
    if (options->listen)
        return link_peer(arena, options->listen, keys, say_listening, program, err);
    ok = options->connect ? link_probe(arena, options->connect, keys, pause_ns, &measured, err)
                          : probe_loopback(arena, keys, pause_ns, &measured, err);
    ok = ok && link_fit(arena, measured.points, measured.point_count, measured.bursts, LINK_BURSTS,
                        &fit, err);
    fit.efficiency_ratio = link_efficiency_ratio(measured.mtu_bytes);
    return ok && write_results(arena, options, &measured, &fit, err);
}

int profiler_link(int argc, char **argv)
{
    static const struct argp_option list[] = {
        { "listen", KEY_LISTEN, "HOST:PORT", 0, "Be the far end: answer one measurement", 0 },
        { "connect", KEY_CONNECT, "HOST:PORT", 0, "Measure the way to a far end", 0 },
        { "keys", KEY_KEYS, "DIR", 0,
          "Folder with the cluster's keys (`orrery-run keys`): encrypted, as a run with keys is",
          0 },
        { "medium", KEY_MEDIUM, "NAME", 0,
          "Name of the medium in links.csv (default loopback, or lan with --connect)", 0 },
        { "pause", KEY_PAUSE, "TIME", 0,
          "How long both ends sleep before each exchange (default 10ms, about a step: who has "
          "slept longer wakes later)",
          0 },
        { "output", 'o', "links.csv", 0, "Write the fit here (- is stdout)", 0 },
        { "json", KEY_JSON, NULL, 0, "Print JSON, times in seconds", 0 },
        { 0 },
    };
    static const struct argp argp = {
        list,
        parse_option,
        NULL,
        "Measures what sending a message costs, with the sockets that orrery-run uses, and fits "
        "per_message_s + latency_s + 8 bytes / bits_per_s. Without --listen or --connect: between "
        "two processes of this machine. Takes about 3 s on loopback."
        "\vExample, on two boards:\n"
        "  orrery-profile link --listen 0.0.0.0:5560\n"
        "  orrery-profile link --connect pi1:5560 -o links.csv",
        NULL,
        NULL,
        NULL
    };
    struct options options = { .pause_ps = DEFAULT_PAUSE_PS };
    struct err err = ERR_INIT;
    struct arena *arena;
    int exit_code;
    bool ok;

    if (!cli_parse(&argp, argc, argv, &options, &exit_code))
        return exit_code;
    if (!options.medium)
        options.medium = options.connect ? "lan" : "loopback";
    arena = arena_create();
    ok = measure_link(arena, &options, argv[0], &err);
    exit_code = ok ? CLI_DONE : cli_fail(argv[0], &err);
    arena_destroy(arena);
    return exit_code;
}
#else

int profiler_link(int argc, char **argv)
{
    struct err err = ERR_INIT;

    (void)argc;
    err_set(&err, ERR_USAGE, "not in this build: it has no ZeroMQ (a static build never has)");
    return cli_fail(argv[0], &err);
}
#endif
