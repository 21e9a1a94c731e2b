# Everything runs from a virtual environment in .venv, made here from nothing but Python, pip, make
# and git.
#
#   make demo [ARGS=--no-serve]   a real pipeline on real data, captured, then asked about
#   make test [TESTS=tests/unit]  all tests, or some
#   make lint                     formatting, style, types, import contracts
#   make bench                    benchmarks, and docs/benchmarks.md from their results
#   make docs                     the generated pages of docs/reference
#   make ui                       the web interface's scripts
#   make screenshots              pictures of every page over the demo
#   make clean                    remove what the other targets made

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TESTS ?= tests
WORKERS ?= 2
ARGS ?=
# Programs that some tests run, with their package where it has another name: strace is the
# reference for which files a program touches, softhsm2 a token behind PKCS#11, prometheus reads the
# service's figures, chromium its pages.
APT_PROGRAMS := chromium git strace npm softhsm2-util:softhsm2 openssl prometheus
# A file that tells of a package, and the package: Debian's Go lies off the PATH, and its library
# for transparency logs is no program. Both check what Lodeline writes.
APT_FILES := /usr/lib/go-1.19/bin/go:golang-1.19-go \
	/usr/share/gocode/src/golang.org/x/mod/sumdb/tlog/tlog.go:golang-golang-x-mod-dev \
	/usr/lib/postgresql/15/bin/initdb:postgresql-15

# Each list of requirements in tests/adapters is an environment: observed frameworks at their oldest
# and newest supported release, and those whose requirements exclude each other's.
FRAMEWORKS := $(patsubst tests/adapters/%.txt,$(VENV)-%/installed,$(wildcard tests/adapters/*.txt))

.PHONY: demo test lint bench docs ui screenshots clean apt javascript producers frameworks

demo: $(VENV)/installed-demo
	$(BIN)/lodeline demo $(ARGS)

test: $(VENV)/installed-test apt javascript producers frameworks
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -n $(WORKERS) --dist loadscope $(TESTS) $(ARGS)

lint: $(VENV)/installed-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

bench: $(VENV)/installed-bench
	$(BIN)/python bench/run.py $(ARGS)

docs: $(VENV)/installed-demo
	$(BIN)/python docs/generate.py

# Pictures of every page over the demo's store, to be looked at; the best of them lie in docs/images.
screenshots: $(VENV)/installed-test
	test -d lodeline-demo/.lodeline || $(BIN)/lodeline demo --dir lodeline-demo --no-serve
	$(BIN)/python docs/screenshots.py lodeline-demo/.lodeline build/screenshots

# What is built is committed, so that users need no Node; a test compares.
ui: ui/node_modules/.package-lock.json
	cd ui && npm run --silent check && npm run --silent build

ui/node_modules/.package-lock.json: ui/package.json ui/package-lock.json
	cd ui && npm ci --silent --no-audit --no-fund

clean:
	rm -rf $(VENV) $(VENV)-* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	rm -rf lodeline-demo tests/javascript/node_modules ui/node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Debian's python3 may come without ensurepip; pip can then install itself into the environment.
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed: make PYTHON=python3.12 …"; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV) && $(PYTHON) -m venv --without-pip $(VENV) \
		&& $(PYTHON) -m pip --python $(VENV)/bin/python install --quiet pip; }
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'

$(VENV)/installed-demo: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[all]'
	@touch $@

$(VENV)/installed-test: pyproject.toml $(VENV)/installed-demo
	$(BIN)/python -m pip install --quiet --group test
	@touch $@

$(VENV)/installed-lint: pyproject.toml $(VENV)/installed-demo
	$(BIN)/python -m pip install --quiet --group lint
	@touch $@

$(VENV)/installed-bench: pyproject.toml $(VENV)/installed-demo
	$(BIN)/python -m pip install --quiet --group bench
	@touch $@

# Other projects' readers of what Lodeline writes. Without npm the tests that need them say so and
# skip; under CI they fail.
javascript: apt
	@if command -v npm >/dev/null; then \
		for folder in tests/javascript ui; do \
			( cd $$folder && { [ node_modules/.package-lock.json -nt package-lock.json ] \
				|| npm ci --silent --no-audit --no-fund || echo "npm ci failed in $$folder"; } ); \
		done; \
	else echo "not installed: npm; tests that need it will skip"; fi

# Airflow and dbt, as they come: their requirements exclude each other's, so each has an environment.
# So has the reader of Croissant, which brings stubs that would type other packages differently.
# Tests that need one that is not there say so and skip; under CI they fail.
producers: $(VENV)/bin/python
	@$(MAKE) --no-print-directory --jobs 3 $(VENV)-airflow/installed $(VENV)-dbt/installed \
		$(VENV)-croissant/installed

$(VENV)-%/installed: tests/producers/%.txt
	@rm -rf $(VENV)-$*
	@$(PYTHON) -m venv --without-pip $(VENV)-$*
	@{ $(BIN)/python -m pip --python $(VENV)-$*/bin/python install --quiet --no-compile -r $< && touch $@; } \
		|| { echo "not installed: $*; tests that need it will skip"; rm -rf $(VENV)-$*; }

# The frameworks that are observed, with Lodeline beside them as a user installs it. Compiling all
# of their modules would take longer than the tests that import some.
frameworks: $(VENV)/bin/python
	@$(MAKE) --no-print-directory --jobs 3 $(FRAMEWORKS)

$(FRAMEWORKS): $(VENV)-%/installed: tests/adapters/%.txt
	@rm -rf $(VENV)-$*
	@$(PYTHON) -m venv --without-pip $(VENV)-$*
	@{ $(BIN)/python -m pip --python $(VENV)-$*/bin/python install --quiet --no-compile --editable . -r $< && touch $@; } \
		|| { echo "not installed: $*; tests that need it will skip"; rm -rf $(VENV)-$*; }

# Only root on a Debian-like machine installs; elsewhere the tests that need a missing program say
# so and skip.
apt:
	@missing=""; for program in $(APT_PROGRAMS); do \
		command -v $${program%%:*} >/dev/null || missing="$$missing $${program##*:}"; done; \
	for file in $(APT_FILES); do \
		test -e "$${file%%:*}" || missing="$$missing $${file##*:}"; done; \
	if [ -n "$$missing" ]; then \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			apt-get update -qq; known=""; for package in $$missing; do \
				if apt-cache show $$package >/dev/null 2>&1; then known="$$known $$package"; \
				else echo "no package $$package here; tests that need it will skip"; fi; done; \
			test -z "$$known" || \
				DEBIAN_FRONTEND=noninteractive apt-get install -qq -y $$known; \
		else echo "not installed:$$missing; tests that need them will skip"; fi; fi
