"""The dashboard: files that a browser runs, and the one document that they show."""
