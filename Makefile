# `make run` brings up a whole installation and takes a first certificate through its life.
# `make test` runs the suite. Both set up what they need.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
.PHONY: help run stop test fuzz check bench deps deps-check deps-test programs

TARGET := target
PROGRAMS := clm-core-server clm-secure-server clm-cli clm-local
TOOLS := $(TARGET)/tools
CARGO_DENY := $(TOOLS)/bin/cargo-deny
CARGO_DENY_VERSION := 0.20.2
PKILINT := $(TARGET)/pkilint
PKILINT_VERSION := 0.13.3
BROWSER := crates/testkit/browser
SCIM2_TESTER := $(TARGET)/scim2-tester
SCIM2_TESTER_VERSION := 0.5.2
# What it judges with: another version may judge otherwise.
SCIM2_TESTER_PARTS := 'scim2-client[httpx2]==0.13.2' scim2-models==0.12.3
SCHEMATHESIS := $(TARGET)/schemathesis
SCHEMATHESIS_PARTS := crates/testkit/python/schemathesis.txt
# Generated calls of each route, for each of two callers, when `make fuzz` takes its time.
EXAMPLES := 300
# Cargo's progress bar on a terminal, nothing but warnings elsewhere.
QUIET := $(shell [[ -t 2 ]] || echo --quiet)
FAILPOINTS := --features clm-core-server/failpoints,clm-secure-server/failpoints

help: ## Shows this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 18

deps: ## Installs the Debian packages that are missing (needs root or sudo)
	@deploy/install-packages.sh

programs: deps ## Builds the release programs into target/release
	@if [[ ! -x $(TARGET)/release/clm-core ]]; then
		echo "Building the release programs: 5 to 10 minutes the first time on two cores."
	fi
	cargo build $(QUIET) --release $(PROGRAMS:%=--package %)

run: programs ## Builds, starts everything on this machine, and shows a first certificate
	@$(TARGET)/release/clm-local up
	@deploy/demo/first-certificate.sh

stop: ## Stops what `make run` started; the data stays
	@$(TARGET)/release/clm-local down

deps-test:
	@deploy/install-packages.sh tests
	if [[ $(BROWSER)/node_modules/.package-lock.json -ot $(BROWSER)/package-lock.json ]]; then
		echo "Installing what tests of browsers, providers and mail need into $(BROWSER)/node_modules"
		npm ci --prefix $(BROWSER) --no-audit --no-fund --loglevel=error
	fi
	if [[ ! -x $(PKILINT)/bin/lint_pkix_cert ]]; then
		echo "Installing pkilint $(PKILINT_VERSION) into $(PKILINT)"
		python3 -m venv $(PKILINT)
		$(PKILINT)/bin/pip install --quiet --disable-pip-version-check pkilint==$(PKILINT_VERSION)
	fi
	if [[ ! -e $(SCIM2_TESTER)/installed ]]; then
		echo "Installing scim2-tester $(SCIM2_TESTER_VERSION) into $(SCIM2_TESTER)"
		python3 -m venv $(SCIM2_TESTER)
		$(SCIM2_TESTER)/bin/pip install --quiet --disable-pip-version-check \
			scim2-tester==$(SCIM2_TESTER_VERSION) $(SCIM2_TESTER_PARTS)
		touch $(SCIM2_TESTER)/installed
	fi
	if ! cmp --silent $(SCHEMATHESIS_PARTS) $(SCHEMATHESIS)/installed; then
		echo "Installing schemathesis into $(SCHEMATHESIS)"
		python3 -m venv --clear $(SCHEMATHESIS)
		$(SCHEMATHESIS)/bin/pip install --quiet --disable-pip-version-check --require-hashes \
			--requirement $(SCHEMATHESIS_PARTS)
		cp $(SCHEMATHESIS_PARTS) $(SCHEMATHESIS)/installed
	fi

# One build for programs and tests alike: another set of features or targets would build it all twice.
test: deps-test ## Runs the suite
	@echo "Building the programs and the tests: 5 minutes the first time on two cores."
	step() { echo "-- $$*"; "$$@"; }
	step cargo build $(QUIET) --workspace --bins --tests $(FAILPOINTS)
	export PATH="$(CURDIR)/$(PKILINT)/bin:$$PATH"
	step cargo test --quiet --workspace --bins --lib --tests $(FAILPOINTS)

fuzz: deps-test ## Calls the API with generated calls for as long as EXAMPLES=300 take, each time others (SEED=1: the same)
	@cargo build $(QUIET) --workspace --bins --tests $(FAILPOINTS)
	export CLM_FUZZ_EXAMPLES=$(EXAMPLES) CLM_FUZZ_SEED=$(or $(SEED),$$RANDOM)
	cargo test --quiet --workspace --test api $(FAILPOINTS) -- --nocapture fuzz::

deps-check:
	@if [[ ! -x $(CARGO_DENY) ]]; then
		echo "Building cargo-deny $(CARGO_DENY_VERSION) into $(TOOLS): about 3 minutes, once."
		cargo install $(QUIET) --locked --debug --root $(TOOLS) cargo-deny@$(CARGO_DENY_VERSION)
	fi

check: deps-check ## Formatting, lints, the project's rules, licences, documentation
	@step() { echo "-- $$*"; "$$@"; }
	step cargo fmt --all --check
	step cargo clippy $(QUIET) --workspace --all-targets $(FAILPOINTS) -- -D warnings
	step cargo xtask check
	step $(CARGO_DENY) --log-level error check bans licenses sources
	export RUSTDOCFLAGS="-D warnings"
	step cargo doc $(QUIET) --workspace --no-deps --lib

# The programs together with the load generator: apart, another set of features would build both anew.
bench: deps ## Issues certificates under load and measures the machine's ceilings beside it
	cargo build $(QUIET) --release $(PROGRAMS:%=--package %) --package clm-bench
	@$(TARGET)/release/clm-bench all $(BENCH)
