# make venv | demo | test | screenshots | lint | bench | test-pythons | clean.   Each target does its own set-up.
#
#   PYTHON=python3.12      the interpreter that .venv is made with (default: the first of python3, python3.13 ... 3.10 that fits)
#   VENV=.venv             where the environment lies
#   PYTHON311=/path        the Python 3.11 of .venv-slicer (slicer-core has a wheel for 3.11 only); else python3.11 or pyenv's
#   SLICER_TESTS=no        leaves the tests of the Slicer extension out of make test
#   TORCH=2.13.0           the torch version; without an NVIDIA GPU always the CPU build
#   PROCESSES=3            how many processes run tests at the same time (each waits often for another); 0: as pytest does
#   TESTARGS, SLICERTESTARGS, DEMOARGS, BENCHARGS   handed on to pytest, the demo and the benchmarks

SHELL := /bin/bash
VENV ?= .venv
TORCH ?= 2.13.0
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu

IS_3_10 = -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.10; do $$p $(IS_3_10) && echo $$p && break; done)
RUN = $(VENV)/bin/python -m
# Without bytecode of all that may be imported: what is, gets it then, and installing takes a third of the time.
unexport PYTHONDONTWRITEBYTECODE
PIP_WORDS = pip --disable-pip-version-check install --quiet --quiet --no-compile
PIP = $(RUN) $(PIP_WORDS)
# The extra "train" without torch.
TORCH_FREE_TRAINING = "batchgenerators>=0.25.5,<0.26" matplotlib
STAMP = $(VENV)/.installed

IS_3_11 = -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null
PYTHON311 ?= $(shell for p in python3.11 $(HOME)/.pyenv/versions/3.11.*/bin/python; do $$p $(IS_3_11) && echo $$p && break; done)
SLICER_VENV = .venv-slicer
SLICER_STAMP = $(SLICER_VENV)/.installed
PROCESSES ?= 3
# A process that has no more tests takes some of another's.
AT_ONCE = --numprocesses $(PROCESSES) --dist worksteal
SLICER_PYTEST = SEGAUTOCONFIG_PYTHON="$(abspath $(VENV))/bin/python" $(SLICER_VENV)/bin/python -m pytest
# Every Python found, on PATH or under pyenv; one that can't start is left out when its turn comes.
ALL_PYTHONS = $(foreach v,3.10 3.11 3.12 3.13,$(or $(lastword $(sort $(wildcard $(HOME)/.pyenv/versions/$(v).*/bin/python))),python$(v)))

.PHONY: venv venv-slicer demo test test-engine test-slicer screenshots cmake-lists lint lint-code lint-format lint-types lint-imports lint-spelling format bench test-pythons clean

venv: $(STAMP)

$(STAMP): SegAutoConfigLib/pyproject.toml
	@$(or $(PYTHON),python3) $(IS_3_10) || { echo "Python 3.10 or newer is needed: make PYTHON=/path/to/python"; exit 2; }
	@echo "Installing into $(VENV) (some minutes the first time) ..."
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
# With a GPU, and on macOS, PyPI's wheel is the right one. Elsewhere it would bring gigabytes of CUDA: only a wheel
# named "+cpu" will do, from a place pip is set up to look in, else from PyTorch's own index.
	if nvidia-smi >/dev/null 2>&1 || [ "$$(uname -s)" != Linux ]; then \
	    $(PIP) "torch==$(TORCH)"; \
	else \
	    $(PIP) "torch==$(TORCH)+cpu" 2>/dev/null || $(PIP) "torch==$(TORCH)" --index-url $(TORCH_CPU_INDEX); \
	fi
	$(PIP) --editable "SegAutoConfigLib[train,test,dev]"
	@touch $@

demo: $(STAMP)
	$(RUN) segautoconfiglib demo $(DEMOARGS)

test: test-engine $(if $(filter no,$(SLICER_TESTS)),,test-slicer)

test-engine: $(STAMP)
	$(RUN) pytest $(AT_ONCE) $(TESTARGS)

# The Slicer extension: its logic against real MRML without Qt, then the stand-in for Slicer and the panels in it.
# Training and prediction run in .venv's Python, as in an external Python that a user chose.
test-slicer: $(STAMP) $(SLICER_STAMP)
	$(SLICER_PYTEST) Testing/slicer/logic $(AT_ONCE) $(SLICERTESTARGS)
	$(SLICER_PYTEST) Testing/slicer/host Testing/slicer/panels $(AT_ONCE) $(SLICERTESTARGS)

