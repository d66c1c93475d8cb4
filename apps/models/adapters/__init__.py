"""Adapters: what one says of itself, the model that it is for, and whether the two fit."""
