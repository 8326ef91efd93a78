# The front door: `make help` says what there is. CI calls the same targets.
SHELL := bash
.DEFAULT_GOAL := help

# Tools from crates.io. Built unoptimised and without debug info (a quarter of the
# time), they run a second longer; what two of them need is built once.
CARGO_DENY_VERSION := 0.20.2
CARGO_FUZZ_VERSION := 0.13.2
CARGO_MUTANTS_VERSION := 27.1.0
MDBOOK_VERSION := 0.5.4
WASM_TARGET := wasm32-wasip1
# Bytes of the module's stack, in place of 1 MiB for every VM: the deepest that any
# configuration or request was seen to need is 50 KB. One that is too deep traps.
WASM_STACK := 262144
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
INSTALL := CARGO_PROFILE_DEV_DEBUG=0 cargo install --debug --locked --root .tools --target-dir $(TARGET_DIR)/tools
MODULE := $(TARGET_DIR)/$(WASM_TARGET)/wasm/gatemeter_filter.wasm
NATIVE_MODULE := $(TARGET_DIR)/release/libgatemeter_native.so
WASM_CRATES := -p gatemeter-core -p gatemeter-filter -p gatemeter-auth-module
# The filters that the benchmarks compare with.
BENCH_MODULES := -p gatemeter-floor-module -p gatemeter-naive-module -p gatemeter-empty-module \
  -p gatemeter-steps-module
# No crate is published: the documentation is for those who read the source, so
# it shows private items and may link to them.
RUSTDOC_LINTS := -D warnings -A rustdoc::private-intra-doc-links

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: ## Build all, start the demo behind Envoy with bridge and Prometheus; Ctrl-C stops it
	@scripts/run.sh

.PHONY: tools
tools: ## Fetch what is missing into .tools/ (Envoy, Prometheus, Redis, PostgreSQL, Chromium ...)
	@scripts/tools.sh

.PHONY: wasm
wasm: ## Build the filter: dist/gatemeter_filter.wasm
	@scripts/tools.sh wasm
	@# The profile's `strip` leaves the names of functions in a module, 80 KB of them,
	@# and the linker the padding of addresses, 25 KB.
	cargo rustc --profile wasm --locked --target $(WASM_TARGET) -p gatemeter-filter -- \
	  $(addprefix -C link-arg=,--strip-all --compress-relocations -zstack-size=$(WASM_STACK))
	@# Envoy may be watching the file: it must never see half of it.
	@mkdir -p dist && cp $(MODULE) dist/gatemeter_filter.wasm.partial
	@mv dist/gatemeter_filter.wasm.partial dist/gatemeter_filter.wasm

.PHONY: native
native: ## Build the filter as a native dynamic module of Envoy: dist/libgatemeter_native.so
	cargo build --release --locked -p gatemeter-native
	@mkdir -p dist && cp $(NATIVE_MODULE) dist/libgatemeter_native.so.partial
	@mv dist/libgatemeter_native.so.partial dist/libgatemeter_native.so

.PHONY: build
build: wasm native ## Build the filter, target/release/gatemeter-bridge and target/release/gatemeter-demo
	cargo build --release --locked -p gatemeter-bridge -p gatemeter-demo

.PHONY: test
test: tools build ## Run every test, those on real Envoy, Prometheus, Redis, PostgreSQL, Chromium too
	cargo test --workspace --locked

.PHONY: test-core
test-core: ## Run the tests of the pure logic; needs no tools and no module
	cargo test --locked -p gatemeter-core

.PHONY: bench
bench: bench-programs ## Measure what a request and a scrape cost, in less than 25 minutes; prints tables
	@bench/run.py

.PHONY: bench-record
bench-record: bench-programs ## The same on a quiet machine: writes the tables into docs/benchmarks.md
	@bench/run.py --record

.PHONY: bench-request
bench-request: bench-request-programs ## The part of bench on requests: CPU, growth, latency, bodies, start
	@bench/run.py request browser middleware growth latency bodies start

.PHONY: bench-scrape
bench-scrape: bench-scrape-programs ## The part of bench on what a page of the bridge costs
	@bench/run.py page clients

.PHONY: bench-instructions
bench-instructions: bench-instructions-programs ## The part of bench that counts instructions with Callgrind
	@bench/run.py instructions

.PHONY: bench-quick
bench-quick: bench-modules bench-scrape-programs bench-instructions-programs ## Try the shortest run of each part of bench, without the middleware
	@scripts/tools.sh wrk
	cargo build --release --locked -p gatemeter-bench-load
	python3 -B bench/test_bench.py
	@bench/run.py --quick request browser growth latency bodies start page clients instructions

.PHONY: bench-programs
bench-programs: bench-request-programs bench-scrape-programs bench-instructions-programs

.PHONY: bench-request-programs
bench-request-programs: wasm native bench-modules
	@scripts/tools.sh envoy wrk
	cargo build --release --locked -p gatemeter-bench-load -p gatemeter-bench-middleware

.PHONY: bench-scrape-programs
bench-scrape-programs: build
	@scripts/tools.sh envoy prometheus

