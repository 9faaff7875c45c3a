.PHONY: bench

# Figures beside the BGP daemons found on this machine. Needs root for network namespaces;
# BENCH passes arguments, such as BENCH="routes --quick".
bench:
	cargo build --profile release -p dunlin -p dunlin-bench
	target/release/dunlin-bench $(BENCH)
