"""The fleet of a central controller as a worker's shim has it: cells claimed there, that dial here."""
