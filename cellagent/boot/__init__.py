"""From power-on to a certificate: metadata service, user-data, identity, join."""
