# long_run.sh - an orrery-run that goes on in the background while something happens to it.
# shellcheck shell=bash
# After lib.sh, in the test's own folder, which has models.csv, long.csv and outs, the options of its outputs, of which
# r.csv is that of requests.

port=$((20000 + $$ % 20000))
lines() { if [ -e r.csv.partial ]; then wc -l < r.csv.partial; else echo 0; fi; }
await_more() { # COUNT: so many more requests have ended, within 20 s
    local from
    from=$(lines)
    for ((n = 0; n < 400; n++)); do
        [ "$(lines)" -ge $((from + $1)) ] && return 0
        sleep 0.05
    done
    return 1
}
begin() { # OPTION...: the first requests have ended when it returns
    port=$((port + 1))
    rm -f r.csv s.csv t.csv ./*.partial
    # shellcheck disable=SC2154 # outs is the test's
    timeout 60 orrery-run --models models.csv --local -w long.csv --listen "127.0.0.1:$port" "$@" "${outs[@]}" > run.out 2> run.err &
    coordinator=$!
    await_more 31
}
finish() { # it is told to end: only what had not begun has failed
    kill -TERM "$(pgrep -P "$coordinator")"
    wait "$coordinator"
}
