# Two commands: `make run` and `make test`. Both do all set-up by themselves; the rest is for those who build it.

PY ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt

.PHONY: run test check bench setup setup-train format clean

# The shipped machine through the whole line: `make run SECONDS=45` ends by itself.
run: setup
	@$(BIN)/earshot run --config config.yaml $(if $(SECONDS),--seconds $(SECONDS))

test: setup-train
	@scripts/install-test-parts
	$(BIN)/python -m pytest -n 2 --dist worksteal

check: setup-train
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

bench: setup-train
	$(BIN)/python -m benchmarks

setup: $(VENV)/.base
setup-train: $(VENV)/.train

$(VENV)/.base: pyproject.toml constraints.txt
	$(PY) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PY=python3.12")'
	$(PY) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -U "pip>=25.1"
	$(PIP) -e '.[web]' --group dev
	touch $@

# torch by itself and pinned: an unpinned one brings gigabytes of CUDA. With a wheelhouse in PIP_FIND_LINKS pip takes
# the CPU build that lies there; elsewhere uv chooses the CPU or the right CUDA build without naming an index.
$(VENV)/.train: $(VENV)/.base
ifdef PIP_FIND_LINKS
	$(PIP) torch
else
	$(PIP) uv
	$(BIN)/uv pip install -q --python $(BIN)/python --torch-backend=auto -c constraints.txt torch
endif
	$(PIP) -e '.[train,batch]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
