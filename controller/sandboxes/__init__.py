"""The one way to a cell for what runs pods: what is known of sandboxes, and what of a cell's word is believed."""
