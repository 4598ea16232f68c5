"""The bundle: a model, its signature and the answers it must give, under one digest."""
