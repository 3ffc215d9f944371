# Every target sets up its own environment in .venv first; it is kept and shared by all of them.
#   make demo        real data to a table of metrics, in minutes
#   make demo-lm     the same with a language model: cache, LoRA on the cached layers, a table beside NRMS
#   make test        the quick tests        make test-slow   fault and grid tests
#   make lint        ruff and mypy          make bench       the speed and memory benchmark
#   make bench-lm    the same for language models
#   make named-models  every named model trained on MovieLens-100K, as a table
#   make venv        the environment alone  make clean       remove it and the caches (data/ and runs/ stay)
# Variables: PYTHON=python3.12, CONSTRAINTS=/dev/null (newest versions), ARGS="-k store" (passed to pytest)

PYTHON ?= python3
CONSTRAINTS ?= constraints.txt
ARGS ?=
DEMO_EPOCHS ?= 5
DEMO_LM ?= --exp config/exp/tt-llm.yaml --layer -1 --batch_size 1024 --lr 3e-3 --item_lr 1e-3 --epoch 6 \
	--patience 9 --precision bf16
PY := .venv/bin/python
PIP := $(PY) -m pip --disable-pip-version-check --no-input install --quiet --progress-bar off
READY := .venv/.ready

.PHONY: venv demo demo-lm named-models test test-slow lint bench bench-lm clean
.DELETE_ON_ERROR:

venv: $(READY)

# torch comes first and alone: the constraint takes the build at hand, and what follows finds it installed.
$(READY): setup.cfg setup.py constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "legorec needs Python 3.11 or later, and $(PYTHON) is " + sys.version.split()[0] + "; name another: make PYTHON=python3.12")'
	@echo "Setting up .venv (some minutes the first time) ..."
	@$(PYTHON) -m venv .venv || { echo "make: $(PYTHON) could not create .venv (on Debian: apt install python3-venv)"; exit 1; }
	@$(PIP) -c $(CONSTRAINTS) torch || { echo "make: installing torch failed, see the lines above"; exit 1; }
	@$(PIP) -c $(CONSTRAINTS) -e '.[unitok,demo,test,texts,onnx,bits,faiss]' || { echo "make: installing legorec and its dependencies failed, see the lines above"; exit 1; }
	@touch $@

# Exit status 3 says that the data set is out of reach; everything else but 0 is an error.
demo: $(READY)
	@status=0; $(PY) process/fetch_ml100k.py --out data/raw/ml-100k || status=$$?; \
	if [ $$status -eq 0 ]; then \
		data=config/data/movielens.yaml; \
		$(PY) process/movielens.py --source data/raw/ml-100k --out data/ML-100K --overwrite; \
	elif [ $$status -eq 3 ]; then \
		echo "Going on with generated data."; data=config/data/synthetic.yaml; \
		$(PY) process/synthetic.py --out data/synthetic --overwrite; \
	else exit $$status; fi && \
	exec $(PY) worker.py --data $$data --model config/model/lego_nrms.yaml --exp config/exp/tt-nrms.yaml \
		--batch_size 256 --lr 2e-3 --epoch $(DEMO_EPOCHS) --overwrite true

LM := --data config/data/movielens-bert.yaml --model config/model/bert-naml.yaml --lm_path weights/minilm \
	--cache weights/minilm-split --llm_ver MiniLM
NRMS := --data config/data/movielens.yaml --model config/model/lego_nrms.yaml --exp config/exp/tt-nrms.yaml

# Three commands of the worker behind two of preparation; the last prints what both runs gave.
demo-lm: $(READY)
	@$(PY) process/fetch_ml100k.py --out data/raw/ml-100k
	@$(PY) process/fetch_model.py minilm --out weights/minilm
	@$(PY) process/movielens.py --source data/raw/ml-100k --out data/ML-100K --overwrite \
		--tokenizer words --tokenizer bert=weights/minilm
	@$(PY) worker.py $(LM) --exp config/exp/bert-split.yaml --exp.cache.layers "[-1]"
	@exec $(PY) -m benchmarks.accuracy --seed 2023 --again \
		--run "NRMS=$(NRMS) --batch_size 256 --lr 2e-3 --epoch $(DEMO_EPOCHS)" \
		--run "BERT-NAML with LoRA=$(LM) $(DEMO_LM)"

# LLAMA is a small LLaMA as a Hugging Face folder; SmolLM2 is fetched where there is none.
LLAMA ?= $(if $(wildcard weights/stories260K),weights/stories260K,weights/smollm2)

named-models: $(READY)
	@$(PY) process/fetch_ml100k.py --out data/raw/ml-100k
	@$(PY) process/fetch_model.py minilm --out weights/minilm
	@[ -d $(LLAMA) ] || $(PY) process/fetch_model.py smollm2 --out $(LLAMA)
	@$(PY) process/movielens.py --source data/raw/ml-100k --out data/ML-100K --overwrite \
		--tokenizer words --tokenizer bert=weights/minilm --tokenizer llama=$(LLAMA)
	@$(PY) process/embed.py items --checkpoint weights/minilm --store data/ML-100K --name minilm-items \
		--template "[CLS] {title:30} [SEP]" --config data/embed --overwrite
	@$(PY) process/embed.py codes --vectors data/embed/minilm-items.safetensors --levels 3 --size 64 --unique \
		--name semantic-codes --overwrite
	@exec $(PY) -m benchmarks.named_models --llama $(LLAMA) --again $(ARGS)

# Two workers with one torch thread each.
test: $(READY)
	OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 -m "not slow and not cuda" $(ARGS)

test-slow: $(READY)
	OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 -m "slow and not cuda" --timeout 1200 $(ARGS)

lint: $(READY)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

bench: $(READY)
	$(PY) -m benchmarks.core

bench-lm: $(READY)
	@$(PY) process/fetch_model.py minilm --out weights/minilm
	@$(PY) process/fetch_model.py smollm2 --out weights/smollm2
	$(PY) -m benchmarks.language_models

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
