#!/bin/bash
# What the READMEs say is run: every ```sh block as commands, every ```csv example through a program, and
# the map of folders against the folders.
#
# A block behind `<!-- test: skip REASON -->` is left out and its reason is printed. The blocks of one
# README run in order in one copy of the tree's files. Lines that begin with apt or git clone are
# left out.
. "$(dirname "$0")/lib.sh"
need orrery-sim

# Splits the fenced blocks of KIND of a README into FOLDER/0001, ... with FOLDER/0001.line and, where a
# skip mark stands before it, FOLDER/0001.skip.
blocks() { # README KIND FOLDER
    mkdir -p "$3"
    awk -v kind="$2" -v folder="$3" '
    /^<!-- test: skip / { reason = $0; sub(/^<!-- test: skip /, "", reason); sub(/ *-->.*/, "", reason); next }
    !inside && $0 == "```" kind {
        inside = 1
        name = sprintf("%s/%04d", folder, ++count)
        print FNR > (name ".line")
        printf "" > name
        if (reason != "") print reason > (name ".skip")
        next
    }
    !inside && /^```/ { other = !other; reason = ""; next }
    inside && /^```/ { inside = 0; reason = ""; next }
    inside { print > name }
    !inside && NF > 0 { reason = "" }
    ' "$1"
}

copy_tree() { # FOLDER: what a user has after make
    mkdir -p "$1"
    cp -r "$root"/{Makefile,README.md,LICENSE,tools,traces,placements,workloads} "$1"
    ln -s "$ORRERY_BIN" "$1/bin"
}

readmes=(README.md)
for folder in profiler sim sim/network runner traces placements workloads tests lib tools; do
    [ ! -f "$root/$folder/README.md" ] || readmes+=("$folder/README.md")
done

