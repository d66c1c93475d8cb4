"""Modelyard: import open-source models, deploy them through runtime plugins, serve them behind one address."""

__version__ = "0.1.0"
