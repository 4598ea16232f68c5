"""A control plane alone, and an operator beside it: for what needs a real API server, but no nodes.

It starts in seconds, without root, on loopback, in a temporary folder. Whoever uses it may stop the API server, kill
it, bring it back, make etcd forget its history, and put a proxy between it and the operator that answers what it
should not. Nothing runs in pods here, so whatever is about serving belongs on the cluster of `make cluster`.
"""