# ---- commands
for readme in "${readmes[@]}"; do
    found=$tmp/sh/${readme//\//_}
    blocks "$root/$readme" sh "$found"
    copy_tree "$found/tree"
    for block in "$found"/[0-9][0-9][0-9][0-9]; do
        [ -f "$block" ] || continue
        name="$readme:$(cat "$block.line"): the commands work"
        if [ -f "$block.skip" ]; then
            skip "$name" "$(cat "$block.skip")"
            continue
        fi
        if [ ! -x "$ORRERY_BIN/orrery-run" ] && grep -q orrery-run "$block"; then
            skip "$name" "orrery-run is not built here"
            continue
        fi
        grep -vE '^(sudo )?apt|^git clone' "$block" > "$block.run"
        (cd "$found/tree" && timeout 180 bash -eu "$block.run" > "$block.out" 2>&1 < /dev/null)
        tap_result $? "$name" || diag "$(tail -n 20 "$block.out")"
    done
done

# ---- map of folders
for folder in "$root"/*/; do
    folder=$(basename "$folder")
    case $folder in build | bin | demo-out) continue ;; esac
    ok "README.md says what $folder/ is" grep -qF "\`$folder/\`" "$root/README.md"
done
# shellcheck disable=SC2016  # backquotes of Markdown
mapfile -t named < <(grep -oE '^\| \[`[a-z]+/`\]' "$root/README.md" | grep -oE '[a-z]+')
for folder in "${named[@]}"; do
    ok "$folder/, which README.md names, is there" test -d "$root/$folder"
done
mapfile -t links < <(grep -ohE '\]\([A-Za-z][A-Za-z0-9_./-]*\)' "$root/README.md" | tr -d '()]')
for link in "${links[@]}"; do
    ok "the link to $link in README.md leads somewhere" test -e "$root/$link"
done

# ---- tables
# What reads a table of these columns: the rest of the run comes from the golden data. The program must
# not complain about the example, and must complain when its header is spoilt.
data=$root/tests/golden/data
column_of() { # FILE COLUMN: its different values
    grep -v '^#' "$1" | awk -F, -v name="$2" '
        NR == 1 { for (i = 1; i <= NF; i++) if ($i == name) at = i; next }
        at && NF && !seen[$at]++ { print $at }'
}
load() { # FILE FORMAT: runs a program that reads the file
    case $2 in
    workload)
        # Every service of the example is placed.
        echo "service,replica,stage,device,model" > "$tmp/placed.csv"
        column_of "$1" service | awk '{ print $0 ",0,0,a,gpt2-4l" }' >> "$tmp/placed.csv"
        orrery-sim run --placement "$tmp/placed.csv" --costs "$data/costs/board" --workload "$1"
        ;;
    placement) orrery-sim run --placement "$1" --costs "$data/costs" --workload "$data/chat-workload.csv" ;;
    devices)
        mkdir -p "$tmp/cluster"
        cp "$1" "$tmp/cluster/devices.csv"
        orrery-sim run --placement "$data/chat.csv" --cluster "$tmp/cluster" --costs "$data/costs" \
            --workload "$data/chat-workload.csv"
        ;;
    links)
        # Every node of the example is a device.
        mkdir -p "$tmp/linked"
        cp "$1" "$tmp/linked/links.csv"
        {
            cat "$data/cluster/devices.csv"
            column_of "$1" node | grep -vxE 'source|\*' | awk '{ print $0 ",board,1" }'
        } > "$tmp/linked/devices.csv"
        orrery-sim run --placement "$data/chat.csv" --cluster "$tmp/linked" --costs "$data/costs" \
            --workload "$data/chat-workload.csv"
        ;;
    kernels | interp | costs | anchors)
        mkdir -p "$tmp/costs/board"
        cp "$data"/costs/board/*.csv "$tmp/costs/board"
        cp "$1" "$tmp/costs/board/$2.csv"
        orrery-sim run --placement "$data/chat.csv" --cluster "$data/cluster" --costs "$tmp/costs" \
            --workload "$data/chat-workload.csv"
        ;;
    requests) orrery-sim check --real "$1" --predicted "$1" ;;
    stages) orrery-sim trace --stages "$1" -o "$tmp/trace.json" ;;
    blackbox)
        mkdir -p "$tmp/boxes/box"
        cp "$1" "$tmp/boxes/box/stages.csv"
        orrery-sim run --placement "$data/box.csv" --costs "$tmp/boxes" --workload "$data/detect-workload.csv"
        ;;
    ops) orrery-sim ops "$1" --parallel single ;;
    mmpp) orrery-sim generate --mmpp "$1" --requests 5 --service s -o /dev/null ;;
    profile) orrery-sim generate --process poisson --profile "$1" --period 24h --requests 5 --service s -o /dev/null ;;
    models)
        orrery-sim run --models "$1" --placement "$data/chat.csv" --cluster "$data/cluster" --costs "$data/costs" \
            --workload "$data/chat-workload.csv"
        ;;
    esac
}
format_of() { # FILE: by its columns, which say more than a name
    local header
    header=$(grep -v '^#' "$1" | head -n 1)
    case ",$header," in
    *,in_ids,*) echo ops ;;
    *,finish_s,*,step,* | *,stage,*,start_s,*) echo stages ;;
    *,send_s,*) echo transfers ;;
    *,finish_s,*) echo requests ;;
    *,arrival_s,*) echo workload ;;
    *,executable,*,latency_s,*) echo blackbox ;;
    *,stage,*device,*) echo placement ;;
    *,medium,*) echo links ;;
    *,device,type,* | *,type,*device,*) echo devices ;;
    *,tile_period,* | *,residue,*) echo interp ;;
    *,kappa,*) echo anchors ;;
    *,mean_ns,*) echo kernels ;;
    *,ffn_hidden,*) echo models ;;
    *,state,*rate_per_s,*) echo mmpp ;;
    *,from_s,*rate_per_s,*) echo profile ;;
    *) echo unknown ;;
    esac
}
is_read() { # NAME FILE FORMAT
    local seen
    cp "$2" "$tmp/example.csv"
    seen=$(load "$tmp/example.csv" "$3" 2>&1)
    unlike "$1 is a $3 table without errors" "$seen" "(example|devices|links|kernels|stages)\.csv:[0-9]"
    sed '0,/^[^#]/s/^\([^#,]*\),/spoilt_column,/' "$2" > "$tmp/example.csv"
    seen=$(load "$tmp/example.csv" "$3" 2>&1)
    like "$1 is read at all: a spoilt column is found" "$seen" "spoilt_column"
}
for readme in "${readmes[@]}"; do
    found=$tmp/csv/${readme//\//_}
    blocks "$root/$readme" csv "$found"
    for block in "$found"/[0-9][0-9][0-9][0-9]; do
        [ -f "$block" ] || continue
        name="$readme:$(cat "$block.line")"
        if [ -f "$block.skip" ]; then
            skip "$name is read" "$(cat "$block.skip")"
            continue
        fi
        format=$(format_of "$block")
        case $format in
        unknown | transfers | interp | anchors)
            skip "$name is read" "no command reads a table of these columns by itself"
            continue
            ;;
        esac
        is_read "$name" "$block" "$format"
    done
done

# The samples in the data folders, too.
for sample in "$root"/{placements,workloads,traces}/*.csv; do
    [ -f "$sample" ] || continue
    format=$(format_of "$sample")
    [ "$format" = unknown ] || [ "$format" = transfers ] || is_read "${sample#"$root"/}" "$sample" "$format"
done
done_testing
