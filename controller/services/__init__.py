"""Services: what a cell's kernel and its name server hold of them, and which cells hold which."""
