# Two commands for a newcomer: `make demo` and `make test`. Each sets up all that it needs.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint types unit lock clean

demo: .venv/installed
	$(BIN)/mlssocial demo

test: lint types unit

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/installed
	$(BIN)/mypy

unit: .venv/installed
	$(BIN)/pytest -n auto --dist loadfile --cov --cov-report=term-missing:skip-covered

# The lock holds every package with its hash; the project itself is installed editable, without asking an index again.
.venv/installed: requirements.lock setup.cfg pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mlssocial needs Python 3.11 or later: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

lock:
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --all-extras --no-emit-index-url \
	  --no-emit-find-links --custom-compile-command "make lock" setup.cfg --output-file requirements.lock

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage*
