#!/bin/bash
# The simulator against queueing theory, from the command line: D/D/1, M/D/1, G/D/1, a closed loop, Little's law.
. "$(dirname "$0")/../cli/lib.sh"
need orrery-sim
cd "$tmp" || exit 2

mkdir -p costs/box
printf 'executable,stage,latency_s\nx,0,0.010\n' > costs/box/stages.csv
printf 'service,replica,stage,device,executable\ns,0,0,a,x\n' > p.csv

simulate() { # everything of a run into run.json and r.csv
    orrery-sim run -p p.csv -c costs "$@" --requests-out r.csv --json > run.json
}

value() { # KEY: the first number of that name in run.json
    sed -n "s/^ *\"$1\": \([-0-9.e+]*\),\{0,1\}\$/\1/p" run.json | head -n 1
}

near() { # NAME SEEN EXPECTED RELATIVE
    ok "$1: $2 is within $4 of $3" awk "BEGIN { d = $2 / $3 - 1; exit !(d < $4 && d > -$4) }"
}

# Little's law from the outside: time-average number in the system = rate x mean latency.
little() { # NAME
    awk -F, -v name="$1" '!/^#/ && $1 != "request_id" { n++; sum += $7 - $4; if ($7 > end) end = $7 }
        END { printf "%.9g %.9g\n", sum / end, n / end * sum / n }' r.csv > little.txt
    read -r area product < little.txt
    near "$1: Little's law" "$area" "$product" 1e-6
    near "$1: throughput x mean latency" "$(awk "BEGIN { printf \"%.12g\", $(value throughput_per_s) * $(value mean) }")" "$area" 1e-6
}

ok "constant arrivals at 80 % of capacity" orrery-sim generate --process constant --rate 80/s --duration 10s --service s -o w.csv
ok "are simulated" simulate -w w.csv
is "D/D/1: nobody waits" "$(value mean) $(value max)" "0.01 0.01"
is "D/D/1: the device is busy for 800 x 10 ms of 9.9975 s" \
    "$(awk "BEGIN { printf \"%.6f\", $(value busy_ratio) }")" "$(awk 'BEGIN { printf "%.6f", 8 / 9.9975 }')"

# M/D/1 (Pollaczek and Khinchine): latency = S + rho S / (2 (1 - rho)).
for load in 30 50 80; do
    orrery-sim generate --process poisson --rate $load/s --requests 200000 --service s --seed 3 -o w.csv
    ok "M/D/1 at load 0.$load" simulate -w w.csv
    near "M/D/1 at load 0.$load: mean latency" "$(value mean)" \
        "$(awk "BEGIN { r = $load / 100; print 0.01 + r * 0.01 / (2 * (1 - r)) }")" 0.03
    near "M/D/1 at load 0.$load: utilisation" "$(value busy_ratio)" 0.$load 0.01
    little "M/D/1 at load 0.$load"
done

# Kingman's bound holds for any renewal process: wait <= rate var(gap) / (2 (1 - rho)) with constant service.
orrery-sim generate --process gamma --cv 2 --rate 70/s --requests 200000 --service s -o w.csv
ok "G/D/1 with cv 2" simulate -w w.csv
ok "G/D/1 stays under Kingman's bound, and waits longer than M/D/1" \
    awk "BEGIN { w = $(value mean) - 0.01; exit !(w < 4 / 70 / 0.6 && w > 0.7 * 0.01 / 0.6) }"
little "G/D/1"

# Closed loop, saturated: N clients, think time Z: latency = N S - Z once the loop has filled.
ok "a closed loop" simulate --clients 5 --think constant:20ms --requests 5000 --service s
is "closed loop: p50 and p90 are N S - Z" "$(value p50) $(value p90)" "0.03 0.03"
is "closed loop: throughput is 1 / S" "$(awk "BEGIN { printf \"%.2f\", $(value throughput_per_s) }")" 99.96
# Unsaturated: nobody ever waits when there is one client.
ok "one client" simulate --clients 1 --think exp:50ms --requests 500 --service s
is "one client never waits" "$(value max)" 0.01

# More work than the device can do: waits grow for as long as requests come, the report says so, and time stays linear.
overloaded() { # REQUESTS OPTION...
    local requests=$1
    shift
    orrery-sim run -p p.csv -c costs --process poisson --rate 105/s --requests "$requests" --service s "$@" --json > run.json
}
ok "load 1.05, 1e5 requests" overloaded 100000 --fast-path off
near "the mean wait is half of what the queue has become" "$(value mean)" "$(awk 'BEGIN { print 0.01 + (0.01 - 1 / 105) * 1e5 / 2 }')" 0.3
like "the report warns" "$(cat run.json)" "faster than device 'a' can serve: offered load 1\\.0"
ok "load 0.9" simulate --process poisson --rate 90/s --requests 100000 --service s
unlike "does not make it warn" "$(cat run.json)" "faster than device 'a' can serve: offered load 1\\.0"

seconds() { # COMMAND...: of the processor, at least 0.02
    local TIMEFORMAT=%U
    { time "$@" > /dev/null 2>&1; } 2>&1 | awk '{ print ($1 < 0.02 ? 0.02 : $1) }'
}
failing() { # REQUESTS: the device goes down when nearly all of them wait
    printf 'time_s,target,event,value\n%s,a,down,\n' $(($1 / 1050)) > down.csv
    timeout 60 orrery-sim run -p p.csv -c costs --process poisson --rate 1000/s --requests "$1" --service s --events down.csv --json
}
for command in "overloaded N --fast-path off" "overloaded N --admission late --slo 1000000s" "failing N"; do
    # shellcheck disable=SC2086  # words
    short=$(seconds ${command/N/400000}) long=$(seconds ${command/N/3200000})
    ok "$command: eight times the requests take $long s, not much above 8 x $short s" \
        awk "BEGIN { exit !($long < 24 * $short) }"
done
done_testing
