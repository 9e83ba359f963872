# modes.sh - small runs of executables in every mode of the simulator, for tests that compare bytes.
# shellcheck shell=bash

# The inputs: two types of devices on three nodes, pipelines, stages on two devices, two epochs, failures.
modes_inputs() { # FOLDER
    mkdir -p "$1"/{costs/quick,costs/slow,cluster} && cd "$1" || return
    cat > costs/quick/stages.csv << 'END'
executable,stage,batch,latency_s,gap_s,output_bytes,weight_bytes
pipe,0,1,0.0031,0.0007,1500,100
pipe,0,4,0.0072,0.0007,6000,100
pipe,1,1,0.0044,0,90,100
pipe,1,4,0.0101,0.0003,360,100
wide,0,1,0.0029,0.0004,70,100
wide,0,2,0.0047,0.0004,140,100
END
    awk -F, -v OFS=, 'NR > 1 { $4 *= 2.3; $5 *= 1.1 } { print }' costs/quick/stages.csv > costs/slow/stages.csv
    cat > cluster/devices.csv << 'END'
device,type,node,speed_ratio
a,quick,left,1
b,slow,left,1.25
c,quick,right,0.9
d,quick,middle,1
END
    cat > cluster/links.csv << 'END'
medium,kind,node,bits_per_s,latency_s,per_message_s
air,wifi,right,2e7,0.0004,0.0001
air,wifi,middle,3e7,0.0005,0.0001
lan,switch,*,1e8,0.0002,0.00003
END
    mkdir ways && cp cluster/devices.csv ways && cat > ways/links.csv << 'END'
medium,kind,node,bits_per_s,latency_s,per_message_s,setup_s,ports
loop,ring,left,3.3e6,0.0003,0.0001,,
loop,ring,middle,2.9e6,0.0003,0.0001,,
loop,ring,source,7.1e6,0.0002,0,,
light,optical,middle,1e7,0.0001,,0.0013,1
light,optical,right,0.9e7,0.0001,,0.0013,1
END
    printf 'time_s,target,event,value\n0.3,loop,bits_per_s,2.1e6\n0.4,b,down,\n0.5,light,down,\n0.7,b,up,\n' > changes.csv
    printf '0.8,light,up,\n1,loop/middle,bits_per_s,4.7e6\n1.2,loop/left,down,\n1.25,loop/left,up,\n' >> changes.csv
    cat > placement.csv << 'END'
service,replica,stage,device,executable,epoch,from_s
p,0,0,a,pipe,0,
p,0,1,b,pipe,0,
p,1,0,c,pipe,0,
p,1,1,d,pipe,0,
w,0,0,d,wide,0,
w,0,0,c,wide,0,
w,1,0,b,wide,0,
p,0,0,a,pipe,1,1.5
p,0,1,d,pipe,1,1.5
w,0,0,b,wide,1,1.5
w,0,0,c,wide,1,1.5
p,0,0,c,pipe,2,1.8
p,0,1,d,pipe,2,1.8
END
    grep -v ',[12],1\.' placement.csv | cut -d, -f1-5 > still.csv
    printf 'service,replica,stage,device,executable\np,0,0,a,pipe\np,0,1,b,pipe\nw,0,0,c,wide\nw,0,0,d,wide\n' > plain.csv
    printf 'time_s,target,event,value\n0.4,b,down,\n0.7,b,up,\n0.9,a,speed_ratio,0.37\n1.1,d,down,\n1.15,d,up,\n' > events.csv
    printf 'where,dist,mean_s,sd_s,scale_per_stage_ratio\nsubmit,exp,0.0005,,\ndispatch,normal,0.0007,0.0003,\n' > overhead.csv
    printf 'worker,lognormal,0.0004,0.0004,\nresponse,constant,0.011,,0.009\n' >> overhead.csv
    printf 'where,dist,mean_s,sd_s,scale_per_stage_ratio\nresponse,normal,0.011,0.002,0.009\n' > response.csv
}

# Everything that runs in every mode write, in FOLDER; the inputs are there as well, so that the same names stand in reports.
modes() { # PROGRAM FOLDER
    local program=$1 name options
    (
        modes_inputs "$2" || exit
        "$program" generate --process gamma --cv 2 --rate 180/s --duration 2s --service p:2 --service w --prompt exp:900 \
            --items uniform:1:2 --seed 9 -o open.csv &&
            "$program" generate --process poisson --rate 150/s --duration 2s --service p:2 --service w --seed 9 -o single.csv &&
            "$program" generate --clients 5 --think lognormal:8ms:1 --requests 300 --service p:2 --service w --seed 9 \
                -o closed.csv &&
            "$program" generate --process mmpp --cv 3 --rate 40/s --duration 2s --turns uniform:1:4 --think exp:5ms --service p \
                --service w --prompt exp:100 --seed 9 -o sessions.csv || exit
        while read -r name options; do
            # shellcheck disable=SC2086  # words
            "$program" run $options --seed 9 --requests-out "$name-requests.csv" --stages-out "$name-stages.csv" \
                --transfers-out "$name-transfers.csv" --chrome-trace "$name-trace.json" --json > "$name.json"
            [ $? -le 1 ] || exit # 1: objectives were missed
        done << 'END'
default -p still.csv -w open.csv -c costs --cluster cluster
closed -p still.csv -w closed.csv -c costs --cluster cluster --dispatch least-outstanding
sessions -p still.csv -w sessions.csv -c costs --cluster cluster --dispatch sticky
dlsim -p still.csv -w open.csv -c costs/quick --rules dlsim
alpaserve -p still.csv -w open.csv -c costs/quick --rules alpaserve --overhead response.csv
alpaserve-batch -p still.csv -w single.csv -c costs/quick --rules alpaserve --batch fixed:4:3ms
batch -p still.csv -w open.csv -c costs --cluster cluster --batch fixed:4:2ms --admission slo --slo 25ms
random -p still.csv -w open.csv -c costs --cluster cluster --dispatch random --admission late --slo 30ms
events -p still.csv -w open.csv -c costs --cluster cluster --events events.csv --dispatch round-robin
epochs -p placement.csv -w open.csv -c costs --cluster cluster --switch-cost 30ms --dispatch least-last-stage
overheads -p still.csv -w open.csv -c costs --cluster cluster --overhead overhead.csv
fifo -p still.csv -w open.csv -c costs --cluster cluster --network fifo
ways -p still.csv -w open.csv -c costs --cluster ways --events changes.csv --utilisation-out ways-utilisation.csv
ways-fifo -p still.csv -w open.csv -c costs --cluster ways --events changes.csv --network fifo --utilisation-out ways-fifo-utilisation.csv
all -p placement.csv -w closed.csv -c costs --cluster cluster --events events.csv --overhead overhead.csv --batch fixed:4:1ms --switch-cost 7ms
END
        # Without files: closed form, in blocks and one by one, against events.
        for name in on off; do
            "$program" run -p plain.csv -w single.csv -c costs/quick --fast-path $name --json > "fast-$name.json" &&
                "$program" run -p plain.csv -c costs/quick --process pareto --cv 2 --rate 200/s --service p --service w \
                    --requests 20000 --latency histogram --seed 9 --fast-path $name --json > "stream-$name.json" &&
                "$program" run -p still.csv -w single.csv -c costs/quick --rules dlsim --fast-path $name --json \
                    > "dlsim-$name.json" &&
                "$program" run -p plain.csv -w single.csv -c costs --cluster cluster --overhead response.csv --fast-path $name \
                    --requests-out "wires-$name.csv" --json > "wires-$name.json" || exit
        done
    )
}
