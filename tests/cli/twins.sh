# twins.sh - what orrery-run did and what orrery-sim said of the same files: steps, messages and fates, without times.
# shellcheck shell=bash
# After lib.sh, in the test's own folder: r.csv, s.csv, t.csv of the run, sim-r.csv, sim-s.csv, sim-t.csv of the simulation.

outs=(--requests-out r.csv --stages-out s.csv --transfers-out t.csv)
body() { grep -v '^#' "$1" | tail -n +2; }
stages() { body "$1" | cut -d, -f 1-5,8- | sort; }
transfers() { body "$1" | cut -d, -f 1-7 | sort; }
statuses() { body "$1" | cut -d, -f 1,3,11; }
soon_alike() { # COMMAND...: the run; on a busy machine an instant may be missed, but not three times
    local try
    for ((try = 0; try < 3; try++)); do
        "$@" "${outs[@]}" > run.out 2> run.err || return 1
        [ "$(stages s.csv)" = "$(stages sim-s.csv)" ] && [ "$(transfers t.csv)" = "$(transfers sim-t.csv)" ] &&
            [ "$(statuses r.csv)" = "$(statuses sim-r.csv)" ] && return 0
    done
    diff <(stages sim-s.csv) <(stages s.csv)
    diff <(transfers sim-t.csv) <(transfers t.csv)
    return 1
}
