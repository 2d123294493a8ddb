# `make quickstart` trains, evaluates and pictures a small model; `make test` runs the suite.
PYTHON ?= python3
VENV ?= .venv
SEED ?= 0
RUN ?= runs/quickstart
BIN = $(VENV)/bin
DATA ?= data

.PHONY: install quickstart test lint toy format clean

install: $(VENV)/installed

$(VENV)/installed: setup.cfg .ci/constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint .ci/constraints.txt --editable '.[test]'
	touch $@

quickstart: install
	$(BIN)/python -m data_builders.prepare fss_glyphs --config tiny --data_dir $(DATA)
	$(BIN)/python train.py --config fss_jax/configs/quickstart.py --workdir $(RUN) \
		--config.seed=$(SEED) --config.data_dir=$(DATA)
	$(BIN)/python evaluate.py --workdir $(RUN)
	@echo "See $(RUN)/results and $(RUN)/training_curve.png"

test: install
	$(BIN)/python -m pytest -n 2

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist *.egg-info
