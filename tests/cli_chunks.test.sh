#!/usr/bin/env bash
# Goal: put, get, stat, rm and ls do what their help says, with its exit codes and messages, and no file is
# ever loaded into memory. Method: the program against a real cofferd.
# shellcheck disable=SC2154 # $out and $err are set by run
. "$(dirname "${BASH_SOURCE[0]}")/support/cli_suite.sh"
suite chunks
start_server

no_key=$(printf '0%.0s' {1..64})
printf 'hello, coffer\n' >hello
: >empty
hello=$(key_of hello) empty=$(key_of empty)

# --- put ---------------------------------------------------------------------------------------

run 0 put hello empty
is "$out" "$hello"$'\n'"$empty"
is "$err" ""
run 0 put --json hello
json_lines 1
json_is '[.key, .file, .size, .created, .state]' "[\"$hello\",\"hello\",14,false,\"durable\"]"
run 0 put - <hello
is "$out" "$hello"
run 0 put - < <(printf 'through a pipe')
is "$out" "$(printf 'through a pipe' | sha256sum | cut -d' ' -f1)"
printf 'a line that can wait' >later
run 0 put --durability buffered -c lane-1 --json later
has "$(jq -r .state out.text)" ed # buffered or durable already
run 1 put missing hello
has "$err" "missing: No such file or directory"
is "$out" "$hello" # one that is missing keeps no other from being stored
run 2 put .
has "$err" "add-files"
run 2 put --durability never hello
has "$err" 'none of synced|buffered'

# --- get ---------------------------------------------------------------------------------------

run 0 get "$hello"
cmp out.text hello
run 0 get "$empty"
is "$(wc -c <out.text)" 0
for range in 0-4:hello 7-:$'coffer\n' -4:$'fer\n' 7-999:$'coffer\n' -999:"$(cat hello)"$'\n' 13-13:$'\n'; do
    run 0 get "$hello" --range "${range%%:*}"
    printf '%s' "${range#*:}" | cmp - out.text
done
run 1 get "$hello" --range 14-
has "$err" "begins behind its end, it has 14 bytes"
is "$(wc -c <out.text)" 0
run 2 get "$hello" --range 4-2
has "$err" '"4-2" is not a range'
run 0 get "$hello" -o copy
cmp copy hello
is "$out" ""
echo old >copy
run 0 get -o copy -- "$hello"
cmp copy hello
run 0 get "$hello" -ocopy -r0-4
is "$(cat copy)" hello
run 0 get "$hello" -o /dev/null
[ -c /dev/null ] || fail "/dev/null was replaced"
echo kept >copy
run 1 get "$no_key" -o copy
has "$err" "no_such_chunk"
is "$(cat copy)" kept
run 3 get "$hello" -o no-folder/copy
has "$err" "no-folder/copy: No such file or directory"
run 2 get hello
has "$err" "is no key"
run 2 get "$hello" "$empty"
has "$err" "is more than get takes"
[ -z "$(find . -name '*.part')" ] || fail "parts are left behind"
if [ -w /dev/full ]; then
    code=0
    "$COFFER" get "$hello" >/dev/full 2>err.text || code=$?
    is "$code" 3
    has "$(<err.text)" "No space left on device"
fi

# --- stat, ls, rm --------------------------------------------------------------------------------

run 0 stat "$hello"
has "$out" "$hello"
has "$out" durable
run 1 stat --json "$hello" "$no_key" "$empty"
json_lines 2
is "$(jq -r .key out.text | sort)" "$(printf '%s\n' "$hello" "$empty" | sort)"
has "$err" "$no_key: no such chunk"
run 0 sync
run 0 ls
is "$(wc -l <out.text)" 4
sort -c out.text
cp out.text all
run 0 stat --json - <all
json_lines 4
run 0 ls --prefix "${hello:0:4}"
is "$out" "$hello"
run 0 ls --long --prefix "$hello"
is "$(tr -s ' ' <out.text)" "$hello 14 14"
run 0 ls --json
json_lines 4
run 2 stat XYZ
has "$err" "is no key"
run 2 stat - < <(printf '%s\nxyz\n' "$hello")
has "$err" "standard input, line 2"
run 0 rm "$empty"
is "$out" ""
run 1 rm "$empty" "$hello" --json
json_is '[.deleted, .missing]' "[1,[\"$empty\"]]"
has "$err" "$empty: no such chunk"
run 1 get "$hello"

# A list that nobody reads to its end.
run 0 put hello
(set +o pipefail && "$COFFER" ls 2>err.text | head -n 1 >first)
is "$(<err.text)" ""
is "$(wc -l <first)" 1

# --- a large file, in little memory ------------------------------------------------------------

megabytes=300
[ -z "${COFFER_SANITIZE-}" ] || megabytes=40
head -c "${megabytes}M" /dev/urandom >large
large=$(key_of large)

cat >bounded.py <<'PYTHON'
import os, resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(f"{' '.join(sys.argv[2:4])[:40]}: {peak} KiB at most", file=sys.stderr)
sys.exit(code or (peak >= 64 * 1024 and not os.environ.get("COFFER_SANITIZE")))
PYTHON
bounded() { # COMMAND...: its largest resident size stays below 64 MiB
    python3 bounded.py "$@" || fail "$*: failed, or took too much memory"
}
bounded "$COFFER" put large >key
is "$(<key)" "$large"
run 0 rm "$large"
bounded "$COFFER" put - <large >key
is "$(<key)" "$large"
bounded "$COFFER" get "$large" -o large.copy
cmp large large.copy
bounded "$COFFER" get "$large" >large.copy
cmp large large.copy
bounded "$COFFER" add-files large >listed
is "$(<listed)" "$large large"
run 0 rm "$large"
bounded "$COFFER" add-files large >listed
is "$(<listed)" "$large large"
mkdir out
echo "$large" | bounded "$COFFER" extract -o out
cmp large "out/$large"
run 0 dataset create large
bounded "$COFFER" dataset append large whole large >receipt
has "$(<receipt)" "record 0"
bounded "$COFFER" dataset read large whole -o large.copy
cmp large large.copy

# --- damage: said, and never delivered -------------------------------------------------------------

stop_server
head -c 20000 /dev/urandom >victim
start_server
run 0 put victim
victim=$out
run 0 stat --json "$victim"
pack=$(jq .pack out.text) offset=$(jq .offset out.text)
stop_server
file=$(printf 'data/packs/%010d.pack' "$pack")
[ -f "$file" ] || file=$(find data/packs -name "*$pack*" | head -n 1)
printf 'XXXXXXXX' | dd of="$file" bs=1 seek=$((offset + 5000)) conv=notrunc status=none
start_server
run 1 get "$victim" -o copy
has "$err" data_corrupt
is "$(cat copy)" kept
run 1 extract -o out "$victim" "$large"
has "$err" "$victim: "
has "$err" data_corrupt
cmp large "out/$large" # the other one is delivered
[ ! -e "out/$victim" ] || fail "a damaged chunk was delivered"
echo "cli_chunks: done"
