/* machine.c - the machine's clock, heat and load at one instant. */
#include "profiler/measure/machine.h"
#include "lib/base/clock.h"
#include "lib/base/units.h"
#include "profiler/device/facts_clock.h"
#include "profiler/device/sysfile.h"
#include <string.h>
#include <unistd.h>

/* user nice system idle iowait irq softirq steal; guest time is already in user */
#define MAX_TICKS 9e11 /* 285 CPU years: nothing has run for longer; the product fits in int64 */

enum { CPU_IDLE = 3, CPU_IOWAIT = 4, CPU_STEAL = 7, CPU_FIELDS = 8 };

static bool parse_ticks(const char *text, int64_t ticks[CPU_FIELDS])
{
    for (int i = 0; i < CPU_FIELDS; i++) {
        text += strspn(text, " \t");
        size_t length = strspn(text, "0123456789");
        char number[24];

        if (length == 0 || length >= sizeof(number))
            return false;
        memcpy(number, text, length);
        number[length] = '\0';
        if (!units_parse_int(number, &ticks[i]))
            return false;
        text += length;
    }
    return true;
}

static void read_stat(struct machine_state *state, struct arena *scratch, const char *sysroot)
{
    const char *text = sysfile_text(scratch, sysroot, "/proc/stat", NULL);
    const char *switches = text ? strstr(text, "\nctxt ") : NULL;
    int64_t ticks[CPU_FIELDS], tick_ns = 1000000000 / sysconf(_SC_CLK_TCK);
    double busy = 0; /* exact below 2^53 */

    if (text && strncmp(text, "cpu ", 4) == 0 && parse_ticks(text + 4, ticks)) {
        for (int i = 0; i < CPU_STEAL; i++)
            if (i != CPU_IDLE && i != CPU_IOWAIT)
                busy += (double)ticks[i];
        state->busy_ns = busy < MAX_TICKS ? (int64_t)busy * tick_ns : MACHINE_UNKNOWN;
        state->steal_ns = units_mul_div(ticks[CPU_STEAL], tick_ns, 1);
    }
    if (switches) {
        char number[24];
        size_t length = strspn(switches + 6, "0123456789");

        if (length > 0 && length < sizeof(number)) {
            memcpy(number, switches + 6, length);
            number[length] = '\0';
            if (!units_parse_int(number, &state->switches))
                state->switches = MACHINE_UNKNOWN;
        }
    }
}

void machine_read(struct machine_state *state, struct arena *scratch, const char *sysroot)
{
    *state = (struct machine_state){ .t_ns = clock_now_ns(),
                                     .freq_khz = facts_freq_khz(scratch, sysroot),
                                     .temp_mc = facts_temp_mc(scratch, sysroot),
                                     .throttle_bits = facts_throttle_bits(scratch, sysroot),
                                     .psi_us = facts_pressure_us(scratch, sysroot),
                                     .busy_ns = MACHINE_UNKNOWN,
                                     .steal_ns = MACHINE_UNKNOWN,
                                     .switches = MACHINE_UNKNOWN };
    read_stat(state, scratch, sysroot);
}

double machine_others_busy_ratio(const struct machine_state *before,
                                 const struct machine_state *after, int64_t own_cpu_ns)
{
    int64_t span_ns = after->t_ns - before->t_ns;

    if (before->busy_ns < 0 || after->busy_ns < before->busy_ns || span_ns <= 0 || own_cpu_ns < 0)
        return -1;
    double others_ns = (double)(after->busy_ns - before->busy_ns) - (double)own_cpu_ns;
    return others_ns > 0 ? others_ns / (double)span_ns : 0;
}

double machine_steal_ratio(const struct machine_state *before, const struct machine_state *after)
{
    int64_t span_ns = after->t_ns - before->t_ns;

    if (before->steal_ns < 0 || after->steal_ns < before->steal_ns || span_ns <= 0)
        return -1;
    return (double)(after->steal_ns - before->steal_ns) / (double)span_ns;
}
