"""The machine image of a cell: what is in it, the bake, its papers; and the agent's bundle for stock images.

Not in the wheel. Plain functions over frozen values; every program is started through `programs.run`. A bake needs root
for owners and `chroot`, and neither loop devices nor containers.
"""
