# Needs Python 3.11 or newer and make; everything else is installed into .venv.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin

.PHONY: setup run test test-slow bench lint format docs clean

setup: .venv/.installed

.venv/.installed: pyproject.toml setup.py constraints.txt $(wildcard tasks/forecast/fast/simd/*.[ch])
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev,onnx,wandb,tensorboard,bnb]"
	@touch $@

run: setup
	$(BIN)/tool train vqa --model tiny --data sample

# One thread a worker: two workers that each start as many as there are cores wait for each other.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/pytest -m "not slow" -n 2 --dist loadfile -q

test-slow: setup
	$(BIN)/pytest -m slow -q

bench: setup
	$(BIN)/python scripts/bench.py $(WHAT)

lint: setup
	$(BIN)/ruff check cli recipes tasks tests scripts docs modeltool_launcher.py
	$(BIN)/ruff format --check cli recipes tasks tests scripts docs modeltool_launcher.py
	$(BIN)/mypy
	PYTHONPATH=scripts $(BIN)/lint-imports --no-cache --no-logo

format: setup
	$(BIN)/ruff check --fix cli recipes tasks tests scripts docs modeltool_launcher.py
	$(BIN)/ruff format cli recipes tasks tests scripts docs modeltool_launcher.py

clean:
	rm -rf .venv .bench-venv build dist *.egg-info
