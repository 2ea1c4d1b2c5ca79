# The index of commands. `make` alone prints them. What was built is not built again.
SHELL   := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# cargo and go keep every processor busy by themselves, and tests share the machine; scripts/run-parallel says what runs beside what.
.NOTPARALLEL:

TARGET   := $(shell cargo metadata --format-version 1 --no-deps 2>/dev/null | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
PROGRAMS := $(TARGET)/x86_64-unknown-linux-gnu
# Tests and the programs that they start are one build. RELEASE=1 is what is published: small, with LTO, and slow to build.
export TRILOBITE_BIN   := $(PROGRAMS)/$(if $(RELEASE),release,debug)
export TRILOBITE_TOOLS := $(PROGRAMS)/debug
CLUSTER  := $(TRILOBITE_TOOLS)/trilobite-cluster
KERNELS  := $(TRILOBITE_TOOLS)/trilobite-kernels
# A proxy is for downloads: tests talk to this machine alone.
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER := env -u HTTP_PROXY -u HTTPS_PROXY -u ALL_PROXY -u http_proxy -u https_proxy -u all_proxy
# Always the whole workspace with the same features, so that no command builds another's dependencies anew. Tests that need a
# server or a cluster are asked for by name.
WORKSPACE := --quiet --workspace --features trilobite-operator/api-server
TESTS    := cargo test $(WORKSPACE)
PUBLISHED := -p trilobite-node -p trilobite-export-stdout -p trilobite-operator -p trilobite
# These catch panics, of which one must not end the process.
PUBLISHED_UNWIND := -p trilobite-worker -p trilobite-relay

.PHONY: help
help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: prerequisites root kernel room no-cluster
prerequisites:
	@scripts/prerequisites.sh
root kernel room no-cluster:
	@scripts/preflight $@

.PHONY: build build-tests tools
build: prerequisites ## build the static binaries: agent, worker, operator, command line (RELEASE=1: small and slow to build)
ifdef RELEASE
	@scripts/timed "building the binaries for release" cargo build --quiet --release $(PUBLISHED)
	@scripts/timed "building worker and relay for release" cargo build --quiet --profile release-unwind $(PUBLISHED_UNWIND)
	@cp -l -f $(PROGRAMS)/release-unwind/trilobite-worker $(PROGRAMS)/release-unwind/trilobite-relay $(PROGRAMS)/release/
else
	@# Examples have the features of dependencies that tests have: one build for both.
	@scripts/timed "building the binaries" cargo build $(WORKSPACE) --bins --examples
endif
build-tests: prerequisites
	@scripts/timed "building the tests and the binaries" cargo build $(WORKSPACE) --bins --tests --examples
tools: prerequisites
	@scripts/timed "building the tools for cluster and kernels" cargo build $(WORKSPACE) --bin trilobite-cluster --bin trilobite-kernels --bin with-capabilities --bin process-variants

.PHONY: images
images: build tools ## write the images, without a registry or a daemon (RELEASE=1: as published)
	@scripts/images.sh

.PHONY: cluster-up
cluster-up: root room tools ## start a real cluster of two nodes on this machine; writes target/cluster/kubeconfig (root)
	@$(CLUSTER) build cluster
	@$(CLUSTER) up

.PHONY: cluster-down
cluster-down: root ## end that cluster; nothing is left behind
	@[ -x $(CLUSTER) ] || $(MAKE) --no-print-directory tools
	@$(CLUSTER) down

# Targets `...-only` need the tools and do not ask cargo for them, which would wait for a build beside them.
.PHONY: demo demo-cache-only demo-run
demo: root kernel room ## a shell that reads a secret, a connection, a busy function: each layer's answer on a real cluster (root)
	@scripts/with-phases $(MAKE) --no-print-directory demo-run
demo-cache-only:
	@scripts/timed "Kubernetes and the clients" $(CLUSTER) build demo
demo-run: tools
	@scripts/run-parallel demo-cache-only images
	@scripts/timed "the demo" e2e/demo.sh

.PHONY: demo-down
demo-down: cluster-down ## end the demo and its cluster

.PHONY: cache cache-only
cache: tools ## build Kubernetes, its images, the clients, and get the kernels, once for all clones (~/.cache/trilobite)
	@$(MAKE) --no-print-directory cache-only
cache-only:
	@scripts/timed "Kubernetes and the clients" $(CLUSTER) build all
	@scripts/timed "the kernels of Debian" $(KERNELS) fetch

# Three parts: compilers beside each other, as each leaves a processor idle now and then; then the kernels under QEMU beside
# everything else, as clusters mostly wait.
.PHONY: test test-everything test-on-this-machine
test: root kernel room no-cluster ## every test: unit, API server, cluster and clients, kernels (root)
	@scripts/with-phases $(MAKE) --no-print-directory test-everything
test-everything: tools
	@scripts/run-parallel cache-only build-tests
	@scripts/images.sh
	@scripts/run-parallel test-kernels test-on-this-machine
# The API server's tests and those of the cluster itself wait most of the time.
test-on-this-machine:
	@scripts/run-parallel test-pure test-api test-the-cluster
	@$(MAKE) --no-print-directory test-this-kernel test-on-cluster

.PHONY: test-unit test-pure test-this-kernel
test-unit: test-pure test-this-kernel ## pure tests, CRDs and CEL, parsers, and the programs in this machine's kernel (root)
test-pure: export TRILOBITE_REQUIRE_CLIENTS := 1
test-pure: root cache
	@# Formats of classic tracepoints; it stays mounted, as on most machines.
	@mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing
	@scripts/timed "unit tests" $(TESTS)
	@# Not from Go's cache of results, which does not watch files outside of the module.
	@scripts/timed "what Argo CD and Flux say of our objects" go -C e2e/gitops test -count=1 -trimpath ./...
	@scripts/timed "a Collector that ships events to a log store" go -C e2e/pipelines test -count=1 -trimpath ./...
	@# Without cgo, as the test cluster's Kubernetes is built: what both use is compiled once.
	@scripts/timed "policies evaluated as by the tests of other projects" env CGO_ENABLED=0 go -C e2e/policy-references test -count=1 -trimpath
	@scripts/timed "generated files" scripts/generated.sh
test-this-kernel: root kernel
	@scripts/timed "flows, drops, CPU profiles and requests in this kernel" $(TESTS) --test flow_sums --test flow_layer --test flow_ends --test flow_neighbours --test flow_facts --test flow_icmp --test flow_dns --test http_flows --test flow_clsact --test drops --test drop_counts --test relay --test cpu_profile --test requests --test socket_calls --test socket_slots --test tls_requests --test http2_requests --test mysql_requests --test tls_not_read --test request_overload --test record -- --ignored --test-threads=1
	@# As on kernels before 6.6.
	@scripts/timed "flows by filters of clsact" env TRILOBITE_AVOID_ATTACHING_BY=tcx $(TESTS) --test flow_sums --test flow_ends --test flow_facts --test flow_icmp -- --ignored --test-threads=1

.PHONY: test-api
test-api: build-tests tools ## tests against a real API server
	@$(CLUSTER) build control-plane
	@scripts/timed "the CRDs before an API server" $(TESTS) --test api -- --test-threads=1
	@scripts/timed "the operator against an API server" $(TESTS) --test api_server -- --test-threads=1

.PHONY: test-cluster test-the-cluster test-on-cluster
test-cluster: test-the-cluster test-on-cluster ## tests on two real nodes, read by the clients people have (root)
test-the-cluster: root kernel room no-cluster cache
	@scripts/timed "the cluster itself" $(TESTS) --test control_plane --test two_nodes -- --ignored --test-threads=1
test-on-cluster: root kernel room no-cluster build-tests cache
	@scripts/images.sh
	@scripts/timed "tests on a cluster" scripts/with-cluster.sh $(TESTS) --test cluster --test uninstall -- --test-threads=1 --nocapture

.PHONY: test-mixed
test-mixed: root kernel room no-cluster build-tests cache ## a policy on two kernels: the second node is a QEMU guest with Debian 6.12 (root)
	@scripts/images.sh
	@$(KERNELS) fetch --node --kernel 6.12
	@scripts/timed "a cluster of two kernels" scripts/with-cluster.sh --guest 6.12 env TRILOBITE_PATIENCE=6 $(TESTS) --test mixed_cluster -- --nocapture

.PHONY: test-kernels
test-kernels: build-tests tools ## every program and each layer on Debian 5.10, 6.1, 6.12 and 7.2 under QEMU
	@scripts/timed "the kernels of Debian" $(KERNELS) fetch
	@scripts/timed "tests in the kernels" $(KERNELS) run --silence 1500 --agent $(TRILOBITE_BIN)/trilobite-node

.PHONY: test-long
test-long: root kernel room no-cluster build-tests cache ## what is longer than CI may take; keeps e2e/results/ (root)
	@e2e/test-long.sh

.PHONY: bench
bench: root cache ## measure memory, load time, exec cost, flows and requests of the release build; keeps e2e/bench/results/ (root)
	@$(MAKE) --no-print-directory build RELEASE=1
	@e2e/bench/run.sh

.PHONY: lint
lint: prerequisites ## rustfmt, clippy, licences, words, imports and sizes
	@scripts/timed "rustfmt" cargo fmt --all --check
	@scripts/timed "clippy" cargo clippy $(WORKSPACE) --all-targets -- -D warnings
	@scripts/timed "licences and advisories" scripts/deny.sh
	@scripts/check-words
	@scripts/check-imports
	@scripts/check-signposts
	@scripts/check-sizes

.PHONY: generate
generate: prerequisites ## write the CRDs and docs/kinds from the Rust types, and config/default from the chart
	@cargo build $(WORKSPACE) --bin crdgen && $(TRILOBITE_TOOLS)/crdgen
	@scripts/render.sh
