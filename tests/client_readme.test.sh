#!/usr/bin/env bash
# Goal: libcoffer can be installed and used by a program outside of this tree, as client/README.md shows.
# Method: its blocks behind "<!-- tested: NAME -->" are installed, compiled and run as they stand there,
# against a cofferd on a free port; one again as plain C99, linked to the static library. The header is
# C++ too.
set -euo pipefail

: "${COFFERD:?}" "${COFFER_SOURCE:?}" "${COFFER_BUILD:?}"
if [ -n "${COFFER_SANITIZE-}" ]; then
    echo "skipped: a program would need this library's sanitizer"
    exit 77
fi
folder=$(mktemp -d "${TMPDIR:-/tmp}/coffer-client-XXXXXX")
export HOME=$folder
server=

finish() {
    local code=$?
    if [ -n "$server" ]; then
        kill -TERM "$server" 2>/dev/null || true
        wait "$server" || code=1
    fi
    [ "$code" -eq 0 ] || cat "$folder/output" "$folder/log" >&2 2>/dev/null || true
    rm -rf "$folder"
    exit "$code"
}
trap finish EXIT

fail() {
    printf 'client readme: %s\n' "$*" >&2
    exit 1
}

block() { # NAME FILE: what stands behind its mark
    awk -v mark="<!-- tested: $1 -->" '
        $0 == mark { wanted = 1; next }
        wanted && /^```/ { inside = 1; wanted = 0; next }
        /^```$/ { inside = 0 }
        inside' "$COFFER_SOURCE/client/README.md" >"$2"
    [ -s "$2" ] || fail "README.md has no block \"$1\""
}

mkfifo "$folder/stderr"
"$COFFERD" --data-dir "$folder/data" --listen 127.0.0.1:0 2>"$folder/stderr" &
server=$!
exec 3<"$folder/stderr"
address=
while IFS= read -r -t 60 line <&3; do
    printf '%s\n' "$line" >>"$folder/log"
    case $line in *' ready: listening on '*) address=${line##* ready: listening on } && break ;; esac
done
[ -n "$address" ] || fail "cofferd did not become ready"
cat <&3 >>"$folder/log" &

cd "$folder"
block first.c first.c
block together.c together.c
block 'client install' install.sh
block 'client session' session.sh
sed -i "s/127\.0\.0\.1:8420/$address/g" first.c together.c
sed -i "s|build/release|$COFFER_BUILD|" install.sh
bash -euo pipefail install.sh >"$folder/output"
bash -euo pipefail session.sh >"$folder/output" 2>&1 || fail "the session failed"
grep -qx '1000 lines' output || fail "first.c did not read its lines"
grep -qx 'version [1-9][0-9]*' output || fail "together.c did not commit"

export PKG_CONFIG_PATH=$HOME/coffer/lib/pkgconfig
# shellcheck disable=SC2046
cc -Wall -Wextra -Werror -std=c99 -pedantic -o static together.c \
    $(pkg-config --cflags coffer) -l:libcoffer.a $(pkg-config --libs-only-L coffer) \
    $(pkg-config --libs libcurl jansson) -pthread
./static | grep -q '^version ' || fail "the static library does not do"
printf '#include <coffer.h>\n' >header.cc
# shellcheck disable=SC2046
clang -x c++ -std=c++17 -Wall -Wextra -Werror -fsyntax-only $(pkg-config --cflags coffer) header.cc ||
    fail "the header is not C++"
# Only what the header names is exported, and it links what it says.
nm --dynamic --defined-only coffer/lib/libcoffer.so | awk '{ print $3 }' | grep -v '^coffer_' &&
    fail "libcoffer.so exports more than its header"
[ "$(pkg-config --modversion coffer)" = "$(sed -n 's/^project(coffer VERSION \([0-9.]*\).*/\1/p' \
    "$COFFER_SOURCE/CMakeLists.txt")" ] || fail "coffer.pc has another version"
echo "client/README.md works"
