#!/usr/bin/env bash
# Every .c and .h is as .clang-format says. --write rewrites them; --root DIR looks elsewhere;
# further arguments are the files to look at instead of all.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
style=$root/.clang-format
mode=(--dry-run -Werror)
while [ $# -gt 0 ]; do
    case $1 in
    --root) root=$2 && shift ;;
    --write) mode=(-i) ;;
    *) break ;;
    esac
    shift
done
cd "$root"
if [ $# -gt 0 ]; then
    files=("$@")
else
    # Ours lie in these folders only; a folder that is not there is none of our business.
    mapfile -t files < <(find api bench cli client server storage tests \
        -name '*.[ch]' -type f 2>/dev/null | LC_ALL=C sort)
fi
[ "${#files[@]}" -gt 0 ] || {
    echo "check format: no file to look at"
    exit 1
}
status=0
printf '%s\0' "${files[@]}" |
    xargs -0 -n 16 -P "$(nproc)" clang-format --style="file:$style" "${mode[@]}" || status=1
echo "check format: ${#files[@]} files$([ $status -eq 0 ] || echo ', not as .clang-format says: ./dev format')"
exit $status
