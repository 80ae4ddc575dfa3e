"""The kinds of the Kubernetes API as types: fields bear the names and numbers that they have on the wire."""
