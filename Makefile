# Needs make and Python 3.11 or newer; everything else is installed into .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install -q

.PHONY: help run test test-browser test-aws test-long check lint bench bench-peers chaos boot-image probe-coco costs elasticity \
	adaptive-curve types screenshots clean

# `make help` lists the targets by group: a line "##@ GROUP", then each target with its sentence after "##".
help: ## list these targets
	@awk 'BEGIN { FS = ":.*## " } \
	  /^##@ / { printf "%s%s\n", separator, substr($$0, 5); separator = "\n" } \
	  /^[a-z-]+:.*## / { printf "  %-15s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo ""
	@echo "PYTHON=python3.12 make TARGET uses that interpreter."

##@ Run

run: $(VENV)/run.stamp ## start Tagfleet on http://127.0.0.1:8000 (another port: TAGFLEET_PORT=9000 make run)
	@$(BIN)/tagfleet up

##@ Test

# Many tests wait for other processes: running two at once nearly halves the time on two cores.
TESTS_AT_ONCE ?= 2

test: $(VENV)/dev.stamp $(VENV)/ministack.stamp ## run all tests, lint among them
	$(BIN)/pytest -n $(TESTS_AT_ONCE) --dist worksteal

test-browser: $(VENV)/dev.stamp ## run the tests that drive a browser
	$(BIN)/pytest tests/browser

test-aws: $(VENV)/dev.stamp ## run the tests of a whole deployment on moto's server, the long ones too
	$(BIN)/pytest tests/aws -m aws

test-long: $(VENV)/dev.stamp ## test the controller with 200,000 random steps
	$(BIN)/pytest -m long tests/unit

lint: $(VENV)/dev.stamp ## check style, types and the layers of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

check: test ## run what CI runs

##@ Measure

bench: $(VENV)/dev.stamp ## measure the engine, one process and the whole fleet
	$(BIN)/python -m bench

bench-peers: $(VENV)/dev.stamp ## measure LitServe, BentoML and Ray Serve too, each in its own environment
	$(BIN)/python -m bench.peers

chaos: $(VENV)/dev.stamp ## kill processes, fill the disk, set a clock wrong, and count every photo (up to 10 min)
	$(BIN)/python -m bench chaos

boot-image: $(VENV)/dev.stamp ## boot a worker's image under qemu and time its phases (as root; half an hour)
	$(BIN)/python -m tests.aws.boot_image /var/tmp/tagfleet-boot

# COCO is the folder of COCO's images, WEIGHTS the network's file: path/to/resnet50.safetensors.
COCO ?= coco
WEIGHTS ?=

probe-coco: $(VENV)/dev.stamp ## compare losses of a linear probe; needs COCO=FOLDER and WEIGHTS=FILE
	$(BIN)/python -m bench.probe $(COCO) --weights "$(WEIGHTS)"

##@ Write docs and generated files

elasticity: $(VENV)/dev.stamp ## simulate the controller's policy and others, and write docs/elasticity.md
	$(BIN)/tagfleet simulate --all --docs docs

costs: $(VENV)/dev.stamp ## write docs/costs.md from the figures in docs/costs.json
	$(BIN)/python -m bench costs --docs docs

adaptive-curve: $(VENV)/dev.stamp ## measure how the learning tagger improves with corrections, and write docs/adaptive.png
	$(BIN)/python -m bench adaptive --docs docs

types: $(VENV)/dev.stamp ## write the page's types.js from the API's OpenAPI document
	$(BIN)/python -m tests.browser.page_types

screenshots: $(VENV)/dev.stamp ## take the README's pictures with Chromium: docs/page.png, docs/fleet.png
	$(BIN)/python -m tests.browser.screenshots

##@ Tidy

clean: ## remove the virtual environment and all caches
	rm -rf $(VENV) bench/peers/.venv-* *.egg-info build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/run.stamp: requirements.txt pyproject.toml | $(BIN)/pip
	@echo "installing requirements.txt into $(VENV); the first time this takes some minutes"
	@$(PIP) -r requirements.txt
	@$(PIP) --no-deps -e .
	@touch $@

$(VENV)/dev.stamp: requirements-dev.txt requirements-florence2.txt requirements-int8.txt requirements-training.txt $(VENV)/run.stamp
	@$(PIP) -r requirements-dev.txt -r requirements-florence2.txt -r requirements-int8.txt
	@touch $@

$(VENV)/ministack.stamp: requirements-ministack.txt | $(BIN)/pip
	@$(PYTHON) -m venv $(VENV)/ministack
	@$(VENV)/ministack/bin/python -m pip --disable-pip-version-check install -q -r requirements-ministack.txt
	@touch $@

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Tagfleet needs Python 3.11 or newer, and '$(PYTHON)' is not; name one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; \
	  exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "'$(PYTHON)' cannot make virtual environments; on Debian and Ubuntu: sudo apt install python3-venv" >&2; \
	  exit 1; }
	@$(PYTHON) -m venv $(VENV)
