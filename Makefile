# make demo    make .venv, install, and show toolkens at work with the bundled LM
# make test    the same with the test extras, then lint, types and the whole test suite
# make lint    lint and types only
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

.PHONY: demo test lint clean

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
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find langchain_toolken benchmarks docs examples integrations pretraining tests -name __pycache__ -type d -prune -exec rm -rf {} +
