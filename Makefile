# The front door. `make run` and `make test` work on a fresh machine with python3 (>= 3.11),
# make and ca-certificates.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/bash

PYTHON ?= python3
BIN := .venv/bin
# Files of tests at a time. Half of the suite waits for brokers and processes.
PARALLEL ?= 2
UV = $(firstword $(wildcard .tools/uv-*/uv))
TYPED := deploy/setup/bootstrap.py deploy/setup/system_tools.py deploy/setup/kafka_jars.py tests/conftest.py tests/parts tests/house

.PHONY: help run test setup setup-dev tools lint types lock-check format schema-check rules unit torture \
	bench prove-bare clean

help: ## this list
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

run: setup ## set up, then run the whole pipeline with a simulated district
	$(BIN)/gridwarden up --demo

test: setup-dev tools lint schema-check rules unit ## set up, then check everything that CI checks

setup: ## the environment that `make run` needs
	@$(PYTHON) deploy/setup/bootstrap.py server

setup-dev: ## the environment that `make test` needs
	@$(PYTHON) deploy/setup/bootstrap.py dev

tools: ## Mosquitto, Chromium, strace (needs root), promtool, stores, Kafka's jars (needs Java, mvn), when missing
	@$(PYTHON) deploy/setup/system_tools.py mosquitto chromium libatomic strace promtool victoria-metrics influxd gst-rtsp-server
	@$(PYTHON) deploy/setup/kafka_jars.py

lint: setup-dev lock-check ## format, lint, import rules, types, the lock
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/lint-imports
	@$(MAKE) --no-print-directory types

types: setup-dev
	$(BIN)/mypy
	MYPYPATH=deploy/setup $(BIN)/mypy --explicit-package-bases $(TYPED)

lock-check: setup-dev
	@# The lock names the public index; a mirror of this machine must not count as a change.
	env -u UV_DEFAULT_INDEX -u UV_INDEX_URL -u UV_INDEX $(UV) lock --check --quiet

format: setup-dev ## rewrite the code in the house's format
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

schema-check: setup-dev ## the schemas in the tree are those of the types
	$(BIN)/gridwarden schema --check

rules: setup-dev ## the shipped rules: lint, and their own tests
	$(BIN)/gridwarden rules check deploy/rules
	$(BIN)/gridwarden rules test deploy/rules

unit: setup-dev ## the tests alone; for a few: make unit ARGS="tests/edge -k outbox"
	$(BIN)/pytest -n $(PARALLEL) --dist loadfile --no-loadscope-reorder --durations 15 $(ARGS)

torture: setup-dev tools ## kill everything under load, for long
	$(BIN)/pytest -m torture --timeout=0 -s $(ARGS)

bench: setup ## the named benchmarks
	$(BIN)/gridwarden bench decode --json
	$(BIN)/gridwarden bench mqtt --json
	$(BIN)/gridwarden bench registry --json
	$(BIN)/gridwarden bench rules --json
	$(BIN)/gridwarden bench e2e --json
	$(BIN)/gridwarden bench influx --json

prove-bare: ## make run in a fresh Debian 12 root (needs root, debootstrap; ARGS=test for make test)
	tests/house/bare_root.sh $(or $(ARGS),run)

clean: ## remove what setting up and testing made; not the stores of a running pipeline
	rm -rf .tools .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
	rm -rf .venv
