# The set-up is Go 1.26 on Linux; make test installs the rest. See make help.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

# What make race runs. The detector needs cgo and a C compiler.
RACE ?= ./...
# How long make fuzz gives each target, and which ones (a regular expression).
FUZZTIME ?= 20s
FUZZ ?= .
# What make bench is told.
BENCHFLAGS ?=
# Which benchmarks make microbench runs, how often, and against which older result.
BENCH ?= .
COUNT ?= 6
BASE ?=

# Where go vet looks: everything on Linux, and what also works elsewhere.
VET_LINUX := amd64 arm64
VET_OTHER := darwin/arm64 windows/amd64
VET_OTHER_PACKAGES := ./registry/... ./loaders/... ./tensors/...

# Beyond ruff's own choice: annotations, bugbear, import order, modern syntax.
RUFF := ANN,B,I,UP

# Go stamps the version from the tag or commit, where git answers (version.go reads it).
BUILDVCS := $(shell git rev-parse --verify --quiet HEAD >/dev/null 2>&1 && echo true || echo false)

.PHONY: help
help: ## show this
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 24

.PHONY: build
build: ## build/modelfs, static
	CGO_ENABLED=0 go build -trimpath -buildvcs=$(BUILDVCS) -o build/modelfs ./cmd/modelfs

.PHONY: demo
demo: build ## build it and run it end to end on a real model
	./build/modelfs demo

.PHONY: setup
setup: ## install what the tests need (make test does it)
	@scripts/setup

.PHONY: test
test: build setup build/tools/gotestsum build/tools/grpcurl build/tools/grpc-health-probe ## install what the tests need, run them all (MODELFS_REQUIRE=fuse,python: no skipping)
	go vet ./...
	@scripts/test

.PHONY: race
race: build/tools/gotestsum ## the Go tests under the race detector (RACE=packages)
	CGO_ENABLED=1 build/tools/gotestsum --format pkgname -- -race -count=1 $(RACE)

.PHONY: fuzz
fuzz: ## each fuzz target for FUZZTIME (FUZZ=pattern chooses)
	@scripts/fuzz '$(FUZZTIME)' '$(FUZZ)' ./...

.PHONY: bench
bench: ## modelfs and its peers, as root: build/bench.json, docs/benchmarks.md and its plots (10 min; BENCHFLAGS=--quick: 1 min)
	@mkdir -p build
	go run ./bench --json build/bench.json --markdown docs/benchmarks.md --plots docs/benchmarks $(BENCHFLAGS)

.PHONY: microbench
microbench: build/tools/benchstat ## the Go benchmarks, into build/bench.txt (BENCH=pattern; BASE=older.txt compares)
	go test -run '^$$' -bench '$(BENCH)' -benchmem -count $(COUNT) ./... | tee build/bench.txt
	build/tools/benchstat $(BASE) build/bench.txt

.PHONY: golden
golden: ## write the golden files anew; read the diff before you commit it
	go test $$(grep -rlE --include='*_test.go' 'flag\.Bool\("update"' . | xargs -n1 dirname | sort -u) -update

.PHONY: proto
proto: setup build/tools/protoc-gen-go build/tools/protoc-gen-go-grpc ## write the code of workers/inference/*.proto anew
	@scripts/proto

.PHONY: lint lint-format lint-vet lint-vet-other lint-modules lint-golangci lint-python
lint: lint-format lint-modules lint-vet lint-vet-other lint-golangci lint-python ## formatting, vet, modules, golangci-lint, ruff, mypy; writes nothing

lint-format:
	@bad=$$(find . \( -name .git -o -name .venv -o -name build \) -prune -o -name '*.go' -exec gofmt -l {} +); \
	if [[ -n $$bad ]]; then printf 'not gofmt-ed (gofmt -w):\n%s\n' "$$bad"; exit 1; fi

lint-modules:
	go mod verify
	go mod tidy -diff
	cd tools && go mod verify

lint-vet:
	@for arch in $(VET_LINUX); do echo "go vet linux/$$arch ./..."; CGO_ENABLED=0 GOOS=linux GOARCH=$$arch go vet ./...; done

lint-vet-other:
	@for target in $(VET_OTHER); do echo "go vet $$target $(VET_OTHER_PACKAGES)"; \
	CGO_ENABLED=0 GOOS=$${target%/*} GOARCH=$${target#*/} go vet $(VET_OTHER_PACKAGES); done

lint-golangci: build/tools/golangci-lint
	GOLANGCI_LINT_CACHE=$(CURDIR)/build/golangci-cache build/tools/golangci-lint run

lint-python: setup
	@if [[ ! -x .venv/bin/ruff ]]; then echo 'ruff and mypy: not run, there is no .venv'; exit 0; fi; \
	.venv/bin/ruff check --no-cache --line-length 120 --extend-select $(RUFF) . && \
	.venv/bin/ruff format --no-cache --check --line-length 120 --extend-exclude '*.md' . && \
	cd python && ../.venv/bin/mypy --cache-dir /dev/null

.PHONY: vuln
vuln: build/tools/govulncheck ## known vulnerabilities of what it is built from (asks vuln.go.dev)
	build/tools/govulncheck ./...

.PHONY: clean
clean: ## remove build and .venv
	rm -rf build .venv

# The tools are programs of the module in tools, which pins them.
build/tools/%: tools/go.mod tools/go.sum
	@mkdir -p build/tools
	go build -C tools -buildvcs=false -o ../build/tools/$* $$(cd tools && go list tool | grep '/$*$$')
