"""Side-by-side benchmarks: ours and a peer in turn, in one run; the last line of each is its ratio."""
