"""Messages and services, generated from the .proto file beside them."""
