"""Every small change of the evidence's formulas, and whether a test notices it."""
