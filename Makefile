# Two commands from a fresh clone: `make demo` and `make test`. Each makes .venv and does its whole job.
PYTHON ?= python3
BIN = .venv/bin
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test test-all lint clean

demo: .venv/demo
	$(BIN)/llavamed run recipes/demo.yaml -o runs/demo
	@echo "open runs/demo/report.html; talk to it: $(BIN)/llavamed chat runs/demo/assistant IMAGE"

test: .venv/test lint
	$(BIN)/pytest -n 2 -m "not slow"

test-all: .venv/test lint
	$(BIN)/pytest

lint: .venv/test
	$(BIN)/ruff check --no-cache .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.venv/demo .venv/test: .venv/%: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(INSTALL) --editable '.[$*]'
	touch $@

clean:
	rm -rf .venv runs
