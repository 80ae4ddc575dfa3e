"""Real neighbours for tests: clusters, registries, clients. What is a stand-in says so."""
