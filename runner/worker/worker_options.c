/* worker_options.c - the command line of `orrery-run worker`. */
#include "lib/base/cli.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include "lib/wire/channel.h"
#include "runner/worker/worker.h"
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

enum option_key {
    KEY_DEVICE = 256,
    KEY_CONNECT,
    KEY_LISTEN,
    KEY_KEYS,
    KEY_WAIT,
    KEY_PARENT,
    KEY_PROCESSOR
};

static error_t parse_option(int key, char *text, struct argp_state *state)
{
    struct worker_options *options = state->input;
    struct err err = ERR_INIT;

    switch (key) {
    case KEY_DEVICE:
        options->device = text;
        return 0;
    case KEY_CONNECT:
        options->connect = text;
        if (!channel_check_address("--connect", text, &err))
            cli_error(state, "%s", err.text);
        return 0;
    case KEY_LISTEN:
        options->listen = text;
        if (!channel_check_address("--listen", text, &err))
            cli_error(state, "%s", err.text);
        return 0;
    case KEY_KEYS:
        options->keys = text;
        return 0;
    case KEY_WAIT:
        options->wait_ps = cli_duration_positive_ps(state, "--wait", text);
        return 0;
    case KEY_PARENT:
        options->parent = cli_int(state, "--parent", text, 1, INT32_MAX);
        return 0;
    case KEY_PROCESSOR:
        options->processor = (int32_t)cli_int(state, "--processor", text, 0, INT32_MAX);
        return 0;
    case ARGP_KEY_ARG:
        cli_error(state, "'%s': expected options only", text);
        return 0;
    case ARGP_KEY_END:
        if (!options->device || !options->connect)
            cli_error(state, "--device and --connect are needed");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int worker_main(int argc, char **argv)
{
    static const struct argp_option list[] = {
        { "device", KEY_DEVICE, "NAME", 0,
          "Device of the placement that this machine is (required)", 0 },
        { "connect", KEY_CONNECT, "HOST:PORT", 0, "Where the coordinator listens (required)", 0 },
        { "listen", KEY_LISTEN, "HOST:PORT", 0,
          "Where to receive steps (default: the cluster's devices.csv, else a free port of the "
          "interface on the way to the coordinator)",
          0 },
        { "keys", KEY_KEYS, "DIR", 0,
          "Folder with the cluster's keys (`orrery-run keys`): talk to nobody who has not the same",
          0 },
        { "wait", KEY_WAIT, "DURATION", 0, "How long to wait for the coordinator (default 60s)",
          0 },
        { "parent", KEY_PARENT, "PID", OPTION_HIDDEN, "Die with this process", 0 },
        { "processor", KEY_PROCESSOR, "N", OPTION_HIDDEN, "Compute on this one, taken in turns",
          0 },
        { 0 },
    };
    static const struct argp argp = {
        list,
        parse_option,
        NULL,
        "Executes the stages of one device until the coordinator's run is over."
        "\vExample: orrery-run worker --device pi0 --connect 192.168.1.10:5555",
        NULL,
        NULL,
        NULL
    };
    struct worker_options options = { .wait_ps = 60 * UNITS_PS_PER_S, .processor = -1 };
    int exit_code;

    if (!cli_parse(&argp, argc, argv, &options, &exit_code))
        return exit_code;
    if (options.parent > 0) {
        prctl(PR_SET_NAME, "orrery-run"); /* started through /proc/self/exe, it is called "exe" */
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        signal(SIGPIPE, SIG_DFL);        /* it writes no file that would have to be dropped */
        if (getppid() != options.parent) /* it died before the line above */
            return CLI_FAIL;
    }
    return worker_run(&options);
}
