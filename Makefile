PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# Plays a processor without AVX-512 and bf16, with one thread.
OLD_CPU := ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 OMP_NUM_THREADS=1

.PHONY: help env labs lab site test test-all mutants lint build-world clean

help:
	@echo "make labs         run the labs, write build/, and show what was measured"
	@echo "make lab          open JupyterLab at your copy of Lab 1; Lab 2 at port 9999: make lab ARGS=\"2 -- --port 9999\""
	@echo "make site         the course as a site, with its models in a browser tab, in build/site (needs Node.js)"
	@echo "make test         all checks and tests but the slow ones"
	@echo "make test-all     the slow ones too, and make mutants"
	@echo "make mutants      how many small mistakes the tests notice"
	@echo "make build-world  write the corpus and train the small model again"
	@echo "make lint         style and types only"
	@echo "make clean        remove what the commands above wrote, but not $(VENV)"

env: $(STAMP)

# A half-made environment is finished if its Python and pip run, and made anew if not.
$(STAMP): requirements.txt pyproject.toml
	@$(PYTHON) -c "import sys; sys.exit(None if sys.version_info >= (3, 11) else 'Python 3.11 or newer is needed, \
	and $(PYTHON) is ' + sys.version.split()[0] + '. Name another: make PYTHON=python3.12 ...')"
	@echo "Installing into $(VENV): about 2 GB and 5 minutes with torch's CPU build, several GB more with the one for GPUs"
	@echo "(docs/installing.md). This is done once."
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --disable-pip-version-check --no-deps -e .
	@touch $(STAMP)

labs: env
	$(BIN)/python -m genai_labs run

lab: env
	$(BIN)/python -m genai_labs lab $(ARGS)

# Node.js is asked for first: what comes before it takes minutes.
site: env
	@command -v npm >/dev/null || { echo "The site needs npm, which comes with Node.js (https://nodejs.org), and npm is not \
	installed. To build what there is to read alone: $(BIN)/python -m genai_labs site --pages-only" >&2; exit 2; }
	$(BIN)/python -m pip install --disable-pip-version-check -q -r site/requirements.txt
	$(BIN)/python -m genai_labs site $(ARGS)

lint: env
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

# What does not need the whole machine runs two at a time; labs have it for themselves, as a learner's have.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests --ignore tests/test_browser.py -n 2 --dist loadfile
	$(BIN)/python -m pytest tests/test_browser.py notebooks

test-all: test
	$(BIN)/python -m pytest tests -m slow
	$(OLD_CPU) $(BIN)/python -m pytest notebooks
	$(BIN)/python -m tests.mutants

mutants: env
	$(BIN)/python -m tests.mutants $(ARGS)

build-world: env
	$(BIN)/python -m genai_labs build-world

clean:
	rm -rf build .mypy_cache .pytest_cache .ruff_cache
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
