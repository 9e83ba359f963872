#!/bin/bash
# What orrery-sim run does with bad input: an error with its place, exit 2, nothing left behind. Never a crash.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/modes.sh"
need orrery-sim

mkdir -p "$tmp/box/costs/t" "$tmp/box/out" && cd "$tmp/box" || exit 2
printf 'executable,stage,latency_s\nx,0,0.010\nx,1,0.020\ny,0,0.001\n' > costs/t/stages.csv
printf 'service,replica,stage,device,executable\ns,0,0,a,x\ns,0,1,b,x\n' > p.csv
printf 'request_id,arrival_s,service\n0,0,s\n1,0.5,s\n' > w.csv
run=(orrery-sim run -p p.csv -w w.csv -c costs)
drawn=(orrery-sim run -p p.csv -c costs --service s)

refused() { # NAME TEXT ARGUMENT...: `run` says TEXT and leaves no file
    local name=$1 text=$2
    shift 2
    exit_is 2 "$name" timeout 60 "$@" --requests-out out/r.csv --stages-out out/s.csv --chrome-trace out/t.json
    like "$name: what and where" "$err" "$text"
    is "$name: nothing on stdout" "$out" ""
    no_file "$name: no output" out/*
}

table() { # FILE ROW...
    local file=$1
    shift
    printf '%s\n' "$@" > "$file"
}

# ---- placements ----
table bad.csv service,replica,stage,device,executable
refused "an empty placement" "bad.csv: nothing placed" "${run[@]}" -p bad.csv
table bad.csv service,replica,stage,device,executable s,0,0,a,x s,0,2,b,x
refused "a stage number that is left out" "bad.csv:3:3: stage is '2': replica 0 of 's' has no stage 1" "${run[@]}" -p bad.csv
table bad.csv service,replica,stage,device,executable s,0,1,a,x
refused "a replica without its stage 0" "bad.csv:2:3: stage is '1': .*no stage 0" "${run[@]}" -p bad.csv
table bad.csv service,replica,stage,device,executable s,0,0,a,x
refused "a profiled stage that is placed nowhere" "bad.csv:2:2: .*profiled stage 1 of executable 'x'" "${run[@]}" -p bad.csv
table bad.csv service,replica,stage,device,executable s,0,0,a,y s,0,1,b,y
refused "a stage without a cost row" "bad.csv:3:3: .*no profiled stage 1 of 'y'" "${run[@]}" -p bad.csv
table bad.csv service,replica,stage,device,executable s,0,0,a,x s,0,0,a,x s,0,1,b,x
refused "a device that is there twice in a stage" "bad.csv:3:4: device is 'a': .*has this device already" "${run[@]}" -p bad.csv
table bad.csv service,replica,stage,device,executable,layers s,0,0,a,x,1 s,0,1,b,x,0
refused "stages that run backwards" "bad.csv:2:6: layers is '1': expected profiled stage 0" "${run[@]}" -p bad.csv
table bad.csv service,replica,stage,device,executable,layers s,0,0,a,x,0-1 s,0,1,b,x,1
refused "a profiled stage that comes twice" "bad.csv:3:6: layers is '1'" "${run[@]}" -p bad.csv
table bad.csv service,replica,stage,device,executable s,0,0,a,x s,0,1,b,x s,1,0,a,y r,0,0,a,z
refused "an executable without costs" "bad.csv:5:5: executable is 'z'" "${run[@]}" -p bad.csv
table bad.csv service,replica,stage,device,executable,epoch,from_s s,0,0,a,y,0, s,0,0,a,y,1,
refused "an epoch without a beginning" "bad.csv:3:7: from_s is ''" "${run[@]}" -p bad.csv
table bad.csv service,replica,stage,device,executable,epoch,from_s s,0,0,a,y,0, s,0,0,a,y,1,5 s,0,0,a,y,2,5
refused "an epoch that begins with the one before" "bad.csv:4:7: from_s is '5'" "${run[@]}" -p bad.csv

# ---- requests ----
table bad.csv request_id,arrival_s,service 0,1,s 1,0.999999999999,s
refused "arrivals out of order" "bad.csv:3:2: arrival_s is '0.999999999999'" "${run[@]}" -w bad.csv
table bad.csv request_id,arrival_s,service 5,0,s 5,1,s
refused "a request id that comes twice" "bad.csv:3:1: request_id is '5'" "${run[@]}" -w bad.csv
table bad.csv request_id,arrival_s,service 0,-0.1,s
refused "a negative arrival" "bad.csv:2:2: arrival_s is '-0.1'" "${run[@]}" -w bad.csv
table bad.csv request_id,arrival_s,service 0,9000001,s
refused "an arrival behind the calendar" "bad.csv:2:2: arrival_s is '9000001'" "${run[@]}" -w bad.csv
table bad.csv request_id,arrival_s,service 0,8999999.999,s
refused "an end behind the calendar" "simulated time passes 9000000 s" "${run[@]}" -w bad.csv
for rate in 0 -1 0/s -3/min nan inf 1e400 much; do
    refused "a rate of $rate" "rate is '$rate'" "${drawn[@]}" --process poisson --requests 5 --rate=$rate
done
refused "a rate that nothing comes at in time" "9000000 s" "${drawn[@]}" --process poisson --requests 5 --rate 1e-9
refused "more clients than there may be" "clients is '1000001'" "${drawn[@]}" --clients 1000001 --think constant:1s --requests 9
refused "more requests than memory holds" "more than 100000000 requests" "${drawn[@]}" --clients 1000000 --think constant:1s \
    --requests 100000001
refused "no clients" "clients is '0'" "${drawn[@]}" --clients 0 --think constant:1s --requests 9

# ---- costs ----
mkdir -p more/t
for row in "x,0,-0.1" "x,0,nan" "x,0,9000001" "x,-1,1" "x,0,0x10" "x,0,"; do
    table more/t/stages.csv executable,stage,latency_s "$row" x,1,1
    refused "costs of $row" "stages.csv:2:" "${run[@]}" -c more
done
table more/t/stages.csv executable,stage,latency_s,batch x,0,1,1 x,1,1,1 x,0,1,2
refused "a batch that lacks a stage" "stages.csv:4: 'x' has stages" "${run[@]}" -c more

# ---- events and overheads ----
for row in "1,nobody,down," "1,a,down,3" "1,a,up," "-1,a,down," "1,a,sideways," "1,a,speed_ratio,0" "1,a,speed_ratio,"; do
    table bad.csv time_s,target,event,value "$row"
    refused "an event $row" "bad.csv:2:" "${run[@]}" --events bad.csv
done
table bad.csv time_s,target,event,value 2,a,down, 1,a,up,
refused "events out of order" "bad.csv:3:1: time_s is '1'" "${run[@]}" --events bad.csv
for row in "submit,exp,-1," "nowhere,exp,1," "submit,exp,1,1" "submit,uniform,1,"; do
    table bad.csv where,dist,mean_s,sd_s "$row"
    refused "an overhead $row" "bad.csv:2:" "${run[@]}" --overhead bad.csv
done

# ---- bytes ----
for file in p.csv w.csv costs/t/stages.csv; do
    cp $file kept
    printf 's,0,\0,\n' >> $file
    refused "a NUL in $file" "$file:[0-9]+: line holds a NUL byte" "${run[@]}"
    cp kept $file
    truncate -s 2G $file
    refused "two gigabytes of nothing behind $file" "$file:[0-9]+: line" "${run[@]}"
    cp kept $file
done
head -c 3000000 /dev/zero | tr '\0' 7 > long.csv
refused "a line of three megabytes" "long.csv:1: line is longer than" "${run[@]}" -w long.csv
refused "and as a placement" "long.csv:1: line is longer than" "${run[@]}" -p long.csv

# ---- files cut off anywhere ----
# Either there is less to do, or it is said what is missing: no signal, no silence, no file left behind.
cut_off() { # FILE OPTION...: cut at 25 places
    local file=$1 size at status
    shift
    cp "$file" kept
    size=$(wc -c < kept)
    for ((at = 0; at < 25; at++)); do
        head -c $((size * at / 25)) kept > "$file"
        timeout 20 orrery-sim run "$@" --json > report.json 2> errors
        status=$?
        [ "$status" -eq 0 ] && [ -s report.json ] && continue
        [ "$status" -eq 2 ] && [ -s errors ] && [ ! -s report.json ] && continue
        cp kept "$file"
        echo "cut at $((size * at / 25)) of $size: exit $status: $(head -n 3 errors)"
        return 1
    done
    cp kept "$file"
}
modes_inputs "$tmp/box/modes" && orrery-sim generate --process poisson --rate 30/s --duration 2s --service p --service w \
    --prompt exp:90 --items uniform:1:2 -o w.csv
for file in placement.csv w.csv events.csv overhead.csv cluster/devices.csv cluster/links.csv costs/quick/stages.csv; do
    ok "$file cut off anywhere" cut_off $file -p placement.csv -w w.csv -c costs --cluster cluster --events events.csv \
        --overhead overhead.csv --batch fixed:2
done

# ---- outputs ----
for output in requests-out stages-out transfers-out chrome-trace utilisation-out; do
    exit_is 2 "a full disk under --$output" orrery-sim run -p still.csv -w w.csv -c costs/quick "--$output" /dev/full
    like "and why" "$err" "/dev/full: No space left on device"
    is "nothing on stdout" "$out" ""
done
long=(orrery-sim run -p still.csv -c costs/quick --process poisson --rate 100/s --service p --requests 3000000)
mkdir out
for signal in TERM KILL; do
    "${long[@]}" --requests-out out/r.csv --stages-out out/s.csv --chrome-trace out/t.json > out.txt 2>&1 &
    victim=$!
    sleep 0.3
    kill -$signal $victim
    wait $victim 2> /dev/null
    is "killed half-way by $signal" $? $((128 + $(kill -l $signal)))
    no_file "it leaves nothing behind" out/*
done
done_testing
