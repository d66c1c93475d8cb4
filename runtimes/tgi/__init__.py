"""The TGI plug: drives an installed text-generation-launcher."""
