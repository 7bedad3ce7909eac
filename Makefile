# make run     build and start tallyd with its defaults
# make test    every test there is; installs what the tests need
# make lint    formatting, clippy and documentation, all without a warning
# make deny    licences, sources and known flaws of what is depended on
# make fuzz    each fuzz target for FUZZ_SECONDS
# make docs-test  the code in the documentation; PAGE=docs/prefork.md for that of one page
# make grafana-contract  whether what tallyd asks of Grafana fits its own description of its API, which is in SHARED

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))
E2E := $(TARGET)/e2e
CLIENTS := tests/e2e/clients
STATSD_EXPORTER ?= $(TARGET)/peers/statsd_exporter
FUZZ_SECONDS ?= 30
SHARED ?= ../shared
CARGO_DENY := $(TARGET)/tools/bin/cargo-deny
ADVISORIES := https://github.com/RustSec/advisory-db
PRISM := $(TARGET)/tools/prism/node_modules/.bin/prism
# What the end-to-end tests start; the release build serves as well.
E2E_BIN ?= $(TARGET)/debug/tallyd

.PHONY: help
help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

.PHONY: run
run:
	cargo build --release --locked
	@echo 'Send StatsD to 127.0.0.1:9125 (UDP or TCP), look at http://127.0.0.1:9102 (metrics below /metrics). Try it:'
	@echo "  echo 'reqs_total:1|c|#view:fire' | nc -u -w1 127.0.0.1 9125; curl -s 127.0.0.1:9102/metrics | grep reqs"
	@exec $(TARGET)/release/tallyd $(ARGS)

.PHONY: lint
lint:
	cargo fmt --check
	cargo fmt --check --package tallyd-fuzz
	cargo fmt --check --manifest-path $(CLIENTS)/rust/Cargo.toml
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --no-deps

# `test-rust` needs only Rust, `test-reference` compares with statsd_exporter, `test-e2e` has clients and Prometheus.
.PHONY: test test-rust test-reference test-e2e
test: tools test-rust test-reference test-e2e

test-rust:
	cargo test --locked --no-fail-fast

test-reference: tools $(STATSD_EXPORTER)
	STATSD_EXPORTER=$(abspath $(STATSD_EXPORTER)) cargo test --locked --no-fail-fast -- --ignored

test-e2e: tools clients $(STATSD_EXPORTER)
	if [[ $(E2E_BIN) == $(TARGET)/debug/tallyd ]]; then cargo build --locked; fi
	cargo build --locked --example fake-grafana
	cd tests/e2e && PYTHONDONTWRITEBYTECODE=1 CARGO_TARGET_DIR=$(TARGET) \
		TALLYD_BIN=$(abspath $(E2E_BIN)) STATSD_EXPORTER=$(abspath $(STATSD_EXPORTER)) \
		$(E2E)/python/bin/pytest $(PYTEST_FLAGS)

.PHONY: docs-test
docs-test:
	$(MAKE) test-e2e PYTEST_FLAGS='test_docs.py -k "$(notdir $(PAGE))"'

.PHONY: grafana-contract
grafana-contract: $(PRISM)
	PRISM=$(PRISM) CARGO_TARGET_DIR=$(TARGET) \
		tests/e2e/grafana-contract $(SHARED)/grafana/openapi/grafana-v13.subset.strict.json

$(PRISM): | tools
	npm install --prefix $(TARGET)/tools/prism --no-package-lock --no-fund --no-audit @stoplight/prism-cli@5.16.0
	touch $@

.PHONY: tools
tools:
	@tests/e2e/install-tools

.PHONY: peers
peers: $(STATSD_EXPORTER)

$(TARGET)/peers/statsd_exporter: | tools
	GOBIN=$(TARGET)/peers go install github.com/prometheus/statsd_exporter@v0.31.0

.PHONY: clients
clients: $(E2E)/python/.ready $(E2E)/prometheus_client/.ready $(E2E)/node/.ready $(E2E)/go/send $(E2E)/rust/debug/send-cadence $(E2E)/java/.ready

$(E2E)/python/.ready: tests/e2e/requirements.txt | tools
	python3 -m venv --clear $(E2E)/python
	$(E2E)/python/bin/pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

# Libraries whose files tallyd reads, each by itself.
$(E2E)/prometheus_client/.ready: tests/e2e/multiproc/versions $(E2E)/python/.ready
	rm -rf $(@D)
	for version in $$(< $<); do \
		$(E2E)/python/bin/pip install --quiet --disable-pip-version-check --no-deps --target $(@D)/$$version \
			prometheus_client==$$version; \
	done
	touch $@

$(E2E)/node/.ready: $(wildcard $(CLIENTS)/node/*) | tools
	mkdir -p $(E2E)/node
	cp $^ $(E2E)/node
	cd $(E2E)/node && npm ci --no-fund --no-audit
	touch $@

$(E2E)/go/send: $(wildcard $(CLIENTS)/go/*) | tools
	cd $(CLIENTS)/go && go build -o $@ .

$(E2E)/rust/debug/send-cadence: $(CLIENTS)/rust/Cargo.lock $(wildcard $(CLIENTS)/rust/src/*) | tools
	cargo build --quiet --locked --manifest-path $(CLIENTS)/rust/Cargo.toml --target-dir $(E2E)/rust
	touch $@

$(E2E)/java/.ready: $(CLIENTS)/java/pom.xml $(wildcard $(CLIENTS)/java/src/main/java/*) | tools
	rm -rf $(E2E)/java
	mkdir -p $(E2E)/java
	cp -r $(CLIENTS)/java/. $(E2E)/java
	cd $(E2E)/java && mvn --quiet --batch-mode package dependency:copy-dependencies
	touch $@

# Built in a hurry, because it is used for seconds.
$(CARGO_DENY):
	CARGO_PROFILE_DEV_DEBUG=0 CARGO_INCREMENTAL=0 cargo install --quiet --debug --locked --no-default-features \
		--root $(TARGET)/tools cargo-deny@0.20.2

.PHONY: deny
deny: $(CARGO_DENY)
	export PATH="$(dir $(CARGO_DENY)):$$PATH"; \
	cargo deny check licenses bans sources; \
	if timeout 15 git ls-remote --exit-code $(ADVISORIES) HEAD > /dev/null 2>&1; then \
		cargo deny check advisories; \
	else \
		echo "advisories: left out, $(ADVISORIES) cannot be reached"; \
	fi

.PHONY: fuzz
fuzz:
	RUSTC_WORKSPACE_WRAPPER=$(abspath fuzz/instrument) cargo build --locked --package tallyd-fuzz
	for target in fuzz/fuzz_targets/*.rs; do \
		name=$$(basename $$target .rs); \
		mkdir -p fuzz/corpus/$$name fuzz/artifacts/$$name; \
		$(TARGET)/debug/$$name -artifact_prefix=fuzz/artifacts/$$name/ -max_total_time=$(FUZZ_SECONDS) -rss_limit_mb=4096 \
			fuzz/corpus/$$name; \
	done
