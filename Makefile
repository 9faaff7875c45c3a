# `make demo` needs Rust and iproute2, nothing else.

CARGO ?= cargo
# A release build is an order of magnitude slower to make; this one runs nearly as fast.
PROFILE ?= bench-fast
LAB ?=

.PHONY: demo
demo: demo-needs
	@echo "Building Dunlin (the first time takes some minutes)…"
	@$(CARGO) build --quiet --locked --profile $(PROFILE) -p dunlin
	@$(or $(CARGO_TARGET_DIR),target)/$(PROFILE)/dunlin lab demo --service-proxy $(LAB)

.PHONY: demo-needs
demo-needs:
	@command -v $(CARGO) >/dev/null || { \
	  echo "make demo needs Rust: https://rustup.rs"; exit 1; }
	@PATH="$$PATH:/usr/sbin:/sbin"; command -v ip >/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "Installing iproute2"; apt-get update -qq && apt-get install -y -qq --no-install-recommends iproute2; \
	  else echo "make demo needs the program ip: install the package iproute2"; exit 1; fi; }

.PHONY: bench

# Figures beside the BGP daemons found on this machine. Needs root for network namespaces;
# BENCH passes arguments, such as BENCH="routes --quick".
bench:
	$(CARGO) build --locked --profile release -p dunlin -p dunlin-bench
	$(or $(CARGO_TARGET_DIR),target)/release/dunlin-bench $(BENCH)

.PHONY: test

# Builds everything once and runs every test; installs what they use, as root on Debian.
test:
	@script/test.sh

.PHONY: fuzz

# Hostile input for every decoder, FUZZ_SECONDS each.
fuzz:
	@script/fuzz.sh --seconds $(or $(FUZZ_SECONDS),10)
