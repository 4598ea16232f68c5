"""The pure core: values in, a plan out. No clock, no network, no randomness, no kopf, no kubernetes."""
