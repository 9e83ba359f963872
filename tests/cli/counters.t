#!/bin/bash
# orrery-profile counters: the screen of a script, and the genuine answers of PAPI where there is no
# counter hardware. LIBPFM_FORCE_PMU brings each of them about on any x86 machine.
. "$(dirname "$0")/lib.sh"

[ -x "$ORRERY_BIN/orrery-profile" ] || skip_all "orrery-profile is not built here"

script() { printf 'counter,add,start,stop,value\n%s\n' "$1" > "$tmp/script.csv"; }

script 'cyc,0,0,0,123456789012
ins,-1,0,0,7
l1d_refill,-25,0,0,1
l2d_refill,0,0,0,
llc_miss,-1,-17,0,3'
seen=$(orrery-profile counters --sysroot "$tmp" --counters "fake:$tmp/script.csv")
is "a script: passes, values and reasons on one screen" "$seen" \
'counters through fake: a script, not this machine
kernel.perf_event_paranoid = not known

counter    pass      busy loop  event, or why it is empty
cyc           1   123456789012  scripted
ins           2              7  scripted
l1d_refill                      fake:-25:add
l2d_refill    1                 fake:value_untouched
llc_miss      3                 fake:-17:start
stall_be                        fake:not_in_script
3 passes over the busy loop

what to do
  fake:-25:add: the script says that it cannot be added
  fake:value_untouched: it stopped without giving a value
  fake:-17:start: the set of events did not start
  fake:not_in_script: the script has no line for it'
seen=$(orrery-profile counters --json --sysroot "$tmp" --counters "fake:$tmp/script.csv" | tr -d ' \n')
like "JSON: a counted value" "$seen" '"counter":"ins","event":"scripted","pass":2,"busy_loop_count":7,"reason":""'
like "JSON: an unknown is null, with its reason" "$seen" \
    '"counter":"llc_miss","event":"scripted","pass":3,"busy_loop_count":null,"reason":"fake:-17:start"'
like "JSON: how many passes" "$seen" '"passes":3,'

script 'cyc,0,0,0,0'
like "no cycles in a busy loop are no cycles counted" \
    "$(orrery-profile counters --counters "fake:$tmp/script.csv")" 'cyc +1 +always_zero'
like "off says how to switch it on" "$(orrery-profile counters --counters off)" 'off: switched off: --counters auto'

# Cortex-A72: its core and whose table describes it.
mkdir -p "$tmp/pi/proc/sys/kernel"
printf 'CPU part\t: 0xd08\n' > "$tmp/pi/proc/cpuinfo"
echo 3 > "$tmp/pi/proc/sys/kernel/perf_event_paranoid"
seen=$(orrery-profile counters --counters off --sysroot "$tmp/pi")
like "the ARM core is named, and its table" "$seen" 'ARM part 0xd08, Cortex-A72, PMU arm_ac57'
like "the setting of the kernel" "$seen" 'perf_event_paranoid = 3'

machine=$(uname -m)
seen=$(orrery-profile counters)
if [[ $seen == *not_built_in* ]]; then
    skip "PAPI's own answers" "built without PAPI"
elif [ "$machine" != x86_64 ]; then
    skip "PAPI's own answers" "libpfm has other tables on $machine"
elif [ "$(cat /proc/sys/kernel/perf_event_paranoid 2> /dev/null || echo 2)" -gt 2 ]; then
    like "PAPI is not allowed to count" "$seen" "papi:-[0-9]+:perf_event_paranoid"
else
    forced() { LIBPFM_FORCE_PMU=$1 orrery-profile counters "${@:2}" 2>&1; }
    like "libpfm without the processor's table" "$(forced perf)" 'cyc  +papi:-25:no_default_pmu'
    like "a bogus forced name" "$(forced bogus)" 'cyc  +papi:-25:forced_pmu_unknown'
    like "... and what to do" "$(forced bogus)" 'unset it, or mend the name'
    like "... is told in JSON" "$(forced bogus --json)" '"forced_pmu": "bogus"'
    # a PMU of another maker: no kernel counts that
    mkdir -p "$tmp/guest/sys/bus/event_source/devices/software"
    like "a table, and a kernel without counters" "$(forced knc --sysroot "$tmp/guest")" \
        'cyc  +papi:-[0-9]+:(kernel_has_no_pmu|perf_event_open_missing)'
    # the core lists cycles only: what it lacks could be added, and would read 0
    mkdir -p "$tmp/arm/sys/bus/event_source/devices/armv8_cortex_a72/events"
    touch "$tmp/arm/sys/bus/event_source/devices/armv8_cortex_a72/events/cpu_cycles"
    seen=$(forced knc --sysroot "$tmp/arm")
    like "an event that is not in the core's list" "$seen" 'ins  +not_in_PMCEID'
    unlike "... which says nothing against one that is" "$seen" 'cyc  +not_in_PMCEID'
    wide=$(forced bogus | awk 'length($0) > 80')
    is "no line is wider than 80 columns" "$wide" ""
fi
done_testing
