# Everything a developer does here; `make` alone shows this list.
PY := .venv/bin/python

.PHONY: help setup run test check fix bench prove mutate docs lock

help:   ## this list
	@awk -F ':.*## *' '/^[a-z]+:.*##/ { printf "  make %-7s %s\n", $$1, $$2 }' Makefile

setup:  ## the private environment with the test tools
	@./scripts/test --setup

run:    ## clawd on the bundled sample project
	@./scripts/run

test:   ## the whole suite, under 8 minutes on two cores
	@./scripts/test

check:  ## style, types, floors, generated docs
	@./scripts/check

fix: setup  ## what can be put right by itself
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

bench:  ## the figures, one after the other, on this machine
	@./scripts/test --bench
	@for each in claim latency idle scale; do \
	  if [ -x bench/$$each ]; then ./bench/$$each; else $(PY) bench/$$each.py; fi || exit 1; done

prove: setup  ## the long proofs, under an hour; writes docs/proof.md
	@./scripts/prove

mutate: setup  ## breaks each promise's guard once; the test that keeps it must fail
	@./scripts/mutate

docs: setup  ## writes the generated parts of the documentation
	$(PY) scripts/docs

lock:   ## new lock files from pyproject.toml (needs uv)
	@./scripts/lock
