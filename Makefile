# Everything a developer or CI does. All of it needs Python 3.11 or newer and make; `demo` installs only what running needs.
VENV := .venv
PYTHON := $(VENV)/bin/python
VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' app/__init__.py)
export MSNL_DATA ?= ../shared/data

.PHONY: setup demo picture test coverage test-all check train-tiny fuzz niivue image image-test locks slurm-test gpu-check sbom peers clean

setup: $(VENV)/for-developers

$(VENV)/for-running: requirements.txt
	python3 -m venv $(VENV)
	$(PYTHON) -m pip install --quiet --upgrade "pip>=25.1"
	$(PYTHON) -m pip install --requirement requirements.txt
	touch $@

$(VENV)/for-developers: $(VENV)/for-running pyproject.toml
	$(PYTHON) -m pip install --quiet --requirement requirements.txt --group dev
	touch $@

demo: $(VENV)/for-running  # two minutes to install, one to run
	$(PYTHON) -m app --verbose demo --output demo

picture: demo  # the one in README.md, by Chromium
	chromium --headless --no-sandbox --hide-scrollbars --enable-unsafe-swiftshader --virtual-time-budget=20000 \
	    --window-size=1100,1130 --screenshot=docs/report.png file://$(CURDIR)/demo/report.html

test: setup  # two processes with one thread each: more threads than cores wait for each other
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest --numprocesses 2 -m "not slow and not container and not slurm"

coverage: setup  # the same, and fails where less is covered than pyproject.toml asks for
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest --numprocesses 2 -m "not slow and not container and not slurm" --cov --cov-report=term:skip-covered

test-all: setup
	$(PYTHON) -m pytest -m "not container and not slurm"

check: setup
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/hadolint Dockerfile

train-tiny: setup  # both recipes on made-up data, a minute or two
	PYTHON=$(PYTHON) training/train.sh --tiny

N ?= 300
KILLS ?= 20
fuzz: setup  # changed files, read right or refused, and a cohort killed at random instants
	$(PYTHON) -m tests.fuzz --files $(N) --kills $(KILLS)

niivue:  # the report's viewer, again from npm
	app/results/page/refresh_niivue.sh

# BASE_IMAGE may be another one. The list of what is in the image lies in it, and beside it as image-sbom.json.
BASE_IMAGE ?= $(shell sed -n 's/^ARG BASE_IMAGE=//p' Dockerfile)
image:
	docker pull $(BASE_IMAGE)
	docker build --tag ms-new-lesions:$(VERSION) --build-arg VERSION=$(VERSION) \
	    --build-arg COMMIT=$$(git describe --always --dirty --abbrev=40 --exclude '*') \
	    --build-arg SOURCE=$$(git config --get remote.origin.url || echo unknown) \
	    --build-arg CREATED=$$(date --utc +%Y-%m-%dT%H:%M:%SZ) --build-arg BASE_IMAGE=$(BASE_IMAGE) \
	    --build-arg BASE_DIGEST=$$(docker image inspect --format '{{index .RepoDigests 0}}' $(BASE_IMAGE) | sed 's/.*@//') .
	docker run --rm --entrypoint=cat ms-new-lesions:$(VERSION) /opt/ms-new-lesions/sbom.json > image-sbom.json

# With Docker, or without as root on Debian; installs what it needs. Where no container can be run it fails.
image-test: setup
	tests/container/build.sh
	$(PYTHON) -m pytest -m "container and not slow" tests/container

# Which files does the image install? Their SHA-256, again from PyPI; versions that fit stay. torch-cpu.txt says where its own are from.
# Left out is what torch asks for to compile networks, which this program never does.
LOCK = $(VENV)/bin/uv pip compile --quiet --generate-hashes --only-binary :all: \
    --python-version 3.11 --python-platform x86_64-manylinux_2_28 --constraints requirements.txt \
    $(foreach each,triton sympy mpmath networkx setuptools,--no-emit-package $(each)) --custom-compile-command "make locks"
locks: setup
	$(PYTHON) -m pip install --quiet --group locks
	grep -v '^torch==' requirements.txt | $(LOCK) --group image --output-file locks/packages.txt -
	grep '^torch==' requirements.txt | $(LOCK) --output-file locks/torch-cuda.txt -

# The lines of docs/cluster.md, on a Slurm of one node; as root on Debian, where it installs what it needs.
slurm-test: setup
	$(PYTHON) -m pytest -m slurm tests/slurm

# What needs an NVIDIA GPU: driver, tests, rows of the benchmarks. PAIR of `python -m app prepare`, PREPARED of training.prepare.
gpu-check: peers setup
	$(VENV)-peers/bin/python -m pip install --quiet --group dev
	$(VENV)-peers/bin/python -m benchmarks.gpu $(if $(PAIR),--pair $(PAIR)) $(if $(PREPARED),--prepared $(PREPARED))

# The software bill of materials of requirements.txt, CycloneDX. Its environment holds that and nothing else.
sbom: setup
	$(PYTHON) -m pip install --quiet --group sbom
	rm -rf .runtime
	python3 -m venv --without-pip .runtime
	$(PYTHON) -m pip --python .runtime install --quiet --requirement requirements.txt
	$(VENV)/bin/cyclonedx-py environment --pyproject pyproject.toml --mc-type application --output-reproducible --output-file sbom.json .runtime
	rm -rf .runtime

# What benchmarks/inference.py and training.py compare with, beside the run-time list, which holds torch where it is.
peers: $(VENV)-peers/installed

$(VENV)-peers/installed: requirements.txt pyproject.toml
	python3 -m venv $(VENV)-peers
	$(VENV)-peers/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	$(VENV)-peers/bin/python -m pip install --quiet --requirement requirements.txt --group peers
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-peers .runtime demo
