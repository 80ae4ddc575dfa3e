# Everything here works on a fresh Debian machine, as root, from a clone.
PY := .venv/bin/python
export PYTHONPATH := $(CURDIR):$(CURDIR)/proto

help: ## these lines
	@grep -hE '^[a-z_-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

setup: ## install what is missing: Debian packages, the virtual environment, pinned Python packages
	@bash scripts/setup

demo: setup ## run the main job in front of you (KEEP=1 leaves it running)
	@KEEP=$(KEEP) $(PY) -m examples.demo

test: setup ## run every test that this machine can run
	@bash scripts/test $(T)

test-kubelet: setup ## the same with a real kubelet and control plane, from the binaries in KUBE_BIN
	@bash scripts/test tests/e2e/test_kubelet.py -rs

lint: setup ## style, types, dependency directions, generated code
	@bash scripts/lint

bench: ## side-by-side benchmarks; BENCH=name for one
	@bash scripts/setup bench
	@$(PY) -m bench $(BENCH)

image: setup ## bake the machine image of a cell into build/ (ARCH=, PRELOAD=image,…)
	@bash scripts/setup image
	@$(PY) -m images bake --arch=$(or $(ARCH),amd64) --out=build/cell-$(or $(ARCH),amd64).raw --preload=$(PRELOAD)

test-image: setup ## boot the baked image in QEMU, under a real controller (minutes)
	@bash scripts/test-image $(T)

proto: setup ## regenerate the code under proto/ from the .proto files
	@bash scripts/proto

.PHONY: help setup demo test test-kubelet lint bench image test-image proto
