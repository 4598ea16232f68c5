"""An exhaustive search over small worlds: what must never happen, does not happen in any of them."""
