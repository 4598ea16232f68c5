# Everything here runs from a fresh clone. `make help` lists the targets.
#
#   CLUSTER=current    use your own kube context instead of the cluster that `make cluster` starts
#   REGISTRY=...       where images and bundles are pushed to then; your cluster must be able to pull from it

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

CLUSTER ?= local
REGISTRY ?=
PYTHON ?= python3
NAMESPACE ?= tidegate-system

export CLUSTER REGISTRY
export PYTHONPATH := tests
VENV := .venv
BIN := $(VENV)/bin
LOCKS := tools operator server cli dev

# The environment of the cluster, for the targets that need one.
WITH_CLUSTER = eval "$$($(PYTHON) -m cluster env)";

## help: this list
.PHONY: help
help:
	@sed -n 's/^## \([a-z-]*\): /\1\t/p' $(MAKEFILE_LIST) | sort | awk -F'\t' '{printf "  make %-16s %s\n", $$1, $$2}'

## venv: the Python environment, from the locked requirements
.PHONY: venv
venv: $(VENV)/installed
$(VENV)/installed: requirements/dev.txt pyproject.toml
	@echo "== Python environment"
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: set PYTHON=")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes --no-deps -r <(sed -n '/^uv==/,/^[a-z]/p' requirements/dev.txt | sed '$$d' | sed '$$s/ *\\$$//')
	$(BIN)/uv pip install -q --python $(BIN)/python --require-hashes -r requirements/dev.txt
	$(BIN)/uv pip install -q --python $(BIN)/python --no-deps --no-build-isolation-package none -e .
	touch $@

## lock: resolve requirements/*.txt anew from pyproject.toml
.PHONY: lock
lock: venv
	@compile() { $(BIN)/uv pip compile -q --generate-hashes --no-emit-index-url --universal --python-version 3.11 --no-header "$$@"; }
	compile pyproject.toml -o requirements/tools.txt
	for extra in operator server cli dev; do compile pyproject.toml --extra $$extra -o requirements/$$extra.txt; done
	echo 'hatchling>=1.33' | compile - -o requirements/build.txt

## generate: the CRD and manifests/install.yaml, from their sources
.PHONY: generate
generate: venv
	$(BIN)/python -m tidegate_operator.api.crd manifests/crd.yaml charts/tidegate/files/crd.yaml

## check: linters, types, generated files, documents
.PHONY: check
check: venv
	@echo "== checks"
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m tidegate_operator.api.crd --check manifests/crd.yaml charts/tidegate/files/crd.yaml
