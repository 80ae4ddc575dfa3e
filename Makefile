# Everything here works on a fresh Debian machine, as root, from a clone.
PY := .venv/bin/python
export PYTHONPATH := $(CURDIR):$(CURDIR)/proto

help: ## these lines
	@grep -hE '^[a-z_-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

setup: ## install what is missing: Debian packages, the virtual environment, pinned Python packages
	@bash scripts/setup

demo: setup ## run the main job in front of you (KEEP=1 leaves it running)
	@KEEP=$(KEEP) $(PY) -m examples.demo

check: setup ## a minute or two, at every change: style, types, the pure tests
	@bash scripts/check

test: setup ## every test that this machine can run; T="path -k words" for some, as pytest takes them
	@bash scripts/test $(T)

chaos: ## CHAOS_FAULTS=50 faults by the seed CHAOS_SEED=11 while pods come and go: nothing is lost, doubled or left
	@bash scripts/setup chaos
	@CHAOS_FAULTS=$(or $(CHAOS_FAULTS),50) CHAOS_SEED=$(or $(CHAOS_SEED),11) $(PY) -m tests.chaos.run

thorough: setup ## at length: GiB streams, long fuzzing and soak, crun and runc, a kubelet from KUBE_BIN
	@bash scripts/thorough

test-kubelet: setup ## the same with a real kubelet and control plane, from the binaries in KUBE_BIN
	@bash scripts/test tests/e2e/test_kubelet.py -rs

test-cluster: setup ## Services, names, requests and events in a real cluster, from the binaries in KUBE_BIN
	@bash scripts/test tests/e2e/test_cluster.py tests/e2e/test_cluster_life.py tests/e2e/test_worker_units.py -rs

test-ha: setup ## two workers, two controllers, three members of etcd: leaders and shims killed and frozen; prints the pauses
	@HA=1 bash scripts/test tests/e2e/test_ha.py -rs

conformance: ## Kubernetes' own conformance suite (E2E_TEST=…/e2e.test) against the cluster of KUBECONFIG; FOCUS=, SKIP=, GINKGO=, PROCS=
	@bash scripts/conformance

lint: setup ## style, types, dependency directions, generated code
	@bash scripts/lint

bench: ## side-by-side benchmarks; BENCH=name for one
	@bash scripts/setup bench
	@$(PY) -m bench $(BENCH)

image: setup ## bake the machine image of a cell into build/ (ARCH=, PRELOAD=image,…)
	@bash scripts/setup image
	@$(PY) -m images bake --arch=$(or $(ARCH),amd64) --out=build/cell-$(or $(ARCH),amd64).raw --preload=$(PRELOAD)

bundle: setup ## pack the agent for stock images into build/ (ARCH=)
	@bash scripts/setup image
	@$(PY) -m images bundle --arch=$(or $(ARCH),amd64) --out=build/agent-$(or $(ARCH),amd64).tar.gz

test-image: setup ## boot the baked image in QEMU, under a real controller (minutes)
	@bash scripts/test-image $(T)

proto: setup ## regenerate the code under proto/ from the .proto files
	@bash scripts/proto

.PHONY: help setup demo check test chaos thorough test-kubelet test-cluster test-ha conformance lint bench image bundle test-image proto
