"""Objects of the API: kinds as types, their store, and what every kind has in common."""
