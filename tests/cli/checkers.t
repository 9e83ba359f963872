#!/bin/bash
# The checkers of `make lint` are tested as well: a small tree that is clean passes, and each violation
# planted in it is found, with its place.
. "$(dirname "$0")/lib.sh"

tree=$tmp/tree
fresh() { # a small clean project
    rm -rf "$tree"
    mkdir -p "$tree"/{lib/{base,format,policy,kernels,wire},profiler,runner,sim/{engine,cmd},tests/unit/{base,sim},tools}
    for header in lib/base/err lib/base/cli lib/format/model lib/policy/plan lib/kernels/kernels lib/wire/frame \
        profiler/bench runner/worker sim/engine/engine sim/cmd/cmd; do
        echo 'int one(void);' > "$tree/$header.h"
    done
    printf '#include "lib/base/err.h"\n#include <stdio.h>\n\nint one(void)\n{\n    return 1;\n}\n' > "$tree/lib/base/err.c"
}

finds() { # CHECKER NAME FILE TEXT EXPECTED: the text in that file is found
    local checker=$1 name=$2 file=$3 text=$4 expected=$5
    fresh
    printf '%b' "$text" > "$tree/$file"
    exit_is 1 "$checker: $name is found" "$root/tests/$checker" "$tree"
    like "$checker: $name is explained" "$out" "$expected"
}
passes() { # CHECKER NAME FILE TEXT
    local checker=$1 name=$2 file=$3 text=$4
    fresh
    printf '%b' "$text" > "$tree/$file"
    exit_is 0 "$checker: $name passes" "$root/tests/$checker" "$tree"
}

for checker in check_layers check_banned check_size; do
    fresh
    exit_is 0 "$checker: a clean tree passes" "$root/tests/$checker" "$tree"
    is "$checker: and nothing is printed" "$out" ""
done

# ---- layers
crosses() { # FILE INCLUDED
    finds check_layers "$1 with $2" "$1" "#include \"$2\"\n" "$1:1: \"$2\" crosses a border"
}
crosses lib/base/a.c lib/format/model.h
crosses lib/format/a.c lib/policy/plan.h
crosses lib/kernels/a.c lib/format/model.h
crosses lib/wire/a.h lib/format/model.h
crosses lib/policy/a.c sim/engine/engine.h
crosses sim/cmd/a.c lib/kernels/kernels.h
crosses sim/cmd/a.c lib/wire/frame.h
crosses sim/cmd/a.c profiler/bench.h
crosses sim/engine/a.c lib/format/model.h
crosses runner/a.c sim/engine/engine.h
crosses runner/a.c profiler/bench.h
crosses profiler/a.c runner/worker.h
crosses tests/unit/base/test_a.c lib/policy/plan.h
crosses tests/unit/sim/test_a.c lib/kernels/kernels.h
for pair in "cblas.h profiler/a.c" "papi.h profiler/a.c" "zmq.h runner/a.c" "cjson/cJSON.h lib/format/a.c" \
    "csv.h lib/format/a.c" "argp.h sim/cmd/a.c"; do
    finds check_layers "<${pair% *}> in ${pair#* }" "${pair#* }" "#include <${pair% *}>\n" "${pair#* }:1: <${pair% *}> is for"
done
finds check_layers "a header that is not spelt from the root" lib/base/a.c '#include "err.h"\n' 'spell includes from the root'
finds check_layers "a header that comes before the own one" lib/base/err.c '#include <stdio.h>\n#include "lib/base/err.h"\n' \
    'the own header "lib/base/err.h" comes first'
passes check_layers "policy with format" lib/policy/a.c '#include "lib/format/model.h"\n'
passes check_layers "<cblas.h> in lib/kernels" lib/kernels/a.c '#include <cblas.h>\n'
passes check_layers "runner with wire and kernels" runner/a.c '#include "lib/wire/frame.h"\n#include "lib/kernels/kernels.h"\n'

# ---- banned calls and marks
for call in strcpy strcat sprintf strtok atoi atof sscanf rand alloca; do
    finds check_banned "$call" sim/cmd/a.c "int f(void)\n{\n    return $call(x);\n}\n" "sim/cmd/a.c:3: $call is banned"
done
for call in malloc calloc realloc free strdup; do
    finds check_banned "$call in a program" runner/a.c "\nvoid f(void) { $call(x); }\n" "runner/a.c:2: $call is banned"
    passes check_banned "$call in a test" tests/unit/sim/test_a.c "\nvoid f(void) { $call(x); }\n"
done
finds check_banned "printf in lib" lib/format/a.c 'void f(void) { printf("x"); }\n' 'a.c:1: printf is banned'
finds check_banned "exit in lib" lib/policy/a.c 'void f(void) { exit(2); }\n' 'a.c:1: exit is banned'
finds check_banned "the time as a seed" sim/cmd/a.c 'long f(void) { return time(NULL); }\n' 'a.c:1: time\(NULL\)'
finds check_banned "a call behind a comment" sim/cmd/a.c '/* x\n */ int f(void) { return atoi("1"); }\n' 'a.c:2: atoi'
passes check_banned "a banned name in prose" sim/cmd/a.c '/* no malloc() here,\n * and no rand() */\nint x; // atoi()\n'
passes check_banned "a banned name in a text" sim/cmd/a.c 'const char *f(void) { return "atoi(\\"x\\")"; }\n'
passes check_banned "a longer name" sim/cmd/a.c 'void f(void) { my_rand(1); arena_free(2); }\n'
passes check_banned "malloc in arena.c" lib/base/arena.c 'void f(void) { malloc(1); }\n'
for mark in TODO FIXME XXX; do
    finds check_banned "the mark $mark" lib/base/a.c "/* $mark: later */\n" "a.c:1:.*$mark"
