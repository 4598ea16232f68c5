# Everything here runs from a fresh clone. `make help` lists the targets.
#
#   CLUSTER=current    use your own kube context instead of the cluster that `make cluster` starts
#   REGISTRY=...       where images and bundles are pushed to then; your cluster must be able to pull from it
#   PLAIN_HTTP=1       that registry has no TLS, as kind's localhost:5001
#   RACE=...           what `make race` is to do, as `--rounds 1 --against expert` or `--continue`

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.NOTPARALLEL:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

CLUSTER ?= local
REGISTRY ?=
PLAIN_HTTP ?=
RACE ?=
PYTHON ?= python3
NAMESPACE ?= tidegate-system
export CLUSTER REGISTRY PLAIN_HTTP NAMESPACE
export PYTHONPATH := tests

BIN := .venv/bin

# In front of a command that talks to a cluster: where it is, and the tools for it. By way of a variable, because a
# failure inside `eval "$(...)"` would go unseen, and the command reach whatever cluster kubectl knows.
ifeq ($(CLUSTER),local)
WITH_CLUSTER = environment="$$($(PYTHON) -m cluster env --export)"; eval "$$environment";
else
WITH_CLUSTER = export PATH="$(CURDIR)/.cluster/bin:$$PATH";
endif

## help: this list
.PHONY: help
help:
	@sed -n 's/^## \([a-z-]*\): /\1\t/p' Makefile | awk -F'\t' '{printf "  make %-14s %s\n", $$1, $$2}'
	echo; sed -n 's/^#   \([A-Z_]*=\)/  \1/p' Makefile

# ---------------------------------------------------------------- the house

