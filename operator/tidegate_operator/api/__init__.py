"""The API that users write: one module a version, and the CRD that is generated from it."""
