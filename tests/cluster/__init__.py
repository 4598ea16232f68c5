"""A real Kubernetes on one machine without a container engine: `python3 -m cluster up`.

Standard library only: it runs with the bare system Python, before any virtual environment exists.
The order to read in: `layout` (which names and addresses), `lifecycle` (what `up` and `down` do), then the rest.
"""
