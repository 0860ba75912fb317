VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-frameworks test-all test-kills test-memory lint clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */\1\t/' | expand -t 12

setup: $(STAMP)  ## create .venv with everything, the project itself editable

$(STAMP): requirements.txt pyproject.toml
	test -x $(BIN)/python || python3 -m venv $(VENV)
	grep -v '^torch==' requirements.txt > $(VENV)/requirements.txt  # gigabytes, and used by `make test-frameworks` alone
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r $(VENV)/requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $(STAMP)

demo: $(STAMP)  ## meta-train, evaluate and compare on real digits in a few minutes; writes runs/demo*
	rm -rf runs/demo runs/demo-evaluate runs/demo-compare
	l2o meta-train quick --out runs/demo
	l2o evaluate --problem mnist_conv --optimizer runs/demo --optimizer runs/demo:untrained --steps 80 --seeds 5 --out runs/demo-evaluate
	l2o compare --problems mnist_conv --optimizer runs/demo --optimizer hrnn --baselines adam,rmsprop --trials 5 --steps 80 --seeds 5 --out runs/demo-compare
	@echo
	@echo "Look at runs/demo-compare/report.html: the optimizer trained a minute ago, the published one, and tuned Adam and RMSprop."

test: $(STAMP)  ## the tests that are not slow
	$(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder

FRAMEWORKS := .venv-frameworks
# What the optimizers need outside of Keras on TensorFlow, which is left out: nobody who trains elsewhere has it.
NEEDED := click jax keras numpy optax optree orbax-checkpoint pydantic pytest PyYAML rich safetensors scipy torch

$(FRAMEWORKS)/.installed: requirements.txt pyproject.toml
	test -x $(FRAMEWORKS)/bin/python || python3 -m venv $(FRAMEWORKS)
	$(FRAMEWORKS)/bin/python -m pip install --quiet --disable-pip-version-check -c requirements.txt $(NEEDED)
	printf '%s\n' $(CURDIR) $(CURDIR)/problems > $(FRAMEWORKS)/paths
	cp $(FRAMEWORKS)/paths $$($(FRAMEWORKS)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/l2o.pth
	touch $@

MARKS ?= not slow

test-frameworks: $(FRAMEWORKS)/.installed  ## tests without TensorFlow, on JAX and PyTorch, in .venv-frameworks; all: MARKS=
	for backend in jax torch; do JAX_PLATFORMS=cpu KERAS_BACKEND=$$backend $(FRAMEWORKS)/bin/python -m pytest -q -m "$(MARKS)" \
		--confcutdir=tests/frameworks tests/frameworks/$$backend tests/frameworks/keras || exit 1; done
	$(FRAMEWORKS)/bin/python -m pytest -q --confcutdir=tests/frameworks tests/frameworks/test_backends.py

test-all: $(STAMP)  ## all tests, and which take longest
	$(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder -m "" --durations=25

KILLS ?= 500
META_STEPS ?= 20000

KILLED ?= meta-train

test-kills: $(STAMP)  ## kill KILLED (meta-train, workers, compare, ablate) KILLS times, go on, and compare with an undisturbed one
	$(BIN)/python -m tests.kill_resume $(KILLED) --kills $(KILLS)

test-memory: $(STAMP)  ## whether the memory of a run of META_STEPS meta-steps grows
	$(BIN)/python -m tests.memory_growth --meta-steps $(META_STEPS)

lint: $(STAMP)  ## ruff, mypy and the layering
	ruff check .
	ruff format --check .
	mypy
	lint-imports

clean:  ## remove caches and builds (not runs/ and not .venv)
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -not -path "./$(VENV)/*" -prune -exec rm -rf {} +
