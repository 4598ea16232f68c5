"""The bundle: a model, its signature and the answers it must give, under one digest.

manifest.py    what manifest.json says
datatypes.py   the protocol's element types, as numpy sees them
timings.py     how fast its engines were where it was packed
verify.py      whether a directory holds the bytes that were asked for
"""
