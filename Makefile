# Every target works in the virtual environment .venv of the checkout.
PYTHON := .venv/bin/python
COMPILE := .venv/bin/uv pip compile pyproject.toml --universal --python-version 3.11 \
	--fork-strategy fewest --generate-hashes --no-annotate --quiet \
	--custom-compile-command "make lock"

.PHONY: check demo format lint lock slow test

check: lint test  ## as .ci/run, but for the install and the check for addresses, which it alone does

demo:  ## the main job, into the folder demo
	.venv/bin/geojax demo --out demo

format:
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

lint:
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/codespell
	.venv/bin/pyright
	.venv/bin/lint-imports

lock:  ## pin and hash what pyproject.toml asks for; uv is only a lock tool
	$(PYTHON) -m pip install --quiet uv
	$(COMPILE) --extra build --extra demo --extra io --extra viz -o requirements/run.txt
	$(COMPILE) --extra build --extra lint --extra test -o requirements/test.txt

slow:
	.venv/bin/pytest -m ""

test:
	.venv/bin/pytest
