#!/usr/bin/env bash
# Durable one-off requests per second over HTTP, beside a no-op hyper server, in one run.
# Needs wrk and curl. Build first: cargo build --profile dist --workspace
#   loadtest/measure.sh [seconds per run] [rounds]
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-5} rounds=${2:-3}
bin=target/dist
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null; wait; rm -rf "$work"' EXIT

"$bin/noop" 127.0.0.1:0 >"$work/noop.out" &
RUST_LOG=warn "$bin/farebox" serve --listen 127.0.0.1:0 --data "$work/data" >"$work/farebox.out" &
until grep -q listening "$work/noop.out" && grep -q listening "$work/farebox.out"; do sleep 0.1; done
noop=$(sed 's/.* //' "$work/noop.out") farebox=$(sed 's/.* //' "$work/farebox.out")
token=$("$bin/farebox" token --data "$work/data" --role administration)

call() { # METHOD PATH BODY
    curl -sS --fail-with-body -X "$1" -H "Authorization: Bearer $token" -H 'Content-Type: application/json' -d "$3" "$farebox/api/v1.0$2"
}
call POST /rate-tables '{"effectiveFrom":1698849852000,"series":"P","version":"1","items":[{"name":"PhotoPrint","version":"1.0","rate":3},{"name":"SignPrint","version":"1.0","rate":4},{"name":"CADPrint","version":"2.0","rate":7}]}' >/dev/null
instance() { call POST /instances '{"shortName":"ACME","accountId":"ACME"}' | sed 's/.*"id":"\([^"]*\)".*/\1/'; }
line_item() { # INSTANCE ID QUANTITY END
    call PUT "/instances/$1/line-items" "{\"activationId\":\"$2\",\"state\":\"DEPLOYED\",\"quantity\":$3,\"start\":0,\"end\":$4,\"attributes\":{\"elastic\":true,\"rateTableSeries\":\"P\"}}" >/dev/null
}
# canonical: 100 instances with one plentiful line item each. hot: one of them.
# spill: 20 instances whose first two line items of three are used up.
for i in $(seq 100); do id=$(instance); echo "$id" >>"$work/canonical"; line_item "$id" "C$i" 9000000000000000 4000000000000; done
head -1 "$work/canonical" >"$work/hot"
for i in $(seq 20); do
    id=$(instance); echo "$id" >>"$work/spill"
    line_item "$id" "A$i" 1 3000000000000; line_item "$id" "B$i" 1 3500000000000; line_item "$id" "D$i" 9000000000000000 4000000000000
done

run() { # URL NAME CONNECTIONS IDS
    FAREBOX_TOKEN=$token FAREBOX_IDS=$4 wrk -t 2 -c "$3" -d "${seconds}s" --latency -s loadtest/access.lua "$1" |
        awk -v name="$2" -v c="$3" '/50%/{p50=$2} /99%/{p99=$2} /Requests\/sec/{r=$2} /Non-2xx/{bad=$0} END{printf "%-10s c=%-4s %9.0f requests/s  p50 %-8s p99 %-8s %s\n", name, c, r, p50, p99, bad}'
}
cpu() { awk '{print $14+$15}' "/proc/$1/stat"; }
for round in $(seq "$rounds"); do
    for c in 64 256; do
        run "$noop" noop "$c" "$work/canonical"
        for profile in canonical hot spill; do run "$farebox" "$profile" "$c" "$work/$profile"; done
    done
done
curl -sS "$farebox/metrics" | grep -E 'journal_(batch_records|sync_seconds)_(sum|count)|appended_bytes|replayed' || true
