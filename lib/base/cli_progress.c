/* cli_progress.c - the progress bar of cli.h: on a terminal that we are in the foreground of. */
#include "lib/base/cli.h"
#include "lib/base/clock.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BAR_WIDTH 24
#define PERIOD_NS INT64_C(200000000)

void cli_progress_begin(struct cli_progress *progress, const char *label)
{
    const char *terminal = getenv("TERM");

    progress->label = label;
    progress->started_ns = clock_now_ns();
    progress->printed_ns = progress->started_ns - PERIOD_NS; /* the first update is shown */
    progress->is_shown = isatty(STDERR_FILENO) && tcgetpgrp(STDERR_FILENO) == getpgrp() &&
                         terminal && strcmp(terminal, "dumb") != 0;
}

void cli_progress_update(struct cli_progress *progress, double done_ratio, const char *note)
{
    static const char full[] = "########################", rest[] = "........................";
    int64_t now_ns, left_s;
    int done;

    if (!progress->is_shown)
        return;
    now_ns = clock_now_ns();
    if (now_ns - progress->printed_ns < PERIOD_NS)
        return;
    progress->printed_ns = now_ns;
    done_ratio = done_ratio > 1 ? 1 : done_ratio > 0 ? done_ratio : 0; /* NaN is 0 */
    done = (int)(done_ratio * BAR_WIDTH);
    fprintf(stderr, "\r\033[K%s  [%.*s%.*s] %3d %%", progress->label, done, full, BAR_WIDTH - done,
            rest, (int)(done_ratio * 100));
    if (done_ratio > 0.01) { /* before that an estimate is noise */
        double elapsed_s = (double)(now_ns - progress->started_ns) / 1e9;
        double estimate_s = elapsed_s * (1 - done_ratio) / done_ratio;

        left_s = (int64_t)(estimate_s + 0.5);
        fprintf(stderr, "  %02lld:%02lld left", (long long)(left_s / 60), (long long)(left_s % 60));
    }
    if (note && note[0] != '\0')
        fprintf(stderr, "  %.40s", note);
    fflush(stderr);
}

void cli_progress_end(struct cli_progress *progress)
{
    if (progress->is_shown)
        fprintf(stderr, "\r\033[K");
    progress->is_shown = false;
}
