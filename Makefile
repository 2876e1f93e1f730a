# One word a job; `make help` lists them. Every job sets up what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TESTED := $(VENV)/.tested
PEERS := .peers
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt
DATA ?= $(SPINE_MONAI_DATA)
FUZZ_FILES ?= 5000
FUZZ_SEED ?= 0
TEST_WORKERS ?= 3

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-heavy fuzz check bench-accuracy bench-speed bench-pacs docs clean

help:  ## list the jobs
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

setup: $(READY)  ## make .venv and install the package and its tools into it

$(READY): setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) torch
	$(INSTALL) -e '.[dicom,viz,train,pacs,dev]'
	@touch $(READY)

$(TESTED): $(READY)  # what only the tests and benchmarks need all of
	$(INSTALL) -e '.[export,ray]'
	@touch $(TESTED)

$(PEERS): $(TESTED)  # programs that the benchmark runs beside ours, out of our own environment
	$(INSTALL) --no-deps --target $(PEERS) landmarker scipy opencv-python-headless

demo: $(READY)  ## find the landmarks on the bundled real study
	$(BIN)/spine-monai demo --out demo_output

test: $(TESTED)  ## run all tests but the heavy ones, with coverage
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'not heavy' -n $(TEST_WORKERS) --dist loadfile --durations=25 --cov --cov-report=term:skip-covered

test-heavy: $(TESTED)  ## run the tests that take minutes or need SPINE_MONAI_DATA
	$(BIN)/python -m pytest -m heavy

fuzz: $(READY)  ## read FUZZ_FILES (5000) damaged studies, drawn by FUZZ_SEED: no crash, no wrong success
	PYTHONPATH=tests $(BIN)/python -m fuzz --files $(FUZZ_FILES) --seed $(FUZZ_SEED) $(if $(FUZZ_JSON),--json $(FUZZ_JSON))

check: $(READY)  ## lint, format, types, spelling, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell spine_monai tests docs bundles README.md CONTRIBUTING.md
	$(BIN)/python -m pytest -q tests/unit/test_layers.py

bench-accuracy: $(READY)  ## cross-validate every method on DATA (hours); then tables and pictures
	$(BIN)/python tests/benchmark/accuracy.py --data $(DATA) $(if $(ARMS),--arms $(ARMS)) \
		$(if $(JOBS),--jobs $(JOBS)) $(if $(PREDICTIONS),--predictions $(PREDICTIONS))
	$(if $(PREDICTIONS),,$(BIN)/python tests/benchmark/cost.py)  # kept predictions have no networks
	$(if $(PREDICTIONS),,$(BIN)/python tests/benchmark/robustness.py)
	$(BIN)/python tests/benchmark/accuracy_page.py

bench-speed: $(PEERS)  ## measure the speed of everything, on an idle machine (half an hour)
	PYTHONPATH=tests/benchmark $(BIN)/python -m speed $(if $(PARTS),--parts $(PARTS))

bench-pacs: $(READY)  ## load on the PACS node, beside a node that only writes (some minutes)
	$(BIN)/python tests/benchmark/pacs_load.py --out docs/benchmarks/pacs.json

docs: $(READY)  ## write the reference pages that are made from the code
	$(BIN)/python tests/tools/make_reference.py docs/reference
	$(BIN)/python tests/tools/make_dicom_reference.py docs/reference/dicom.md
	$(BIN)/python tests/tools/make_deidentify_reference.py > docs/reference/deidentification.md

clean:  ## remove what the jobs made, but for the environment
	rm -rf demo_output .pytest_cache .mypy_cache .ruff_cache .coverage htmlcov
