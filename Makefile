# `make quickstart` trains, evaluates and pictures a small model; `make test` runs the suite;
# `make toy` runs every experiment and the quickstart's commands in two steps each.
PYTHON ?= python3
VENV ?= .venv
SEED ?= 0
RUN ?= runs/quickstart
BIN = $(VENV)/bin
DATA ?= data
TOY ?= runs/toy

.PHONY: install quickstart test parity app-test lint toy format clean

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

toy: install
	rm -rf $(TOY)
	$(BIN)/python -m fss_jax.experiments all --toy --data_dir $(TOY)/data --workdir $(TOY)
	$(BIN)/python train.py --config fss_jax/configs/quickstart.py --workdir $(TOY)/quickstart \
		--config.data_dir=$(TOY)/data --config.dataset=fss_glyphs/tiny-classes-12 \
		--config.steps=4 --config.warmup=1 --config.batch=4 --config.eval_every=4 \
		--config.log_every=2 --config.val_episodes=8
	$(BIN)/python evaluate.py --workdir $(TOY)/quickstart --episodes 8
	$(BIN)/python evaluate.py --workdir $(TOY)/quickstart --exhaustive
	$(BIN)/python evaluate.py --workdir $(TOY)/quickstart --protocol all --episodes 8
	$(BIN)/python evaluate.py --workdir $(TOY)/quickstart --ways 2 --episodes 8
	$(BIN)/python -m fss_jax.refine --workdir $(TOY)/quickstart \
		--class glyph_dejavusans_bold_0031 --rounds 2

test: install
	$(BIN)/python -m pytest -n 2

# The same weights in PyTorch give the same answers. On other machines than ours torch is a large download.
parity: install
	$(BIN)/python -m pip install --quiet --constraint .ci/constraints.txt --editable '.[parity]'
	$(BIN)/python -m pytest -n 2 tests/parity

# The web page in a real browser. Chromium is Debian's: installed by apt where it is missing.
app-test: install
	.ci/chromium
	$(BIN)/python -m pip install --quiet --constraint .ci/constraints.txt --editable '.[app-test]'
	$(BIN)/python -m pytest -n 0 tests/app

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist *.egg-info
