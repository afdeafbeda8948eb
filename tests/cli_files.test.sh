#!/usr/bin/env bash
# Goal: add-files stores a tree with few requests and, asked again, sends nothing; extract gives the same
# files back. Method: a real cofferd that logs its requests; trees with what trees can have.
# shellcheck disable=SC2154 # $out and $err are set by run
. "$(dirname "${BASH_SOURCE[0]}")/support/cli_suite.sh"
suite files
start_server --log-level debug

requests() { # PATTERN: how many of the log
    grep -c -- "$1" log || true
}

# --- 2,000 small files ---------------------------------------------------------------------------

mkdir -p tree/{a,b,c,d}
for i in $(seq 500); do
    for folder_name in a b c d; do
        printf 'file %d of %s\n' "$i" "$folder_name" >"tree/$folder_name/$i"
    done
done
find tree -type f -print0 | sort -z | xargs -0 sha256sum | sed 's/  / /' | sort >wanted

run 0 add-files tree
sort out.text | cmp - wanted
has "$err" "2000 files: 2000 sent"
run 0 sync
is "$(requests 'POST /v1/chunks/insert')" 4 # 512 files each
is "$(requests 'PUT /v1/chunks/')" 0
run 0 status --json
before=$(jq -c '[.chunks, .used_space, .syncs]' out.text)

run 0 add-files tree
sort out.text | cmp - wanted
has "$err" "2000 files: 0 sent (0 B), 2000 were there"
is "$(requests 'POST /v1/chunks/insert')" 4
run 0 status --json
json_is '[.chunks, .used_space, .syncs]' "$before"

# --- and back ------------------------------------------------------------------------------------

run 0 extract -o out <wanted
has "$err" "2000 files"
(cd out && sha256sum -- *) | awk '$1 != $2 { exit 1 }' || fail "a file is not what its name says"
is "$(find out -type f | wc -l)" "$(cut -d' ' -f1 wanted | sort -u | wc -l)"
first=$(head -n 1 wanted | cut -d' ' -f1)
run 0 extract -o one "$first" --json
json_is '[.files, .bytes > 0]' '[1,true]'
cmp "one/$first" "out/$first"
missing=$(printf 'f%.0s' {1..64})
run 1 extract -o one "$missing" "$first"
has "$err" "$missing: no such chunk"
is "$(ls one)" "$first"
run 2 extract -o one ../../etc/passwd
run 3 extract -o wanted "$first"
run 0 extract -o none </dev/null
has "$err" "0 files"

# --- what trees can have -----------------------------------------------------------------------------

mkdir -p odd/empty-folder
ln -s ../tree/a/1 odd/link
ln -s nowhere odd/dangling
mkfifo odd/fifo
: >odd/empty
cp tree/a/1 odd/same
cp tree/a/1 odd/same-again
printf 'x' >'odd/a  name with blanks'
printf 'y' >$'odd/line\nfeed'
printf 'z' >$'odd/not-\xff-utf8'
head -c 9000000 /dev/urandom >odd/large
head -c 8388608 /dev/zero >odd/exactly-large
head -c 70000 /dev/urandom >odd/middle
run 0 add-files odd
for left in link dangling; do has "$err" "odd/$left: a symbolic link, left out"; done
has "$err" "odd/fifo: no regular file, left out"
has "$err" "9 files"
has "$err" "3 left out"
is "$(grep -c -- "$(key_of odd/same) odd/same" out.text)" 2
has "$out" "$(key_of odd/large) odd/large"
has "$out" "$(key_of odd/empty) odd/empty"
has "$out" "$(printf '\\%s odd/line\\nfeed' "$(key_of $'odd/line\nfeed')")"
cp out.text odd.keys
run 0 extract -o odd-out <odd.keys # it takes what add-files printed
cmp odd/large "odd-out/$(key_of odd/large)"
cmp odd/exactly-large "odd-out/$(key_of odd/exactly-large)"
cmp odd/middle "odd-out/$(key_of odd/middle)"
is "$(find odd-out -type f | wc -l)" 8
run 0 add-files --json odd tree/a/1
json_lines 10
json_is 'select(.path | startswith("odd/not-")) | .path' '"odd/not-�-utf8"'
run 0 add-files odd/link
is "$out" ""
run 1 add-files nowhere tree/a/1
has "$err" "nowhere: No such file or directory"
has "$out" "tree/a/1"

# --- a file that never stands still ----------------------------------------------------------------

(while :; do printf x >>growing; done) &
writer=$!
until [ -s growing ]; do :; done
code=0
"$COFFER" add-files growing >out.text 2>err.text || code=$?
kill "$writer"
wait "$writer" 2>/dev/null || true
if [ "$code" -eq 0 ]; then # it was quiet for a moment: then what is listed is what is stored
    key=$(cut -d' ' -f1 out.text)
    run 0 get "$key" -o grown
    is "$(key_of grown)" "$key"
else
    is "$code" 1
    has "$(<err.text)" "growing: changed while it was read"
    is "$(<out.text)" ""
fi
echo "cli_files: done"
