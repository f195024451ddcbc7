# make demo    the demo application behind nginx (or alone, where there is no nginx)
# make test    the test suite
# make lint    ruff and mypy
# make test-native  the suite on the compiled modules, in build/native
# make conf    the samples in conf/, written anew
# make native  a wheel of the same files compiled by mypyc, in dist/ (needs a C compiler)
# make clean   remove what the others made
#
# PYTHON=python3.13 chooses the interpreter, VENV=folder where its environment goes,
# ARGS="..." goes to the demo or to pytest, which runs in JOBS=3 processes (1: in one).

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
JOBS ?= 3

bin := $(VENV)/bin
pip := $(bin)/python -m pip --disable-pip-version-check --retries 10 install --quiet

.PHONY: demo test test-native lint conf native clean

demo: $(VENV)/.installed
	@$(bin)/gatebridge demo $(ARGS)

# A short folder: the path of a socket has at most 107 bytes. Some workers run as somebody else.
test: $(VENV)/.installed-test
	folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && chmod 711 "$$folder" && \
	    $(bin)/python -m pytest -n $(JOBS) --dist loadfile --basetemp "$$folder/t" $(ARGS)

lint: $(VENV)/.installed-lint
	$(bin)/ruff check .
	$(bin)/ruff format --check .
	$(bin)/mypy --strict gatebridge

conf: $(VENV)/.installed-test
	GATEBRIDGE_WRITE_DOCS=1 $(bin)/python -m pytest -q tests/fronts_text/test_samples.py

native: $(VENV)/.installed
	GATEBRIDGE_NATIVE=1 $(bin)/python -m pip wheel --quiet --no-deps -w dist .

# The cold set is about the sources: loading any compiled module needs more.
test-native:
	rm -rf build/native && mkdir -p build/native
	git archive HEAD | tar -x -C build/native
	$(MAKE) -C build/native PYTHON=$(PYTHON) VENV=.venv .venv/.installed-test
	cd build/native && GATEBRIDGE_NATIVE=1 .venv/bin/python -m pip wheel --quiet --no-deps -w dist .
	cd build/native && .venv/bin/python -m zipfile -e dist/*.whl .  # compiled beside the sources
	cd build/native && .venv/bin/gatebridge --version | grep 'compiled by mypyc'
	cd build/native && folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && chmod 711 "$$folder" && \
	    .venv/bin/python -m pytest -n $(JOBS) --dist loadfile --basetemp "$$folder/t" $(ARGS) \
	    --deselect tests/test_imports.py::test_one_cgi_request_imports_the_cold_set_and_nothing_else

clean:
	rm -rf $(VENV) build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --upgrade pip: --group needs 25.1, and Debian 12 has 23
$(VENV)/.venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo 'gatebridge needs Python 3.11 or newer: make PYTHON=python3.11 ...' >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	    { echo 'no venv: on Debian and Ubuntu, apt install python3-venv' >&2; exit 1; }
	$(pip) --upgrade 'pip>=25.1'
	@touch $@

$(VENV)/.installed: $(VENV)/.venv pyproject.toml
	GATEBRIDGE_PURE=1 $(pip) --editable .
	@touch $@

$(VENV)/.installed-%: $(VENV)/.installed
	$(pip) --group $*
	@touch $@
