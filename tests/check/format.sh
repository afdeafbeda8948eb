#!/usr/bin/env bash
# Every .c and .h is as .clang-format says. --write rewrites them; --root DIR looks elsewhere;
# further arguments are the files to look at instead of all.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
style=$root/.clang-format
write=no
while [ $# -gt 0 ]; do
    case $1 in
    --root) root=$2 && shift ;;
    --write) write=yes ;;
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
format() {
    printf '%s\0' "${files[@]}" | xargs -0 clang-format --style="file:$style" "$@"
}
if [ "$write" = yes ]; then
    format -i
    exit
fi
status=0
found=$(format --dry-run -Werror 2>&1) || status=1
# One line a file tells enough; whatever else clang-format has to say is shown as it is.
printf '%s' "$found" | awk -F: '
    /^[^ ]+:[0-9]+:[0-9]+: error: code should be clang-formatted/ {
        if (!($1 in count)) {
            order[++files] = $1
            line[$1] = $2
        }
        count[$1]++
        quote = 2
        next
    }
    quote-- > 0 { next } # the line of source, and the mark under it
    { print }
    END {
        for (i = 1; i <= files; i++)
            printf "%s:%d: not as .clang-format says, in %d places\n",
                order[i], line[order[i]], count[order[i]]
    }'
echo "check format: ${#files[@]} files$([ $status -eq 0 ] || echo '; ./dev format rewrites them')"
exit $status
