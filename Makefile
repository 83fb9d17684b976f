# What a person types. `make` alone lists it.
#
# PYTHON=python3.12 make install   another interpreter (3.11 or newer) for .venv
# CORES=2 make demo                fewer cores than the machine has

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo picture reference cifar10 docs test test-portable lint format bench bench-stream mutants drill rehearsal lock clean

CORES ?= all
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# Rules and stages call `python`, `snakemake` and `dvc` by name.
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Another project's environment must not leak into this one.
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV CONDA_PREFIX
# Without compiled bytecode each of some forty jobs spends longer on imports than on its work.
unexport PYTHONDONTWRITEBYTECODE
export PIP_USER := 0
export UV_HTTP_TIMEOUT ?= 120
# Snakemake, matplotlib, uv and DVC each keep a cache under HOME; without a usable one they fail in four different ways.
ifneq ($(shell test -n "$$HOME" && test -d "$$HOME" && test -w "$$HOME" && echo usable),usable)
$(shell mkdir -p .cache/home)
export HOME := $(CURDIR)/.cache/home
endif

# An environment that was moved, or whose interpreter is gone, is made again: its scripts hold absolute paths. So is one
# whose Python is not the one that was asked for.
PLACE := $(VENV)/.place
MINOR := import sys; print(*sys.version_info[:2])
ifneq ($(shell $(BIN)/python -c '' 2>/dev/null && cat $(PLACE) 2>/dev/null),$(CURDIR))
.PHONY: $(STAMP)
else ifneq ($(PYTHON),)
ifneq ($(shell "$(PYTHON)" -c '$(MINOR)' 2>/dev/null),$(shell $(BIN)/python -c '$(MINOR)'))
.PHONY: $(STAMP)
endif
endif

help:
	@echo 'make install   the pinned environment in $(VENV)'
	@echo 'make demo      every table and figure and the report, in miniature: minutes on two cores'
	@echo 'make reference  keep the finished demo as what later ones are compared with (for maintainers)'
	@echo 'make picture   take the picture of the README again, with chromium (for maintainers)'
	@echo 'make cifar10 IMAGES=<folder>   whether mixing helps on real CIFAR-10, from zip archives of images'
	@echo 'make docs      docs/ as a site, in site/; it needs no network to be read'
	@echo 'make test      lint and the whole test suite'
	@echo 'make test-portable   its numeric part as on other processors: plain instructions, other numbers of threads'
	@echo 'make lint      ruff, snakefmt, snakemake --lint, mypy'
	@echo 'make format    rewrite the sources in the project'\''s style'
	@echo 'make bench     speed beside other libraries, as ratios'
	@echo 'make bench-stream   the fine-tuning stream beside its encoder alone'
	@echo 'make mutants   plant single faults and see which the tests find: docs/reliability.md'
	@echo 'make drill     kill, starve and damage a finished demo, and see what one more call makes of it: docs/reliability.md'
	@echo 'make rehearsal the paper'\''s scale without its bytes, on a throw-away Slurm: docs/rehearsal.md'
	@echo 'make lock      resolve requirements.lock from pyproject.toml again'
	@echo 'make clean     remove caches and logs; results and $(VENV) stay'

install: $(STAMP)

# A few packages come as source: the lock also pins what builds them.
$(STAMP): requirements.lock pyproject.toml
	@rm -f $(STAMP)
	@set -e; \
	fail() { echo "error: $$*" >&2; exit 1; }; \
	modern='import sys; sys.exit(sys.version_info < (3, 11))'; \
	if ! $(BIN)/python -c "$$modern" 2>/dev/null || test "$$(cat $(PLACE) 2>/dev/null || pwd -P)" != "$$(pwd -P)" \
		|| { test -n "$(PYTHON)" && test "$$("$(PYTHON)" -c '$(MINOR)' 2>/dev/null)" != "$$($(BIN)/python -c '$(MINOR)')"; }; then \
		for python in $(or $(PYTHON),python3 python3.13 python3.12 python3.11 none); do \
			"$$python" -c "$$modern" 2>/dev/null && break; \
			test "$$python" != none || fail "no Python 3.11 or newer found; install one, or name it: make install PYTHON=/path/to/python3.12"; \
			test -z "$(PYTHON)" || fail "$(PYTHON) is not a Python 3.11 or newer"; \
		done; \
		"$$python" -c 'import ensurepip, venv' 2>/dev/null \
			|| fail "$$python cannot make virtual environments; on Debian and Ubuntu: apt-get install python3-venv"; \
		echo "Making $(VENV) with $$("$$python" --version)"; \
		"$$python" -m venv --clear $(VENV) || fail "$$python could not make $(VENV); is the disk full or read-only?"; \
	fi; \
	pwd -P >$(PLACE); \
	log=$(VENV)/install.log; \
	pinned=$$(sed -n 's/^uv==\([^ ;]*\).*/\1/p' requirements.lock); \
	case "$$($(BIN)/uv --version 2>/dev/null)" in "uv $$pinned"|"uv $$pinned "*) ;; *) \
		$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip >/dev/null; \
		awk '/^[^ ]/ { wanted = /^uv==/ } wanted' requirements.lock >$(VENV)/uv.txt; \
		$(BIN)/python -m pip install --disable-pip-version-check --no-input --retries 2 --require-hashes \
			-r $(VENV)/uv.txt >$$log 2>&1 \
			|| fail "uv $$pinned could not be installed; check the network and the proxy (details: $$log)";; \
	esac; \
	echo "Installing $$(grep -c '^[a-zA-Z0-9].*==' requirements.lock) pinned packages (about 3 GB to download where none are cached)"; \
	sync() { $(BIN)/uv pip sync --python $(BIN)/python --require-hashes --build-constraints requirements.lock requirements.lock; }; \
	if test -t 2; then sync; else sync >$$log 2>&1 || { test -z "$$CI" || cat $$log >&2; false; }; fi \
		|| fail "the pinned environment is incomplete; check the network and the free disk space (6 GB), then make install again (details: $$log)"; \
	$(BIN)/uv pip install --python $(BIN)/python --quiet --no-deps --no-build-isolation --editable . \
		|| fail "dpmix itself could not be installed"; \
	echo "Compiling what every job imports"; \
	$(BIN)/python -c "import open_clip, opacus, dp_accounting.pld, pandas, sklearn.datasets, torchmetrics.image.fid, dvc.cli; \
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline, UNet2DConditionModel; import matplotlib.pyplot" \
		>$$log 2>&1 || fail "the environment does not import: $$(tail -n 1 $$log)"; \
	touch $(STAMP); \
	echo "Done. To use it: . $(BIN)/activate"

