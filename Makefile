# make venv | demo | test | lint | bench | test-pythons | clean.   Each target does its own set-up.
#
#   PYTHON=python3.12      the interpreter that .venv is made with (default: the first of python3, python3.13 ... 3.10 that fits)
#   VENV=.venv             where the environment lies
#   TORCH=2.13.0           the torch version; without an NVIDIA GPU always the CPU build
#   TESTARGS, DEMOARGS, BENCHARGS   handed on to pytest, the demo and the benchmarks

SHELL := /bin/bash
VENV ?= .venv
TORCH ?= 2.13.0
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu

IS_3_10 = -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.10; do $$p $(IS_3_10) && echo $$p && break; done)
RUN = $(VENV)/bin/python -m
PIP = $(RUN) pip --disable-pip-version-check install --quiet --quiet
# The extra "train" without torch.
TORCH_FREE_TRAINING = "batchgenerators>=0.25.5,<0.26" matplotlib
STAMP = $(VENV)/.installed
# Every Python found, on PATH or under pyenv; one that can't start is left out when its turn comes.
ALL_PYTHONS = $(foreach v,3.10 3.11 3.12 3.13,$(or $(lastword $(sort $(wildcard $(HOME)/.pyenv/versions/$(v).*/bin/python))),python$(v)))

.PHONY: venv demo test lint lint-code lint-format lint-types lint-imports lint-spelling format bench test-pythons clean

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

test: $(STAMP)
	$(RUN) pytest $(TESTARGS)

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
	        $$venv/bin/python -m pip --disable-pip-version-check install --quiet --quiet --editable "SegAutoConfigLib[test]" $(TORCH_FREE_TRAINING) && \
	        touch $$venv/.installed || exit 1; \
	    fi; \
	    $$venv/bin/python -m pytest -m "not torch" $(TESTARGS) || exit 1; \
	done; [ $$tried -gt 0 ] || { echo "No Python 3.10 to 3.13 found"; exit 2; }

clean:
	rm -rf $(VENV) .venv-3.* .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage
	rm -rf SegAutoConfigLib/*.egg-info SegAutoConfigLib/build SegAutoConfigLib/dist demo-output bench-output
	find SegAutoConfigLib Testing -name __pycache__ -type d -exec rm -rf {} +
