# Commands one could type by hand. What needs logic is a test (tests/), not a recipe.

# Lists the recipes.
default:
    @just --list

# Format, lints, documentation, lock file.
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --locked -- -D warnings
    RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --no-deps --locked

# Every test, as the README says.
test:
    cargo test --workspace

# The long forms of the proofs: kill cycles, crash points, random histories.
long:
    FAREBOX_LONG=1 cargo test --release --workspace -- --nocapture

# Benchmarks, all or by name, as releases are built: `just bench charge`.
bench name='*':
    cargo bench --profile dist --bench '{{ name }}'

# One profile against one target, measured and audited: `just load storm embedded` (loadtest/README.md).
load profile='canonical' target='embedded' *arguments:
    cargo run --profile dist -p farebox-loadtest -- run {{ profile }} {{ target }} {{ arguments }}

# farebox beside a no-op server, Redis and PostgreSQL, into docs/performance.md: about 20 minutes.
compare *arguments:
    cargo build --profile dist --workspace
    target/dist/farebox-loadtest compare --output docs/performance.md {{ arguments }}

# Cost, memory, start-up and disk space by size, into docs/performance.md: about half an hour, 6 GiB of memory and of disk.
scale *arguments:
    cargo build --profile dist -p farebox-loadtest
    target/dist/farebox-loadtest scale --output docs/performance.md {{ arguments }}

# Instructions of a durable one-off by stage, into docs/performance.md (needs valgrind).
cycles:
    cargo build --profile dist --workspace
    target/dist/farebox-loadtest cycles --output docs/performance.md

# Whether the time of an answer tells a foreign object from an unknown one: `just timing --pairs 10000`.
timing *arguments:
    cargo run --profile dist -p farebox-loadtest -- timing {{ arguments }}

# A running server against its own description, in all phases (needs python3 and PyPI).
schemathesis form='long':
    tests/schemathesis.sh {{ form }}

# Licences, bans and sources of the dependencies (needs cargo-deny 0.20).
deny:
    cargo deny --locked check licenses bans sources

# Fuzzes every target for so many seconds (needs cargo-fuzz 0.13 and a nightly toolchain). What it finds
# becomes a seed in fuzz/corpus-seeds.
fuzz seconds='60': (fuzz-one 'formula' seconds) (fuzz-one 'journal' seconds) (fuzz-one 'key' seconds) (fuzz-one 'number' seconds) (fuzz-one 'path' seconds) (fuzz-one 'request' seconds) (fuzz-one 'token' seconds)

[private]
fuzz-one target seconds:
    mkdir -p fuzz/corpus/{{ target }}
    cargo +nightly fuzz run {{ target }} fuzz/corpus/{{ target }} fuzz/corpus-seeds/{{ target }} -- -max_total_time={{ seconds }}

# What is run on every submission.
ci:
    .ci/run