.PHONY: bench-instructions-programs
bench-instructions-programs:
	@scripts/tools.sh valgrind
	@# With these packages, whose dependencies have the same features.
	cargo build --release --locked -p gatemeter-bridge -p gatemeter-demo -p gatemeter-bench-instructions

.PHONY: bench-modules
bench-modules: ## Build the filters that the benchmarks compare with
	@scripts/tools.sh wasm
	cargo build --release --locked --target $(WASM_TARGET) $(BENCH_MODULES)

.PHONY: budget
budget: wasm ## Record what a request costs the module: host-tests/budget.json, docs/benchmarks.md
	@# The whole workspace: for one package wasmtime is built again, with other features.
	RECORD_BUDGET=1 cargo test --workspace --locked --test filter budget::

.PHONY: dashboards
dashboards: ## Write grafana/dashboards/*.json from grafana/boards
	@scripts/tools.sh grafana-sdk
	@.tools/grafana-sdk/bin/python -B grafana/build.py

.PHONY: reference
reference: ## Write docs/reference/ from the catalogue and the tables of keys
	@# The whole workspace: for one package wasmtime is built again, with other features.
	RECORD_REFERENCE=1 cargo test --workspace --locked --test bridge reference::

.PHONY: docs
docs: docs-tools ## Build the documentation as a site: target/book
	.tools/bin/mdbook build

.PHONY: docs-tools
docs-tools: ## Install what docs needs beyond Rust (mdbook) into .tools/
	@[[ "$$(.tools/bin/mdbook --version 2>/dev/null)" == *' v$(MDBOOK_VERSION)' ]] || \
	  $(INSTALL) mdbook --version $(MDBOOK_VERSION) --no-default-features --features search

.PHONY: screenshots
screenshots: build ## Take the pictures in docs/images, of the live page and Prometheus, in a run of five minutes
	@scripts/tools.sh envoy prometheus ffmpeg chromium playwright-core axe-core
	@# The whole workspace: for one package wasmtime is built again, with other features.
	cargo build --workspace --locked --example live_page_pictures
	$(TARGET_DIR)/debug/examples/live_page_pictures

.PHONY: lint
lint: ## Check formatting, clippy, rustdoc, the list of mutations, licences and sources
	@scripts/tools.sh wasm
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo clippy --locked --target $(WASM_TARGET) $(WASM_CRATES) $(BENCH_MODULES) -- -D warnings
	RUSTDOCFLAGS='$(RUSTDOC_LINTS)' cargo doc --workspace --no-deps --document-private-items --locked
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	cargo clippy --manifest-path fuzz/Cargo.toml --all-targets --locked --target-dir $(TARGET_DIR) -- -D warnings
	@scripts/mutants.py --check
	@scripts/deny.sh

.PHONY: lint-tools
lint-tools: ## Install what lint needs beyond Rust (cargo-deny) into .tools/
	@[[ "$$(.tools/bin/cargo-deny --version 2>/dev/null)" == *' $(CARGO_DENY_VERSION)' ]] || \
	  $(INSTALL) cargo-deny --version $(CARGO_DENY_VERSION)

.PHONY: fuzz
fuzz: fuzz-tools ## Run the fuzz targets (TARGET=path_label SECONDS=600: one of them, ten minutes)
	@scripts/fuzz.sh $(or $(SECONDS),20) $(TARGET)

.PHONY: fuzz-tools
fuzz-tools: ## Install what fuzz needs beyond Rust (cargo-fuzz) into .tools/
	@[[ "$$(.tools/bin/cargo-fuzz --version 2>/dev/null)" == *' $(CARGO_FUZZ_VERSION)' ]] || \
	  $(INSTALL) cargo-fuzz --version $(CARGO_FUZZ_VERSION)

.PHONY: mutants
mutants: ## Break the program on purpose (scripts/mutants.toml); a test must notice each time
	@scripts/tools.sh wasm
	@scripts/mutants.py

.PHONY: mutants-all
mutants-all: mutants-tools ## Try every mutation of core that cargo-mutants knows; takes an hour
	mkdir -p $(TARGET_DIR)/mutants
	CARGO_PROFILE_TEST_DEBUG=0 .tools/bin/cargo-mutants mutants --no-shuffle --output $(TARGET_DIR)/mutants

.PHONY: mutants-tools
mutants-tools: ## Install what mutants-all needs beyond Rust (cargo-mutants) into .tools/
	@[[ "$$(.tools/bin/cargo-mutants mutants --version 2>/dev/null)" == *' $(CARGO_MUTANTS_VERSION)' ]] || \
	  $(INSTALL) cargo-mutants --version $(CARGO_MUTANTS_VERSION)

.PHONY: fmt
fmt: ## Format the code
	cargo fmt --all
	cargo fmt --manifest-path fuzz/Cargo.toml

.PHONY: check
check: lint test ## Everything that must pass before a change is merged

.PHONY: clean
clean: ## Remove what was built; .tools/ stays
	cargo clean
	rm -rf dist
