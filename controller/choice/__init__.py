"""Which instance types fit a pod, cheapest first. Pure functions over a catalogue."""
