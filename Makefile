# Every task of whence. `make help` lists them; CONTRIBUTING.md explains them.
#
# The machine is set up by tools/setup.sh, which does only what is missing, so
# each target may depend on it.

export WHENCE_DATA_DIR ?= /var/lib/whence
export WHENCE_ADDRESS ?= 127.0.0.1:7420

PYTHON_HERE := .venv/bin/python
# Words for pytest, as in: make test TESTS="tests/unit -x"
TESTS ?= tests
# Words for the benchmarks, as in: make bench BENCH=ingest
BENCH ?=
# Words for the fuzzer, as in: make fuzz FUZZ='git_index --inputs 1000'
FUZZ ?=
# Words for the soaks, as in: make soak SOAK='--rounds 100', make races RACES='--changes 10000'
SOAK ?=
RACES ?=

.DEFAULT_GOAL := help
.PHONY: help setup up down demo test check proto bench soak races ranks fuzz wheel install uninstall clean gpuproof

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install what is missing, build the BPF object, start nothing
	@tools/setup.sh

up: setup ## start daemon and collector on this host, wait for the proof of life
	@$(PYTHON_HERE) -m tools.ground up

down: ## stop the two of this WHENCE_DATA_DIR, and nothing else
	@[ ! -x $(PYTHON_HERE) ] || $(PYTHON_HERE) -m tools.ground down

demo: up ## run a small unchanged pipeline, then ask where its model came from
	@demo/run.sh

check: setup ## lint, format, types, generated code
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check --quiet .
	@.venv/bin/mypy --no-error-summary
	@$(PYTHON_HERE) tools/gen_proto.py --check

test: ## set up, check, and run every test
	@tools/setup.sh tests
	@$(MAKE) --no-print-directory check
	@$(PYTHON_HERE) -m pytest $(TESTS)

gpuproof: setup ## try on a real GPU what is believed of its driver (docs/gpu.md)
	@$(PYTHON_HERE) -m tests.gpu.proof

proto: setup ## write the wire's Python again from the .proto files
	@$(PYTHON_HERE) tools/gen_proto.py

bench: ## print the benchmark tables
	@tools/setup.sh bench
	@$(PYTHON_HERE) -m bench $(BENCH)

# Where `make install` puts whence, and with which interpreter: one in a home is closed to services.
PREFIX ?= /opt/whence
SYSTEM_PYTHON ?= /usr/bin/python3

soak: ## kill -9 of every program at ten thousand random moments, under load, rows counted
	@tools/setup.sh tests
	@$(PYTHON_HERE) -m tests.soak $(SOAK)

races: ## 100,000 hostile changes of files under readers and hasher: no digest may be wrong
	@tools/setup.sh tests
	@$(PYTHON_HERE) -m tests.soak.races $(RACES)

ranks: ## a real torchrun with eight ranks on the CPU (installs the distribution's PyTorch): one run, every shard
	@tools/setup.sh tests
	@dpkg -s python3-torch >/dev/null 2>&1 || apt-get install -y --no-install-recommends python3-torch
	@$(PYTHON_HERE) -m tests.soak.ranks

fuzz: ## a million inputs for each reader of foreign bytes, as many calls over gRPC
	@tools/setup.sh tests
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check 'atheris>=2.3'
	@$(PYTHON_HERE) -m tests.fuzz $(FUZZ)

wheel: setup ## build the wheel: programs, BPF object, libbpf, units
	@rm -rf dist && .venv/bin/python -m pip wheel --quiet --no-deps --wheel-dir dist .
	@ls dist/*.whl

install: wheel ## put whence on this host as systemd services, or upgrade it
	@[ -x $(PREFIX)/bin/python ] || $(SYSTEM_PYTHON) -m venv $(PREFIX)
	@$(PREFIX)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade \
		"$$(ls dist/*.whl)[daemon,collector]"
	@$(PREFIX)/bin/whence-install

uninstall: ## take the services off this host; data and settings stay
	@$(PREFIX)/bin/whence-install --uninstall

clean: down ## stop, and remove what was built (data stays)
	@$(MAKE) --no-print-directory -C bpf clean
	@rm -rf .build .venv .venv-proto .mypy_cache .pytest_cache .ruff_cache .hypothesis dist
