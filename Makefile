# Everything runs in .venv, which `make` creates. Python 3.11+ and a package index suffice.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
COMPOSE ?= docker compose
MODEL ?= pets

.DEFAULT_GOAL := help
.PHONY: help demo test chaos check format bench peers conformance rehearse drill constraints digests sbom clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

.venv/bin/python:
	$(PYTHON) -m venv .venv

# First only wheels with a hash in constraints.txt, which run no code during installation.
# Then the project itself, built with the packages already installed.
define install
$(BIN)/python deploy/images/list_requirements.py pyproject.toml constraints.txt build $(1) \
	> .venv/requirements.txt
$(PIP) install --require-hashes --only-binary :all: --requirement .venv/requirements.txt
$(PIP) install --no-deps --no-build-isolation --editable .
@touch $@
endef

.venv/.run: pyproject.toml constraints.txt models/images/_resampling.c | .venv/bin/python
	@echo "Installing Kennel into .venv (2.5 GB, once) ..."
	$(call install,train stack demo)

.venv/.dev: .venv/.run
	@echo "Installing the development tools into .venv ..."
	$(call install,train stack demo dev)

demo: .venv/.run ## photos to model, API and CSV, end to end (QUICK=1: 400 photos)
	@QUICK=$(QUICK) $(BIN)/kennel demo

test: .venv/.dev ## run all tests
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

chaos: .venv/.dev ## run folder jobs under random faults: 20 seeds (SEED=n: only that one)
	$(BIN)/python -m tests.faults.chaos $(if $(SEED),--seed $(SEED))

check: .venv/.dev ## check format, lint, types, imports, compose files, Dockerfiles
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy -p deploy
	$(BIN)/lint-imports
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml deploy/compose.*.yml
	$(BIN)/hadolint deploy/Dockerfile deploy/*.Dockerfile

format: .venv/.dev ## format the code and apply the linter's fixes
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.venv-engines/.done: benchmarks/engines/requirements.txt
	@echo "Installing LiteRT and OpenVINO into .venv-engines (about 600 MB, once) ..."
	$(PYTHON) -m venv .venv-engines
	@.venv-engines/bin/python -m pip --disable-pip-version-check --quiet install \
		--requirement benchmarks/engines/requirements.txt && touch $@ \
		|| echo "They cannot be installed here, and benchmarks.precision leaves them out."

bench: .venv/.run .venv-engines/.done ## measure speed against the bare SavedModel and forward pass
	$(BIN)/python -m benchmarks.online
	$(BIN)/python -m benchmarks.edge
	$(BIN)/python -m benchmarks.large_photos
	$(BIN)/python -m benchmarks.overload
	$(BIN)/python -m benchmarks.capacity
	$(BIN)/python -m benchmarks.soak
	$(BIN)/python -m benchmarks.job
	$(BIN)/python -m benchmarks.training
	$(BIN)/python -m benchmarks.precision

.venv-peers/.done: benchmarks/peers/requirements.txt
	@echo "Installing LitServe, BentoML and others into .venv-peers (about 2 GB, once) ..."
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip --disable-pip-version-check --quiet install \
		--requirement benchmarks/peers/requirements.txt
	@touch $@

peers: .venv/.run .venv-peers/.done ## compare with LitServe, BentoML and plain Flask
	$(BIN)/python -m benchmarks.compare edge
	$(BIN)/python -m benchmarks.compare model

conformance: .venv/.dev ## run the wire tests against MODEL_SERVER=host:port MODEL=name
	MODEL_SERVER=$(MODEL_SERVER) MODEL=$(MODEL) $(BIN)/python -m pytest tests/models/test_conformance.py

rehearse: .venv/.run ## build the images, compose up, predict, job to CSV, down
	COMPOSE="$(COMPOSE)" $(BIN)/python -m deploy.trials.rehearsal

drill: .venv/.run ## kill, upgrade, back up and restore containers under load
	COMPOSE="$(COMPOSE)" $(BIN)/python -m deploy.trials.drill $(DRILL)

# Existing pins stay where pyproject.toml allows them; UPGRADE="--upgrade-package NAME".
constraints: | .venv/bin/python ## pin new dependencies, with the hashes of all their files
	$(PIP) install uv
	$(BIN)/uv pip compile --quiet --all-extras --universal --python-version 3.11 $(UPGRADE) \
		--generate-hashes --annotation-style line \
		--no-header --no-emit-index-url --no-emit-find-links \
		--output-file constraints.txt pyproject.toml

digests: .venv/.run ## get the digests of public images from the registry (needs docker)
	$(BIN)/python -m deploy.images.base_images --update

SBOM_IMAGES ?= $(foreach each,api worker redis proxy,kennel-$(each):local)
sbom: .venv/.dev ## write an SBOM of each image in SBOM_IMAGES (ENGINE=podman)
	$(BIN)/python -m deploy.images.sbom --engine $(or $(ENGINE),docker) $(SBOM_IMAGES)

clean: ## remove installed packages and caches, not var/
	rm -rf .venv .venv-engines .venv-peers .mypy_cache .pytest_cache .ruff_cache .import_linter_cache *.egg-info build models/*/*.so
