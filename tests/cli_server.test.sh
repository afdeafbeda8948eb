#!/usr/bin/env bash
# Goal: the commands that look after a server (status, sync, packs, channels, jobs, pack, repack, validate,
# backup), and bench. Method: a real cofferd; and, for the jobs and answers that it does not have at will, a
# small server of the test's own that says what the contract says.
# shellcheck disable=SC2154 # $out and $err are set by run
. "$(dirname "${BASH_SOURCE[0]}")/support/cli_suite.sh"
suite server
start_server

# --- the session that README.md shows --------------------------------------------------------------

awk '/^<!-- tested: coffer session -->/ { wanted = 1; next }
     wanted && /^```sh$/ { inside = 1; wanted = 0; next }
     /^```$/ { inside = 0 }
     inside' "${COFFER_SOURCE:?names the source tree}/README.md" |
    sed "s|http://127.0.0.1:8420|unix:$folder/socket|" >session
grep -q add-files session || fail "README.md has no session of coffer"
mkdir session.d session.d/folder
seq 7 >session.d/folder/seven
(
    cd session.d
    PATH=$(dirname "$COFFER"):$PATH
    set -euo pipefail
    # shellcheck disable=SC1091
    . ../session
) >session.out 2>session.err || fail "the session of README.md: $(cat session.err)"
has "$(<session.out)" "hello"
cmp session.d/folder/seven "session.d/copies/$(key_of session.d/folder/seven)"
tar -xOf session.d/run-9.tar numbers | cmp - <(seq 100000)
stop_server
rm -r data

start_server
echo hello >hello
run 0 put hello
hello=$out

# --- tables --------------------------------------------------------------------------------------

