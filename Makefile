# One command for each thing one does here; `make help` lists them. Longer logic is in hack/, each script with --help.
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.9
CLUSTER ?= local

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the commands
	@awk 'BEGIN {FS = ":.*## "} /^[a-z][a-z-]*:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/.installed: requirements/dev.lock pyproject.toml hack/venv
	@hack/venv $(PYTHON) $(VENV) $(UV_VERSION)
	@touch $@

.PHONY: venv
venv: $(BIN)/.installed ## the virtual environment with everything that tests need

.PHONY: check
check: venv ## format, lint, types, import rules, generated files are current
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	hack/generate --check
	$(PYTHON) hack/release workflows

.PHONY: test
test: venv ## every test but the long ones: unit, distributed (gloo), integration (real API server)
	hack/test $(BIN)/python

.PHONY: smoke
smoke: venv ## unit tests without processes, trainings and builds, for every day (below two minutes on a quiet machine)
	$(BIN)/python -m pytest -q -m "not slow and not integration and not distributed" --durations=5 tests/unit

.PHONY: measure
measure: ## sizes and words of the code, as a table
	$(PYTHON) hack/measure-code

.PHONY: test-queues
test-queues: venv ## the real Kueue and the real Coscheduling plugin against the API server (built once, minutes)
	NTO_TEST_QUEUES=1 $(BIN)/python -m pytest tests/queues

PICTURES ?= build/dashboard
.PHONY: test-dashboard
test-dashboard: venv ## the dashboard in the Chromium that is installed, against the real API server (npm for axe-core; minutes)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/browser.lock
	cd dashboard && npm ci --ignore-scripts --no-audit --no-fund --silent
	NTO_TEST_DASHBOARD=1 NTO_DASHBOARD_PICTURES=$(PICTURES) $(BIN)/python -m pytest tests/dashboard

.PHONY: test-trackers
test-trackers: venv ## runs against a real MLflow server (SQLite) and W&B offline (their packages into build/: minutes)
	hack/test-trackers $(BIN)/python

.PHONY: test-xla
test-xla: venv ## lazy XLA on the CPU: PyTorch 2.9 with torch-xla (2.6 GB into build/ the first time; minutes)
	hack/test-xla $(BIN)/python

.PHONY: test-upgrade
test-upgrade: venv ## helm upgrade and rollback between today and an earlier commit with 50 live jobs (real API server, minutes)
	NTO_TEST_UPGRADE=1 $(BIN)/python -m pytest tests/upgrade

.PHONY: test-alerts
test-alerts: venv ## the chart's alerts on synthetic series by Prometheus' own promtool (built once, minutes)
	NTO_TEST_ALERTS=1 $(BIN)/python -m pytest tests/alerts

.PHONY: test-unit
test-unit: venv ## all of tests/unit, the slow ones too
	$(BIN)/python -m pytest tests/unit -m "not integration"

.PHONY: test-faults
test-faults: venv ## every fault on the real local cluster and API server, as a table (docs/faults.md; half an hour, root on Linux)
	hack/test-faults $(BIN)/python

.PHONY: test-install
test-install: venv ## docs/install-eks.md on the local cluster, with advertised devices and a stand-in for Trainium (ten minutes, root)
	$(BIN)/python hack/test-install

.PHONY: test-nxd
test-nxd: venv ## jobs in the image for Trn1 on the local cluster, which loses a rank and a pod, on PyTorch/XLA's CPU (ten minutes, root)
	$(BIN)/python hack/test-nxd

.PHONY: soak
soak: venv ## faults at random on the local cluster for SOAK_HOURS (8); stops by itself
	$(BIN)/python hack/soak

.PHONY: bench-recovery
bench-recovery: venv ## seconds from a fault to the next step on the local cluster, and where they go
	$(BIN)/python benchmarks/recovery.py
	$(BIN)/python benchmarks/recovery_scale.py

.PHONY: test-numerics
test-numerics: venv ## every family under every split against one process, as a table (docs/numerics.md; a quarter of an hour)
	$(BIN)/python hack/numerics

.PHONY: test-device
test-device: venv ## the same on the stand-in of a Neuron device, with and without messages between processes (an hour)
	$(BIN)/python hack/numerics --accelerator neuron --folder build/device
	$(BIN)/python hack/numerics --accelerator neuron --folder build/device --no-send

.PHONY: test-compile
test-compile: venv ## every family, split and precision compiled against eager execution, and a part by Inductor (an hour)
	$(BIN)/python hack/numerics --compile aot_eager --folder build/compiled
	$(BIN)/python hack/numerics --compile inductor --part --processes 2 --folder build/compiled

.PHONY: test-backends
test-backends: venv ## what every backend must fulfil, for each of them (make test: for native, and a part for xla; half an hour)
	NTO_TEST_BACKENDS=1 $(BIN)/python -m pytest -q --durations=15 tests/distributed -k "xla or native"

.PHONY: test-mutations
test-mutations: venv ## one mistake at a time at every key of every real file (make test: every third key; 4 minutes)
	MUTATIONS_STRIDE=1 $(BIN)/python -m pytest -q tests/unit/api/test_mutations.py

.PHONY: test-kills
test-kills: venv ## 200 runs that are killed or whose storage fails, each resumed bit for bit, as a table (10 minutes)
	KILLS=200 $(BIN)/python -m pytest -q --durations=0 tests/distributed/test_kills.py

