# make             says what there is to make
# make setup       sets up .venv, which everything else does first
# make demo        set up, then the whole way once on generated faces (about four minutes)
# make test        set up, then the tests but for those below (minutes)
# make test-long   whole commands and sweeps; an object store, a Prometheus
# make test-extra  more whole commands, notebooks, the demo from a wheel, the Ray dashboard, Grafana; the GPU acceptance run
# make test-full   encoders and decoders of full size (needs ../shared)
# make test-hosts  `ray up` on three hosts that are made on this machine (needs root and ../shared)
# make test-slurm  jobs of a real Slurm on three hosts that are made on this machine (needs root, slurm-wlm and ../shared)
# make test-kills  commands are killed and interrupted at random moments
# make test-gpu    what needs a real GPU, which no other test sees
# make gpu-acceptance  every promise about GPUs, checked on one GPU in half an hour: a page of PASS and FAIL
# make chaos       10,000 sweeps in virtual time; processes killed ten times; hosts die, are cut off, are taken away (hours; needs root and ../shared)
# make soak        an hour of sweeps and encodings while processes of every kind are killed
# make docs        the site of docs/, in site/: warnings are errors, and nothing is fetched
# make check       lint, format, types, import rules
# make audit       known vulnerabilities of the versions in constraints.txt
# Everything lives in .venv, which is made once and again only when pyproject.toml or constraints.txt change.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:

PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3.13 python3,$(shell command -v $(p))))
BIN := .venv/bin
READY := .venv/.ready

.PHONY: help setup demo test test-full test-hosts test-slurm test-kills test-long test-extra test-gpu gpu-acceptance chaos soak docs check audit format lock clean

help:
	@sed -n 's/^# make/make/p' Makefile

setup: $(READY)
	@echo "ready: source .venv/bin/activate"

demo: $(READY)
	$(BIN)/python launch/demo_faces.py --output_dir dataset/demo
	$(BIN)/python launch/encode.py --data_root dataset/demo --latent_out latents/demo --encoder_type demo --batch_size 32
	$(BIN)/python launch/tune.py --space search_spaces/demo.yaml --latents latents/demo

# Two processes run whole files of tests each, since many tests wait for processes that they start.
TWO := -n 2 --dist loadfile

test: $(READY)
	$(BIN)/python -m pytest $(TWO)

test-full: $(READY)
	$(BIN)/python -m pytest -m full_size

test-hosts: $(READY)
	$(BIN)/python -m pytest -m hosts

test-slurm: $(READY)
	$(BIN)/python -m pytest -m 'slurm and not chaos'

test-kills: $(READY)
	$(BIN)/python -m pytest -m 'kills and not chaos'

test-long: $(READY)
	$(BIN)/python -m pytest -m 'long and not chaos' $(TWO)

test-extra: $(READY)
	$(BIN)/python -m pytest -m extra $(TWO)

test-gpu: $(READY)
	$(BIN)/python -m pytest -m gpu

gpu-acceptance: $(READY)
	$(BIN)/python benchmarks/gpu_acceptance.py

chaos: $(READY)
	$(BIN)/python -m pytest -m chaos

soak: $(READY)
	$(BIN)/python -m pytest -m soak -s

docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Where pip-audit reaches none of its data, it skips every package; that is said, and is no failure.
audit: $(READY)
	@out=$$($(BIN)/pip-audit -r constraints.txt --no-deps --disable-pip --progress-spinner off 2>&1) && status=0 || status=$$?; \
	if [ "$$(grep -c 'could not be audited' <<<"$$out")" = "$$(grep -vc '^#' constraints.txt)" ] || grep -q 'ConnectionError' <<<"$$out"; then \
		echo "pip-audit reaches none of its data from here: nothing was audited"; \
	else \
		echo "$$out"; exit $$status; \
	fi

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# uv installs in about 30 s, pip in about 160 s, from the same registry. Byte code is compiled once here, since each
# Ray process would otherwise compile torch anew.
$(READY): pyproject.toml constraints.txt
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "fervit needs Python 3.11 or newer, but $(PYTHON) is $$("$(PYTHON)" --version): make PYTHON=/path/to/python3.11" >&2; exit 2; }
	@echo "setting up .venv: half a minute with uv, three with pip ..."
	@test -x $(BIN)/python || "$(PYTHON)" -m venv .venv
	@command -v uv >/dev/null || test -x $(BIN)/uv || $(BIN)/pip install --quiet uv || echo "no uv to be had: going on with pip"
	@PATH="$$PATH:$$PWD/$(BIN)"; if command -v uv >/dev/null; then \
		VIRTUAL_ENV="$$PWD/.venv" uv pip install --quiet --compile-bytecode -c constraints.txt -e '.[dev]'; \
	else \
		$(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'; \
	fi
	@touch $@

# Writes the versions that are installed now as the ones that the tests ran on.
lock: $(READY)
	{ grep '^#' constraints.txt; $(BIN)/python -m pip list --format=freeze --exclude fervit --exclude uv --exclude pip --exclude setuptools; } \
		>constraints.new && mv constraints.new constraints.txt

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