run 0 status
has "$out" "chunks            1"
has "$out" "writable          yes"
has "$out" "memory_limit      256 MiB"
run 0 status --json
json_lines 1
json_is '[.chunks, .engine]' '[1,"local"]'
(set +o pipefail && "$COFFER" status --watch --interval 1ms --json | head -n 3 >looks)
is "$(jq -c .chunks looks | tr '\n' ' ')" "1 1 1 "
run 0 packs
has "$out" "PACK  STATE"
run 0 packs --json
json_is .state '"open"'
run 0 channels
has "$out" "CHANNEL"
run 0 channels --json
json_is 'select(.flushed_records > 0) | .state' '"idle"'
run 0 put --durability buffered --json - < <(echo ticket)
ticket=$(jq -r .ticket out.text)
[ "$ticket" = null ] || run 0 sync "$ticket"
run 0 sync
run 1 sync 0000000000000000:1:1
has "$err" ticket_lost
run 0 jobs
has "$out" "JOB  KIND"
run 0 jobs ls --json
is "$out" ""
run 1 jobs show 7
has "$err" no_such_job
run 1 jobs watch 7
run 1 jobs cancel 7
run 0 dataset create run-7 --on-close verify
run 0 dataset close run-7
run 0 jobs show 1
has "$out" "state              done"
run 0 jobs cancel 1 --json # one that has ended stays as it is
json_is '[.id, .state]' '["1","done"]'
run 0 pack --json # right after a write, when its lane still has the pack
json_is '.result.packs_sealed > 0' true
run 0 validate
run 0 validate --json
json_is '[.state, .result.damaged, .result.missing, .result.checked > 0]' '["done",[],[],true]'
pack=$(grep -la hello data/packs/*.pack | head -n 1)
at=$(grep -abo 'hello' "$pack" | head -n 1 | cut -d: -f1)
printf j | dd of="$pack" bs=1 seek="$at" conv=notrunc status=none
run 1 validate --json
json_is '[.state, .result.damaged_count, .result.damaged[0].key]' "[\"done\",1,\"$hello\"]"
run 1 validate
printf h | dd of="$pack" bs=1 seek="$at" conv=notrunc status=none
run 0 validate
run 0 backup backups --json # relative: to where it was asked
name=$(jq -r .result.name out.text)
run 0 backup backups
is "$(find backups -mindepth 1 -maxdepth 1 | wc -l)" 2
first=$(find backups -mindepth 1 -maxdepth 1 | sort | head -n 1)
is "$first" "backups/$name"
[ -n "$(find data/packs -links +2)" ] || fail "no pack is shared by the store and its backups"
run 3 backup "$folder/data/inside"
has "$err" "inside of the store"
mkdir other && touch other/file
run 3 backup other
has "$err" "no backup"
run 2 validate --repair
has "$(curl -sS --unix-socket socket -H 'Content-Type: application/json' -d '{"kind":"validate","repair":true}' http://localhost/v1/jobs)" \
    "put the content again"

# --- bench ----------------------------------------------------------------------------------------

for action in put get append; do
    run 0 bench "$action" --size 1KiB --concurrency 2 --seconds 100ms
    has "$out" "requests in"
    has "$out" "p99.9"
done
run 0 bench put --seconds 50ms --durability buffered --json
json_is '.requests > 0 and .p50 <= .p99 and .p99 <= .max and .size == 4096' true
run 2 bench delete
has "$err" "none of put, get, append"
run 2 bench put --size 0
run 0 ls --json # what was stored is gone again
json_is 'select(.size != 7) | .key' "\"$hello\""
run 0 dataset ls --json
json_is .name '"run-7"'

# --- servers that are not there, stop, or refuse ---------------------------------------------------------

run 3 --url unix:nowhere ls
has "$err" no_connection
run 3 ls --url=http://127.0.0.1:1
has "$err" no_connection
run 2 ls --url ftp://127.0.0.1
has "$err" "is not http://"
COFFER_URL='' run 3 --url unix:nowhere put hello
mkfifo data.pipe
"$COFFER" put - <data.pipe >key 2>put.err &
putter=$!
exec 4>data.pipe
echo part >&4
stop_server
exec 4>&-
code=0
wait "$putter" || code=$?
is "$code" 3 # a pipe cannot be sent again
is "$(<key)" ""

# --- jobs, as the contract has them ------------------------------------------------------------------------

cat >scripted.py <<'PYTHON'
"""POST /v1/jobs makes a job whose end its kind and the query name; events tell its way there."""
import http.server, json, sys
jobs, posted = [], open("posted", "w", buffering=1)

def end_of(job):
    result = {"checked": 9, "damaged": [], "missing": [], "unreferenced_bytes": 0}
    if job["kind"] == "validate":
        result["damaged"] = [{"pack": 1, "offset": 64, "key": "ab", "what": "checksum"}]
    if job["kind"] == "backup":
        return {**job, "state": "failed", "error": {"code": "disk_full", "detail": "the disk is full"}}
    if job["kind"] == "pack":
        return {**job, "state": "cancelled"}
    return {**job, "state": "done", "result": result}

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def answer(self, status, body, kind="application/json"):
        data = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        print(json.dumps(body), file=posted)
        print(self.headers.get("Authorization"), file=posted)
        jobs.append({"id": str(len(jobs) + 1), "kind": body["kind"], "state": "queued", "cut": 0})
        self.answer(202, json.dumps(jobs[-1]))
    def do_GET(self):
        job = jobs[int(self.path.split("/")[3]) - 1]
        if not self.path.endswith("/events"):
            return self.answer(200, json.dumps({**job, "state": "running"}))
        told = {**job, "state": "running", "progress": {"done": 1, "total": 2, "unit": "bytes"}}
        text = f"event: progress\ndata: {json.dumps(told)}\n\n: waiting\n\n"
        if job["cut"] > 0:  # the first stream ends without an end
            text += f"event: done\ndata: {json.dumps(end_of(job))}\n\n"
        job["cut"] += 1
        self.answer(200, text, "text/event-stream")
    def log_message(self, *arguments):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
PYTHON
mkfifo port
python3 scripted.py >port &
helpers+=("$!")
exec 5<port && read -r port <&5
export COFFER_URL=http://127.0.0.1:$port COFFER_KEY=daq:s3cret

run 0 repack --dead-ratio 0.25 --recompress 9
has "$out" "checked            9"
run 1 validate
has "$out" "damaged            1"
has "$out" '"what":"checksum"'
has "$err" "job 2 found damage"
run 1 validate --json
json_is '[.state, .result.damaged[0].pack]' '["done",1]'
run 3 backup to
has "$err" "the disk is full (disk_full)"
run 1 pack
has "$err" "was cancelled"
run 0 pack --no-wait
is "$out" 6
sed -n 'p;n' posted >bodies
is "$(jq -c . bodies | head -n 3)" '{"kind":"repack","dead_ratio":0.25,"compression_level":9}
{"kind":"validate"}
{"kind":"validate"}'
is "$(jq -r 'select(.kind == "backup") | .to' bodies)" "$folder/to" # relative: to where it was asked
is "$(sed -n 2p posted)" "Basic $(printf daq:s3cret | base64)"

# A bar, on a terminal only.
if command -v script >/dev/null; then
    script -qec "'$COFFER' repack" /dev/null >terminal </dev/null
    has "$(cat terminal)" "checked"
fi
echo "cli_server: done"
