#!/usr/bin/env bash
# Goal: every command of `coffer dataset` does what its help says. Method: the program against a real
# cofferd, which is also stopped and started while a job and a follower wait for it.
# shellcheck disable=SC2154 # $out and $err are set by run
. "$(dirname "${BASH_SOURCE[0]}")/support/cli_suite.sh"
suite datasets
start_server

# --- create, ls, show, patch ---------------------------------------------------------------------

run 0 dataset create run-7 --metadata '{"run":7}' --compression none --buffer-size 64KiB \
    --on-close verify --on-close compress:3 --on-close package:tar.zst
is "$out" ""
run 0 dataset create run-7 --metadata '{"run":7}' --compression none --buffer-size 64KiB \
    --on-close verify --on-close compress:3 --on-close package:tar.zst
has "$err" "is there already"
run 1 dataset create run-7
has "$err" already_exists
run 0 dataset create run-8 --json
json_is '[.name, .created]' '["run-8",true]'
run 2 dataset create Bad/Name
has "$err" bad_name
run 2 dataset create run-9 --metadata '{'
has "$err" "--metadata is no JSON"
run 2 dataset create run-9 --metadata '[]'
has "$err" "--metadata is no JSON object"
run 2 dataset create run-9 --on-close explode
has "$err" '"explode" is none of verify'
run 0 dataset ls
has "$out" "run-7  open"
run 0 dataset # a group alone is its list
has "$out" "run-8  open"
run 0 dataset ls --prefix run-8 --json
json_lines 1
json_is .name '"run-8"'
run 0 dataset show run-7 --json
json_is '[.metadata, .settings.compression, .settings.buffer_size, [.settings.on_close[].do]]' \
    '[{"run":7},"none",65536,["verify","compress","package"]]'
run 0 dataset patch run-7 '{"run":null,"good":true}' --json
json_is .metadata '{"good":true}'
run 2 dataset patch run-7 7
run 1 dataset show run-nowhere
has "$err" no_such_dataset

# --- append, read ----------------------------------------------------------------------------------

printf 'one' >one
printf 'two\n' >two
run 0 dataset append run-7 log one two
has "$out" "offset 0  length 3  record 0  version 1"
has "$out" "offset 3  length 4  record 1  version 2"
run 0 dataset append run-7 log --json < <(printf 'three')
json_is '[.offset, .length, .record, .version]' '[7,5,2,3]'
run 0 dataset append run-7 log one --offset 12
run 0 dataset append run-7 log one --offset 12 # again: it is there once
has "$out" "offset 12  length 3  record 3"
run 1 dataset append run-7 log one --offset 3
has "$err" offset_mismatch
run 1 dataset append run-7 log missing
has "$err" "missing: No such file or directory"
run 0 dataset read run-7 log
is "$(cat out.text)" $'onetwo\nthreeone'
run 0 dataset read run-7 log --version 2
is "$(cat out.text)" $'onetwo'
run 0 dataset read run-7 log --range 3-5
is "$(cat out.text)" two
run 0 dataset read run-7 log --range -8 -o read
is "$(cat read)" threeone
run 1 dataset read run-7 log --range 99-
has "$err" "begins behind its end, it has 15 bytes"
run 1 dataset read run-7 nothing
has "$err" no_such_channel
run 2 dataset read run-7 log --follow --version 1
run 0 dataset records run-7 log --json
json_lines 4
run 0 dataset records run-7 log
is "$(tail -n 1 out.text | tr -s ' ')" " 3 12 3"
run 0 dataset versions run-7 --json
json_lines 4
run 0 dataset show run-7
has "$out" $'CHANNEL  SIZE  RECORDS  EPOCH\nlog        15        4      0'

# --- lines -------------------------------------------------------------------------------------------

seq 1 300000 >numbers
run 0 dataset append run-7 numbers --per-line numbers
is "$(awk '{ n += $4 } END { print n }' out.text)" "$(wc -c <numbers)"
run 0 dataset read run-7 numbers
cmp numbers out.text
run 0 dataset show run-7 --json
json_is '.channels[] | select(.name == "numbers") | .records' 300000
run 0 dataset append run-7 unfinished --per-line < <(printf 'a\nb')
run 0 dataset append run-7 unfinished --per-line --offset 3 < <(printf 'c\n')
run 0 dataset read run-7 unfinished
is "$(<out.text)" $'a\nbc'
run 0 dataset append run-7 unfinished --per-line </dev/null
is "$out" ""

