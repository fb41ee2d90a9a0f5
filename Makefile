# Needs make and Python 3.11 or newer; everything else is installed into .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install -q

.PHONY: help run test test-browser test-aws test-long lint check bench chaos bench-peers boot-image elasticity adaptive-curve clean

help:
	@echo "make run             start Tagfleet on http://127.0.0.1:8000 (TAGFLEET_PORT=9000 make run: another port)"
	@echo "make test            all tests"
	@echo "make test-browser    only those that drive a browser"
	@echo "make test-aws        those of a whole deployment on moto's server, the long ones too"
	@echo "make lint            style, types and the layers of imports"
	@echo "make check           what CI runs: all tests, lint among them"
	@echo "make chaos           kill parts, fill the disk, set a clock wrong, and count every photo (up to 10 min)"
	@echo "make bench           measure: engine, one process, the whole fleet"
	@echo "make bench-peers     measure LitServe, BentoML and Ray Serve beside it, each in its own environment"
	@echo "make boot-image      boot a worker's image under qemu, and say where the time went (as root; half an hour)"
	@echo "make elasticity      simulate the controller's policy and others, and write docs/elasticity.md"
	@echo "make adaptive-curve  how the tagger that learns gets better by corrections, and draw docs/adaptive.png"
	@echo "make probe-coco      compare losses of a linear probe: COCO=path/to/coco WEIGHTS=path/to/resnet50.safetensors"
	@echo "make test-long       the controller against 200,000 steps of anything that can happen"
	@echo "make clean           remove the virtual environment and all caches"
	@echo ""
	@echo "PYTHON=python3.12 make …   uses that interpreter"

run: $(VENV)/run.stamp
	@$(BIN)/tagfleet up

# Many tests wait for other processes: two at once take little more than half the time on two cores.
TESTS_AT_ONCE ?= 2

test: $(VENV)/dev.stamp $(VENV)/ministack.stamp
	$(BIN)/pytest -n $(TESTS_AT_ONCE) --dist worksteal

test-browser: $(VENV)/dev.stamp
	$(BIN)/pytest tests/browser

test-aws: $(VENV)/dev.stamp
	$(BIN)/pytest tests/aws -m aws

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

check: test

chaos: $(VENV)/dev.stamp
	$(BIN)/python -m bench chaos

bench: $(VENV)/dev.stamp
	$(BIN)/python -m bench

bench-peers: $(VENV)/dev.stamp
	$(BIN)/python -m bench.peers

boot-image: $(VENV)/dev.stamp
	$(BIN)/python -m tests.aws.boot_image /var/tmp/tagfleet-boot

# Where the images and the network's weights lie: make probe-coco COCO=path/to/coco WEIGHTS=path/to/resnet50.safetensors
COCO ?= coco
WEIGHTS ?=

probe-coco: $(VENV)/dev.stamp
	$(BIN)/python -m bench.probe $(COCO) --weights "$(WEIGHTS)"

elasticity: $(VENV)/dev.stamp
	$(BIN)/tagfleet simulate --all --docs docs

adaptive-curve: $(VENV)/dev.stamp
	$(BIN)/python -m bench adaptive --docs docs

test-long: $(VENV)/dev.stamp
	$(BIN)/pytest -m long tests/unit

clean:
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
