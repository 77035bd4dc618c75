#!/usr/bin/env bash
# Where the instructions of a durable one-off go, counted by callgrind, which no other load disturbs: a
# table in Markdown, on the terminal or between the markers of a document. What the kernel does is not in
# it, nor what waiting for memory costs; callgrind has no SHA instructions, so hashing shows ten times as dear.
# Needs valgrind. Build first: cargo build --profile dist --workspace
#   loadtest/cycles.sh [DOCUMENT]
set -euo pipefail
cd "$(dirname "$0")/.."
document=${1:-}
requests=10000
bin=target/dist
work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null; wait; rm -rf "$work"' EXIT

RUST_LOG=warn valgrind --tool=callgrind --instr-atstart=no --callgrind-out-file="$work/calls" \
    "$bin/farebox" serve --listen 127.0.0.1:0 --data "$work/data" >"$work/out" 2>"$work/log" &
server=$!
until grep -q listening "$work/out"; do sleep 0.2; done
url=$(sed 's/.* //' "$work/out")
FAREBOX_TOKEN=$("$bin/farebox" token --data "$work/data" --role administration)
export FAREBOX_TOKEN
ask() { # REQUESTS
    "$bin/farebox-loadtest" run hot "$url" --connections 16 --requests "$1" >"$work/report"
}
ask 4000 # Everything that is done once has been done.
callgrind_control --instr=on "$server" >/dev/null
ask "$requests"
callgrind_control --instr=off "$server" >/dev/null
kill "$server"
wait "$server" 2>/dev/null || true
server=

# The world of the second run was made meanwhile: of `hot` that is two calls.
callgrind_annotate --inclusive=yes --threshold=99.99 "$work/calls" 2>/dev/null >"$work/inclusive"
awk -v requests="$requests" '
    /PROGRAM TOTALS/ { all = number($1) }
    /^ *[0-9,]+ \(/ { # The same function is listed by each file that is inlined into it.
        for (name in looked_for) if (index($0, name) && !/=>/ && number($1) > most[name]) most[name] = number($1)
    }
    function number(text) { gsub(",", "", text); return text + 0 }
    function row(stage, instructions) {
        printf "| %s | %.1f | %.0f %% |\n", stage, instructions / requests / 1000, 100 * instructions / all
    }
    BEGIN {
        split("http::connection::run http::call::run read_one_off http::access::content Broker::access Call::body \
            Router::find Verifier::verify into_response processing_loop decide_and_append charge::allocate \
            encode_keyed __rust_begin_short_backtrace", names)
        for (i in names) looked_for[names[i]]
    }
    END {
        call = most["http::call::run"]
        known = most["read_one_off"] + most["http::access::content"] + most["Broker::access"] + most["Call::body"]
        edge = most["Router::find"] + most["into_response"]
        print "| of one request | thousand instructions | share |\n|---|--:|--:|"
        row("hyper: head in, answer out, the socket", most["http::connection::run"] - call - edge)
        row("route, response head", edge)
        row("authorization and the other checks of a head", call - known)
        row("body: waiting for it", most["Call::body"])
        row("body: JSON read", most["read_one_off"])
        row("permit, turn, choice of the line item, hop to its actor and back", most["Broker::access"])
        row("actor: mailbox", most["processing_loop"] - most["decide_and_append"])
        row("actor: what the request costs", most["charge::allocate"])
        row("actor: record encoded", most["encode_keyed"])
        row("actor: the rest of deciding, append", most["decide_and_append"] - most["charge::allocate"] - most["encode_keyed"])
        row("journal: batch hashed, answers handed back", most["__rust_begin_short_backtrace"])
        row("answer: JSON written", most["http::access::content"])
        row("scheduling and the rest", all - most["http::connection::run"] - most["processing_loop"] - most["__rust_begin_short_backtrace"])
        row("**all**", all)
    }' "$work/inclusive" >"$work/table"
cat "$work/table"
if [ -n "$document" ]; then
    awk -v table="$work/table" '
        /<!-- end cycles -->/ { inside = 0 }
        !inside
        /<!-- begin cycles -->/ { inside = 1; while ((getline line <table) > 0) print line }
    ' "$document" >"$work/document"
    cp "$work/document" "$document"
fi
