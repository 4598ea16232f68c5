"""Builds our three images and brings them to where they run: `python3 -m images build`.

Standard library only. The order to read in: `content` (what goes in, and so the tag), then `local` (the cluster of this
checkout, with buildah and no network) or `remote` (any other cluster, by way of a registry).
"""