done
finds check_banned "the mark in a README" tools/README.md 'TODO write\n' 'README.md:1:'
finds check_banned "a stub" lib/base/a.c '/* not implemented */\n' 'a.c:1:'
finds check_banned "a machine's path" tools/x 'cd /home/somebody/orrery\n' "a path of somebody's machine"

# ---- size
long_function=$(printf 'int g(void);\n\nstatic int too_long(int a,\n                    int b)\n{\n'; printf '    a++;\n%.0s' {1..60}; printf '}\n')
finds check_size "a long function" sim/cmd/a.c "${long_function//$'\n'/\\n}" 'sim/cmd/a.c:3: too_long: 64 lines, more than 60'
echo 'sim/cmd/a.c:too_long one table of cases' > "$tree/tests/size_reasons"
exit_is 0 "check_size: a reason makes it pass" "$root/tests/check_size" "$tree"
echo 'sim/cmd/a.c:too_long' > "$tree/tests/size_reasons"
exit_is 1 "check_size: a name without a reason does not" "$root/tests/check_size" "$tree"
echo 'sim/cmd/a.c:other why' >> "$tree/tests/size_reasons"
exit_is 1 "check_size: a reason that nothing needs is found" "$root/tests/check_size" "$tree"
like "check_size: and named" "$out" 'size_reasons:2: sim/cmd/a.c:other is not too long'
finds check_size "a long file" lib/base/a.c "$(printf 'int x;\\n%.0s' {1..601})" 'lib/base/a.c: 601 lines, more than 600'
passes check_size "a file of 600 lines" lib/base/a.c "$(printf 'int x;\\n%.0s' {1..600})"

# ---- globals, in what the compiler made
compile() { # CODE
    printf '%b' "$1" | "${CC:-gcc}" -c -x c -o "$tmp/object.o" -
}
compile 'static int count; int f(void) { return ++count; }\n'
exit_is 1 "check_globals: a counter is found" "$root/tests/check_globals" "$tmp/object.o"
like "check_globals: and named" "$out" "'count' can change"
compile 'int f(void) { static int calls = 3; return ++calls; }\n'
exit_is 1 "check_globals: a static in a function is found" "$root/tests/check_globals" "$tmp/object.o"
compile 'int shared = 4;\n'
exit_is 1 "check_globals: a global is found" "$root/tests/check_globals" "$tmp/object.o"
compile 'const char *const names[] = { "a", "b" };\nstatic const int t[] = { 1, 2 };\nint f(int i) { return t[i]; }\n'
exit_is 0 "check_globals: constant tables pass" "$root/tests/check_globals" "$tmp/object.o"

# ---- packages
exit_is 2 "install-packages: an unknown group is refused" "$root/tools/install-packages" tset
like "install-packages: and named" "$err" "no group 'tset'"
exit_is 0 "install-packages: prints the list" "$root/tools/install-packages" --list
is "install-packages: every package has its groups and its why" "$(awk 'NF < 3' <<< "$out")" ""
mkdir "$tmp/machine"
for tool in sh id cat dirname; do ln -s "$(command -v $tool)" "$tmp/machine/"; done
printf '#!/bin/sh\nexit 1\n' > "$tmp/machine/dpkg-query"
chmod +x "$tmp/machine/dpkg-query"
exit_is 2 "install-packages: without apt-get it says so" env PATH="$tmp/machine" "$root/tools/install-packages" build
like "install-packages: and how to go on" "$err" 'no apt-get here.*INSTALL=no'
like "install-packages: and what is missing, and why" "$out" 'libcsv-dev +reads CSV files'
printf '#!/bin/sh\nexit 0\n' > "$tmp/machine/apt-get"
rm "$tmp/machine/id"
printf '#!/bin/sh\necho 1000\n' > "$tmp/machine/id"
chmod +x "$tmp/machine/apt-get" "$tmp/machine/id"
exit_is 2 "install-packages: without root and sudo it says so" env PATH="$tmp/machine" "$root/tools/install-packages" build
like "install-packages: with the command to run" "$err" 'not root and no sudo here; as root: apt-get install .*libzmq3-dev'
exit_is 0 "install-packages: INSTALL=no goes on" env INSTALL=no PATH="$tmp/machine" "$root/tools/install-packages" build
# ---- the TAP of cmocka
printf '#!/bin/sh\necho 1..2\necho "skipped: no board"\necho "not ok 1 # SKIP a"\necho "not ok 2 - b"\nexit 3\n' > "$tmp/program"
chmod +x "$tmp/program"
exit_is 3 "tap: the exit status is the program's" "$root/tests/tap" "$tmp/program"
is "tap: a skipped test is ok, a failed one is not" "$out" $'1..2\nok 1 # SKIP a\nnot ok 2 - b'
is "tap: the reason is shown" "$err" "# skipped: no board"
done_testing
