# Everything runs from .venv, which is made and kept in step with the lock files on the way.

PYTHON ?= python3
VENV := .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help serve test check bench clean serving developing

help:
	@echo "make serve   run the platform on port 9100 (STOA_PORT), data in .stoa (STOA_DATA_DIR)"
	@echo "make test    run the tests (PYTEST_ARGS=...)"
	@echo "make check   format, lint, types, and the platform's own checks"
	@echo "make bench   run the benchmarks (BENCH_ARGS=...)"
	@echo "make clean   remove .venv and caches; data stays"

serve: serving
	@exec $(VENV) -m infra.cli serve $(SERVE_ARGS)

test: developing
	$(VENV) -m pytest -n logical --maxprocesses 4 --dist loadfile $(PYTEST_ARGS)

check: developing
	$(VENV) -m ruff format --check .
	$(VENV) -m ruff check .
	$(VENV) -m mypy
	$(VENV) -m infra.cli check

bench: developing
	$(VENV) -m bench $(BENCH_ARGS)

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .schemathesis
	find . -name __pycache__ -prune -exec rm -rf {} +

serving:
	@$(PYTHON) -I -S .ci/environment.py serve

developing:
	@$(PYTHON) -I -S .ci/environment.py dev
