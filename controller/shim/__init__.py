"""The Container Runtime Interface for a kubelet, each sandbox in a cell of its own."""
