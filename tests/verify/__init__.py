"""An exhaustive search over small worlds: what design section 10 says never happens, does not happen in any of them."""
