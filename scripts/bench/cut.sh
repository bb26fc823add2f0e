#!/usr/bin/env bash
# Times `cut`, `inspect` and `verify` on a large adapter against a plain copy of the bytes that the cut keeps.
#
#     python scripts/bench/large.py adapter /tmp/large
#     scripts/bench/cut.sh /tmp/large [BOUNDARY] [RUNS]
#
# Commands take turns. A line has the median, the least and the most seconds, the resident memory, and the median of the
# ratios to the copy with sync of the same turn. A copy is timed twice: as it is, and with the sync to disk without which
# `cut` never reports success. `cut` also hashes all of its input. Needs GNU time.
set -euo pipefail
adapter=$(realpath "$1") boundary=${2:-16} runs=${3:-7}
binary=$(realpath "${CARGO_TARGET_DIR:-$(dirname "$0")/../../target}/release/lora-slim")
work=$(mktemp -d "$(dirname "$adapter")/bench-cut.XXXXXX")
trap 'rm -rf "$work"' EXIT

timed() { # name, command…
    local name=$1
    shift
    /usr/bin/time -a -o "$work/times" -f "$name\t%e\t%M" "$@" > /dev/null
}

medians() {
    awk -F '\t' '
        function sorted(values, count,    at, i, swap) {
            for (at = 2; at <= count; at++)
                for (i = at; i > 1 && values[i] < values[i - 1]; i--) {
                    swap = values[i]; values[i] = values[i - 1]; values[i - 1] = swap
                }
        }
        !($1 in turns) { names[++kinds] = $1 }
        { seconds[$1, ++turns[$1]] = $2 + 0; if ($3 + 0 > memory[$1]) memory[$1] = $3 + 0 }
        END {
            for (kind = 1; kind <= kinds; kind++) {
                name = names[kind]; count = turns[name]; middle = int((count + 1) / 2)
                for (turn = 1; turn <= count; turn++) {
                    taken[turn] = seconds[name, turn]
                    ratio[turn] = taken[turn] / seconds["cp and sync", turn]
                }
                sorted(taken, count); sorted(ratio, count)
                printf "%-14s %.2f s (%.2f to %.2f), %d KiB, %.2f of cp and sync\n", name, taken[middle], taken[1], taken[count], memory[name], ratio[middle]
            }
        }' "$work/times"
}

cat "$adapter"/* > /dev/null # every command finds its input in the page cache
"$binary" cut "$adapter" --boundary "$boundary" -o "$work/kept" > /dev/null
for _ in $(seq "$runs"); do
    timed "cut" "$binary" cut "$adapter" --boundary "$boundary" -o "$work/cut"
    timed "cp" cp -r "$work/kept" "$work/copy"
    rm -rf "$work/copy"
    timed "cp and sync" sh -c "cp -r '$work/kept' '$work/copy' && sync '$work'/copy/*"
    timed "sha256sum" sha256sum "$adapter/adapter_model.safetensors"
    timed "inspect" "$binary" inspect "$adapter"
    timed "verify" "$binary" verify "$adapter" "$work/cut"
    rm -rf "$work/copy" "$work/cut"
done
medians
