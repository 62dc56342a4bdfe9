# The commands of this project. `make install` creates .venv with everything; the others call it.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export HF_HUB_OFFLINE := 1

.DEFAULT_GOAL := help
.PHONY: help install backbone demo serve test test-rest check audit format openapi docs bench load faults fuzz containers clean

help: ## show this help
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 18

install: .venv/installed ## create .venv with everything; TORCH_INDEX: pip's index for PyTorch

.venv/installed: constraints.txt pyproject.toml model/pyproject.toml server/pyproject.toml clients/python/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'Python 3.11 or newer is needed: set PYTHON=/path/to/python3'; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo 'Python cannot make virtual environments here. On Debian and Ubuntu: apt install python3-venv'; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) install --upgrade pip
	$(PIP) install --no-deps $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	$(PIP) install -e 'model[train]' -e 'server[embedded,otel,ray]' -e clients/python --group dev
	@touch $@

demo: install ## read a real long text and answer ordinary questions about it: a minute or two
	$(BIN)/python clients/demo/demo.py

serve: install ## start the service for real use
	@$(BIN)/rmt-server serve

test: backbone ## run all tests, two folders of them at a time; each folder's results are shown when it is through
	@$(MAKE) --no-print-directory --jobs=2 --keep-going --output-sync=target $(BESIDE:%=test-%) test-rest; \
		failed=$$?; $(BIN)/python -m pytest -q $(ALONE:%=tests/%) && exit $$failed

# The longest first. Two runs share two cores, so each computes in one thread. What starts several servers runs alone.
BESIDE := server model web clients
ALONE := e2e faults
.PHONY: test-rest $(BESIDE:%=test-%)
$(BESIDE:%=test-%): test-%:
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q tests/$*

test-rest:
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q tests $(BESIDE:%=--ignore=tests/%) $(ALONE:%=--ignore=tests/%)

backbone: install ## fetch the bases of the decoders and of rmt-mpnet, which tests and benchmarks load: once
	@$(BIN)/rmt-model pull
	@$(BIN)/rmt-model pull all-mpnet-base-v2

check: install ## lint, types, import arrows, wire contract, documentation: what CI checks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy model/rmt_model server/rmt_server clients/python/rmt_client
	$(BIN)/lint-imports
	$(BIN)/rmt-server openapi | diff - docs/openapi.json || { echo 'run: make openapi'; exit 1; }
	@$(MAKE) --no-print-directory docs
	@$(MAKE) --no-print-directory audit

docs: install ## build the site of the documentation, build/site: every link and anchor is there
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

audit: install ## what is installed is what is pinned, and not known to be vulnerable
	$(BIN)/python ci/audit.py

format: install ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

openapi: install ## write docs/openapi.json anew
	$(BIN)/rmt-server openapi > docs/openapi.json

bench: backbone ## measure all there is to measure; nothing else should run meanwhile: three quarters of an hour
	$(BIN)/python -m benchmarks

load: install ## 200 sessions that send and ask for two minutes
	$(BIN)/python -m benchmarks.load

faults: install ## kill, stop and cut everything in hundreds of random runs: nothing may be lost
	$(BIN)/python -m tests.faults.campaign --fsync always --runs 200
	$(BIN)/python -m tests.faults.campaign --fsync everysec --runs 60

fuzz: backbone ## a million random inputs for the importer, the tokenizer and the uploads, each: an hour
	$(BIN)/python -m tests.fuzz.importer
	$(BIN)/python -m tests.fuzz.tokenizer
	$(BIN)/python -m tests.fuzz.uploads

containers: install ## build the containers and try them, as root on Debian 12: five minutes
	ci/containers.sh

clean: ## remove the virtual environment and caches
	rm -rf .venv build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
