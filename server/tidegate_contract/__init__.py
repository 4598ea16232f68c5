"""What two parts of Tidegate must agree on: names, ports, labels, the bundle, failures.

Every other package may import this one; it imports none of them, and needs only the
standard library, msgspec and numpy.
"""