demo: install
	@$(BIN)/snakemake --cores $(CORES) all_tables all_figures report --config scale=demo \
		--quiet rules reason host
	@echo
	@echo 'The report, with every table and figure:          results/demo/report/index.html'
	@echo "What the runs show of the paper's claims:         results/demo/claims.md"
	@echo 'Tables as CSV, Markdown and LaTeX:                results/demo/tables/'
	@echo 'Figures as PNG and PDF:                           results/demo/figures/'
	@echo
	@$(BIN)/python -m dpmix agree results/demo

# PARAMS=docs/cifar10/params.yaml   that of `make cifar10`
reference: install
	@$(BIN)/python -m dpmix reference $(if $(PARAMS),--params "$(PARAMS)",--scale demo)

picture: install
	@$(BIN)/python docs/picture.py

# The params name the link, so that they are the same on every machine.
CIFAR10 := data/raw/cifar10-zips
cifar10: install
	@set -e; \
	fail() { echo "error: $$*" >&2; exit 1; }; \
	if test -n "$(IMAGES)"; then \
		folder=$$(cd "$(IMAGES)" 2>/dev/null && pwd) || fail "there is no folder $(IMAGES); give that of the zip archives"; \
		mkdir -p data/raw; \
		test -L $(CIFAR10) || test ! -e $(CIFAR10) || fail "$(CIFAR10) is in the way; remove it"; \
		ln -sfn "$$folder" $(CIFAR10); \
	fi; \
	for archive in test.zip synthetic-sd14.zip; do \
		test -r "$(CIFAR10)/$$archive" \
			|| fail "no $$archive in $(or $(IMAGES),$(CIFAR10)); say where the archives are: make cifar10 IMAGES=<folder>"; \
	done
	@$(BIN)/snakemake --cores $(CORES) all_tables --configfile docs/cifar10/params.yaml \
		--quiet rules reason host
	@$(BIN)/python -m dpmix curve results/cifar10/tables/table3.json --output results/cifar10/accuracy >/dev/null
	@echo
	@echo 'Accuracy against ε, as PNG and SVG:               results/cifar10/accuracy.png'
	@echo 'The tables, as CSV, Markdown and LaTeX:           results/cifar10/tables/'
	@echo
	@$(BIN)/python -m dpmix agree results/cifar10

# The theme says at each call until when it is maintained; docs/choices.md has that too.
docs: install
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo 'The documentation: site/index.html'

test: lint
	@$(BIN)/python -m pytest -n 2

# What torch, oneDNN and MKL are told, each in its own words, to compute as on a processor without vector extensions.
PLAIN := ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 MKL_ENABLE_INSTRUCTIONS=SSE4_2 MKL_CBWR=COMPATIBLE
NUMERIC := $(BIN)/python -m pytest -m 'numeric and not slow'
test-portable: install
	@echo 'Plain instructions, one thread'
	@$(PLAIN) $(NUMERIC) -n 2
	@echo 'Plain instructions, two threads'
	@$(PLAIN) DPMIX_TEST_THREADS=2 $(NUMERIC) -p no:xdist
	@echo "This machine's instructions, two threads"
	@DPMIX_TEST_THREADS=2 $(NUMERIC) -p no:xdist

lint: install
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/snakefmt --check workflow
	@$(BIN)/snakemake --lint
	@$(BIN)/mypy

format: install
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .
	@$(BIN)/snakefmt workflow

bench: install
	@$(BIN)/python -m benchmarks

bench-stream: install
	@$(BIN)/python -m benchmarks stream

mutants: install
	@$(BIN)/python tests/mutants

drill: install
	@$(BIN)/python tests/drill

# CACHE=<folder>   keeps the random weights, 1.4 GB, for the next time
rehearsal: install
	@$(BIN)/python -m rehearsal $(if $(CACHE),--cache "$(CACHE)")

lock: install
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --all-extras --no-header \
		pyproject.toml --output-file requirements.lock

clean:
	@rm -rf .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis .snakemake/log .snakemake/slurm_logs logs build dist site
	@find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