# After test-slicer: the pictures that it took become those of the documentation.
SHOWN = dataset-empty dataset-exporting:dataset-working dataset-finished dataset-error train-new:train-empty \
    train-running:train-working train-finished train-killed:train-error segment-empty segment-working segment-finished \
    segment-error segment-weights segment-task models-empty models-working models-finished models-error setup-empty setup-working setup-finished setup-error

screenshots:
	mkdir -p Resources/Screenshots
	for pair in $(SHOWN); do for width in 400 600; do \
	    cp slicer-output/$${pair%%:*}-$$width.png Resources/Screenshots/$${pair##*:}-$$width.png || exit 1; done; done
	cp slicer-output/walk-2-training.png Resources/Screenshots/train.png
	cp slicer-output/walk-4-segmented.png Resources/Screenshots/segment.png

venv-slicer: $(SLICER_STAMP)

$(SLICER_STAMP): Testing/SlicerHost/requirements.txt
	@[ -n "$(PYTHON311)" ] || { echo "The tests of the Slicer extension can't run: slicer-core (Slicer's MRML classes) has a wheel for Python 3.11"; \
	    echo "only, and none was found. Install it, or name it: make PYTHON311=/path/to/python3.11. Without: make test SLICER_TESTS=no"; exit 2; }
	@echo "Installing into $(SLICER_VENV) (1.5 GB, some minutes the first time) ..."
	test -x $(SLICER_VENV)/bin/python || $(PYTHON311) -m venv $(SLICER_VENV)
	$(SLICER_VENV)/bin/python -m $(PIP_WORDS) --requirement $<
	@touch $@

# Writes the lists of files in SegAutoConfigLib/CMakeLists.txt and SegAutoConfig/CMakeLists.txt anew.
cmake-lists: $(STAMP)
	$(VENV)/bin/python Testing/SlicerHost/cmake/lists.py --write

# The pre-commit hooks call the same targets.
lint: lint-code lint-format lint-types lint-imports lint-spelling

lint-code: $(STAMP)
	$(RUN) ruff check .

lint-format: $(STAMP)
	$(RUN) ruff format --check .

lint-types: $(STAMP)
	$(RUN) mypy

lint-imports: $(STAMP)
	$(VENV)/bin/lint-imports

lint-spelling: $(STAMP)
	$(VENV)/bin/codespell

format: $(STAMP)
	$(RUN) ruff check --fix .
	$(RUN) ruff format .

# PEER_VENV=/path/to/venv/with/nnunetv2 puts nnU-Net's figures beside ours.
bench: $(STAMP)
	$(VENV)/bin/python Testing/Benchmarks/run.py $(BENCHARGS)

# The parts that need no torch, under every Python found; each in a small environment .venv-3.X of its own.
test-pythons:
	@tried=0; for python in $(ALL_PYTHONS); do \
	    version=$$($$python -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || { echo "$$python: not found"; continue; }; \
	    venv=.venv-$$version; tried=$$((tried + 1)); echo "== Python $$version ($$python)"; \
	    if [ ! -e $$venv/.installed ] || [ SegAutoConfigLib/pyproject.toml -nt $$venv/.installed ]; then \
	        $$python -m venv $$venv && \
	        $$venv/bin/python -m $(PIP_WORDS) --editable "SegAutoConfigLib[test]" $(TORCH_FREE_TRAINING) && \
	        touch $$venv/.installed || exit 1; \
	    fi; \
	    $$venv/bin/python -m pytest -m "not torch" $(AT_ONCE) $(TESTARGS) || exit 1; \
	done; [ $$tried -gt 0 ] || { echo "No Python 3.10 to 3.13 found"; exit 2; }

clean:
	rm -rf $(VENV) $(SLICER_VENV) .venv-3.* .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage
	rm -rf SegAutoConfigLib/*.egg-info SegAutoConfigLib/build SegAutoConfigLib/dist demo-output bench-output slicer-output
	find SegAutoConfigLib SegAutoConfig Testing -name __pycache__ -type d -exec rm -rf {} +