.PHONY: test-memory-kills
test-memory-kills: venv ## 200 kills of runs with copies in memory: inside copies, their way, resumes; lost nodes; as a table
	MEMORY_KILLS=200 $(BIN)/python -m pytest -q --durations=0 tests/distributed/test_memory_checkpoints.py -k anywhere

INPUTS ?= 500
SEED ?= 1
.PHONY: test-inputs
test-inputs: venv ## 500 hostile files through `neuron-train run` and `data prepare`: read or refused in words, as a table
	$(BIN)/python hack/test-inputs --count $(INPUTS) --seed $(SEED)

.PHONY: demo
demo: venv ## images, chart, a job that loses a rank and a pod and succeeds (CLUSTER=kind, current, or a cluster from source)
	CLUSTER=$(CLUSTER) $(BIN)/python hack/demo

.PHONY: cluster-up
cluster-up: ## a local Kubernetes cluster of real parts (root on Linux)
	$(PYTHON) hack/cluster up

.PHONY: cluster-down
cluster-down: ## remove the local cluster and everything it made
	$(PYTHON) hack/cluster down

.PHONY: images
images: ## build the operator's and the trainer's image, and load them into the local cluster when it is up
	$(PYTHON) hack/images build

.PHONY: crds
crds: venv ## generate the CRD, its copy in the chart and the reference pages
	hack/generate

.PHONY: golden
golden: venv ## write the golden tables of `kubectl neuron plan` again (check the diff)
	hack/golden

.PHONY: bench-mttr
bench-mttr: venv ## faults to the next new step under ours, torchrun, NVRx and DLRover in turns; 64 to 1,024 launchers (2 hours)
	$(BIN)/python -m benchmarks.mttr --json benchmarks/mttr/trials.json --picture docs/images/mttr.svg
	$(BIN)/python -m benchmarks.mttr.scale --json benchmarks/mttr/scale.json

.PHONY: bench-plan
bench-plan: venv ## how long `kubectl neuron plan` takes to start
	$(BIN)/python benchmarks/plan.py

.PHONY: bench-alignment
bench-alignment: venv ## preference training against TRL, LoRA against full fine-tuning and PEFT, in turns (10 minutes)
	$(BIN)/python benchmarks/alignment_dpo.py
	$(BIN)/python benchmarks/alignment_lora.py

.PHONY: bench-experts
bench-experts: venv ## experts with static shapes against sorted ones, forward and backward on one thread, in turns (2 minutes)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/experts.py

.PHONY: bench-compile
bench-compile: venv ## model.compile on the CPU: tokens a second against eager execution in turns, and a second start (5 minutes)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.compile

.PHONY: bench-data
bench-data: venv ## index build, writing, packing and random reads against megatron-core, datasets and a bare memmap
	$(BIN)/python benchmarks/data.py

.PHONY: bench-operator
bench-operator: venv ## the operator against a bare client and Kubeflow's operator, O1 to O8 (builds them: minutes; docs/performance.md)
	$(BIN)/python benchmarks/operator --pictures docs/images

.PHONY: bench-operator-quick
bench-operator-quick: venv ## the same without the peers, small, in under 3 minutes
	$(BIN)/python benchmarks/operator --quick

.PHONY: bench-checkpoint
bench-checkpoint: venv ## stall and durability of a checkpoint, memory, and the start to first step of a resume
	$(BIN)/python benchmarks/checkpoint.py --plot docs/images/checkpoint.png

.PHONY: bench-memory
bench-memory: venv ## what a copy of the state in memory after every step costs, in turns with steps without; also with a peer
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.memory_copies
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.memory_copies --nodes 2

CASES ?= throughput tax memory pair
.PHONY: bench-trainer
bench-trainer: venv ## the training loop against bare PyTorch, Lightning and Hugging Face's (CASES=growth draws pictures)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.trainer $(CASES)

SITE ?= build
.PHONY: docs
docs: ## the documentation site in build/site, strict (SITE=serve shows it and follows changes)
	hack/docs $(PYTHON) $(UV_VERSION) $(SITE)

TAG ?=
.PHONY: release
release: ## the files of a release in dist/VERSION; REGISTRY, RELEASE_URL, RELEASE_KEY (docs/contributing/release.md; minutes)
	$(PYTHON) hack/release build

.PHONY: release-images
release-images: ## the same with both images as OCI archives (docker or buildah)
	$(PYTHON) hack/release build --images

.PHONY: release-machine
release-machine: ## plugin and images for this machine's architecture alone
	$(PYTHON) hack/release plugin
	$(PYTHON) hack/release images

.PHONY: release-plugin
release-plugin: ## the plugin for this machine's system alone
	$(PYTHON) hack/release plugin

.PHONY: release-finish
release-finish: ## krew's manifest, notes, checksums, signature over the files that are gathered in dist/VERSION
	$(PYTHON) hack/release finish

.PHONY: release-push
release-push: ## images and chart from dist/VERSION to REGISTRY
	$(PYTHON) hack/release push

.PHONY: release-version
release-version: ## print the version; TAG=v1.2.3 fails where that is another one
	@$(PYTHON) hack/release version --tag "$(TAG)"

.PHONY: test-release
test-release: venv ## build a release, push it to a real registry, install it from there by Helm (minutes; with an image where buildah is)
	NTO_TEST_RELEASE=1 $(BIN)/python -m pytest tests/release

.PHONY: format
format: venv ## format the sources
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: lock
lock: venv ## resolve the dependencies again
	PATH="$(CURDIR)/$(BIN):$$PATH" hack/lock

.PHONY: clean
clean: ## remove what was built here (caches of tools stay in ~/.cache)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
