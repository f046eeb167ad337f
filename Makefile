# Shoal's commands. `make` alone explains them. Everything is built below .venv and node_modules; nothing is
# installed on the machine but Debian packages for `make test`, and only where root or sudo may do that.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
# Named after the tree's place, since a .venv cannot be moved.
PLACE := $(shell pwd | cksum | cut -d ' ' -f 1)
RUN_STAMP := $(VENV)/.run-ready-$(PLACE)
DEV_STAMP := $(VENV)/.dev-ready-$(PLACE)

ARGS ?=
TARGET ?=
SECONDS ?= 60
MINUTES ?= 10
IMAGE ?= $(shell sed -n 's/^IMAGE=//p' .env)

##@ Start
.PHONY: demo
demo: $(RUN_STAMP) ## Four servers, a broker and a balancer on http://127.0.0.1:8080 (ARGS="--balancer nginx")
	@scripts/fetch-client.sh
	@exec $(BIN)/shoal up $(ARGS)

.PHONY: image
image: ## The Docker image, with the browser client in it where npm is at hand (IMAGE=name:tag)
	@scripts/fetch-client.sh
	docker build -t $(IMAGE) .

.PHONY: dist
dist: $(DEV_STAMP) ## What others install: sdist and wheel in dist/, with the browser client and its licence, checked
	@scripts/dist $(ARGS)

##@ Work
.PHONY: setup
setup: $(DEV_STAMP) ## Build .venv with Shoal and everything its tests import
	@echo "setup: $(VENV) is ready"

.PHONY: check
check: $(DEV_STAMP) ## Are you done? Format, lint, types, architecture and unit tests; under a minute
	@scripts/check

.PHONY: format
format: $(DEV_STAMP) ## Bring the code into shape
	$(BIN)/ruff check --quiet --fix . || true
	$(BIN)/ruff format .

.PHONY: generate
generate: $(DEV_STAMP) ## Write again what is made from the code: src/shoal/options.py, tests/surface.txt, the pictures
	@$(BIN)/python -m tests.options --write
	@$(BIN)/python -m tests.surface --write
	@$(BIN)/python -m tests.picture --write
	@$(BIN)/python -m tests.diagrams --write

.PHONY: screenshots
screenshots: test-environment ## Take the screenshots of the demo in docs/images again; needs the ports of `make demo` (ARGS="light" or dark)
	@PATH=$$PATH:/usr/sbin:/sbin exec $(BIN)/python -m tests.screenshots $(ARGS)

.PHONY: docs
docs: $(DEV_STAMP) ## The documentation as a site: build/docs/index.html (docs-links tries its links to other sites)
	@$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going --nitpicky --jobs auto docs build/docs
	@printf '%s\n' "docs: build/docs/index.html is ready"

.PHONY: docs-links
docs-links: $(DEV_STAMP) # needs a network
	@$(BIN)/python -m sphinx --quiet --builder linkcheck docs build/docs-links

.PHONY: test
test: test-environment ## All tests but Docker's; installs what they need where it can (ARGS="-k rooms")
	@exec scripts/test $(ARGS)

.PHONY: test-docker
test-docker: $(DEV_STAMP) ## Build the image, start docker-compose.yml and prove it; brings its own daemon where none answers
	@exec scripts/test-docker $(ARGS)

.PHONY: fuzz
fuzz: $(DEV_STAMP) ## Look for inputs that break a parser; every target by turn, or one (TARGET=json_text SECONDS=60)
	@$(BIN)/python -c 'import atheris' 2>/dev/null || $(BIN)/python -m pip --disable-pip-version-check install --quiet 'atheris>=3,<4'
	@exec $(BIN)/python -m tests.fuzz.run $(TARGET) --seconds $(SECONDS)

.PHONY: test-environment
test-environment: $(DEV_STAMP) # what `make test` does before it tests
	@scripts/install-test-programs
	@[ -z "$${CI:-}" ] && [ "$${SHOAL_TEST_REQUIRE:-}" != all ] || scripts/test-newest --setup

.PHONY: test-newest
test-newest: ## Unit and contract tests on the newest Python here, or on PYTHON=python3.13; on build servers `make test` does it
	@exec scripts/test-newest -n auto --dist loadfile $(ARGS)

.PHONY: programs
programs: $(DEV_STAMP) ## Try again to install the programs that tests talk to: Chromium, nginx, HAProxy, Redis, Node.js
	@scripts/install-test-programs --again

.PHONY: chaos
chaos: test-environment ## Forty clients through faults at random: is anything lost? (MINUTES=10 ARGS="--seed 1")
	@PATH=$$PATH:/usr/sbin:/sbin exec $(BIN)/python -m tests.chaos.faults --minutes $(MINUTES) $(ARGS)

##@ Measure
.PHONY: bench
bench: $(DEV_STAMP) ## The full benchmark (ARGS="--help" for its options)
	@exec $(BIN)/python -m benchmarks.run $(ARGS)

.PHONY: bench-quick
bench-quick: $(DEV_STAMP) ## The benchmark's short form
	@exec $(BIN)/python -m benchmarks.run --quick $(ARGS)

##@ Tidy
.PHONY: clean
clean: ## Remove everything that these commands built
	rm -rf $(VENV) $(VENV)-* node_modules src/shoal/http/client build dist .shoal .pytest_cache .mypy_cache .ruff_cache .hypothesis benchmarks/build tests/fuzz/found
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help
help:
	@printf 'Shoal: a Socket.IO server for Python that scales out.\n'
	@awk -F ':.*## ' '/^##@ /{printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# The script leaves these stamps, and asks for them again once it is alone: of two first calls at once, one builds.
$(RUN_STAMP): pyproject.toml scripts/setup
	@scripts/setup run

$(DEV_STAMP): pyproject.toml scripts/setup
	@scripts/setup dev
