# Every target sets up what it needs in .venv; Python 3.11+, make and a C compiler are enough.

PYTHON ?= python3
ONCE ?=
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export UV_COMPILE_BYTECODE = 1
export UV_LINK_MODE ?= copy

.PHONY: demo test check fuzz bench torture serve lint types contracts docs lock clean

demo: $(READY)  ## the whole product on a synthetic shop; ONCE=1 stops by itself
	$(BIN)/recsys demo --config configs/demo.yaml $(if $(ONCE),--once)

test: $(READY)  ## all tests
	$(BIN)/pytest --numprocesses=auto --dist=loadfile --durations=20

check: lint types contracts test  ## what continuous integration runs

fuzz: $(READY)  ## 5,000 made-up requests against a running service, held against /openapi.json
	RECSYS_FUZZ_CASES=5000 $(BIN)/pytest tests/serving/journeys/test_schema_conformance.py

bench: $(READY)  ## timings and sizes against named peers; writes build/bench.json
	$(BIN)/python -m tests.benchmarks

torture: $(READY)  ## kills the whole service a hundred times while events are sent
	$(BIN)/python -m tests.benchmarks torture

serve: $(READY)  ## the service on the published champion
	$(BIN)/recsys serve --config configs/serving.yaml

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

contracts: $(READY)
	$(BIN)/lint-imports

docs: $(READY)  ## writes the generated documentation anew
	$(BIN)/python -m recsys.models.catalogue > recsys/models/README.md
	PYTHONPATH=. $(BIN)/python configs/reference.py > configs/README.md

lock:  ## writes requirements.lock anew from pyproject.toml
	$(BIN)/uv pip compile --universal --all-extras --group dev pyproject.toml --no-header --quiet -o requirements.lock

clean:
	rm -rf build .mypy_cache .ruff_cache .pytest_cache

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not ((3, 11) <= sys.version_info < (3, 14)))' || \
		{ echo "Python 3.11 to 3.13 is needed; name one with PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $(READY)
