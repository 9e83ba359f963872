#!/bin/bash
# orrery-run --local: computing threads of padded workers take turns at the processors, those of others go where
# they like.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/tiny.sh"
need orrery-run
cd "$tmp" || exit 2

mapfile -t processors < <(for ((cpu = 0; cpu < 1024; cpu++)); do taskset -c $cpu true 2> /dev/null && echo $cpu; done | head -n 3)
tiny_models models.csv
tiny_costs 20000
tiny_cluster d0 d1 d2 d3
printf '%s\n' service,replica,stage,device,model chat,0,0,d0,tiny chat,1,0,d1,tiny chat,2,0,d2,tiny > three.csv
printf '%s\n' service,replica,stage,device,model chat,0,0,d3,tiny > four.csv
printf 'request_id,arrival_s,service,prompt_tokens,output_tokens\n0,0,chat,4,2\n1,60,chat,4,2\n' > pause.csv
stays_on() { # DEVICE: of its computing thread, which is the first
    local worker
    for worker in $(pgrep -P $coordinator); do
        tr '\0' '\n' < /proc/"$worker"/cmdline | grep -qx -- "--device=$1" &&
            sed -n 's/^Cpus_allowed_list:\t//p' /proc/"$worker"/status
    done
}
begin() { # COMMAND...: a run that goes on
    "$@" orrery-run --local --listen 127.0.0.1:0 --cluster cluster --models models.csv --costs costs --placement three.csv \
        --workload pause.csv --pad d0=2 --pad d2=2 --pad d3=2 --requests-out r.csv --stages-out s.csv > run.out 2> run.err &
    coordinator=$!
    for ((n = 0; n < 200; n++)); do
        grep -q 'workers have joined' run.err && break
        sleep 0.1
    done
    ok "a run has begun: $*" grep -q 'workers have joined' run.err
}
end() {
    kill -TERM $coordinator
    wait $coordinator 2> /dev/null
}

begin taskset -c "${processors[0]}"
is "on one processor all stay there" "$(stays_on d0) $(stays_on d1) $(stays_on d2)" "${processors[0]} ${processors[0]} ${processors[0]}"
end
if [ "${#processors[@]}" -ge 2 ]; then
    begin taskset -c "${processors[0]},${processors[1]}"
    is "the padded workers share none, whoever is between them" "$(stays_on d0) $(stays_on d2)" "${processors[0]} ${processors[1]}"
    like "the other one goes where it likes" "$(stays_on d1)" "${processors[0]}[,-]${processors[1]}"
    exit_is 0 "an update brings a third" orrery-run update --placement four.csv \
        --connect "$(sed -n 's/.*listening on //p' run.err)"
    is "whose turn it is" "$(stays_on d3)" "${processors[0]}"
    end
fi
done_testing
