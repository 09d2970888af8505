# Two commands do all the set-up: `make demo` and `make test`. Each makes its own virtual environment.

PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
# the lower bound of pyproject.toml
OLDEST_SDK := 2.20.0
PIP_FLAGS := --quiet --disable-pip-version-check
SOURCES := pyproject.toml limits.yaml

export PIP_NO_INPUT := 1

.PHONY: help demo test oldest lint bench clean

help:
	@echo "make demo    run a real job through a wrapped client against the bundled simulator (no key, no network)"
	@echo "make test    run the tests"
	@echo "make oldest  run the wire's tests with the oldest SDK that is supported, in an environment of its own"
	@echo "make lint    check style and types"
	@echo "make bench   throttle against the plain SDK, in under two minutes"
	@echo "make clean   remove the virtual environments and caches"

demo: .venv-demo/ready
	.venv-demo/bin/throttle demo

test: .venv/ready
	.venv/bin/python -m pytest

oldest: .venv/ready
	.venv/bin/python -m benchmarks wire --quick --suite --sdk $(OLDEST_SDK)

lint: .venv/ready
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/basedpyright --pythonpath .venv/bin/python --warnings tests/typing/contract.py

bench: .venv/ready
	.venv/bin/python -m benchmarks throughput --quick

.venv-demo/ready: $(SOURCES)
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed"; exit 1; }
	$(PYTHON) -m venv --clear .venv-demo
	.venv-demo/bin/python -m pip install $(PIP_FLAGS) -e '.[cli,simulator]'
	@touch $@

# pip before 25.1 does not know dependency groups, and pip itself is what a fresh machine has
.venv/ready: $(SOURCES)
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed"; exit 1; }
	$(PYTHON) -m venv --clear .venv
	.venv/bin/python -m pip install $(PIP_FLAGS) --upgrade 'pip>=25.1'
	.venv/bin/python -m pip install $(PIP_FLAGS) -e '.[all]' --group test --group lint
	@touch $@

clean:
	rm -rf .venv .venv-* .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
