"""The version of all of this, in the one place where it is written."""

VERSION = "0.1.0"