# What comes slowly is sent as it comes, and a follower sees it, also across a start of the server.
mkfifo slow
"$COFFER" dataset append run-8 live --per-line <slow >receipts 2>append.err &
appender=$!
exec 4>slow
echo "line 1" >&4
wait_for() { # FILE LINES
    for _ in $(seq 2000); do
        [ ! -f "$1" ] || [ "$(wc -l <"$1")" -lt "$2" ] || return 0
        sleep 0.01 # poll: what another process writes
    done
    fail "$1 has no $2 lines: $(cat ./*.err)"
}
wait_for receipts 1
"$COFFER" dataset read run-8 live --follow >followed 2>follow.err 4>&- &
follower=$!
wait_for followed 1
echo "line 2" >&4
wait_for followed 2
stop_server
start_server 4>&- # it would keep the pipe open
echo "line 3" >&4
exec 4>&-
wait "$appender" || fail "append --per-line: $(cat append.err)"
wait_for followed 3
run 0 dataset close run-8
wait "$follower" || fail "read --follow: $(cat follow.err)"
is "$(<followed)" $'line 1\nline 2\nline 3'

# --- transactions --------------------------------------------------------------------------------------

run 0 dataset begin run-7
made=$out
run 0 dataset append run-7 a one --transaction "$made"
has "$out" "record 0"
run 1 dataset read run-7 a
run 0 dataset transaction run-7 "$made"
is "$out" open
run 0 dataset commit run-7 "$made"
version=$out
run 0 dataset commit run-7 "$made" --json
json_is '[.state, .version]' "[\"committed\",$version]"
run 0 dataset read run-7 a
is "$(<out.text)" one
run 0 dataset begin run-7 --id event-1 --channel a --channel b --ttl 1min --barrier --commit-when-ready
is "$out" event-1
run 1 dataset begin run-7 --id event-2 --channel a
has "$err" channel_busy
run 1 dataset append run-7 a one
has "$err" channel_busy
run 0 dataset append run-7 a one -t event-1
run 0 dataset append run-7 b two -t event-1
run 0 dataset ready run-7 event-1 a
is "$out" open
run 1 dataset commit run-7 event-1
has "$err" transaction_not_ready
run 1 dataset commit run-7 event-1 --wait 1ms
run 0 dataset ready run-7 event-1 b
is "$out" committed
run 0 dataset begin run-7 --id event-3
run 0 dataset append run-7 a one -t event-3
run 0 dataset abort run-7 event-3
run 1 dataset commit run-7 event-3
has "$err" transaction_aborted
run 1 dataset transaction run-7 event-4
has "$err" no_such_transaction
run 0 dataset read run-7 a
is "$(<out.text)" oneone
run 0 dataset claim run-7 a
is "$out" "epoch 1  offset 6"
run 0 dataset claim run-7 a --json
json_is '[.epoch, .offset]' '[2,6]'
run 0 dataset append run-7 a one --epoch 2
run 1 dataset append run-7 a one --epoch 1
has "$err" fenced
run 0 dataset append run-7 a one --durability buffered

# --- the end ---------------------------------------------------------------------------------------------

run 0 sync
run 0 dataset archive run-7 -o run-7.tar
tar -xOf run-7.tar numbers | cmp - numbers
run 0 dataset archive run-7 --format tar.zst --version 1
zstd -dc out.text | tar -xOf - log >first
is "$(<first)" one
run 1 dataset archive run-7 --version 999999 -o run-7.old
[ ! -e run-7.old ] || fail "an archive that is not there"
run 0 dataset close run-7 --no-wait
job=$out
run 0 jobs watch "$job"
has "$out" '"do":"verify"'
run 0 dataset close run-7
has "$err" "was closed already"
run 1 dataset append run-7 log one
has "$err" dataset_closed
run 0 dataset show run-7 --json
json_is .state '"closed"'
run 0 dataset create run-9 --on-close verify
run 0 dataset append run-9 a one
run 0 dataset close run-9 --json
json_is '[.kind, .state, .result.actions[0].do]' '["close","done","verify"]'
run 0 dataset rm run-7 run-9
run 1 dataset rm run-7 run-8
has "$err" no_such_dataset
run 0 dataset ls --json
is "$out" ""
echo "cli_datasets: done"
