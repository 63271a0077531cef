# make train [ARGS="key=value ..."]   train one curriculum
# make test                           run ruff, mypy and all test types, with the slow randomised tests (bad inputs,
#                                     killed processes, damaged bytes) cut to a sample
# make test-full                      the same, uncut, before a release
# make sync [ARGS="run=NAME"]         send pending records to MLflow
# make reference                      regenerate docs/config.md and the text of --help, after changing a configuration key
# make ui                             show the runs at http://127.0.0.1:5000
# make venv                           create the virtual environment only

ARGS ?=
PYTHON ?= python3.13 python3.12 python3.11 python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: train test test-full sync reference ui venv

train: venv
	$(BIN)/python jobs/train.py $(ARGS)

test test-full: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest --numprocesses 2 --dist loadscope --durations 10 $(if $(filter test-full,$@),--full)

sync: venv
	$(BIN)/python jobs/sync.py $(ARGS)

reference: venv
	PYTHONPATH=platform $(BIN)/python -m masklab.config.command_line.reference

ui: venv
	$(BIN)/mlflow ui --host 127.0.0.1 --port 5000 --backend-store-uri "sqlite:///$${MASKLAB_HOME:-$(CURDIR)}/mlflow.db"

venv: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@for python in $(PYTHON); do \
	  if $$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	    exec $$python -m venv $(VENV); \
	  fi; \
	done; \
	echo "masklab needs Python 3.11 or later with venv; none of these is one: $(PYTHON) (name one: make PYTHON=...)" >&2; exit 2
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@
