"""What crosses a wire between controller and cell, shared by both and importing neither."""
