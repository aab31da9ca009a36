# Every task has one name here. `make demo` and `make test` are the two that a fresh machine needs.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
# pytest may keep the byte code of what it rewrites, whatever the environment says: else each process rewrites all of hypothesis (3 s)
PYTEST := env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest
WORKERS ?= 2
# whole files to a worker, the longest first (tests/kit/order.py), each file's tests in an order by chance
BY_FILE := -n $(WORKERS) --dist loadfile --no-loadscope-reorder

# ruff and mypy get no second chance
.PHONY: failed-again help setup demo demo-cluster demo-terraform dev check test test-slow test-skipped lint unit conformance integration scenarios faults bench conformance-report generate dist bounds cli-tools s3-server lock clean
help: ## what can be made
	@grep -hE '^[a-z-]+:.*##' Makefile | awk -F':.*## ' '{printf "  make %-19s %s\n", $$1, $$2}'

setup: ## .venv with the locked dependencies
	@scripts/setup

demo: setup ## the whole walk: declare, connect, sleep, wake, lose a compute with its files, change, destroy
	@$(BIN)/python scripts/demo.py

demo-cluster: setup ## eight machines over S3: each lost or cut off while clients write, and nothing acknowledged is lost
	@$(BIN)/python scripts/demo_cluster.py

demo-terraform: setup ## the same walk with Terraform (or OpenTofu)
	@$(BIN)/python scripts/demo.py terraform

dev: setup ## the platform on this machine, until Ctrl-C
	@$(BIN)/spg99 dev

check: setup ## before every commit, in a minute: lint, types, import contracts, unit tests with few examples each
	@$(MAKE) --no-print-directory lint
	SPG99_EXAMPLES=few $(PYTEST) -q -n $(WORKERS) --dist worksteal -m "not long" tests/unit

test: setup ## before a merge, in twelve minutes: lint, types, import contracts, every behaviour once (tests/kit/tiers.py has the rule)
	@scripts/test-packages
	@$(MAKE) --no-print-directory lint
	SPG99_OUTCOMES=first $(PYTEST) $(BY_FILE) -m "not slow and not long" --junitxml=build/tests.xml tests || $(MAKE) --no-print-directory failed-again

test-slow: setup ## the rest of what CI runs: the same by other implementations, faults, released forms (half an hour, after `make cli-tools`)
	SPG99_OUTCOMES=more $(PYTEST) $(BY_FILE) -m "slow and not long" --junitxml=build/tests-slow.xml tests || $(MAKE) --no-print-directory failed-again

test-skipped: setup ## the tests that the last `make test` skipped, once more: after `make cli-tools` most of them run
	@[ ! -s build/skipped.txt ] || SPG99_OUTCOMES=again $(PYTEST) $(BY_FILE) --junitxml=build/tests-skipped.xml @build/skipped.txt || $(MAKE) --no-print-directory failed-again

failed-again:
	@[ -n "$$CI" ] || exit 1
	@echo "These tests failed. In CI each gets one more chance by itself; one that passes now failed by chance and wants mending."
	@[ -s build/failed.txt ]
	SPG99_OUTCOMES=again $(PYTEST) -v @build/failed.txt

lint: setup ## ruff, mypy --strict, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit conformance integration scenarios: setup ## one kind of tests
	$(PYTEST) -m "not long" tests/$@

faults: setup ## the long fault runs (many minutes)
	$(PYTEST) -s tests/faults
	$(PYTEST) -s -m long tests/unit/wal tests/integration tests/conformance tests/scenarios

bounds: setup ## quick tests and one walk with the lowest versions of the dependencies that pyproject.toml allows (a few minutes)
	@scripts/bounds lowest

bench: setup ## measure, and write docs/benchmarks.md
	$(BIN)/python -m tests.benchmarks

conformance-report: ## docs/conformance.md from the last `make test` and `make test-slow`
	$(BIN)/python -m tests.behaviours build/tests.xml build/tests-slow.xml

generate: setup ## everything that is generated
	$(BIN)/python scripts/generate.py

dist: setup ## Terraform provider as a registry wants it: zips, checksums, manifest
	$(BIN)/python scripts/dist.py

cli-tools: ## Pulumi's CLI, OpenTofu, tfplugindocs and an S3 server for the tests that want them, built with Go (10-15 minutes, once)
	@scripts/cli-tools

s3-server: ## versitygw alone of these: an S3 server that keeps buckets as folders (2 minutes, once)
	@scripts/cli-tools versitygw

lock: setup ## resolve the dependencies again
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
	  --no-header --no-annotate --no-emit-index-url --no-emit-find-links -q -o requirements.lock
	$(BIN)/uv pip compile pyproject.toml --resolution lowest-direct --universal --python-version 3.11 --generate-hashes \
	  --no-header --no-annotate --no-emit-index-url --no-emit-find-links -q -o requirements-lowest.lock

clean: ## remove what was made here
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis dist build
