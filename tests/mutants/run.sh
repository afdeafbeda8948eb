#!/usr/bin/env bash
# Do the tests have teeth? Each NAME.patch here breaks one promise of coffer in its own code; the
# tests that the patch names must notice. Works on a copy of the tree, under TMPDIR, with one build
# folder, so that only what a patch touches is built again.
#
# usage: tests/mutants/run.sh [NAME...]      (default: all of them)
#
# COFFER_TEST_SEED   the seed of the randomised tests (default 1, so that a score can be repeated)
# COFFER_TEST_JOBS   compilers at once (default 2)
#
# Exit code: 0 all caught; 1 one survived; 2 the tree as it is does not build or pass; 3 a patch
# does not apply or its mutant does not build, so that it proves nothing: mend the patch.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
export COFFER_TEST_SEED=${COFFER_TEST_SEED:-1}
jobs=${COFFER_TEST_JOBS:-2}
seconds_a_test=120
declare -a mutants=() table=()
caught=0 survived=0 unusable=0

die() { # CODE TEXT
    printf 'mutants: %s\n' "$2" >&2
    exit "$1"
}

field() { # NAME FILE: what its header says after "NAME: "
    sed -n "/^--- /q;s/^$1: //p" "$2"
}

if [ $# -gt 0 ]; then
    mutants=("$@")
else
    for patch in "$here"/*.patch; do
        mutants+=("$(basename "$patch" .patch)")
    done
fi
for name in "${mutants[@]}"; do
    [ -f "$here/$name.patch" ] || die 3 "there is no $name.patch"
    [ -n "$(field Tests "$here/$name.patch")" ] || die 3 "$name.patch names no tests"
done

folder=$(mktemp -d "${TMPDIR:-/tmp}/coffer-mutants-XXXXXX")
trap 'rm -rf "$folder"' EXIT
tree=$folder/tree log=$folder/log
export COFFER_SOURCE=$tree COFFERD=$tree/build/bin/cofferd
mkdir "$tree" "$folder/tmp"
tar -C "$root" -c --exclude=./build --exclude=./coffer-data --exclude=./.git . | tar -C "$tree" -x

mapfile -t tests < <(for name in "${mutants[@]}"; do
    field Tests "$here/$name.patch" | tr ' ' '\n'
done | sort -u)
targets=("${tests[@]/%/_test}")
if printf '%s\n' "${tests[@]}" | grep -qxE 'kill|http_.*|start'; then
    targets+=(cofferd)
fi

build() {
    cmake --build "$tree/build" --parallel "$jobs" --target "${targets[@]}" >"$log" 2>&1
}

# The first failed assertion ends a test: what comes after it would run in a broken store.
passes() { # TEST
    local result=0
    (
        ulimit -c 0
        TMPDIR=$folder/tmp CMOCKA_TEST_ABORT=1 exec timeout --kill-after=10 "$seconds_a_test" \
            "$tree/build/tests/$1_test"
    ) >"$log" 2>&1 || result=$?
    rm -rf "${folder:?}/tmp"
    mkdir "$folder/tmp"
    return "$result"
}

# ---- the tree as it is -----------------------------------------------------------------------

echo "mutants: ${#mutants[@]} of them, seed $COFFER_TEST_SEED, ${#tests[@]} tests"
if ! cmake -S "$tree" -B "$tree/build" -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo \
    -DCMAKE_C_FLAGS_RELWITHDEBINFO='-O1 -g' >"$log" 2>&1 || ! build; then
    tail -n 30 "$log" >&2
    die 2 "the tree does not build"
fi
for test in "${tests[@]}"; do
    if ! passes "$test"; then
        tail -n 30 "$log" >&2
        die 2 "$test fails without any mutant"
    fi
done

# ---- one after the other ---------------------------------------------------------------------

note() { # NAME VERDICT BY
    table+=("$(printf '| %-29s | %-8s | %-12s |' "$1" "$2" "$3")")
    printf '%-29s %s%s\n' "$1" "$2" "${3:+ by $3}"
}

try() { # NAME
    local patch=$here/$1.patch test
    local -a by
    if ! patch -d "$tree" -p1 --dry-run --force --silent <"$patch" >"$log" 2>&1; then
        cat "$log" >&2
        note "$1" unusable ''
        echo "mutants: $1.patch does not apply to this tree: make it anew" >&2
        unusable=$((unusable + 1))
        return
    fi
    patch -d "$tree" -p1 --force --silent --no-backup-if-mismatch <"$patch" >"$log" 2>&1
    if build; then
        read -ra by <<<"$(field Tests "$patch")"
        for test in "${by[@]}"; do
            passes "$test" && continue
            note "$1" caught "$test"
            caught=$((caught + 1))
            by=()
            break
        done
        if [ "${#by[@]}" -gt 0 ]; then
            note "$1" SURVIVED ''
            survived=$((survived + 1))
        fi
    else
        tail -n 30 "$log" >&2
        note "$1" unusable ''
        echo "mutants: $1 does not build: make it anew" >&2
        unusable=$((unusable + 1))
    fi
    patch -d "$tree" -p1 -R --force --silent --no-backup-if-mismatch <"$patch" >"$log" 2>&1
}

for name in "${mutants[@]}"; do
    try "$name"
done

printf '\n| %-29s | %-8s | %-12s |\n|---|---|---|\n' mutant verdict by
printf '%s\n' "${table[@]}"
printf '\n%d of %d mutants caught, %d survived, %d unusable\n' \
    "$caught" "${#mutants[@]}" "$survived" "$unusable"
[ "$unusable" -eq 0 ] || exit 3
[ "$survived" -eq 0 ]
