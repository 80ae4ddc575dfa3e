"""HTTP: the pods API that kubectl speaks, metrics, health."""
