"""Looks at an AWS account before pods do: what would keep cells from being launched, joining, or being reached."""
