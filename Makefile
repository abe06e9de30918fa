# fleet-agent. `make help` lists the targets; `make demo` and `make test` need
# nothing but Go and make.

VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
GOFLAGS  ?=
GOBUILDFLAGS ?=
LDFLAGS  := -s -w -X main.version=$(VERSION) -X github.com/prometheus/common/version.Version=$(VERSION)
BUILD    := CGO_ENABLED=0 go build -trimpath $(GOBUILDFLAGS) -ldflags '$(LDFLAGS)'
COMMANDS := fleet-agent fleetctl fleetsim
# fleetctl waits for Azure and not for its own functions: without inlining it is 1 MB smaller.
SMALL    := -gcflags=all=-l
ARCHES   := amd64 arm64
BIN      := bin

ACTIONLINT    := github.com/rhysd/actionlint/cmd/actionlint@v1.7.12
GOLANGCI_LINT := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
NFPM          := github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.41.3
TOOLS         := $(CURDIR)/bin/tools

.DEFAULT_GOAL := help

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Build the commands for this machine into bin/
	@mkdir -p $(BIN)
	@for c in $(COMMANDS); do echo "build $$c"; $(BUILD) -o $(BIN)/$$c ./cmd/$$c || exit 1; done

build-all: ## Build the commands for every architecture into bin/ARCH/
	@for a in $(ARCHES); do for c in $(COMMANDS); do \
	  echo "build $$c $$a"; flags=; [ $$c != fleetctl ] || flags='$(SMALL)'; \
	  GOOS=linux GOARCH=$$a $(BUILD) $$flags -o $(BIN)/$$a/$$c ./cmd/$$c || exit 1; done; done

demo: build ## Watch a node meet a Preempt: healthy, drain, ack, back to service
	@go run ./internal/demo -bin $(BIN)

fleet-demo: ## See what fleetctl tells of a fleet: one that is well, and one with three things wrong
	@mkdir -p $(BIN)
	@for c in fleetctl fleetsim; do echo "build $$c"; $(BUILD) -o $(BIN)/$$c ./cmd/$$c || exit 1; done
	@go run ./internal/fleetdemo -bin $(BIN)

incident: ## Replay the incident: a bad image meets real agents, is stopped, taken back, and kept from everybody else
	@mkdir -p $(BIN)
	@for c in $(COMMANDS); do echo "build $$c"; $(BUILD) -o $(BIN)/$$c ./cmd/$$c || exit 1; done
	@go run ./internal/incident -bin $(BIN) $(if $(INCIDENT_SEED),-seed $(INCIDENT_SEED))

fleet-story: ## See a fleet come to be: from an empty subscription to a second image on every machine
	@mkdir -p $(BIN)
	@for c in $(COMMANDS); do echo "build $$c"; $(BUILD) -o $(BIN)/$$c ./cmd/$$c || exit 1; done
	@go run ./internal/story -bin $(BIN)

test: ## Run the tests
	GOGC=400 go test -vet=off -ldflags=-w -p $$((2 * $$(nproc))) $(GOFLAGS) ./... # many wait more than they work, and none holds much; no debugger reads them (-w); make lint vets

race: ## Run the tests under the race detector, and count what they cover
	@mkdir -p bin/coverage
	go test -race -timeout 20m -covermode=atomic -coverpkg=./... -coverprofile=bin/coverage/tests.out $(GOFLAGS) ./...

coverage: ## Print what the last make race and make e2e have covered together
	@e2e/covered.sh bin/coverage $(COMMANDS:%=./cmd/%)

lint: $(TOOLS)/golangci-lint $(TOOLS)/actionlint ## Run the linters
	$(TOOLS)/golangci-lint run --build-tags e2e ./...
	$(TOOLS)/actionlint examples/pipelines/github-*.yml
	go mod tidy -diff

$(TOOLS)/golangci-lint:
	GOBIN=$(TOOLS) go install $(GOLANGCI_LINT)

$(TOOLS)/actionlint:
	GOBIN=$(TOOLS) go install $(ACTIONLINT)

DIST ?= dist
deb: build-all $(TOOLS)/nfpm ## Build the Debian packages, archives, what is in them, and SHA256SUMS into dist/
	go run ./internal/packaging -version '$(VERSION)' -commands '$(COMMANDS)' -arches '$(ARCHES)' -nfpm $(TOOLS)/nfpm -bin $(BIN) -dist $(DIST)

deb-check: deb ## Check the packages: contents, lintian, and that a second build gives the same bytes
	go test ./internal/packaging -count 1 -dist $(abspath $(DIST))
	rm -rf $(ARCHES:%=$(BIN)/%)
	umask 077; TZ=Asia/Kathmandu LC_ALL=C $(MAKE) --no-print-directory deb DIST=$(DIST)/again VERSION='$(VERSION)'
	cmp $(DIST)/SHA256SUMS $(DIST)/again/SHA256SUMS
	rm -rf $(DIST)/again

