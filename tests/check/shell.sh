#!/usr/bin/env bash
# Every shell script of the tree passes shellcheck. --root DIR looks elsewhere.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
[ "${1-}" != --root ] || root=$2
cd "$root"
# By their first line: dev, .ci/run and the hooks have no suffix.
mapfile -t files < <(find . \( -name .git -o -name build -o -name coffer-data -o -name corpus \) -prune \
    -o -type f \( -name '*.sh' -o ! -name '*.*' \) -print0 |
    xargs -0 grep -lIE -m 1 '^#!/(usr/bin/env bash|bin/(ba)?sh)' | LC_ALL=C sort)
[ "${#files[@]}" -gt 0 ] || {
    echo "check shell: no file to look at"
    exit 1
}
# SC1091: sourced helpers are checked as files of their own. SC2016: jq programs stand in single quotes.
shellcheck --severity=style --exclude=SC1091,SC2016 "${files[@]}"
echo "check shell: ${#files[@]} files"
