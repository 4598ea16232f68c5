"""Where bundles come from: bytes over the network, one file per protocol, and what is done with them.

https.py     opens an HTTPS address, with credentials that stay with their host
archive.py   unpacks a tar stream into a directory, and nothing outside it

A new source is one more file here and one more case in `tidegate_server.fetch`. They run in the
`tools` image: the standard library, msgspec and numpy are all there is.
"""