$(TOOLS)/nfpm:
	GOBIN=$(TOOLS) go install $(NFPM)

SUITES ?=
e2e: ## Check the packages on machines with a real systemd (root; SUITES="bookworm trixie bullseye" for all of it)
	e2e/run.sh $(SUITES)

e2e-vm: ## Check one boot in a virtual machine (root, amd64)
	e2e/vm.sh

JUDGES := TestAnswersKeep|OfOtherTools|Example|EveryTypeIsJudged|TestReadsAreJudged
judges: ## Hold fleetsim arm, and all that fleetctl sends, to Microsoft's examples and published types, and print what was judged
	@mkdir -p $(BIN)
	@{ go test -count 1 -v -run '$(JUDGES)' ./internal/sim/arm ./internal/sim/arm/armtypes && go test -count 1 -v -run '$(JUDGES)' ./internal/azure -every-place; } >$(BIN)/judges.log 2>&1 \
	  || { cat $(BIN)/judges.log; exit 1; }
	@sed -n 's/^ *[a-z_]*_test\.go:[0-9]*: //p' $(BIN)/judges.log
	@go test -v ./cmd/fleetctl >$(BIN)/judged.log 2>&1 || { cat $(BIN)/judged.log; exit 1; }
	@grep '^judged ' $(BIN)/judged.log

clients: ## Hold fleetsim arm to Microsoft's own clients (Node 20 or later and npm)
	@mkdir -p $(BIN)
	$(BUILD) -o $(BIN)/fleetsim ./cmd/fleetsim
	cd e2e/clients && npm ci --loglevel=error && node run.mjs $(abspath $(BIN)/fleetsim)

azurite: ## Hold the rollouts' journal and fleetsim's blobs to Azurite, Microsoft's emulator (Node 20 or later and npm)
	cd e2e/azurite && npm ci --loglevel=error
	FLEETCTL_AZURITE=$(abspath e2e/azurite/node_modules) go test -count 1 -timeout 10m -v -run '/azurite|^TestAnswers$$' ./internal/journal
	FLEETCTL_AZURITE=$(abspath e2e/azurite/node_modules) go test -count 1 -timeout 10m -v -run '^(TestRealJournal|TestTwoRunners|TestAskedOfAHolder)$$/azurite' ./internal/roll

SEED      ?= 1
HISTORIES ?= 10000
histories: ## Let the agent live through HISTORIES (10000) random lives of a node, from SEED (1) on
	go test ./internal/agent -run '^TestHistories$$' -count 1 -timeout 30m -seed $(SEED) -histories $(HISTORIES)

ROLLOUTS ?= 10000
KILLS    ?= 1
rollouts: ## Let ROLLOUTS (10000) random rollouts meet a model of Azure, see every state of a small world, and kill runners at each KILLS-th (1) place
	go test ./internal/fleet/rollout -run '^(TestHistories|TestEveryState)$$' -count 1 -timeout 30m -histories $(ROLLOUTS) -disturbances 2
	go test ./internal/roll -run '^(TestKilledAnywhere|TestStalledHolder|TestThousand)$$' -every-moment -count 1 -timeout 60m -kill-step $(KILLS) -every-read -stall-step 2

kills: ## Kill apply at each KILLS-th (1) request while it makes scale sets and brings their members
	go test ./internal/apply -run '^TestSetsKilled' -count 1 -timeout 30m -kill-step $(KILLS)

ONLY ?=
mutants: ## Break each promise in a copy of the tree and see that a test notices (ONLY=regexp)
	go run ./internal/mutants -only '$(ONLY)'

bench: build ## Measure probe cost, size, start, memory, idle CPU, scale and looks at fleets, and hold them to their bounds
	@echo "build fleetctl"; $(BUILD) $(SMALL) -o $(BIN)/fleetctl ./cmd/fleetctl
	go test -run '^$$' -bench . -benchtime 8s ./internal/health
	go test -run '^$$' -bench . -benchtime 1s ./internal/fleet/rollout
	go run ./internal/bench -bin $(BIN)

SOAK ?= 15m
soak: build ## Judge every answer of an agent with 200 checks, many events and many probes, for SOAK (15m)
	go run ./internal/soak -bin $(BIN) -for $(SOAK)

FUZZTIME ?= 20s
fuzz: ## Fuzz every parser for FUZZTIME each (20s)
	@go list ./... | while read -r pkg; do \
	  for f in $$(go test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
	    echo "fuzz $$pkg $$f"; go test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 20x $$pkg || exit 1; done; done

docs: ## Write the generated documentation again
	go run ./internal/docs

.PHONY: help build build-all demo fleet-demo fleet-story incident test race histories rollouts kills judges mutants soak coverage lint deb deb-check e2e e2e-vm clients azurite bench fuzz docs
