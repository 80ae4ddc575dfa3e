"""Where instances come from: one protocol, one folder an implementation."""
