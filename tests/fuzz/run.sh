#!/usr/bin/env bash
# Fuzz: run.sh BUILD_FOLDER SECONDS [TARGET]. What is new is kept in BUILD_FOLDER/corpus/TARGET, an
# input that breaks a target in BUILD_FOLDER/found; put that one into tests/fuzz/corpus/TARGET.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=$1
seconds=$2
only=${3-}
export ASAN_OPTIONS=detect_leaks=1 UBSAN_OPTIONS=print_stacktrace=1
mkdir -p "$folder/found"
status=0 ran=0
for program in "$folder"/*_fuzz; do
    name=$(basename "$program" _fuzz)
    [ -z "$only" ] || [ "$only" = "$name" ] || continue
    mkdir -p "$folder/corpus/$name"
    printf '== %s: %s s ==\n' "$name" "$seconds"
    "$program" -max_total_time="$seconds" -max_len=65536 -timeout=10 -rss_limit_mb=2048 \
        -artifact_prefix="$folder/found/$name-" "$folder/corpus/$name" "$here/corpus/$name" \
        2>"$folder/$name.log" || { status=1 && tail -n 40 "$folder/$name.log"; }
    tail -n 1 "$folder/$name.log"
    ran=$((ran + 1))
done
[ "$ran" -gt 0 ] || { echo "no such target: $only" >&2 && exit 1; }
exit "$status"
