"""What the controller remembers: records by kind and key, with compare-and-swap."""
