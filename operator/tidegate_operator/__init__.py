"""The operator: turns ModelDeployments into serving pods.

Data walks in one direction: `cluster/` observes, `core/` decides without side effects,
`writer.py` applies. `shell.py` is the kopf process around them.
"""
