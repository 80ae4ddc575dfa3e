"""Exec, attach and port-forward as kubectl and a kubelet speak them, bridged to a session."""
