# `make demo` and `make test` need Python 3.10-3.13 and make, nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
CATEGORY ?= bottle

.PHONY: install demo test test-fast lint results docs clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 10) <= v < (3, 14) else f"Python 3.10-3.13 is needed, this is {v[0]}.{v[1]}; set PYTHON, for instance: make PYTHON=python3.11 install")'
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch torchvision
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,docs,benchmark,openvino]'
	touch $(INSTALLED)

demo: install
	$(BIN)/python -m anomalib_slsg.synthetic_loco --category $(CATEGORY)
	$(BIN)/slsg train datasets/SyntheticLOCO/$(CATEGORY) --minutes 3 --image_size 128 --output results/demo

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

# all tables and charts whose figures are in benchmarks/results
results: install
	$(BIN)/python -m benchmarks.common.tables
	$(BIN)/python -m benchmarks.common.document_charts
	$(BIN)/python -m benchmarks.common.reports

# the documents as a site, in the folder site/; with --quiet, --strict would see no warnings
docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "Open site/index.html"

clean:
	rm -rf $(VENV) build dist site *.egg-info
