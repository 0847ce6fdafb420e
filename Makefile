# make demo: set up and see a classifier adapt. make test: set up and run all tests.
.PHONY: install demo test check docs requirements clean
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

install: $(READY)

$(READY): pyproject.toml benchmarks/requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes -r benchmarks/requirements.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --no-deps --editable .
	touch $(READY)

demo: install
	$(BIN)/da train -m experiment=demo method=source_only,mmd,dann,mcc
	@$(BIN)/da report runs/demo --runs
	@echo "Figures of the runs:"; ls runs/demo/*/*/*/figures/*.png

# Two workers of one thread each: torch threads of several processes fight for the cores.
test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m "not cluster"

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict --config-file docs/mkdocs.yml --site-dir ../site

# The exact environment of the benchmarks, for every platform and Python from 3.11 on. Without Ray, whose launcher asks
# for older packages than the others.
EXTRAS := transport text timm huggingface peft tensorboard dashboards report onnx joblib submitit optuna dev
requirements:
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 $(EXTRAS:%=--extra %) --generate-hashes --no-emit-index-url \
	    --no-header --custom-compile-command "make requirements" pyproject.toml -o benchmarks/requirements.txt

docs: install
	$(BIN)/python scripts/make_docs.py
	$(BIN)/python scripts/make_datasets.py

clean:
	rm -rf $(VENV) site
