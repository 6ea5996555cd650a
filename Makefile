# Every target also sets up what it needs. CARGO_TARGET_DIR is respected.

.DEFAULT_GOAL := help
.PHONY: help demo test package bench bench-store bench-alerts fuzz chaos audit systems

help: ## Say what there is to make
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1	\2/p' $(MAKEFILE_LIST)

demo: ## Start a collector and an agent of this machine, and show its health and patches
	@packaging/install-needs build
	@cargo build --workspace --bins --quiet
	@cargo run --quiet --package upkeep-tests --bin demo

test: ## Check formatting, lints and documentation, then run every test
	@packaging/install-needs build tree managers disk clock package
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --quiet -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --quiet
	cargo build --workspace --bins --quiet
	if cargo nextest --version >/dev/null 2>&1; \
	then cargo nextest run --workspace && cargo test --workspace --doc --quiet; \
	else cargo test --workspace; fi
	tests/packages.sh

package: ## Build both programs as deb and rpm into packaging/dist (PROFILE=dev for unoptimised ones)
	@packaging/install-needs build package
	@packaging/build

bench: ## Measure cost and speed, and print the figures
	@packaging/install-needs build bench
	@cargo build --package upkeep-collector --package upkeep-tests --bins --release --quiet
	@cargo build --package upkeep-agent --profile small --quiet
	@UPKEEP_AGENT="$$(realpath $${CARGO_TARGET_DIR:-target})/small/upkeep-agent" UPKEEP_PEERS="$$(packaging/peers)" \
		cargo run --release --quiet --package upkeep-tests --bin bench

bench-store: ## Measure the store beside victoria-metrics and prometheus (SCENARIOS="native disk" for some, printed only)
	@packaging/install-needs build bench
	@cargo build --package upkeep-collector --package upkeep-agent --package upkeep-tests --bins --release --quiet
	@cargo run --release --quiet --package upkeep-tests --bin bench_collector -- \
		store $(if $(SCENARIOS),,--write docs/bench/store.md) $(SCENARIOS)

bench-alerts: ## Measure rules and alerts beside prometheus and its alertmanager (SCENARIOS="rules storm" for some, printed only)
	@packaging/install-needs build bench
	@cargo build --package upkeep-collector --package upkeep-agent --package upkeep-tests --bins --release --quiet
	@cargo run --release --quiet --package upkeep-tests --bin bench_collector -- \
		alerts $(if $(SCENARIOS),,--write docs/bench/alerts.md) $(SCENARIOS)

fuzz: ## Spoil whatever is read from hosts, programs and people, at random, for FUZZ_SECONDS (60 unless told)
	@packaging/install-needs build
	FUZZ_SECONDS=$${FUZZ_SECONDS:-60} FUZZ_SEED=$${FUZZ_SEED:-$$(date +%s)000000} \
		cargo test --quiet --workspace --test foreign_bytes --test spoilt_queries -- --nocapture

chaos: ## Everything of docs/durability.md at full size: power cuts, damage, simulated networks, kills, clocks, shortages, a herd
	@packaging/install-needs build disk clock
	UPKEEP_POWER_CUTS=$${UPKEEP_POWER_CUTS:-500} RUST_BACKTRACE=0 \
		cargo test --quiet -p upkeep-agent -p upkeep-store -p upkeep-collector --lib --test buffer --test identity --test store power_cuts -- --nocapture
	UPKEEP_DAMAGES=$${UPKEEP_DAMAGES:-5000} RUST_BACKTRACE=0 \
		cargo test --quiet -p upkeep-agent -p upkeep-store -p upkeep-collector --lib --test buffer --test store damage_anywhere -- --nocapture
	UPKEEP_SIMULATIONS=$${UPKEEP_SIMULATIONS:-2000} \
		cargo test --quiet -p upkeep-simulation --test seeds every_record -- --nocapture
	@cargo build --workspace --bins --quiet
	UPKEEP_KILLS=$${UPKEEP_KILLS:-500} UPKEEP_NETWORK_FAULTS=$${UPKEEP_NETWORK_FAULTS:-500} \
		UPKEEP_POWER_CUTS=$${UPKEEP_POWER_CUTS:-500} RUST_BACKTRACE=0 \
		cargo test --quiet -p upkeep-tests --test kills --test network --test failures -- --nocapture
	UPKEEP_BACKLOG=$${UPKEEP_BACKLOG:-40000} RUST_BACKTRACE=0 cargo test --quiet -p upkeep-tests --test clocks --test open_files --test full_disks --test memory -- \
		--nocapture --test-threads 1
	@cargo build --package upkeep-collector --profile chaos --quiet
	UPKEEP_HERD=$${UPKEEP_HERD:-2000} RUST_BACKTRACE=0 cargo test --profile chaos --quiet -p upkeep-tests --test herd -- --nocapture

audit: ## Hold licences, sources and bans of the dependencies against deny.toml
	@packaging/install-needs build
	@packaging/audit

systems: ## Check that the agent compiles for Windows, macOS and FreeBSD
	@packaging/check-systems
