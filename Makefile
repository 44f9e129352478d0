# Everything that people and CI type. `make` alone lists it.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# Where `make` is started by something with a bare PATH.
export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin

TARGET := $(or $(CARGO_TARGET_DIR),target)
QUICK_INSTALLER := $(TARGET)/quick-installer
CARGO ?= cargo

.PHONY: help
help: ## List what can be made
	@grep -hE '^[a-z0-9-]+:.* ## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.* ## /\1\t/' | expand -t 24

.PHONY: setup
setup: ## Install what is missing on this machine (apt, dnf or zypper)
	@tests/setup/setup.sh

.PHONY: setup-aarch64
setup-aarch64: ## The same, with what aarch64 guests need
	@tests/setup/setup.sh aarch64

.PHONY: build
build: ## Compile imgbuild
	$(CARGO) build --release --locked

.PHONY: image
image: setup build ## Build images/debian-13.qcow2 with Debian's own installer
	@tests/setup/image.sh

.PHONY: quick-installer
quick-installer: setup ## The fixture that installs in seconds
	tests/quick-installer/build $(QUICK_INSTALLER)

.PHONY: test
test: setup quick-installer ## Everything that is proved on every change
	@tests/setup/checks.sh scripts
	if $(CARGO) nextest --version >/dev/null 2>&1; then $(CARGO) nextest run --locked --profile ci; \
	else $(CARGO) test --locked --no-fail-fast --lib --bins --tests; fi
	$(CARGO) test --locked --doc

.PHONY: test-quick-installer
test-quick-installer: quick-installer ## The fixture under plain QEMU, in all its variants
	tests/quick-installer/selftest.py $(QUICK_INSTALLER)

.PHONY: test-pykickstart
test-pykickstart: ## Templates beside pykickstart and the published schemas; KICKSTARTS=FOLDER compares our verdicts as well
	python3 -m venv $(TARGET)/pykickstart
	$(TARGET)/pykickstart/bin/pip install -q pykickstart jsonschema
	IMGBUILD_KSVALIDATOR=$(abspath $(TARGET))/pykickstart/bin/ksvalidator \
	  IMGBUILD_PYTHON=$(abspath $(TARGET))/pykickstart/bin/python \
	  $(if $(KICKSTARTS),IMGBUILD_KICKSTARTS=$(abspath $(KICKSTARTS))) \
	  $(CARGO) test --locked --test lint_pykickstart --test answer_templates -- --include-ignored --nocapture

.PHONY: corpus
corpus: ## What is made of each console log in tests/consoles, with precision and recall
	$(CARGO) test --locked --test console_corpus -- --nocapture

.PHONY: test-rows
test-rows: setup quick-installer ## Every system of the catalogue, from its spec to the kernel that reads its parameters
	$(CARGO) test --locked --test boot_rows -- --include-ignored --nocapture

.PHONY: test-report
test-report: setup quick-installer ## report.html in a real browser
	@tests/setup/setup.sh browser
	$(CARGO) test --locked --test report_browser -- --ignored

.PHONY: test-install
test-install: setup quick-installer ## The real Debian installer, put wrong fault by fault; IMGBUILD_MIRROR_CACHE=FOLDER keeps the mirror's files
	$(CARGO) test --locked --test install_faults -- --ignored --nocapture --test-threads=2

.PHONY: fuzz
fuzz: ## Fuzz every parser for a minute each; SECONDS_EACH=600 for longer
	tests/fuzz/run $(or $(SECONDS_EACH),60)

.PHONY: bench-wire
bench-wire: setup ## A download through imgbuild's wire beside QEMU's own user network
	$(CARGO) test --locked --test qemu throughput -- --ignored --nocapture

.PHONY: test-openstack-faults
test-openstack-faults: quick-installer ## Every request to the fake cloud failed in turn, of the client and of whole builds, in eight ways; `make test` fails a part of them
	IMGBUILD_ALL_FAULTS=1 $(CARGO) test --locked --test openstack_faults --test openstack_build_faults

.PHONY: test-openstack
test-openstack: setup quick-installer ## Builds in a real one-node OpenStack that is brought up here, and the client's conversation with it
	$(CARGO) build --locked
	@tests/setup/setup.sh openstack
	tests/openstack/up
	export IMGBUILD_TEST_CLOUD=oslab OS_CLIENT_CONFIG_FILE=$${OSLAB_STATE:-/var/tmp/oslab}/clouds.yaml; status=0; \
	  tests/openstack/build-quick.sh $(TARGET)/debug/imgbuild || status=$$?; \
	  $(CARGO) test --locked --test openstack_conversation -- --nocapture || status=$$?; \
	  tests/openstack/down; exit $$status

.PHONY: lint
lint: ## Formatting, clippy, shell and Python scripts
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	@tests/setup/checks.sh lint

.PHONY: bench
bench: ## Measure what is promised to be fast
	$(CARGO) bench --locked

.PHONY: clean
clean: ## Remove what was built here
	$(CARGO) clean
	rm -rf images
