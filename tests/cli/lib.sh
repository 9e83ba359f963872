# lib.sh - TAP in a few lines of bash, for the command-line tests in this folder.
#
# A test sources it, calls the functions below, and ends with done_testing. It has: $root the project,
# $tmp an empty folder that is removed at the end, the programs in PATH. A failure prints what was
# seen, as `# ` lines on stderr, where prove lets it through. Run one alone: tests/cli/golden.t
# shellcheck shell=bash

set -u
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
ORRERY_BIN=$(cd "${ORRERY_BIN:-$root/bin}" 2> /dev/null && pwd) || ORRERY_BIN=$root/bin
O=${O:-$root/build/release}
export ORRERY_BIN O PATH="$ORRERY_BIN:$PATH" LC_ALL=C
# Tests that call make start afresh: no jobserver, no variables of the make that runs them.
unset MAKEFLAGS MAKELEVEL MFLAGS MAKEOVERRIDES BUILD ARGP_HELP_FMT
tmp=$(mktemp -d) || exit 2
trap 'rm -rf "$tmp"' EXIT

tap_count=0
tap_failed=0

diag() { # every line of the text, behind a #
    printf '%s\n' "$*" | sed 's/^/#   /' >&2
}

tap_result() { # STATUS NAME
    tap_count=$((tap_count + 1))
    if [ "$1" -eq 0 ]; then
        echo "ok $tap_count - $2"
    else
        tap_failed=$((tap_failed + 1))
        echo "not ok $tap_count - $2"
        return 1
    fi
}

# ok NAME COMMAND...: the command succeeds. Its output is shown only when it fails.
ok() {
    local name=$1 seen status
    shift
    seen=$("$@" 2>&1)
    status=$?
    tap_result $status "$name" || diag "exit $status of: $*"$'\n'"$seen"
}

# is NAME SEEN EXPECTED: the same text.
is() {
    [ "$2" = "$3" ]
    tap_result $? "$1" || diag "$(diff <(printf '%s\n' "$3") <(printf '%s\n' "$2") | head -n 40)" \
        "(< expected, > seen)"
}

# like NAME SEEN REGEX: the text holds a match of the extended regular expression.
like() {
    [[ $2 =~ $3 ]]
    tap_result $? "$1" || diag "no match of: $3"$'\n'"in: $2"
}

# unlike NAME SEEN REGEX
unlike() {
    ! [[ $2 =~ $3 ]]
    tap_result $? "$1" || diag "a match of: $3"$'\n'"in: $2"
}

# exit_is CODE NAME COMMAND...: the command ends with the code; afterwards $out and $err hold what it
# printed.
exit_is() {
    local code=$1 name=$2 status
    shift 2
    "$@" > "$tmp/.out" 2> "$tmp/.err" < /dev/null
    status=$?
    # shellcheck disable=SC2034  # for the test
    out=$(cat "$tmp/.out") err=$(cat "$tmp/.err")
    [ $status -eq "$code" ]
    tap_result $? "$name" || diag "exit $status, not $code, of: $*"$'\n'"$(tail -n 20 "$tmp/.err")"
}

# column FILE NAME: of a table, without its head.
column() {
    grep -v '^#' "$1" | awk -F, -v name="$2" 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == name) c = i; next } { print $c }'
}

# no_file NAME PATH...: none of the paths is there.
no_file() {
    local name=$1 path found=
    shift
    for path in "$@"; do
        [ ! -e "$path" ] || found="$found $path"
    done
    [ -z "$found" ]
    tap_result $? "$name" || diag "left behind:$found"
}

# same_file NAME SEEN EXPECTED: the same bytes.
same_file() {
    cmp -s "$2" "$3"
    tap_result $? "$1" || diag "$(diff -a "$3" "$2" 2>&1 | cut -c 1-200 | head -n 20)" \
        "(< $3, > $2)"
}

# skip NAME REASON: counts as passed, and says why it did not run.
skip() {
    tap_count=$((tap_count + 1))
    echo "ok $tap_count - $1 # SKIP $2"
    echo "# skipped: $1: $2" >&2
}

# skip_all REASON: leaves the whole test out.
skip_all() {
    echo "1..0 # SKIP $1"
    exit 0
}

# need PROGRAM...: leaves the whole test out when a program of ours was not built (a library is
# missing).
need() {
    local program
    for program in "$@"; do
        [ -x "$ORRERY_BIN/$program" ] || skip_all "$program is not built here"
    done
}

done_testing() {
    echo "1..$tap_count"
    [ $tap_failed -eq 0 ]
    exit
}
