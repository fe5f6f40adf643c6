# `make demo` and `make test` each work as the first command on a fresh clone.
PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin
READY   = $(VENV)/.ready
PEERS   = .venv-peers

.PHONY: demo test lint tests test-lua fuzz bench bench-peers venv clean

demo: $(READY)
	@$(BIN)/python examples/demo.py $(if $(PROVIDER),--provider $(PROVIDER))

test: lint tests

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

tests: $(READY)
	$(BIN)/python -m pytest

# LUA_TESTS: the folder testes of github.com/lua/lua at tag v5.4.8.
test-lua: $(READY)
	@$(BIN)/python tests/lua_suite.py $(LUA_TESTS)

# FUZZ="frames attacks --seed 7": some targets only, the same input again.
SECONDS = 60
fuzz: $(READY)
	@$(BIN)/python tests/fuzz --seconds $(SECONDS) $(FUZZ)

# BENCH="calls --quick": some floors only, less of everything.
bench: $(READY)
	@$(BIN)/python tests/bench $(BENCH)

# The other clients have an environment of their own; what cannot be installed is left out of the table.
bench-peers: $(READY) $(PEERS)/.ready
	@$(BIN)/python tests/bench calls streams startup --peers $(PEERS)/bin/python

PEER_PACKAGES = openai anthropic litellm 'pydantic-ai-slim[openai]'
$(PEERS)/.ready:
	$(PYTHON) -m venv $(PEERS)
	echo '*' > $(PEERS)/.gitignore
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check trio msgspec
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check $(PEER_PACKAGES) || \
	  for package in $(PEER_PACKAGES); do \
	    $(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check $$package; \
	  done || true
	@touch $@

venv: $(READY)

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $(READY)

clean:
	rm -rf $(VENV) $(PEERS) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build dist
