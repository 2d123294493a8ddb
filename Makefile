# `make quickstart` trains, evaluates and pictures a small model; `make test` runs the suite;
# `make toy` runs every experiment and the quickstart's commands in two steps each.
PYTHON ?= python3
VENV ?= .venv
SEED ?= 0
RUN ?= runs/quickstart
BIN = $(VENV)/bin
DATA ?= data
TOY ?= runs/toy
SPEED ?= docs/results
# Toy runs let XLA compile fast, not well.
FAST = --xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true

.PHONY: install quickstart test slow cases parity app-test formats-test studio-test lint docs toy speed chaos format clean

install: $(VENV)/installed

$(VENV)/installed: setup.cfg .ci/constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint .ci/constraints.txt --editable '.[test]'
	touch $@

# What an extra of setup.cfg brings, once.
$(VENV)/extra-%: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --constraint .ci/constraints.txt --editable '.[$*]'
	touch $@

quickstart: install
	$(BIN)/fss prepare fss_glyphs/tiny --data_dir $(DATA)
	$(BIN)/python train.py --config oslsm/quickstart --workdir $(RUN) \
		--config.seed=$(SEED) --config.data_dir=$(DATA)
	$(BIN)/python evaluate.py --workdir $(RUN)
	@echo "See $(RUN)/results and $(RUN)/training_curve.png"

toy: install
	rm -rf $(TOY)
	$(BIN)/fss experiments all --toy --data_dir $(TOY)/data --out $(TOY)
	$(BIN)/python train.py --config oslsm/quickstart --workdir $(TOY)/quickstart \
		--config.data_dir=$(TOY)/data --config.dataset=fss_glyphs/tiny-classes-12 \
		--config.steps=4 --config.warmup=1 --config.batch=4 --config.eval_every=4 \
		--config.log_every=2 --config.val_episodes=8
	$(BIN)/python evaluate.py --workdir $(TOY)/quickstart --episodes 8
	$(BIN)/python evaluate.py --workdir $(TOY)/quickstart --exhaustive
	$(BIN)/python evaluate.py --workdir $(TOY)/quickstart --protocol all --episodes 8
	$(BIN)/python evaluate.py --workdir $(TOY)/quickstart --ways 2 --episodes 8
	$(BIN)/fss study growing_support --workdir $(TOY)/quickstart \
		--class glyph_dejavusans_bold_0031 --rounds 2
	XLA_FLAGS="$(FAST)" $(BIN)/python -m benchmarks.episodes --cases relation/release --shots 1 \
		--batches 1 --dtypes float32 --width 0.03125 --size 32 --repeats 3 --out $(TOY)/speed/episodes
	XLA_FLAGS="$(FAST)" $(BIN)/python -m benchmarks.data --data_dir $(TOY)/data \
		--dataset fss_glyphs/tiny-classes-12 --steps 2 --rounds 1 --step_ms 0 --batch 2 \
		--out $(TOY)/speed/data
	NPROC=4 XLA_FLAGS="$(FAST) --xla_force_host_platform_device_count=2" \
		$(BIN)/python -m benchmarks.scaling --cases relation/release --devices 2 --batch 2 \
		--width 0.03125 --size 32 --repeats 3 --out $(TOY)/speed/scaling
	XLA_FLAGS="$(FAST)" $(BIN)/python -m benchmarks.startup --rounds 1 --data_dir $(TOY)/data \
		--dataset fss_glyphs/tiny-classes-12 --out $(TOY)/speed/startup
	XLA_FLAGS="$(FAST)" $(BIN)/python -m benchmarks.accelerator --toy --out $(TOY)/speed/accelerator
	XLA_FLAGS="$(FAST)" $(BIN)/python -m benchmarks.accelerator.training --toy --only relation_release \
		--episodes 4 --work $(TOY)/real --out $(TOY)/speed/training

