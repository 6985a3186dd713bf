# make study | test | check | reports | paper; everything runs in .venv, which this file makes.
PYTHON ?= python3
BIN := .venv/bin
STORAGE ?= runs
export RAY_USAGE_STATS_ENABLED = 0

.PHONY: study test check reports paper clean

study: .venv/installed
	$(BIN)/python studies/rank_bits.py --storage $(STORAGE)

test: .venv/tested
	$(BIN)/python -m pytest

check: .venv/tested  ## style, types and who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

reports: .venv/installed  ## rebuilds every committed report from its records
	for records in analysis/records/*.jsonl; do \
	  $(BIN)/python -m analysis report $$records -o runs/reports/$$(basename $$records .jsonl).html --markdown analysis/reports || exit 1; done

paper: .venv/installed  ## every figure and table of every study, from its records alone, into runs/paper
	for records in analysis/records/*.jsonl; do name=$$(basename $$records .jsonl); paper=runs/paper/$$name; \
	  $(BIN)/python -m analysis report $$records -o $$paper/$$name.html --figures $$paper --latex $$paper --csv $$paper || exit 1; done

.venv/installed: pyproject.toml .ci/constraints.txt
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v < (3, 13) else f"Python {v[0]}.{v[1]} is not 3.11 or 3.12; run: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q -c .ci/constraints.txt -e .
	touch $@

.venv/tested: .venv/installed
	$(BIN)/pip install -q -c .ci/constraints.txt -e ".[test]"
	touch $@

clean:
	rm -rf .venv runs
