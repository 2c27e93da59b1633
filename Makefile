# make demo    install into .venv, simulate, restore, and say where the report lies
# make bench   ratios against other packages; COSIPY=python with cosipy adds the whole sky,
#              PYLIRA=python with Pylira the posterior of images
# make test    install with test extras, run the fast test suite
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
FOLDER ?= demo-out

# compiled modules spare each command that the tests start a third of its time
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test slow lint tutorials bench smoke clean

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

demo: $(BIN)/python
	test -e $(VENV)/.dev || $(BIN)/python -m pip install --quiet .
	$(BIN)/skyfold demo --output $(FOLDER) --overwrite

# one editable install serves tests and checks: it sees every change of the sources
$(VENV)/.dev: pyproject.toml framework/CMakeLists.txt $(wildcard framework/kernels/* responses/kernels/*) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable ".[test,lint]"
	touch $@

test: $(VENV)/.dev
	$(BIN)/python -m pytest -m "not slow and not tutorial" -n 2

slow: $(VENV)/.dev
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

tutorials: $(VENV)/.dev
	$(BIN)/python -m pytest tests/tutorials -m tutorial

bench: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python tests/benchmarks/image.py
	OMP_NUM_THREADS=1 $(BIN)/python tests/benchmarks/solvers.py
	OMP_NUM_THREADS=1 $(BIN)/python tests/benchmarks/two_channel.py
	test -z "$(COSIPY)" || $(BIN)/python tests/benchmarks/cosi.py --peer $(COSIPY)
	test -z "$(PYLIRA)" || OMP_NUM_THREADS=1 $(BIN)/python tests/benchmarks/lira.py --peer $(PYLIRA)

# source distribution -> wheel -> an environment that never saw the sources
smoke:
	rm -rf build/smoke && mkdir -p build/smoke
	$(PYTHON) -m venv build/smoke/build
	build/smoke/build/bin/python -m pip install --quiet build
	build/smoke/build/bin/python -m build --outdir build/smoke/dist .
	$(PYTHON) -m venv build/smoke/fresh
	build/smoke/fresh/bin/python -m pip install --quiet build/smoke/dist/*.whl
	cd build/smoke && fresh/bin/skyfold demo --quiet --output out && test -s out/report.html
	cd build/smoke && fresh/bin/skyfold tutorials list
	cd build/smoke && fresh/bin/skyfold doctor

clean:
	rm -rf $(VENV) build dist demo-out
