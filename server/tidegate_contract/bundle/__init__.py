"""The bundle: a model, its signature and the answers it must give, under one digest.

manifest.py    what manifest.json says
datatypes.py   the protocol's element types, as numpy sees them
verify.py      whether a directory holds the bytes that were asked for
"""
