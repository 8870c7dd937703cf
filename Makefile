# What a user and a developer run; `make help` lists it. Set-up work is done once, in .venv beside the sources, and
# remembered by stamp files there; a changed pyproject.toml installs again, changed csrc/ is rebuilt by ninja.
# Needs nothing newer than GNU make 3.81.

VENV := .venv
PY := $(VENV)/bin/python
# Named after the folder: an environment holds absolute paths, so a moved or copied tree installs again.
STAMPS := $(VENV)/stamps/$(shell pwd | cksum | tr ' ' '-')
NATIVE := $(wildcard csrc/*.h csrc/*.cpp csrc/*/*.h csrc/*/*.cpp csrc/*/*.cu csrc/*/*.cuh)
EMULATED := $(wildcard csrc/cuda/emulation/*)
SETUP := sh scripts/setup.sh

# Text from the command line reaches the recipes through the environment and unexpanded, so that quotes, `$` and
# spaces in it survive. Only the command line counts: shells have a PROMPT of their own. With it standard input is
# closed: a script that leaves a pipe open there would wait for ever.
ifeq ($(origin PROMPT),command line)
override PROMPT := $(value PROMPT)
ONCE := --prompt "$$PROMPT" </dev/null
endif
ifeq ($(origin MODEL),command line)
override MODEL := $(value MODEL)
CHOSEN := "$$MODEL"
endif
ifneq ($(origin ARGS),command line)
ARGS :=
endif
export PROMPT MODEL

.DEFAULT_GOAL := help
.PHONY: help chat bench test test-sanitize lint format clean

help:  ## list these targets
	@echo 'make chat [PROMPT="…"] [MODEL=folder or id] [ARGS="…"]; all targets:'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' Makefile
	@echo 'PYTHON=… chooses the interpreter of .venv, TORCH_INDEX=… (a URL or a folder) where torch comes from.'

chat: $(STAMPS)/native  ## open a chat, or answer PROMPT once
	@exec $(VENV)/bin/tinychat chat $(CHOSEN) $(ONCE) $(ARGS)

bench: $(STAMPS)/native  ## measure INT4 (ARGS="--against fp16,hf" for comparisons)
	@exec $(VENV)/bin/tinychat bench $(CHOSEN) $(ARGS)

test: $(STAMPS)/emulation $(STAMPS)/dev  ## run the whole test suite (ARGS="-k name" for a part)
	$(PY) -m pytest -rs $(ARGS)

test-sanitize: $(STAMPS)/emulation $(STAMPS)/dev  ## run the native tests under AddressSanitizer and UBSan
	PYTHON=$(PY) sh scripts/test_sanitized.sh

lint: $(STAMPS)/native $(STAMPS)/dev  ## ruff, mypy and clang-format, changing nothing
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(VENV)/bin/clang-format --dry-run -Werror $(NATIVE) $(EMULATED) $(wildcard tests/cuda/*.cu tests/cuda/*.cpp tests/cuda/*.h scripts/*/*.cu)

format: $(STAMPS)/dev  ## let ruff and clang-format rewrite the sources
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .
	$(VENV)/bin/clang-format -i $(NATIVE) $(EMULATED) $(wildcard tests/cuda/*.cu tests/cuda/*.cpp tests/cuda/*.h scripts/*/*.cu)

clean:  ## remove what was built and the tools' caches; .venv stays
	rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	rm -f tinychat/kernels/*.so $(VENV)/stamps/*/native $(VENV)/stamps/*/emulation
	find tinychat tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMPS)/venv: scripts/setup.sh
	@$(SETUP) venv $(VENV)
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/install: $(STAMPS)/venv pyproject.toml setup.py scripts/nvcc.py
	@$(SETUP) install $(VENV)
	@touch $@

$(STAMPS)/native: $(STAMPS)/install $(NATIVE)
	@$(SETUP) native $(VENV)
	@touch $@

# The CUDA kernels as host C++, for tests alone.
$(STAMPS)/emulation: $(STAMPS)/native $(EMULATED)
	@TINYCHAT_EMULATION=1 $(SETUP) native $(VENV)
	@touch $@

$(STAMPS)/dev: $(STAMPS)/install
	@$(SETUP) dev $(VENV)
	@touch $@
