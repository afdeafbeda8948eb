#!/usr/bin/env bash
# Goal: what coffer is told is checked before anything is done; every command has help with an example, a
# page in the manual and a completion; the keys file is never half a file and nobody else's to read; and a start
# is quick. Method: the program without any server.
# shellcheck disable=SC2154 # $out and $err are set by run
. "$(dirname "${BASH_SOURCE[0]}")/support/cli_suite.sh"
: "${COFFER_SOURCE:?names the source tree}"
suite words
: >log
export COFFER_URL=unix:nowhere

# --- wrong words: one line, exit code 2 ------------------------------------------------------------

wrong() { # PART ARGUMENT...
    local part=$1
    shift
    run 2 "$@" </dev/null
    has "$err" "$part"
    is "$(wc -l <err.text)" 1
    is "$out" ""
}
wrong "a command is needed"
wrong "there is no command nonsense" nonsense
wrong "there is no command dataset nonsense" dataset nonsense
wrong 'is it "coffer dataset append"?' append run-7 log
wrong "there is no option --nonsense" --nonsense ls
wrong "ls has no option --nonsense" ls --nonsense
wrong "ls has no option -z" ls -z
wrong "--json takes no value" ls --json=yes
wrong "--prefix needs PREFIX" ls --prefix
wrong "-p needs PREFIX" ls -lp
wrong '--url: "" is not a text' ls --url ''
wrong "put needs FILE..." put
wrong '"more" is more than ls takes' ls more
wrong '"1KB" is not a size' bench put --size 1KB
wrong '"x" is not a number' bench put --concurrency x
wrong '"99999999999999999999" is not a number' bench put --concurrency 99999999999999999999
wrong '"1.5" is not a number from 0 to 1' repack --dead-ratio 1.5
wrong "completion for bash" completion fish

# --- help --------------------------------------------------------------------------------------------

run 0 help
cp out.text help
run 0 --help
cmp out.text help
run 0 --version
has "$out" "coffer "
run 0 help dataset
has "$out" "dataset append"
mapfile -t commands < <(sed -n 's/^COMMAND("\([^"]*\)".*/\1/p' "$COFFER_SOURCE/cli/commands.def")
[ "${#commands[@]}" -gt 40 ] || fail "no commands were found in commands.def"
run 0 completion bash
cp out.text completion
for command in "${commands[@]}"; do
    grep -q "^  $command " help || fail "coffer help has no $command"
    read -ra words <<<"$command"
    run 0 "${words[@]}" --help
    cp out.text text
    run 0 help "${words[@]}"
    cmp out.text text
    has "$out" "usage: coffer $command [OPTION...]"
    has "$out" $'\nexample:\n'
    has "$(sed -n '/^example:/,$p' text)" "coffer ${words[0]}"
    awk 'length > 80 { exit 1 }' text || fail "help of $command is wider than 80 columns"
    grep -qF "'$command')" completion || fail "the completion has no $command"
    grep -qF ".SS ${command//-/\\-}" "$COFFER_SOURCE/docs/coffer.1" || fail "coffer.1 has no $command"
    grep -qxF "## $command" "$COFFER_SOURCE/docs/cli.md" || fail "cli.md has no $command"
done

# --- completion, in a bash ------------------------------------------------------------------------------

complete_words() { # WORD...: what the last one may become
    # shellcheck disable=SC1090
    (
        . ./completion
        COMP_WORDS=("$@")
        COMP_CWORD=$(($# - 1))
        _coffer
        printf '%s\n' "${COMPREPLY[@]}"
    )
}
has "$(complete_words coffer a)" add-files
has "$(complete_words coffer dataset ap)" append
has "$(complete_words coffer --url unix:x dataset append ds ch --per)" --per-line
has "$(complete_words coffer put --durability b)" buffered
has "$(complete_words coffer put hel)" help # a file of this folder
is "$(complete_words coffer ls --lo)" --long

# --- the keys file -------------------------------------------------------------------------------------------

umask 022
run 0 key new --id daq --rights read,append --prefix run- --prefix test- --file keys.json
daq=$out
[[ $daq =~ ^daq:[0-9a-f]{64}$ ]] || fail "\"$daq\" is no ID:SECRET"
is "$(stat -c %a keys.json)" 600
is "$(jq -c '.keys[0] | [.id, .secret, .rights, .prefixes]' keys.json)" \
    "[\"daq\",\"${daq#daq:}\",[\"read\",\"append\"],[\"run-\",\"test-\"]]"
chmod 644 keys.json
COFFER_KEYS_FILE=keys.json run 0 key new --id root --rights admin --json
is "$(stat -c %a keys.json)" 600
is "$(jq -r '.keys[1].secret' keys.json)" "$(jq -r .secret out.text)"
run 1 key new --id daq --rights read --file keys.json
has "$err" "has a key daq already"
run 0 key ls --file keys.json
has "$out" "daq   read,append  run-,test-"
[[ $out != *"${daq#daq:}"* ]] || fail "key ls shows a secret"
run 0 key ls --file keys.json --json
json_lines 2
json_is 'has("secret")' $'false\nfalse'
for i in $(seq 8); do
    "$COFFER" key new --id "p$i" --rights read --file keys.json >/dev/null &
done
for job in $(jobs -p); do wait "$job"; done
is "$(jq '.keys | length' keys.json)" 10 # those who write at a time take turns
run 0 key rm --file keys.json daq root p1
run 1 key rm --file keys.json daq p2
has "$err" "has no key daq"
is "$(jq -r '.keys[].id' keys.json | sort | tr '\n' ' ')" "p3 p4 p5 p6 p7 p8 "
run 2 key new --id 'a b' --rights read --file keys.json
run 2 key new --id ab --rights read,fly --file keys.json
has "$err" '"fly" is none of'
run 2 key new --rights read --file keys.json
run 2 key ls
has "$err" "needs --file"
run 1 key ls --file missing.json
run 1 key new --id a --rights read --file no-folder/keys.json
echo '{"keys":7}' >broken.json
run 3 key new --id a --rights read --file broken.json
has "$err" 'no list "keys"'
is "$(<broken.json)" '{"keys":7}'
[ -z "$(find . -name '*.new')" ] || fail "a new keys file is left behind"

# --- a start ----------------------------------------------------------------------------------------------------

# Processor time, since others may be at work on this machine.
if [ -z "${COFFER_SANITIZE-}" ]; then
    python3 - "$COFFER" <<'PYTHON' || fail "a start takes too long"
import resource, subprocess, sys
for _ in range(50):
    subprocess.run([sys.argv[1], "--version"], stdout=subprocess.DEVNULL, check=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
ms = (used.ru_utime + used.ru_stime) * 1000 / 50
print(f"cli_words: a start takes {ms:.1f} ms")
sys.exit(ms >= 10)
PYTHON
    ldd "$COFFER" | grep -q rocksdb && fail "the program loads RocksDB"
fi
echo "cli_words: done"
