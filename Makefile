# Every target does its own set-up on a fresh machine: a Python >= 3.12 and make are all that is needed.
SHELL := /bin/bash
.DEFAULT_GOAL := help
export MODELYARD_DATA_DIR ?= $(CURDIR)/data
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest
# Tests stay off the data of `make run`.
CLEAN_ENV := env -u MODELYARD_DATA_DIR
USUAL := "not browser and not install and not vllm"
OF_RUNTIMES := tests/runtimes tests/plugins tests/contract
ON_POSTGRES := $(BIN)/python -m tests.postgres $(PYTEST) -m $(USUAL) \
	$(addprefix --ignore=tests/,cli contract docs fuzz launchers packaging plugins runtimes translations)
# On a busy machine some wait in vain for real processes: what failed beside others is run once more, alone.
alone = { [ $$? = 1 ] && echo "What failed is run once more, alone:" && \
	$(CLEAN_ENV) $(1) --last-failed --last-failed-no-failures none --maxfail 1; }

help: ## say what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1|/' | column -t -s'|'

run: .venv/run.stamp ## start Modelyard with the demo models
	@exec $(BIN)/modelyard up --demo

test: .venv/dev.stamp ## all tests but those of the lanes below
	@$(CLEAN_ENV) $(PYTEST) -n auto -m $(USUAL) $(OF_RUNTIMES:%=--ignore=%) $(ARGS) || \
		$(call alone,$(PYTEST) -m $(USUAL) $(OF_RUNTIMES:%=--ignore=%) $(ARGS))

test-runtimes: .venv/dev.stamp ## the runtimes and the plugins on real engines
	@$(CLEAN_ENV) $(PYTEST) -n auto -m $(USUAL) $(OF_RUNTIMES) $(ARGS) || $(call alone,$(PYTEST) -m $(USUAL) $(OF_RUNTIMES) $(ARGS))

test-install: .venv/dev.stamp ## the wheel and the guides' commands in clean environments
	@$(CLEAN_ENV) $(PYTEST) -n auto -m install $(ARGS) || $(call alone,$(PYTEST) -m install $(ARGS))

test-browser: .venv/dev.stamp ## the browser lane, on the system's Chromium
	@if [ "$$CI" = true ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && ! command -v chromium >/dev/null; then \
		echo "Installing Chromium for the browser tests …"; \
		(apt-get update -qq && apt-get install -y -qq chromium) >/dev/null || echo "Chromium can't be installed."; \
	fi
	@if command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null; then \
		$(CLEAN_ENV) $(PYTEST) -m browser $(ARGS) || $(call alone,$(PYTEST) -m browser $(ARGS)); \
	else \
		echo "SKIPPED: the browser tests need Chromium (Debian: apt-get install chromium)."; \
	fi

test-postgres: .venv/dev.stamp ## what uses the database, on a real PostgreSQL
	@$(CLEAN_ENV) $(ON_POSTGRES) -n auto $(ARGS) || $(call alone,$(ON_POSTGRES) $(ARGS))

test-vllm: .venv/dev.stamp ## the vLLM runtime on a real vLLM for the CPU, installed once outside the checkout (3 GB)
	@python=$$($(CLEAN_ENV) $(BIN)/python -m tests.vllm_environment); case $$? in \
		0) $(CLEAN_ENV) MODELYARD_TEST_VLLM_PYTHON="$$python" $(PYTEST) -rs -rP tests/runtimes/vllm $(ARGS);; \
		3) echo "SKIPPED: see above.";; \
		*) exit 1;; \
	esac

fuzz: .venv/dev.stamp ## the readers of model files under hypothesis and atheris (installed once outside the checkout); SECONDS=60 a target
	@$(CLEAN_ENV) $(BIN)/python -m fuzz --seconds $(or $(SECONDS),60) $(ARGS)

