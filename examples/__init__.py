"""Pods to try, and the demonstration of the main job."""