## venv: the Python environment, from the locked requirements
.PHONY: venv
venv: .venv/installed
.venv/installed: requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=")'
	echo "== the Python environment"
	$(PYTHON) -m cluster venv
	test -x $(BIN)/uv || $(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/uv.txt
	export VIRTUAL_ENV=.venv
	$(BIN)/uv pip sync -q --require-hashes requirements/dev.txt requirements/build.txt
	# xds-protos brings older copies of what these two own. Only here are they installed beside each other.
	$(BIN)/uv pip install -q --require-hashes --no-deps --reinstall-package opentelemetry-proto --reinstall-package googleapis-common-protos \
	  -r requirements/dev.txt
	$(BIN)/uv pip install -q --no-deps --no-build-isolation -e .
	touch $@

## lock: resolve requirements/*.txt anew from pyproject.toml, and those of the benches' peers
.PHONY: lock
lock: venv
	@compile() { $(BIN)/uv pip compile -q --generate-hashes --no-emit-index-url --universal --python-version 3.11 --no-header --no-annotate "$$@"; }
	compile pyproject.toml --extra router -o requirements/tools.txt
	for extra in operator server cli dev; do compile pyproject.toml --extra $$extra -o requirements/$$extra.txt; done
	for peer in mlserver kserve bentoml litserve; do compile tests/bench/peer_servers/$$peer.in -o tests/bench/peer_servers/$$peer.txt; done
	compile - -o requirements/build.txt <<< 'hatchling>=1.33'
	# A client of the protocol that others wrote; it must work unchanged, and wants another pandas than we do.
	compile - -o requirements/kserve.txt <<< 'kserve>=0.21,<0.22'
	compile - -o requirements/uv.txt <<< "$$(grep -E '^uv==' requirements/dev.txt | cut -d' ' -f1)"

## kserve: KServe's own client for its test, in an environment of its own in the cache
.PHONY: kserve
kserve: venv
	@$(BIN)/python -m kserve_environment

## generate: the CRD and manifests/install.yaml, from their sources
.PHONY: generate
generate: venv tools
	@$(BIN)/python -m tidegate_operator.api.crd manifests/crd.yaml charts/tidegate/files/crd.yaml
	$(BIN)/python manifests/render.py

## check: linters, types, generated files
.PHONY: check
check: venv tools
	@echo "== checks"
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m tidegate_operator.api.crd --check manifests/crd.yaml charts/tidegate/files/crd.yaml
	$(BIN)/python manifests/render.py --check

# ---------------------------------------------------------------- the cluster, the images, the operator

## tools: kubectl and helm in .cluster/bin
.PHONY: tools
tools:
	@$(PYTHON) -m cluster tools

## cluster: start a real Kubernetes on this machine; with CLUSTER=current, say which one is used
.PHONY: cluster
ifeq ($(CLUSTER),local)
cluster:
	@$(PYTHON) -m cluster up
else
cluster: tools
	@$(WITH_CLUSTER)
	kubectl config current-context
	kubectl version
endif

## cluster-down: end that Kubernetes and everything of it
.PHONY: cluster-down
cluster-down:
ifeq ($(CLUSTER),local)
	@$(PYTHON) -m cluster down
else
	@echo "The current cluster is yours: nothing is ended. \`make uninstall CLUSTER=current\` removes the operator."
endif

## images: build the images and bring them to the cluster
.PHONY: images
images:
ifeq ($(CLUSTER),local)
	@$(PYTHON) -m images build
else
	@test -n "$(REGISTRY)" || { echo "REGISTRY= is needed: where your cluster pulls images from"; exit 1; }
	$(PYTHON) -m images build --cluster current --registry "$(REGISTRY)" --push $(if $(PLAIN_HTTP),--plain-http)
endif

## install: install or upgrade the operator by its chart
.PHONY: install
install: tools
	@$(WITH_CLUSTER)
	tag="$$($(PYTHON) -m images tag --cluster $(CLUSTER))"
	set --
	$(if $(filter local,$(CLUSTER)),envoy="$$($(PYTHON) -m images envoy)"; set -- --set image.envoy="$$envoy")
	kubectl create namespace $(NAMESPACE) --dry-run=client -o yaml | kubectl apply -f - >/dev/null
	kubectl label --overwrite namespace $(NAMESPACE) pod-security.kubernetes.io/enforce=restricted >/dev/null
	helm upgrade --install tidegate charts/tidegate --namespace $(NAMESPACE) \
	  --set image.registry=$(or $(REGISTRY),tidegate.local) --set image.tag="$$tag" "$$@" --wait --timeout 3m >/dev/null
	echo "== the operator runs in namespace $(NAMESPACE)"

## uninstall: remove the operator; models go on serving
.PHONY: uninstall
uninstall: tools
	@$(WITH_CLUSTER)
	helm uninstall tidegate --namespace $(NAMESPACE) --wait

# ---------------------------------------------------------------- see it, test it

## demo: from nothing to predictions of real flights, and two rollouts
.PHONY: demo
demo:
	@started=$$SECONDS
	$(MAKE) venv cluster images install
	$(WITH_CLUSTER)
	$(BIN)/python examples/flights/demo.py
	echo "== make demo took $$((SECONDS - started)) s"

## test: everything that CI runs
.PHONY: test
test:
	@started=$$SECONDS
	$(MAKE) check tools kserve
	# The search and the unit tests take what the bars leave of the processors: they wait most of the time. Dots of tests
	# between their lines could not be read, so they come afterwards.
	mkdir -p dist
	nice -n 19 $(MAKE) verify & search=$$!
	nice -n 10 $(MAKE) test-unit > dist/test-unit.log 2>&1 & units=$$!
	trap 'kill $$search $$units 2> /dev/null || true' EXIT
	$(MAKE) test-bars
	wait $$units || { cat dist/test-unit.log; exit 1; }
	cat dist/test-unit.log
	wait $$search
	trap - EXIT
	$(MAKE) test-cluster
	echo "== make test took $$((SECONDS - started)) s"

## test-unit: unit and property tests; no cluster
.PHONY: test-unit
test-unit: venv tools kserve
	@echo "== unit and property tests"
	# The registry that `make cluster` fetched, if it has: some tests push to a real one.
	export PATH="$$PATH:$${TIDEGATE_CACHE:-$${XDG_CACHE_HOME:-$$HOME/.cache}/tidegate}/registry/usr/bin"
	$(BIN)/pytest -q tests/unit tests/property tests/test_cluster_layout.py

## verify: search every state of small worlds for one in which something goes wrong
.PHONY: verify
verify: venv
	@echo "== the core, in every state of its small worlds"
	$(BIN)/python -m verify

## mutants: change the evidence's code in every small way, one at a time, and see that a test fails
.PHONY: mutants
mutants: venv
	@echo "== the evidence, changed in every small way"
	$(BIN)/python -m mutants

## test-bars: rollouts simulated by chance, and what bench-operator measures, in a short form
.PHONY: test-bars
test-bars: venv tools
	@echo "== rollouts by chance, in short"
	$(BIN)/python tests/bench/simulated.py --short
	$(PYTHON) -m cluster prepare
	echo "== the operator's bars, in short"
	$(BIN)/python tests/bench/bars.py --short

## test-cluster: the tests on the real cluster
.PHONY: test-cluster
test-cluster: venv
	@$(MAKE) cluster images install
	echo "== tests on the real cluster"
	$(WITH_CLUSTER)
	$(BIN)/pytest -q tests/e2e --durations 12

## bench-idle: 15 minutes of idling beside a model; counts the operator's writes in the audit log
.PHONY: bench-idle
bench-idle: venv tools
	@$(WITH_CLUSTER)
	$(BIN)/python tests/bench/idle.py --minutes 15

## bench-server: what a request costs the model server, beside a bare uvicorn
.PHONY: bench-server
bench-server: venv
	@$(BIN)/python tests/bench/server.py

## bench-limits: what counting takes of a server, its start and memory, and ten minutes at twice its capacity
.PHONY: bench-limits
bench-limits: venv
	@$(BIN)/python tests/bench/limits.py

## bench-router: what a router adds to a request, how soon it follows its route, and what is lost where something dies
.PHONY: bench-router
bench-router: venv
	@$(BIN)/python tests/bench/router.py

## bench-rollout: how often evidence is right, simulated; and on the cluster, what a bad version costs and a good one takes
.PHONY: bench-rollout
bench-rollout: venv tools
	@$(BIN)/python tests/bench/simulated.py
	$(MAKE) cluster images install
	$(WITH_CLUSTER)
	$(BIN)/python tests/bench/rollout.py

## race: beside Argo Rollouts with Prometheus: how soon a bad version has no requests; six hours, or RACE=--continue
.PHONY: race
race: venv tools
	@$(MAKE) cluster images install
	$(WITH_CLUSTER)
	$(BIN)/python tests/bench/race.py $(RACE)

## bench-operator: 1,000 to 5,000 models, failover, outages, faults; API server, etcd and controllers alone; an hour
.PHONY: bench-operator
bench-operator: venv tools
	@$(PYTHON) -m cluster prepare
	$(BIN)/python tests/bench/bars.py

## bench-engines: compiled engines against scikit-learn: speed at 1 to 4,096 rows, and 1,000,000 answers compared
.PHONY: bench-engines
bench-engines: venv
	@$(BIN)/python tests/bench/engines.py

## bench-peers: requests a second beside MLServer, KServe, BentoML and LitServe; twenty minutes
.PHONY: bench-peers
bench-peers: venv
	@$(BIN)/python tests/bench/peers.py

## bench: all benches of the model server, about fifty minutes; tables, and JSON files in dist/
.PHONY: bench
bench: bench-engines bench-server bench-limits bench-peers

## soak: 200 kills, faults and outages at length; 100,000 requests through each change of a model behind routers; 4 hours
.PHONY: soak
soak: venv tools
	@$(PYTHON) -m cluster prepare
	$(BIN)/python tests/bench/bars.py --kills 200 kills faults outage expired
	$(MAKE) cluster images install
	$(WITH_CLUSTER)
	$(BIN)/python tests/bench/soak.py --requests 100000 --away 600

## clean: what this checkout made, except its cluster
.PHONY: clean
clean:
	rm -rf .venv dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
