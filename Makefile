# Everything a person or a CI needs, on a machine with make, bash and Docker (on a bare Debian not even that: the
# engine is installed by docker/engine.sh). All the rest runs inside the images.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.NOTPARALLEL:

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

.PHONY: run status psql stop clean
run: ## Start a local cluster: three members, three etcd, an object store; says how to connect and what to try
	@docker/local.sh run

status: ## Show how the local cluster is
	@docker/local.sh status

psql: ## Open psql on the primary of the local cluster
	@docker/local.sh psql

stop: ## Stop the local cluster; its data stays, `make run` continues
	@docker/local.sh stop

clean: ## Remove the local cluster with its data, and build/
	@docker/local.sh clean

.PHONY: image testimage
image: ## Build the image `spilo`
	@docker/image.sh appliance spilo

testimage:
	@docker/image.sh test spilo-test

.PHONY: test check unit component appliance bench
test: check unit component appliance ## Run everything below, cheapest first: this is what the CI runs

check: testimage ## Lint, types, shell scripts, generated documents
	@docker/layer.sh check

unit: testimage ## Tests of values in, values out
	@docker/layer.sh unit

component: testimage ## Tests with real servers as child processes in the test image
	@docker/layer.sh component

appliance: testimage image ## Tests of the image itself: clusters, faults, attacks
	@docker/layer.sh appliance

bench: testimage image ## Measure: pauses of writes per fault, cold start, sizes
	@docker/layer.sh bench

.PHONY: bench-wal
bench-wal: testimage ## Measure: archives, ours against WAL-E, pgBackRest and PostgreSQL's own
	@docker/layer.sh bench-wal

.PHONY: docs
docs: testimage ## Generate docs/settings.md and docs/exit-codes.md from the code
	@docker/layer.sh docs
