#!/usr/bin/env bash
# Order audit (crash-testing level 1): the system calls between a request and its answer. What is
# acknowledged was written to its pack, the pack was synced after that, a new pack's folder too, and
# only then does the answer go out. Skipped (77) where strace may not trace.
set -euo pipefail

: "${COFFERD:?}"
work=$(mktemp -d "${TMPDIR:-/tmp}/coffer-order-XXXXXX")
tracer=
stop() {
    [ -z "$tracer" ] || kill -TERM "$tracer" 2>/dev/null || true
    [ -z "$tracer" ] || wait "$tracer" 2>/dev/null || true
    rm -rf "$work"
}
trap stop EXIT

if ! strace -o /dev/null true 2>/dev/null; then
    echo "skipped: strace cannot trace here"
    exit 77
fi
# The leak checker cannot run under a tracer.
export ASAN_OPTIONS="${ASAN_OPTIONS:-}:detect_leaks=0"
mkfifo "$work/log"
strace -ff -ttt -T -y -s 300 -o "$work/trace" \
    -e trace=openat,pwrite64,pwritev,fdatasync,fsync,rename,sendmsg,sendto,write,writev \
    "$COFFERD" --data-dir "$work/data" --listen 127.0.0.1:0 --segment-size 64KiB --default-channels 1 \
    --compression none 2>"$work/log" &
tracer=$!
address=
while IFS= read -r line; do
    address=$(sed -n 's/.*ready: listening on \([0-9.:]*\).*/\1/p' <<<"$line")
    [ -z "$address" ] || break
done <"$work/log"
[ -n "$address" ] || { echo "cofferd did not start"; exit 1; }

ask() { # ID CURL-ARGUMENT...
    local id=$1
    shift
    curl -sS --fail -o /dev/null -H "X-Request-Id: $id" "$@"
}
head -c 1000 /dev/urandom >"$work/one"
head -c 1000 /dev/urandom >"$work/two"
head -c 300000 /dev/urandom >"$work/large"
tar -C "$work" -cf "$work/tar" one two
ask order-new-pack --data-binary @"$work/one" "http://$address/v1/chunks"
ask order-old-pack --data-binary @"$work/two" "http://$address/v1/chunks"
ask order-large --data-binary @"$work/large" "http://$address/v1/chunks"
ask order-delete -X DELETE "http://$address/v1/chunks/$(sha256sum "$work/one" | cut -d' ' -f1)"
ask order-batch --data-binary @"$work/tar" "http://$address/v1/chunks/insert"
head -c 1000 /dev/urandom | ask order-buffered -H 'Coffer-Durability: buffered' --data-binary @- \
    "http://$address/v1/chunks"
ask order-sync -X POST "http://$address/v1/sync"
dataset="http://$address/v1/datasets/run"
ask order-dataset -X PUT "$dataset"
ask order-append --data-binary @"$work/one" "$dataset/channels/a"
ask order-begin -d '{"id":"t"}' "$dataset/transactions"
ask order-stage -H 'Coffer-Transaction: t' --data-binary @"$work/one" "$dataset/channels/a"
ask order-commit -X POST "$dataset/transactions/t/commit"
server=$(ps -o pid= --ppid "$tracer" | tr -d ' ')
kill -TERM "$server"
wait "$tracer"
tracer=

python3 - "$work"/trace.* <<'PYTHON'
import re
import sys

LINE = re.compile(r"^([\d.]+) (\w+)\((.*)\)\s+= (-?\d+).*<([\d.]+)>$")
events = []  # (end, start, call, arguments, result)
for name in sys.argv[1:]:
    with open(name, encoding="utf-8", errors="replace") as trace:
        for line in trace:
            match = LINE.match(line.rstrip("\n"))
            if match:
                start, call, arguments, result, lasted = match.groups()
                events.append((float(start) + float(lasted), float(start), call, arguments,
                               int(result)))
events.sort()


def answer_of(request):
    for end, start, call, arguments, _ in events:
        if call in ("sendmsg", "sendto", "write", "writev") and request in arguments and \
                "HTTP/1.1 2" in arguments:
            return start
    sys.exit(f"{request}: no answer in the trace")


def calls(names, what, since, until):
    return [event for event in events
            if event[2] in names and what in event[3] and since <= event[1] and event[0] <= until]


def audit(request, since, writes, folder=False):
    """Between `since` and the answer: so many writes to a pack, each synced before the answer."""
    answered = answer_of(request)
    written = calls(("pwritev", "pwrite64"), ".pack>", since, answered)
    if writes:
        assert written, f"{request}: answered without a write to a pack"
        last = max(event[0] for event in written)
        synced = [event for event in calls(("fdatasync",), ".pack>", last, answered)
                  if event[4] == 0]
        assert synced, f"{request}: answered before the pack was synced"
    if folder:
        made = [event for event in calls(("openat",), ".pack", since, answered)
                if "O_CREAT" in event[3]]
        assert made, f"{request}: no pack was made"
        assert calls(("fsync",), "/packs>", made[0][0], answered), \
            f"{request}: answered before the folder of a new pack was synced"
    print(f"{request}: {len(written)} pack writes, synced before the answer")
    return answered


at = audit("order-new-pack", 0, True, folder=True)
at = audit("order-old-pack", at, True)
at = audit("order-large", at, True)
at = audit("order-delete", at, True)
at = audit("order-batch", at, True)
before = answer_of("order-buffered")
synced = audit("order-sync", at, True)
assert before >= at
at = audit("order-dataset", synced, True)
at = audit("order-append", at, True)
at = audit("order-begin", at, True)
staged = answer_of("order-stage")
committed = audit("order-commit", at, True)
# What was staged is synced before the batch that is the commit is written.
written = calls(("pwritev", "pwrite64"), ".pack>", at, committed)
assert len(written) >= 2, "order-commit: what was staged and the commit were written at once"
assert calls(("fdatasync",), ".pack>", written[-2][0], written[-1][1]), \
    "order-commit: the commit was written before what was staged was synced"
assert staged <= committed
PYTHON
