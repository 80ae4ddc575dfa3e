"""Worker: a machine whose kubelet has the shim as its runtime, and a capacity that is not its own."""
