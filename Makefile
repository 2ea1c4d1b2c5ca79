# The index of commands. `make` alone prints them. What was built is not built again.
SHELL   := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# cargo and go keep every processor busy by themselves, and tests share the machine.
.NOTPARALLEL:

TARGET   := $(shell cargo metadata --format-version 1 --no-deps 2>/dev/null | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
PROGRAMS := $(TARGET)/x86_64-unknown-linux-gnu
export TRILOBITE_CACHE ?= $(CURDIR)/target/cache
# What users get is built for release; what only builds and tests it is built fast, and shares its parts with the tests.
export TRILOBITE_BIN   := $(PROGRAMS)/release
export TRILOBITE_TOOLS := $(PROGRAMS)/debug
CLUSTER  := $(TRILOBITE_TOOLS)/trilobite-cluster
KERNELS  := $(TRILOBITE_TOOLS)/trilobite-kernels
# A proxy is for what is fetched: tests talk to this machine alone.
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER := env -u HTTP_PROXY -u HTTPS_PROXY -u ALL_PROXY -u http_proxy -u https_proxy -u all_proxy
# Always the same packages and features, so that no test builds another's dependencies anew. What needs a server or a
# cluster is asked for by name.
TESTS    := cargo test --quiet --workspace --features trilobite-operator/api-server

.PHONY: help
help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: prerequisites root kernel room no-cluster
prerequisites:
	@scripts/prerequisites.sh
root kernel room no-cluster:
	@scripts/needs $@

.PHONY: build tools
build: prerequisites ## build the binaries: agent, operator, command line (static, release)
	@scripts/step "building the agent, the operator and the command line" cargo build --quiet --release -p trilobite-node -p trilobite-operator -p trilobite
tools: prerequisites
	@scripts/step "building what starts the test cluster and the kernels" cargo build --quiet -p trilobite-cluster -p trilobite-kernels

.PHONY: images
images: build tools ## write the two images, without a registry or a daemon
	@scripts/images.sh

.PHONY: cluster-up
cluster-up: root room tools ## start a real cluster of two nodes on this machine; writes target/cluster/kubeconfig (root)
	@$(CLUSTER) build cluster
	@$(CLUSTER) up

.PHONY: cluster-down
cluster-down: root ## end that cluster; nothing is left behind
	@[ -x $(CLUSTER) ] || $(MAKE) --no-print-directory tools
	@$(CLUSTER) down

.PHONY: demo
demo: root kernel room images ## a cluster, the stack, and one answer of each layer (root)
	@$(CLUSTER) build demo
	@e2e/demo.sh

.PHONY: demo-down
demo-down: cluster-down ## end the demo and its cluster

.PHONY: cache
cache: tools ## build Kubernetes, its images and the clients people have, once
	@$(CLUSTER) build all

.PHONY: test
test: root kernel room no-cluster ## every test: unit, API server, cluster and clients, kernels (root)
	@scripts/step "every test" $(MAKE) --no-print-directory cache test-unit test-kernels-and-more test-on-cluster

.PHONY: test-unit
test-unit: export TRILOBITE_REQUIRE_CLIENTS := 1
test-unit: root cache ## pure tests, CRDs and CEL, parsers, and the programs in this machine's kernel (root)
	@# Formats of classic tracepoints; it stays mounted, as on most machines.
	@mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing
	@scripts/step "unit tests" $(TESTS)
	@scripts/step "flows and CPU profiles in this kernel" $(TESTS) --test flow_sums --test flow_layer --test flow_ends --test flow_neighbours --test cpu_profile -- --ignored --test-threads=1
	@scripts/generated.sh

.PHONY: test-api
test-api: build tools ## tests against a real API server
	@$(CLUSTER) build control-plane
	@scripts/step "the CRDs before an API server" $(TESTS) --test api -- --test-threads=1
	@scripts/step "the operator against an API server" $(TESTS) --test api_server -- --test-threads=1

.PHONY: test-cluster test-the-cluster test-on-cluster
test-cluster: test-the-cluster test-on-cluster ## tests on two real nodes, read by the clients people have (root)
test-the-cluster: root kernel room no-cluster cache
	@scripts/step "the cluster itself" $(TESTS) --test control_plane --test two_nodes -- --ignored --test-threads=1
test-on-cluster: root kernel room no-cluster images cache
	@scripts/step "tests on a cluster" scripts/with-cluster.sh $(TESTS) --test cluster --test uninstall -- --test-threads=1 --nocapture

.PHONY: test-kernels
test-kernels: build tools ## every program and each layer on Debian 5.10, 6.1, 6.12 and 7.2 under QEMU
	@$(KERNELS) fetch
	@scripts/step "the kernels" $(KERNELS) run --agent $(TRILOBITE_BIN)/trilobite-node

.PHONY: test-kernels-and-more
test-kernels-and-more: build tools
	@scripts/beside.sh test-kernels test-api test-the-cluster

.PHONY: bench
bench: root images cache ## measure memory, load time, exec cost and flows; keeps e2e/bench/results/ (root)
	@e2e/bench/run.sh

.PHONY: lint
lint: prerequisites ## rustfmt, clippy, licences, and the size of the house
	@scripts/step "rustfmt" cargo fmt --all --check
	@scripts/step "clippy" cargo clippy --quiet --workspace --all-targets --features trilobite-operator/api-server -- -D warnings
	@scripts/deny.sh
	@scripts/house.sh

.PHONY: generate
generate: prerequisites ## write the CRDs from the Rust types, and config/default from the chart
	@cargo run --quiet -p trilobite-crds --bin crdgen
	@scripts/render.sh
