# Everything a developer or CI does; `make demo` and `make test` need only Python 3.11 and make.
VENV := .venv
PYTHON := $(VENV)/bin/python
export MSNL_DATA ?= ../shared/data

.PHONY: setup demo test test-all check niivue image clean

setup: $(VENV)/installed

$(VENV)/installed: requirements.txt pyproject.toml
	python3 -m venv $(VENV)
	$(PYTHON) -m pip install --quiet --upgrade "pip>=25.1"
	$(PYTHON) -m pip install --quiet --requirement requirements.txt --group dev
	touch $@

demo: setup
	$(PYTHON) -m app demo --output demo

test: setup
	$(PYTHON) -m pytest -m "not slow and not container"

test-all: setup
	$(PYTHON) -m pytest -m "not container"

check: setup
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

niivue:  # the report's viewer, again from npm
	app/page/refresh_niivue.sh

image:
	docker build --tag ms-new-lesions:0.1.0 .

clean:
	rm -rf $(VENV) demo
