"""A Kubernetes API server as neighbour: pods of this node, Services and their endpoints come in; events go out."""
