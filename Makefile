# Two commands for a newcomer: `make demo` and `make test`. Each sets up all that it needs.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint types unit docs options wheels soak seeded-faults lock clean bench bench-cold bench-memory bench-feed bench-lock security security-lock screenshots

demo: .venv/installed
	$(BIN)/mlssocial demo

test: lint types unit

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/installed
	$(BIN)/mypy

# Measuring coverage makes Python half as fast again: what repeats the same code, on moto or a thousand times, runs without it.
REPEATS := moto or test_answers or test_faults or test_hostile or test_iam or test_kills or test_import_kills or test_leaks \
  or test_races or test_speed or test_stateful or test_tenants

unit: .venv/installed
	$(BIN)/pytest -n auto --dist loadfile --cov --cov-report=term-missing:skip-covered -k "not ($(REPEATS))"
	$(BIN)/pytest -n auto --dist worksteal --no-cov -k "$(REPEATS)"

# The site, in docs/_build/html: a warning is an error, and no network is asked.
docs: .venv/installed
	$(BIN)/python -m sphinx --fresh-env --fail-on-warning --keep-going --quiet -b html docs docs/_build/html

options: .venv/installed
	$(BIN)/python tools/write_options.py

# The wheel with each extra by itself, and the README's commands in a fresh checkout: minutes, and a package index.
wheels: .venv/installed
	$(BIN)/pytest --no-cov --soak --durations=12 tests/test_wheel.py tests/test_newcomer.py

# The proofs at large size, for a quarter of an hour: make soak SOAK="-k embedded"; see docs/explanation.md.
soak: .venv/installed
	$(BIN)/pytest --no-cov --soak --durations=12 tests/test_stateful.py tests/test_faults.py tests/test_races.py \
	  tests/test_kills.py tests/test_import_kills.py tests/test_tenants.py tests/test_crypto.py tests/test_hostile.py \
	  tests/test_wheel.py tests/test_newcomer.py $(SOAK)

# Faults put into copies of the package, and which test finds each: make seeded-faults SEED="checksums".
seeded-faults: .venv/installed
	$(BIN)/python tools/seed_faults.py $(SEED)

# The lock holds every package with its hash; the project itself is installed editable, without asking an index again.
.venv/installed: requirements.lock setup.cfg pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mlssocial needs Python 3.11 or later: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

# The pictures of `mlssocial browse` in docs/images, which needs chromium, and nothing of the network.
screenshots: .venv/installed
	$(BIN)/python tools/screenshots.py

lock:
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --all-extras --no-emit-index-url \
	  --no-emit-find-links --custom-compile-command "make lock" setup.cfg --output-file requirements.lock

# This project beside its peers, in an environment that holds them: make bench BENCH="--quick"; see benchmarks/README.md.
BENCH_BIN := .venv-bench/bin

bench: .venv-bench/installed
	$(BENCH_BIN)/python -m benchmarks.run $(BENCH)

bench-cold: .venv-bench/installed
	$(BENCH_BIN)/python -m benchmarks.cold $(BENCH)

bench-memory: .venv-bench/installed
	$(BENCH_BIN)/python -m benchmarks.memory $(BENCH)

bench-feed: .venv-bench/installed
	$(BENCH_BIN)/python -m benchmarks.feed $(BENCH)

.venv-bench/installed: benchmarks/requirements.lock setup.cfg pyproject.toml
	$(PYTHON) -m venv --clear .venv-bench
	$(BENCH_BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement benchmarks/requirements.lock
	$(BENCH_BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

bench-lock:
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --custom-compile-command "make bench-lock" benchmarks/requirements.in --output-file benchmarks/requirements.lock

# Bandit's rules over the package, and what PyPI's advisories know of everything that is locked, which needs the network. What
# cannot be looked up fails, as what has a vulnerability does.
SECURITY_BIN := .venv-security/bin

security: .venv/installed .venv-security/installed
	$(BIN)/ruff check --select S mlssocial tools
	failed=0; for lock in requirements.lock benchmarks/requirements.lock tools/security.lock; do echo $$lock; \
	  $(SECURITY_BIN)/pip-audit --strict --disable-pip --require-hashes --progress-spinner off --requirement $$lock || failed=1; \
	done; exit $$failed

.venv-security/installed: tools/security.lock
	$(PYTHON) -m venv --clear .venv-security
	$(SECURITY_BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement tools/security.lock
	touch $@

security-lock:
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --custom-compile-command "make security-lock" tools/security.in --output-file tools/security.lock

clean:
	rm -rf .venv .venv-bench .venv-security build dist docs/_build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage*
