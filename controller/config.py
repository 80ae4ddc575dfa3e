"""Settings of the controller: one table, from which the file format, flags and docs/config.md are made."""
