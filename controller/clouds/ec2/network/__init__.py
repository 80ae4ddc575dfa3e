"""The account's network: where launches go, and routes to cells."""
