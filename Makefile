# `make demo` and `make test` need Python 3.10-3.13 and make, nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
CATEGORY ?= bottle

.PHONY: install demo test test-fast lint results clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 10) <= v < (3, 14) else f"Python 3.10-3.13 is needed, this is {v[0]}.{v[1]}; set PYTHON, for instance: make PYTHON=python3.11 install")'
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch torchvision
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,benchmark,openvino]'
	touch $(INSTALLED)

demo: install
	$(BIN)/anomalib train --config configs/quickstart.yaml --data.category $(CATEGORY)
	@echo "Heat maps: results/Slsg/SyntheticLOCO/$(CATEGORY)/latest/images"

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

PYTEST := $(BIN)/pytest --numprocesses=auto --maxprocesses=4 --dist=loadfile

test: lint
	$(PYTEST)

# after every edit: no linters, and no tests that are marked as slow
test-fast: install
	$(PYTEST) -m "not slow"

# the tables and charts in documents whose figures are in benchmarks/results
results: install
	$(BIN)/python -m benchmarks.common.tables
	$(BIN)/python -m benchmarks.common.document_charts

clean:
	rm -rf $(VENV) build dist *.egg-info
