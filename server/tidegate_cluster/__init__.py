"""Reading a cluster: one session, lists and watches that never end, and a store of what they say.

The operator and the routers both live on it. Nothing here writes to the API server.
"""