check: .venv/dev.stamp ## lint, format, types, import contracts, system checks, API schema, lock
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@scratch=$$(mktemp -d) && trap 'rm -rf "$$scratch"' EXIT && export MODELYARD_DATA_DIR="$$scratch" && set -ex && \
		$(BIN)/modelyard check --fail-level WARNING && \
		$(BIN)/modelyard makemigrations --check --dry-run && \
		$(BIN)/modelyard spectacular --validate --fail-on-warn --file "$$scratch/schema.yml"
	$(BIN)/python -m tests.lock

bench: .venv/dev.stamp ## the gateway side by side with nginx, LiteLLM, vllm-router (installed once outside the checkout) and the engine
	@$(CLEAN_ENV) $(BIN)/python -m bench.gateway $(ARGS)

bench-onnx: .venv/dev.stamp ## the ONNX engine side by side with infinity-emb and MLServer (installed once outside the checkout)
	@$(CLEAN_ENV) $(BIN)/python -m bench.onnx $(ARGS)

bench-import: .venv/dev.stamp ## the import of a 5 GB zip beside unzip and sha256sum
	@$(CLEAN_ENV) $(BIN)/python -m bench.import $(ARGS)

bench-admin: .venv/dev.stamp ## the admin's pages with 100,000 deployments: queries and server time
	@$(CLEAN_ENV) $(BIN)/python -m bench.admin $(ARGS)

bench-uploads: .venv/dev.stamp ## the memory of the web process while it takes a sparse file of 20 GiB by tus
	@$(CLEAN_ENV) $(BIN)/python -m bench.uploads $(ARGS)

screenshots: .venv/dev.stamp ## every page, both themes and two widths, into a folder of /tmp; and anew those of docs/images
	@$(CLEAN_ENV) $(BIN)/python -m tests.screenshots --docs $(ARGS)

lock: .venv/dev.stamp ## make both locks again from pyproject.toml
	$(BIN)/uv pip compile -q --generate-hashes --no-emit-index-url --universal --python-version 3.12 \
		--custom-compile-command "make lock" --extra onnx --group build --group demo pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile -q --generate-hashes --no-emit-index-url --universal --python-version 3.12 \
		--custom-compile-command "make lock" --extra onnx --group build --group demo --group dev -c requirements.lock \
		pyproject.toml -o requirements-dev.lock

messages: .venv/dev.stamp ## collect the interface's texts for translators and compile what they made (needs GNU gettext); NEW=fr begins a language
	@scratch=$$(mktemp -d) && trap 'rm -rf "$$scratch"' EXIT && MODELYARD_DATA_DIR="$$scratch" $(BIN)/python -m tests.messages $(NEW)

clean: ## remove what set-up made; never the data
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis dist

# --- Set-up -----------------------------------------------------------------------------------------------------------

.venv/made.stamp: .python-version
	@for python in python3.13 python3.12 python3.14 python3 python $$(ls -d $$HOME/.pyenv/versions/3.1[2-9]*/bin/python 2>/dev/null); do \
		if $$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 12))' >/dev/null 2>&1; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
		echo "Modelyard needs Python 3.12 or newer with venv, and found none: install python3.12 (and python3.12-venv on Debian), then run this again." >&2; exit 1; \
	fi; \
	echo "Making .venv with $$($$found --version) …"; \
	rm -rf .venv && $$found -m venv .venv
	@touch $@

.venv/run.stamp: .venv/made.stamp requirements.lock pyproject.toml tests/plugins/modelyard-llamacpp/pyproject.toml
	@echo "Installing what Modelyard needs (about a minute the first time) …"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable . \
		--editable tests/plugins/modelyard-llamacpp
	@touch $@

.venv/dev.stamp: .venv/run.stamp requirements-dev.lock tests/plugins/modelyard-echo/pyproject.toml
	@echo "Installing what development needs …"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable tests/plugins/modelyard-echo
	@touch $@

.PHONY: help run test test-runtimes test-install test-browser test-postgres test-vllm fuzz check bench bench-onnx bench-import bench-uploads bench-admin screenshots lock clean