# The tables of docs/performance.md, on a quiet machine: about half an hour on two CPU cores.
speed: install
	$(BIN)/python -m benchmarks.episodes --cases oslsm/release,relation/release --shots 1,5 --batches 1 --dtypes float32 \
		--modes infer,cached,train --repeats 5 --budget 40 --out $(SPEED)/speed_episodes
	$(BIN)/python -m benchmarks.episodes --cases oslsm/release,relation/release --shots 1 --batches 1,8,32 \
		--width 0.125 --size 64 --budget 20 --out $(SPEED)/speed_episodes_small
	$(BIN)/python -m benchmarks.episodes \
		--cases siamese/vgg16,nearest/vgg16,logistic/vgg16,logistic/svm_vgg16,finetune/vgg16,cosegment/vocabulary,panet/vgg16,canet/resnet50,guided/vgg16 \
		--shots 1 \
		--batches 1,8 --dtypes float32 --width 0.125 --size 64 --repeats 5 --budget 10 \
		--out $(SPEED)/speed_episodes_methods
	$(BIN)/python -m benchmarks.layers --out $(SPEED)/speed_layers
	$(BIN)/python -m benchmarks.peer --cases oslsm/release --modes infer,cached --shots 1 --batches 1,4 --repeats 5 \
		--budget 30 --out $(SPEED)/speed_peer
	$(BIN)/python -m benchmarks.peer --cases relation/release --modes infer,cached --shots 1 --batches 1,4 \
		--budget 20 --notorch_compile --out $(SPEED)/speed_peer_relation
	$(BIN)/python -m benchmarks.peer --cases relation/release --modes label --batches 4 --images 32 --repeats 3 \
		--budget 30 --notorch_compile --out $(SPEED)/speed_label
	$(BIN)/python -m benchmarks.peer --modes train --shots 1 --batches 1 --repeats 5 --budget 45 \
		--notorch_compile --out $(SPEED)/speed_train
	$(BIN)/fss prepare fss_glyphs/full --data_dir $(DATA)
	$(BIN)/python -m benchmarks.data --data_dir $(DATA) --dataset fss_glyphs/full --canvas 224 --size 224 \
		--steps 10 --rounds 3 --out $(SPEED)/speed_data
	NPROC=16 XLA_FLAGS=--xla_force_host_platform_device_count=8 $(BIN)/python -m benchmarks.scaling \
		--width 0.125 --size 64 --batch 8 --repeats 5 --out $(SPEED)/speed_scaling
	$(BIN)/fss prepare fss_glyphs/tiny --data_dir $(DATA)
	$(BIN)/python -m benchmarks.startup --data_dir $(DATA) --out $(SPEED)/speed_startup
	$(BIN)/fss prepare fss_glyphs/tiny --option classes=12 --data_dir $(DATA)
	$(BIN)/python -m benchmarks.startup --data_dir $(DATA) --dataset fss_glyphs/tiny-classes-12 \
		--out $(SPEED)/speed_startup_toy
	for name in oslsm/quickstart oslsm/small relation/small guided/small panet/small canet/small \
			siamese/squeezenet fcn/squeezenet; do \
		$(BIN)/python -m benchmarks.profile --config fss_jax/configs/$$name.py \
			--out $(SPEED)/speed_profile_$$(echo $$name | tr / _); done
	$(BIN)/python -m benchmarks.against_scikit_learn --out $(SPEED)/speed_against_scikit_learn.json

# Kills, fuzzing, full disks, many images and visitors, once per release: hours. The figures go to
# docs/reliability.md. The disks need root (a tmpfs is mounted), the page needs gradio.
chaos: $(VENV)/extra-app
	$(BIN)/python -m benchmarks.chaos --kills 100 --cases 1000000 --images 10000 --requests 50

test: install
	$(BIN)/python -m pytest -n 2 -m "not slow and not cases"

# What `make test` leaves out to stay under five minutes: whole runs, some of several processes.
slow: install
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m slow

# The scripts of ../shared/cases, each a command or two of its own; their kinds are in the other tests, too.
cases: install
	$(BIN)/python -m pytest -n 2 -m cases

# The same weights in PyTorch give the same answers. On other machines than ours torch is a large download.
parity: $(VENV)/extra-parity
	$(BIN)/python -m pytest -n 2 tests/parity
	XLA_FLAGS="$(FAST)" $(BIN)/python -m benchmarks.peer --cases relation/release --shots 1 --batches 1 \
		--notorch_compile --width 0.03125 --size 64 --images 2 --repeats 3 --out $(TOY)/speed/peer

# The web page in a real browser. Chromium is Debian's: installed by apt where it is missing.
app-test: $(VENV)/extra-app-test
	.ci/chromium
	$(BIN)/python -m pytest -n 0 tests/app

# The packages of other label tools read what we write. Those that need other versions than ours, or
# a desktop's libraries, have an environment of their own.
OTHERS ?= .formats
formats-test: $(VENV)/extra-formats-test
	@others=; if .ci/other_packages $(PYTHON) $(OTHERS) formats; \
		then others=$(abspath $(OTHERS))/bin/python; \
		else echo "labelme and datumaro cannot be installed here: skipped"; fi; \
	FORMATS_PYTHON=$$others $(BIN)/python -m pytest -n 2 tests/labelling/test_real_packages.py

# The real Label Studio in an environment of its own, whose versions differ from ours.
STUDIO ?= .studio
studio-test: $(VENV)/extra-app-test
	.ci/chromium
	@if .ci/other_packages $(PYTHON) $(STUDIO) label_studio; then \
		LABEL_STUDIO=$(abspath $(STUDIO))/bin/label-studio timeout 1200 $(BIN)/python -m pytest -n 0 tests/studio; \
	else echo "skipped: Label Studio cannot be installed here"; fi

# The documentation site, into site/: a broken link or an API name that is not there is an error.
docs: $(VENV)/extra-docs
	NO_MKDOCS_2_WARNING=1 PATH="$(abspath $(BIN)):$$PATH" $(BIN)/mkdocs build --quiet

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist *.egg-info
